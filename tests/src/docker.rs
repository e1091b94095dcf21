//! Docker, where this machine has it: what a test asks of it beside the engine.

use std::process::{Command, Stdio};

/// Whether tests in Docker run here. `cargo xtask test` says it by `FOIL_TEST_DOCKER`; a test run by hand looks for
/// the images itself.
pub fn is_here() -> bool {
    let here = match std::env::var("FOIL_TEST_DOCKER").as_deref() {
        Ok("1") => true,
        Ok(_) => false,
        Err(_) => ["native", "hostile", "python"].iter().all(|name| has(&image(name))),
    };
    if !here {
        eprintln!(
            "skipped: it needs Docker and the images of `cargo xtask images` and `cargo xtask images hostile`"
        );
    }
    here
}

/// An image of `cargo xtask images`.
pub fn image(name: &str) -> String {
    format!("hydrofoil/{name}:{}", env!("CARGO_PKG_VERSION"))
}

/// What `docker` prints; it must succeed.
pub fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().expect("docker runs");
    assert!(
        done.status.success(),
        "docker {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Ids of all containers, running or not, of an engine that may be gone.
pub fn containers(engine: u32) -> Vec<String> {
    let filter = format!("label=hydrofoil.engine={engine}");
    let told = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    told.lines().map(str::to_owned).collect()
}

fn has(image: &str) -> bool {
    let mut inspect = Command::new("docker");
    inspect.args(["image", "inspect", image]).stdin(Stdio::null());
    inspect.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}
