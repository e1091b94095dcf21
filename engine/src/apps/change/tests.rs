use super::*;
use crate::apps::Model;

fn app(name: &str, input_type: InputType) -> App {
    let (name, default_output) = (name.into(), "x".into());
    App { name, input_type, default_output, slo_us: 1000, linked: None }
}

fn model(version: &str, input_type: InputType) -> NewModel {
    NewModel {
        model: "m".into(),
        version: version.into(),
        input_type,
        labels: Vec::new(),
        container_name: "c".into(),
        model_data_path: "p".into(),
        batch_size: -1,
    }
}

/// Applies changes one after the other, with no model served from a file.
struct State {
    apps: Apps,
    catalog: Catalog,
    mode: Mode,
}

impl State {
    fn new(mode: Mode) -> State {
        State { apps: Apps::default(), catalog: Catalog::default(), mode }
    }

    fn changing(&self) -> Changing<'_> {
        Changing { apps: &self.apps, catalog: &self.catalog, mode: self.mode }
    }

    fn make(
        &mut self,
        change: impl FnOnce(Changing<'_>) -> Result<Apps, Refused>,
    ) -> Result<(), Refused> {
        self.apps = change(self.changing())?;
        Ok(())
    }

    fn add_model(&mut self, version: &str, number: u64) {
        let new = model(version, InputType::Doubles);
        self.changing().check_model(&new).unwrap();
        self.apps = self.changing().add_model(new, Version(number), Runs::Containers);
    }

    fn model(&self) -> &Model {
        self.apps.model("m").unwrap()
    }
}

#[test]
fn an_application_is_unique_and_goes_when_it_is_deleted() {
    let mut state = State::new(Mode::Sane);
    state.make(|it| it.add_app(app("a", InputType::Doubles))).unwrap();
    let again = state.make(|it| it.add_app(app("a", InputType::Strings)));
    assert_eq!(again, Err(Refused::AppExists { app: "a".into() }));
    state.make(|it| it.delete_app("a")).unwrap();
    assert!(state.apps.get("a").is_none() && state.apps.served("a").is_none());
    assert!(state.make(|it| it.delete_app("a")).is_err());
}

#[test]
fn by_the_letter_a_deleted_application_answers_on_as_it_was() {
    let mut state = State::new(Mode::Strict);
    state.make(|it| it.add_app(app("a", InputType::Doubles))).unwrap();
    state.make(|it| it.delete_app("a")).unwrap();
    assert!(state.apps.get("a").is_none());
    state.make(|it| it.add_app(app("a", InputType::Strings))).unwrap();
    assert_eq!(state.apps.served("a").unwrap().input_type, InputType::Doubles);
    assert_eq!(state.apps.get("a").unwrap().input_type, InputType::Strings);
}

#[test]
fn names_and_slos_are_checked() {
    let mut state = State::new(Mode::Sane);
    for name in ["", "a/b", "a\n", &"x".repeat(NAME_BYTES_MAX + 1)] {
        let refused = state.make(|it| it.add_app(app(name, InputType::Doubles)));
        assert!(matches!(refused, Err(Refused::AppName { .. })), "{name}");
    }
    let timeless = || App { slo_us: 0, ..app("a", InputType::Doubles) };
    assert_eq!(state.make(|it| it.add_app(timeless())), Err(Refused::Slo { slo_us: 0 }));
    let mut strict = State::new(Mode::Strict);
    strict.make(|it| it.add_app(timeless())).unwrap();
    assert!(strict.apps.get("a").unwrap().slo().is_zero());
}

#[test]
fn what_is_kept_has_bounds() {
    let mut state = State::new(Mode::Sane);
    let default_output = "x".repeat(DEFAULT_OUTPUT_BYTES_MAX + 1).into();
    let long = App { default_output, ..app("a", InputType::Doubles) };
    assert!(matches!(state.make(|it| it.add_app(long)), Err(Refused::TooLong { .. })));
    let labels = vec!["x".repeat(100); DESCRIPTION_BYTES_MAX / 100 + 1];
    let new = NewModel { labels, ..model("1", InputType::Doubles) };
    assert!(matches!(state.changing().check_model(&new), Err(Refused::TooLong { .. })));
    for number in 0..APPS_MAX {
        state.apps.apps.insert(number.to_string().into(), app("a", InputType::Doubles).into());
    }
    let refused = state.make(|it| it.add_app(app("one more", InputType::Doubles)));
    assert!(matches!(refused, Err(Refused::TooMany { .. })));
}

#[test]
fn an_application_has_one_model_of_its_type() {
    let mut state = State::new(Mode::Sane);
    state.add_model("1", 1);
    state.make(|it| it.add_app(app("a", InputType::Doubles))).unwrap();
    state.make(|it| it.add_app(app("text", InputType::Strings))).unwrap();
    state.make(|it| it.link("a", &["m".into()])).unwrap();
    let twice = state.make(|it| it.link("a", &["m".into()])).unwrap_err();
    assert_eq!(twice.to_string(), "The model with name 'm' is already linked to 'a'");
    let other = state.make(|it| it.link("text", &["m".into()])).unwrap_err();
    assert_eq!(
        other.to_string(),
        "Model with name 'm' has incompatible input_type 'doubles'. Requested app to link to has input_type 'strings'."
    );
    let new = model("2", InputType::Integers);
    let refused = state.changing().check_model(&new);
    assert!(matches!(refused, Err(Refused::LinkedType { .. })), "{refused:?}");
    state.make(|it| it.unlink("a", &["m".into()])).unwrap();
    assert_eq!(state.apps.get("a").unwrap().linked, None);
    assert_eq!(state.changing().check_model(&new), Ok(()));
}

#[test]
fn a_new_version_is_current_and_the_last_stands_in_until_it_can_answer() {
    let mut state = State::new(Mode::Sane);
    state.add_model("v1", 1);
    assert_eq!((state.model().current.as_deref(), &state.model().until_ready), (Some("v1"), &None));
    state.add_model("v2", 2);
    state.add_model("v3", 3);
    assert_eq!(state.model().current.as_deref(), Some("v3"));
    assert_eq!(state.model().until_ready.as_deref(), Some("v1"));
    assert!(state.changing().settle(&"m".into(), "v2").is_none(), "it is not current any more");
    state.apps = state.changing().settle(&"m".into(), "v3").unwrap();
    assert_eq!(state.model().until_ready, None);
}

#[test]
fn rolling_back_is_at_once() {
    let mut state = State::new(Mode::Sane);
    state.add_model("v1", 1);
    state.add_model("v2", 2);
    state.make(|it| it.set_version("m", "v1")).unwrap();
    assert_eq!((state.model().current.as_deref(), &state.model().until_ready), (Some("v1"), &None));
    assert!(matches!(
        state.make(|it| it.set_version("m", "v9")),
        Err(Refused::SetVersionUnknown { .. })
    ));
    assert!(matches!(
        state.make(|it| it.set_version("n", "v1")),
        Err(Refused::SetModelUnknown { .. })
    ));
}

#[test]
fn a_deleted_version_is_nobodys_current_one() {
    let mut state = State::new(Mode::Sane);
    state.add_model("v1", 1);
    state.add_model("v2", 2);
    let (record, next) = state.changing().delete_model("m", "v2").unwrap();
    state.apps = next;
    assert_eq!((&*record.text, record.runs), ("v2", Runs::Containers));
    assert_eq!(state.model().current, None);
    assert!(matches!(state.changing().delete_model("m", "v2"), Err(Refused::ModelUnknown { .. })));
    state.apps = state.changing().delete_model("m", "v1").unwrap().1;
    assert!(state.apps.model("m").is_none());
}

#[test]
fn registrations_are_checked() {
    let state = State::new(Mode::Sane);
    let check = |new: NewModel| state.changing().check_model(&new);
    let good = || model("1", InputType::Doubles);
    assert_eq!(check(good()), Ok(()));
    for size in [0, -2, i32::MIN] {
        assert_eq!(check(NewModel { batch_size: size, ..good() }), Err(Refused::BatchSize));
    }
    for text in ["a:b", "a,b"] {
        assert!(check(NewModel { model: text.into(), ..good() }).is_err());
        assert!(check(NewModel { version: text.into(), ..good() }).is_err());
        assert!(check(NewModel { labels: vec![text.into()], ..good() }).is_err());
    }
}
