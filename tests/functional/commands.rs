//! The command `foil` itself: what it says when it can't serve.

use harness::Scratch;
use harness::engine::{command, model, program};
use std::process::Command;

fn refused(arguments: &[&str]) -> String {
    let output = command(arguments).output().expect("foil runs");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_there() {
    let help = Command::new(program("foil")).args(["serve", "--help"]).output().expect("foil runs");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in ["--http", "--cores", "TARGET", "Examples"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let version = Command::new(program("foil")).arg("--version").output().expect("foil runs");
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("foil "));
}

#[test]
fn a_target_that_is_not_there_is_named() {
    let error = refused(&["nowhere.py"]);
    assert!(error.contains("error: 'nowhere.py' does not exist"), "{error}");
}

#[test]
fn a_failing_load_ends_the_command_with_reason_file_line_and_last_output() {
    let error = refused(&[&model("fails_to_load.py")]);
    for part in ["no weights here", "fails_to_load.py", "10", "looking for the weights"] {
        assert!(error.contains(part), "'{part}' in\n{error}");
    }
}

#[test]
fn a_failing_import_and_a_missing_class_end_the_command() {
    let scratch = Scratch::new("imports");
    scratch.write("broken.py", "import not_a_module_that_exists\n");
    let error = refused(&[&scratch.path("broken.py")]);
    assert!(error.contains("not_a_module_that_exists"), "{error}");
    scratch.write("empty.py", "x = 1\n");
    let error = refused(&[&scratch.path("empty.py")]);
    assert!(error.contains("empty.py"), "{error}");
    let error = refused(&[&format!("{}:Nobody", model("moody.py"))]);
    assert!(error.contains("Nobody"), "{error}");
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_with_a_suggestion() {
    let scratch = Scratch::new("config");
    scratch.write("foil.toml", "htpp = \"127.0.0.1:1\"\n");
    let error = refused(&["--config", &scratch.path("foil.toml"), &model("moody.py")]);
    assert!(error.contains("did you mean 'http'?"), "{error}");
}

#[test]
fn a_missing_setting_of_a_native_model_is_named_with_where_it_belongs() {
    let scratch = Scratch::new("untimed");
    scratch.write("models/slow/1/README", "");
    scratch.write("models/slow/model.toml", "runtime = \"native\"\nkind = \"timed\"\n");
    let error = refused(&[&scratch.path("models")]);
    assert!(error.contains("TIMED_FIXED_US is missing from [env] in model.toml"), "{error}");
}
