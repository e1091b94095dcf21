//! Processes killed from outside, and what is left of them.

use harness::engine::{Ends, Engine, kill, model, wait_until};
use harness::tensors::rows;
use rustix::process::Signal;

#[test]
fn killed_containers_are_replaced_under_load_and_every_request_is_answered() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&done);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    let mut client = engine.client();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let answer = client.infer("moody", &rows(&[[0.0, 1.0]]));
                        // A request that met two kills is told so; the model being away is told so.
                        assert!([200, 500, 503].contains(&answer.status), "{}", answer.text());
                        answered += usize::from(answer.status == 200);
                    }
                    answered
                })
            })
            .collect();
        for _ in 0..3 {
            let before = engine.metric("foil_requests_total{model=\"moody\"");
            wait_until("load flows", || {
                engine.metric("foil_requests_total{model=\"moody\"") > before + 20.0
            });
            let container = engine.containers()[0];
            kill(container, Signal::KILL);
            wait_until("another takes its place", || {
                engine.containers().first().is_some_and(|&it| it != container)
            });
        }
        let before = engine.metric("foil_requests_total{model=\"moody\"");
        wait_until("load flows again", || {
            engine.metric("foil_requests_total{model=\"moody\"") > before + 20.0
        });
        drop(ends);
        assert!(clients.into_iter().all(|client| client.join().expect("no panic") > 0));
    });
}

#[test]
fn restarts_leak_no_descriptors_mappings_processes_or_sockets() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let sockets = std::env::temp_dir().join(format!("hydrofoil-{}", engine.pid()));
    let restart = |engine: &Engine| {
        let container = engine.containers()[0];
        let restarts = engine.restarts("moody");
        kill(container, Signal::KILL);
        wait_until("it is replaced", || {
            engine.restarts("moody") > restarts
                && engine.metric("foil_replicas{model=\"moody\"") == 1.0
        });
        assert_eq!(engine.infer("moody", &rows(&[[0.0, 1.0]])).status, 200);
    };
    restart(&engine);
    wait_until("connections close", || engine.metric("foil_http_connections{core=\"0\"}") == 0.0);
    let before = (engine.descriptors(), engine.shared_mappings());
    for _ in 0..3 {
        restart(&engine);
    }
    wait_until("nothing more than before is open", || {
        (engine.descriptors(), engine.shared_mappings()) <= before
    });
    assert_eq!(engine.containers().len(), 1);
    let count = |path: &std::path::Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    assert_eq!(count(&sockets), 2, "the lock, and the home of the one live replica");
    let homes = std::fs::read_dir(&sockets).expect("it exists").flatten();
    let home = homes.map(|entry| entry.path()).find(|path| path.is_dir()).expect("one home");
    assert_eq!(count(&home), 0, "a socket's path is gone once its container has connected");
    assert!(engine.stop().success());
    assert!(!sockets.exists(), "the directory of sockets goes with the engine");
}

#[test]
fn containers_die_with_an_engine_that_is_killed() {
    let mut engine = Engine::start(&[&model("moody.py")], 1);
    let containers = engine.containers();
    let left = std::env::temp_dir().join(format!("hydrofoil-{}", engine.pid()));
    engine.signal(Signal::KILL);
    engine.wait();
    assert!(left.exists(), "nobody could remove it");
    let _next = Engine::start(&[&model("unbatched.py")], 1);
    assert!(!left.exists(), "the next engine removes what a killed one left");
    wait_until("its containers are gone", || {
        containers.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
    });
}

#[test]
fn a_container_gets_a_reduced_environment_and_no_descriptors_of_the_engine() {
    let scratch = harness::Scratch::new("environment");
    scratch.write(
        "spy.py",
        "import os, hydrofoil as foil\n\n@foil.model\ndef spy(x: foil.i64[\"n\"]) -> foil.str[\"n\"]:\n    fds = [os.readlink(f\"/proc/self/fd/{fd}\") for fd in os.listdir(\"/proc/self/fd\") if os.path.lexists(f\"/proc/self/fd/{fd}\")]\n    return [\" \".join(sorted(os.environ)) + \" | \" + \" \".join(fds)] * len(x)\n",
    );
    let mut command = harness::engine::command(&[&scratch.path("spy.py")]);
    command.env("A_SECRET_OF_THE_ENGINE", "hunter2");
    let engine = Engine::start_with(command, 1);
    let body = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}"#;
    let said = engine.infer("spy", body).output(0)[0].as_str().expect("text").to_owned();
    assert!(said.contains("FOIL_SOCKET") && !said.contains("A_SECRET"), "{said}");
    let (_, descriptors) = said.split_once(" | ").expect("two parts");
    let sockets = descriptors.matches("socket:").count();
    assert_eq!(sockets, 1, "its own to the engine: {descriptors}");
}

#[test]
fn replicas_of_a_root_engine_run_as_users_of_their_own_and_leave_no_home() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give users away");
        return;
    }
    let files = harness::Scratch::new("users");
    files.write("noop/model.toml", "runtime = \"native\"\nkind = \"noop\"\nreplicas = 2\n");
    files.write("noop/1/keep", "");
    let mut command = harness::engine::command(&[&files.0.display().to_string()]);
    // Others must be able to pass through to it.
    command.current_dir("/");
    let engine = Engine::start_with(command, 1);
    wait_until("both live", || engine.metric("foil_replicas{model=\"noop\"") == 2.0);
    if engine.said().contains("other users can't reach") {
        println!("skipped: this checkout lies where only root can reach it");
        return;
    }
    let user = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("Uid:")).expect("a user");
        line.split_whitespace().nth(1).and_then(|uid| uid.parse::<u32>().ok()).expect("a number")
    };
    let users: Vec<u32> = engine.containers().iter().map(user).collect();
    assert!(users.iter().all(|user| (61184..=65519).contains(user)), "{users:?}");
    assert_ne!(users[0], users[1]);
    let homes = std::env::temp_dir().join(format!("hydrofoil-{}", engine.pid()));
    assert!(engine.stop().success());
    assert!(!homes.exists());
}
