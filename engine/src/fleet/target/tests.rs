use super::*;

/// A directory of its own for each test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("hydrofoil-target-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn resolve(&self, path: &str) -> Result<Vec<Target>, TargetError> {
        resolve(&[self.0.join(path).display().to_string()], None, &Wanted::All)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_may_name_its_class() {
    let scratch = Scratch::new("file");
    scratch.write("model.py", "");
    let found = scratch.resolve("model.py:Digits").unwrap();
    let Program::Python { target } = &found[0].program else { panic!("not Python") };
    assert!(target.ends_with("/model.py:Digits"));
    assert_eq!((found[0].version, &found[0].name), (Version(1), &None));
}

#[test]
fn a_repository_yields_every_version_with_its_settings() {
    let scratch = Scratch::new("repository");
    scratch.write("digits/1/model.py", "");
    scratch.write("digits/2/model.py", "");
    scratch.write("digits/model.toml", "slo = \"20ms\"\n[env]\nOMP_NUM_THREADS = \"1\"");
    scratch.write("fast/7/model.safetensors", "");
    scratch.write("fast/model.toml", "runtime = \"native\"\nkind = \"linear\"");
    let found = scratch.resolve("").unwrap();
    let names: Vec<_> = found.iter().map(Target::label).collect();
    assert_eq!(names, ["digits v1", "digits v2", "fast v7"]);
    assert!(found[0].settings.contains("\"slo\":\"20ms\""));
    assert_eq!(found[0].env, [("OMP_NUM_THREADS".to_owned(), "1".to_owned())]);
    assert_eq!(found[0].class, None);
    assert!(matches!(&found[2].program, Program::Native { kind, .. } if kind == "linear"));
}

#[test]
fn a_sample_lies_in_the_versions_directory_or_beside_its_file_under_its_name() {
    let scratch = Scratch::new("sample");
    scratch.write("digits/1/model.py", "");
    scratch.write("digits/model.toml", "warm_up = false");
    scratch.write("single.py", "");
    let names = |target: &Target| -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        target.program.samples().iter().map(name).collect()
    };
    let versioned = &scratch.resolve("").unwrap()[0];
    assert_eq!((names(versioned), versioned.warm_up), (vec!["sample.json".to_owned()], false));
    assert!(versioned.program.samples()[0].ends_with("digits/1/sample.json"));
    let single = &scratch.resolve("single.py:It").unwrap()[0];
    assert_eq!((names(single).len(), single.warm_up), (2, true));
    assert_eq!(names(single), ["single.sample.json", "sample.json"]);
}

#[test]
fn groups_of_devices_say_how_many_replicas_there_are() {
    let scratch = Scratch::new("devices");
    scratch.write("digits/1/model.py", "");
    let groups = "[[devices]]\nname = \"slow\"\nreplicas = 2\n[[devices]]\nname = \"fast\"";
    scratch.write("digits/model.toml", &format!("class = \"gold\"\n{groups}"));
    let found = &scratch.resolve("").unwrap()[0];
    assert!(found.settings.contains("\"replicas\":3"), "{}", found.settings);
    assert_eq!(found.class.as_deref(), Some("gold"));
    assert_eq!(found.devices.names().len(), 2);
}

#[test]
fn what_cannot_be_served_is_refused_with_a_sentence() {
    let scratch = Scratch::new("refused");
    let refused = |path: &str| scratch.resolve(path).unwrap_err().to_string();
    assert!(refused("none.py").contains("does not exist"));
    scratch.write("notes.txt", "");
    assert!(refused("notes.txt").contains("neither a Python file"));
    scratch.write("a/digits/model.py", "");
    assert!(refused("a").contains("named by an integer"));
    scratch.write("b/digits/1/weights.npy", "");
    assert!(refused("b").contains("neither model.py nor"));
    for (setting, says) in [
        ("launcher = \"podman\"", "use process or docker"),
        ("launcher = \"process\"\nimage = \"mine:1\"", "image goes with launcher"),
        ("image = \" \"", "image is empty"),
        ("memory = \"lots\"", "memory 'lots'"),
        ("entry = \"../net.py\"", "no Python file of the version's directory"),
        ("entry = \"net.py\"", "does not exist"),
        ("runtime = \"program\"\nentry = \"model.py\"", "entry goes with"),
        ("device = \"tpu\"", "use cpu, gpu or auto"),
        ("runtime = \"native\"", "kind"),
        ("slo = \"20\"", "duration"),
        ("max_batsh = 3", "did you mean 'max_batch'?"),
        ("replicas = 2\n[[devices]]\nname = \"slow\"", "replicas can't stand beside"),
    ] {
        scratch.write("c/digits/1/model.py", "");
        scratch.write("c/digits/model.toml", setting);
        assert!(refused("c").contains(says), "{setting}: {}", refused("c"));
    }
}

#[test]
fn a_model_names_its_file_its_launcher_its_image_and_its_memory() {
    let scratch = Scratch::new("containers");
    scratch.write("digits/1/net.py", "");
    let settings = "entry = \"net.py:Net\"\nimage = \"mine:1\"\nmemory = \"2g\"";
    scratch.write("digits/model.toml", settings);
    let found = scratch.resolve("").unwrap().remove(0);
    let (directory, alone) = found.program.home();
    assert!(
        matches!(found.program, Program::Python { target } if target.ends_with("1/net.py:Net"))
    );
    assert!(directory.ends_with("digits/1"));
    assert_eq!(alone, None, "all of a version's directory belongs to it");
    assert_eq!(found.place.image.as_deref(), Some("mine:1"));
    assert_eq!(found.place.memory_bytes, Some(2 << 30));
}

#[test]
fn a_program_may_be_what_its_image_runs() {
    let scratch = Scratch::new("entrypoint");
    scratch.write("digits/1/weights", "");
    scratch.write("digits/model.toml", "runtime = \"program\"\nimage = \"mine:1\"");
    let found = scratch.resolve("").unwrap().remove(0);
    assert!(matches!(found.program, Program::Entrypoint { .. }));
}
