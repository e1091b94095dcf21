//! What goes into a deployment, from real files.

use clap::Parser;

use super::*;
use crate::cli::fleet::FleetCommand;
use crate::cli::{Cli, Command};

const MODEL: &str = "import hydrofoil as foil\n\n@foil.model\nclass TwoTimes:\n    pass\n";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, files: &[(&str, &str)]) -> Scratch {
        let path = std::env::temp_dir().join(format!("foil-bundle-{}-{name}", std::process::id()));
        let scratch = Scratch(path);
        for (file, text) in files {
            let file = scratch.0.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        scratch
    }

    fn at(&self, path: &str) -> String {
        self.0.join(path).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn gathered(arguments: &[&str]) -> Result<Bundle, String> {
    let cli = Cli::try_parse_from(["foil", "deploy"].iter().chain(arguments)).unwrap();
    match cli.command {
        Command::Fleet(FleetCommand::Deploy(flags)) => {
            gather(&flags).map_err(|error| error.to_string())
        }
        _ => panic!("deploy"),
    }
}

fn paths(bundle: &Bundle) -> Vec<String> {
    bundle.files.iter().map(|it| it.path.display().to_string()).collect()
}

fn toml(bundle: &Bundle) -> toml::Table {
    let found = bundle.files.iter().find(|it| it.path == Path::new("model.toml")).unwrap();
    let Content::Text(text) = &found.content else { panic!("written here") };
    text.parse().unwrap()
}

#[test]
fn a_file_goes_alone_under_its_own_name_with_what_is_given_beside_it() {
    let files = [("two.py", MODEL), ("w.bin", "12345"), ("more/a/b.txt", ""), ("more/.git/x", "")];
    let scratch = Scratch::new("file", &files);
    let bundle = gathered(&[&scratch.at("two.py")]).unwrap();
    assert_eq!(
        (bundle.name.as_str(), paths(&bundle)),
        ("two_times", vec!["model.toml".to_owned(), "two.py".to_owned()])
    );
    assert_eq!(toml(&bundle)["entry"].as_str(), Some("two.py"));
    let target = format!("{}:Other", scratch.at("two.py"));
    let with = [&target, "--with", &scratch.at("w.bin"), "--with", &scratch.at("more")];
    let bundle = gathered(&with).unwrap();
    assert_eq!(bundle.name, "other");
    assert_eq!(paths(&bundle), ["model.toml", "more/a/b.txt", "two.py", "w.bin"]);
    assert_eq!(toml(&bundle)["entry"].as_str(), Some("two.py:Other"));
    assert!(bundle.bytes() > 5 + MODEL.len() as u64);
}

#[test]
fn flags_become_settings_over_those_of_the_directory() {
    let own = "max_batch = 4\nlauncher = \"process\"\n[env]\nA = \"1\"\nB = \"2\"\n";
    let files = [("digits/model.py", MODEL), ("digits/model.toml", own)];
    let scratch = Scratch::new("settings", &files);
    let flags =
        ["--launcher", "docker", "--image", "team/x:1", "--env", "B=3", "--sample", "s.json"];
    let target = scratch.at("digits");
    assert!(gathered(&[&[target.as_str()], &flags[..]].concat()).unwrap_err().contains("s.json"));
    let bundle = gathered(&[&[target.as_str()], &flags[..6]].concat()).unwrap();
    let toml = toml(&bundle);
    assert_eq!((bundle.name.as_str(), toml["max_batch"].as_integer()), ("digits", Some(4)));
    assert_eq!(
        (toml["launcher"].as_str(), toml["image"].as_str()),
        (Some("docker"), Some("team/x:1"))
    );
    assert_eq!((toml["env"]["A"].as_str(), toml["env"]["B"].as_str()), (Some("1"), Some("3")));
    assert!(!toml.contains_key("entry"), "model.py is the default");
}

#[test]
fn a_version_of_a_repository_brings_what_its_model_keeps_beside_it() {
    let files = [
        ("models/digits/model.toml", "max_batch = 4\n[labels]\noutput = \"labels.txt\"\n"),
        ("models/digits/labels.txt", "zero\n"),
        ("models/digits/2/model.py", MODEL),
        ("models/digits/2/__pycache__/model.cpython-311.pyc", ""),
        ("models/digits/10/model.py", MODEL),
        ("models/digits/10/w.bin", "1"),
    ];
    let scratch = Scratch::new("repository", &files);
    let newest = gathered(&[&scratch.at("models/digits")]).unwrap();
    assert_eq!(newest.name, "digits");
    assert_eq!(paths(&newest), ["labels.txt", "model.py", "model.toml", "w.bin"]);
    let older = gathered(&[&scratch.at("models/digits/2")]).unwrap();
    assert_eq!(
        (older.name.as_str(), paths(&older)),
        ("digits", vec!["labels.txt".to_owned(), "model.py".to_owned(), "model.toml".to_owned()])
    );
    assert_eq!(toml(&older)["max_batch"].as_integer(), Some(4));
    let all = gathered(&[&scratch.at("models")]).unwrap_err();
    assert!(all.contains("one by one") && all.contains("models/digits"), "{all}");
}

#[test]
fn a_directory_with_one_program_needs_no_settings() {
    let scratch = Scratch::new("program", &[("two/times.py", MODEL), ("none/readme.md", "")]);
    let bundle = gathered(&[&scratch.at("two")]).unwrap();
    assert_eq!(toml(&bundle)["entry"].as_str(), Some("times.py"));
    assert!(gathered(&[&scratch.at("none")]).unwrap_err().contains("holds no model"));
}

#[test]
fn an_image_is_settings_alone() {
    let bundle = gathered(&["--image", "registry:5000/team/heavy:3"]).unwrap();
    assert_eq!((bundle.name.as_str(), paths(&bundle)), ("heavy", vec!["model.toml".to_owned()]));
    let toml = toml(&bundle);
    let said = |key: &str| toml[key].as_str();
    assert_eq!((said("launcher"), said("runtime")), (Some("docker"), Some("program")));
    let refused = gathered(&["--image", "x", "--launcher", "process"]).unwrap_err();
    assert!(refused.contains("Docker"), "{refused}");
}

#[test]
fn what_can_not_be_packed_is_named() {
    let scratch = Scratch::new("wrong", &[("a.txt", ""), ("b.py", "x = 1\n"), ("c/b.py", "")]);
    let refused = |arguments: &[&str]| gathered(arguments).unwrap_err();
    assert!(refused(&["nowhere.py"]).contains("'nowhere.py' does not exist"));
    assert!(refused(&[&scratch.at("a.txt")]).contains("neither a Python file"));
    assert!(refused(&[&scratch.at("b.py")]).contains("--name"));
    let twice = [&scratch.at("b.py"), "--name", "b", "--with", &scratch.at("c/b.py")];
    assert!(refused(&twice).contains("two files would be b.py"));
}
