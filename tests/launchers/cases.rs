//! The cases that hold for all launchers.

use harness::engine::{Engine, Scratch, command, wait_until};
use rustix::process::Signal;

use super::place::{Place, ask, refusal};

#[test]
fn a_replica_starts_answers_and_its_lines_come_through() {
    Place::each(|place| {
        let (engine, _scratch) = place.spy("answers", "");
        assert_eq!(ask(&engine, "1 + 1"), "2", "{place:?}");
        assert!(engine.said().contains("[spy/0] spy looks around"), "{place:?}");
        ask(&engine, "print('a line on stderr', file=sys.stderr, flush=True)");
        wait_until("the line comes", || engine.said().contains("[spy/0] a line on stderr"));
    });
}

#[test]
fn a_replica_gets_what_it_needs_of_the_environment_and_no_more() {
    Place::each(|place| {
        let scratch = place.repository("environment", "env = { MINE = \"kept\" }");
        let mut command = command(&[&scratch.path("")]);
        command.env("A_SECRET_OF_THE_ENGINE", "hunter2");
        let engine = Engine::start_with(command, 1);
        let seen = ask(&engine, "sorted(os.environ)");
        assert!(seen.contains("FOIL_SOCKET") && !seen.contains("A_SECRET"), "{place:?}: {seen}");
        assert_eq!(ask(&engine, "os.environ['MINE']"), "kept");
        let own = "[os.readlink(f'/proc/self/fd/{it}') for it in os.listdir('/proc/self/fd') if os.path.lexists(f'/proc/self/fd/{it}')]";
        let own = ask(&engine, own);
        assert_eq!(own.matches("socket:").count(), 1, "its own to the engine: {place:?} {own}");
    });
}

#[test]
fn how_a_start_failed_is_told_with_its_status_and_its_last_words() {
    Place::each(|place| {
        let scratch = place.repository("status", "");
        scratch.write("spy/1/model.py", "import os\nprint('no way', flush=True)\nos._exit(3)\n");
        let said = refusal(&[&scratch.path("")]);
        assert!(
            said.contains("exit status: 3") && said.contains("    no way"),
            "{place:?}: {said}"
        );
    });
}

#[test]
fn a_replica_that_is_killed_is_told_by_the_signal_and_replaced() {
    Place::each(|place| {
        let (engine, _scratch) = place.spy("killed", "");
        let before = ask(&engine, "os.environ['FOIL_NONCE']");
        place.kill_the_replica(&engine);
        wait_until("it is told", || engine.said().contains("signal: 9 (SIGKILL)"));
        wait_until("another answers", || engine.metric("foil_replicas{model=\"spy\"") == 1.0);
        assert_ne!(ask(&engine, "os.environ['FOIL_NONCE']"), before, "{place:?}");
        wait_until("the first is gone", || place.running(engine.pid()).len() == 1);
    });
}

#[test]
fn a_replica_that_ends_gets_its_time_and_leaves_nothing_behind() {
    Place::each(|place| {
        let (engine, _scratch) = place.spy("ends", "");
        let (pid, sockets) = (engine.pid(), sockets(engine.pid()));
        assert_eq!(place.running(pid).len(), 1, "{place:?}");
        engine.signal(Signal::TERM);
        let mut engine = engine;
        assert!(engine.wait().success());
        wait_until("it said good-bye", || engine.said().contains("[spy/0] spy has left"));
        assert!(place.running(pid).is_empty(), "{place:?}");
        assert!(!sockets.exists());
    });
}

#[test]
fn a_pinned_replica_has_its_cpus_and_a_thread_for_each() {
    Place::each(|place| {
        let (engine, _scratch) = place.spy("pinned", "cpus = [1]");
        assert_eq!(ask(&engine, "sorted(os.sched_getaffinity(0))"), "[1]", "{place:?}");
        assert_eq!(ask(&engine, "os.environ['OMP_NUM_THREADS']"), "1");
    });
}

#[test]
fn nothing_of_an_engine_that_was_killed_outlives_the_next_ones_start() {
    Place::each(|place| {
        let (mut engine, _scratch) = place.spy("orphans", "");
        let (pid, sockets) = (engine.pid(), sockets(engine.pid()));
        engine.signal(Signal::KILL);
        engine.wait();
        let (next, _scratch) = place.spy("orphans-next", "");
        wait_until("what it left is gone", || place.running(pid).is_empty());
        assert!(!sockets.exists());
        assert_eq!(place.running(next.pid()).len(), 1, "the next one's own stays");
    });
}

#[test]
fn an_engine_that_is_ended_while_models_start_leaves_nothing() {
    Place::each(|place| {
        let scratch = place.repository("early", "");
        scratch.write("spy/1/model.py", "import time\ntime.sleep(600)\n");
        let mut engine = Engine::start_unready(command(&[&scratch.path("")]));
        wait_until("its replica runs", || !place.running(engine.pid()).is_empty());
        engine.signal(Signal::TERM);
        engine.wait();
        let none = || place.running(engine.pid()).is_empty();
        wait_until("nothing is left", none);
    });
}

fn sockets(engine: u32) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("hydrofoil-{engine}"))
}

#[test]
fn a_launcher_that_does_not_exist_is_refused_by_name() {
    let scratch = Scratch::new("launchers-none");
    scratch.write("spy/1/model.py", "");
    scratch.write("spy/model.toml", "launcher = \"podman\"");
    assert!(refusal(&[&scratch.path("")]).contains("use process or docker"));
}
