//! What a model is called where nobody says it.

/// How Python files name the decorator; others are found by `--name`.
const DECORATORS: [&str; 3] = ["foil.model", "hydrofoil.model", "model"];

/// `DigitsCNN2` becomes `digits_cnn2`, as the SDK has it.
pub(super) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let starts = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Of the one class or function of a Python file that is decorated as a model.
pub(super) fn of_the_only_model(text: &str) -> Option<String> {
    let mut models = Vec::new();
    let mut decorated = false;
    for line in text.lines() {
        if let Some(decorator) = line.strip_prefix('@') {
            let name = decorator.split(['(', ' ', '#']).next().unwrap_or_default();
            decorated |= DECORATORS.contains(&name);
        } else if let Some(name) = defined(line) {
            models.extend(decorated.then_some(name));
            decorated = false;
        }
    }
    match models[..] {
        [only] => Some(snake_case(only)),
        _ => None,
    }
}

/// The name of a class or function at the outermost level.
fn defined(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("class ").or_else(|| line.strip_prefix("def "))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// `registry:5000/team/heavy-model:3` gives `heavy-model`.
pub(super) fn of_image(image: &str) -> Option<String> {
    let last = image.split('@').next()?.rsplit('/').next()?;
    let name = last.split(':').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_python_package() {
        let names = ["Digits", "DigitsCNN", "CNNDigits2", "score", "Resnet50V2", "A"];
        let snakes = names.map(snake_case);
        assert_eq!(snakes, ["digits", "digits_cnn", "cnn_digits2", "score", "resnet50_v2", "a"]);
    }

    #[test]
    fn the_only_decorated_class_or_function_is_found() {
        let one = "import hydrofoil as foil\nclass Base: pass\n@foil.model(\n    max_batch=8,\n)\n# so\nclass MyModel(Base):\n    def predict(self): pass\n";
        assert_eq!(of_the_only_model(one).as_deref(), Some("my_model"));
        let function = "from hydrofoil import model\n@model\ndef score(x): ...\ndef other(): ...\n";
        assert_eq!(of_the_only_model(function).as_deref(), Some("score"));
        assert_eq!(of_the_only_model("class A: pass\n"), None);
        assert_eq!(
            of_the_only_model("@foil.model\nclass A: ...\n@foil.model\nclass B: ...\n"),
            None
        );
    }

    #[test]
    fn an_image_has_a_name_between_its_path_and_its_tag() {
        assert_eq!(of_image("registry:5000/team/heavy-model:3").as_deref(), Some("heavy-model"));
        assert_eq!(of_image("heavy@sha256:00").as_deref(), Some("heavy"));
        assert_eq!(of_image("team/"), None);
    }
}
