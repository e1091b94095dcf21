//! `foil plan`: the planner on a file's fleet and on this machine, as whoever plans a purchase meets it.

use std::process::{Command, Output};

use harness::Scratch;
use harness::engine::{program, root};
use serde_json::{Value, json};

fn plan(arguments: &[&str]) -> Output {
    let mut foil = Command::new(program("foil"));
    foil.current_dir(root()).arg("plan").args(arguments).output().expect("foil runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const MODELS: &str = "docs/examples/models.toml";
const FLEET: &str = "docs/examples/fleet.json";

#[test]
fn the_example_is_planned_with_a_reason_for_each_place_and_for_what_has_none() {
    let shown = plan(&[MODELS, "--inventory", FLEET]);
    let shown = text(&shown.stdout);
    let line = |start: &str| {
        let found = shown.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("{start} in\n{shown}"))
    };
    assert!(line("ranker").contains("GPU-") && line("ranker").contains("12.0 GiB"), "{shown}");
    assert!(line("speech").contains("MIG-1"), "the slice it asks for: {shown}");
    assert!(line("  giant").contains("it needs 120.5 GB of GPU memory"), "{shown}");
    assert!(!shown.lines().any(|line| line.contains("GPU-44dd") && line.contains('%')), "{shown}");
    assert!(shown.contains("4 of 5 models placed"), "{shown}");
}

#[test]
fn the_json_has_the_seats_what_is_short_and_the_devices() {
    let shown = plan(&[MODELS, "--inventory", FLEET, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let ranker = |seat: &&Value| seat["model"] == "ranker";
    let seats = shown["placed"].as_array().expect("seats");
    assert!((2..=6).contains(&seats.iter().filter(ranker).count()), "{shown:#}");
    assert!(seats.iter().all(|seat| seat["why"].as_str().is_some_and(|why| !why.is_empty())));
    assert_eq!(shown["short"][0]["model"], "giant");
    assert_eq!(shown["short"][0]["missing"], 1);
    assert_eq!(shown["devices"].as_array().map(Vec::len), Some(8), "nodes, GPUs and slices");
}

#[test]
fn this_machine_is_planned_for_without_a_file() {
    let scratch = Scratch::new("plan-here");
    scratch.write("models.toml", "[[models]]\nname = \"a\"\n");
    let shown = plan(&[&scratch.path("models.toml"), "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["placed"][0]["model"], "a");
    assert_eq!(shown["placed"][0]["cpus"], json!([]), "not pinned: nothing was said");
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_the_model_and_the_remedy() {
    let scratch = Scratch::new("plan-wrong");
    let refused = |models: &str| {
        scratch.write("models.toml", models);
        let output = plan(&[&scratch.path("models.toml"), "--inventory", FLEET]);
        assert!(!output.status.success(), "{models}");
        text(&output.stderr)
    };
    let error = refused("[[models]]\nname = \"a\"\nthread = 2\n");
    assert!(error.contains("did you mean 'threads'?"), "{error}");
    let error = refused("[[models]]\nname = \"a\"\ngpu_memory = \"2g\"\n");
    assert!(error.contains("a: gpu_memory goes with device"), "{error}");
    assert!(text(&plan(&["nowhere.toml"]).stderr).contains("cannot read nowhere.toml"));
}
