//! Engines killed at random while models are deployed, scaled, rolled back and removed: no change that was acknowledged
//! is lost, and nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::docker;
use harness::engine::{Engine, Scratch, wait_until};
use harness::fleet::{Admin, BROKEN, Came, Files, NOOP, artifacts, noop_row, start};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Kills in an ordinary run; `cargo xtask nightly` asks for 1000 by FOIL_TEST_DEPLOYMENT_KILLS.
const KILLS: usize = 50;
/// Models that come and go at the same time.
const MODELS: [&str; 2] = ["one", "two"];
/// A kill comes within so long of the first change of its round.
const WITHIN: Duration = Duration::from_millis(250);

/// Times that a model is deployed and removed; FOIL_TEST_DEPLOY_CYCLES asks for more.
const CYCLES: usize = 20;
/// Cycles before anything is counted: what is made once has been made by then.
const CYCLES_FIRST: usize = 5;

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

/// Numbers that look random and are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What is known of one model: what was acknowledged, and what was asked for when the engine died.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Versions that must be there, unless the change under way removes them.
    versions: Vec<u64>,
    /// The version that has the traffic; None: nobody said so yet.
    active: Option<u64>,
    /// As it was set last.
    replicas: Option<u64>,
    /// A change that was not acknowledged.
    doubtful: Option<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Deploy,
    Broken,
    Hold,
    Rollback,
    Scale(u64),
    Remove,
    RemoveOldest(u64),
}

fn change(dice: &mut Dice, known: &Known) -> Change {
    let oldest = known.versions.first().copied().filter(|oldest| known.active != Some(*oldest));
    match (dice.below(10), oldest) {
        (0..4, _) => Change::Deploy,
        (4, _) => Change::Broken,
        (5, _) => Change::Hold,
        (6, _) => Change::Rollback,
        (7, _) => Change::Scale(1 + dice.below(2)),
        (8, Some(oldest)) => Change::RemoveOldest(oldest),
        _ => Change::Remove,
    }
}

fn ask(admin: &Admin, model: &str, good: &Files<'_>, change: Change) -> Came {
    let path = format!("/fleet/models/{model}");
    match change {
        Change::Deploy => admin.deploy(model, "?keep_warm=5m", good),
        Change::Broken => admin.deploy(model, "", BROKEN),
        Change::Hold => admin.deploy(model, "?hold=true", good),
        Change::Rollback => admin.post(&format!("{path}/rollback"), ""),
        Change::Scale(count) => {
            admin.post(&format!("{path}/scale"), &json!({ "replicas": count }).to_string())
        }
        Change::Remove => admin.remove(model),
        Change::RemoveOldest(version) => {
            admin.send("DELETE", &format!("{path}?version={version}"), b"")
        }
    }
}

impl Known {
    /// Takes note of what came back. False: the engine is gone.
    fn learn(&mut self, change: Change, came: &Came) -> bool {
        self.doubtful = None;
        match (change, came.status) {
            // Refused: there is nothing of it.
            (_, Some(400..)) => return true,
            (Change::Remove, Some(200)) => *self = Known::default(),
            (Change::RemoveOldest(version), Some(200)) => {
                self.versions.retain(|it| *it != version);
                // With its last version goes the model, and what was set of it.
                if self.versions.is_empty() {
                    *self = Known::default();
                }
            }
            (Change::Scale(count), Some(200)) if !came.text.is_empty() => {
                self.replicas = Some(count);
            }
            (Change::Deploy | Change::Broken | Change::Hold | Change::Rollback, _) => {
                let Some(version) = came.accepted() else { return self.is_in_doubt(change) };
                if change != Change::Rollback {
                    self.versions.push(version);
                }
                match came.ended() {
                    Some((version, true)) if change != Change::Hold => self.active = Some(version),
                    Some(_) => {}
                    // Accepted, and whether it got the traffic is not known: it will.
                    None => {
                        self.active = None;
                        return false;
                    }
                }
            }
            _ => return self.is_in_doubt(change),
        }
        true
    }

    fn is_in_doubt(&mut self, change: Change) -> bool {
        self.doubtful = Some(change);
        false
    }

    /// Against what an engine that was started again says.
    fn check(&self, model: &str, found: Option<&Value>) {
        let versions: Vec<u64> = found.map(versions_of).unwrap_or_default();
        let removed = |version: &u64| match self.doubtful {
            Some(Change::Remove) => versions.is_empty(),
            Some(Change::RemoveOldest(it)) => it == *version,
            _ => false,
        };
        for version in self.versions.iter().filter(|it| !versions.contains(it)) {
            assert!(
                removed(version),
                "{model} v{version} was acknowledged and is lost: {self:?} {found:?}"
            );
        }
        let news = versions.iter().filter(|it| !self.versions.contains(it)).count();
        let deploys = matches!(self.doubtful, Some(Change::Deploy | Change::Broken | Change::Hold));
        assert!(
            news <= usize::from(deploys),
            "{model} came back from the dead: {self:?} {found:?}"
        );
        let Some(found) = found else { return };
        let moves = matches!(self.doubtful, Some(Change::Deploy | Change::Rollback));
        if let Some(active) = self.active.filter(|_| !moves) {
            assert_eq!(found["active"], active, "{model}: {self:?}");
        }
        if let Some(count) =
            self.replicas.filter(|_| !matches!(self.doubtful, Some(Change::Scale(_))))
        {
            assert_eq!(found["replicas"]["min"], count, "{model}: {self:?}");
        }
    }

    /// What is known now that all has come to rest.
    fn seen(found: Option<&Value>) -> Known {
        let Some(found) = found else { return Known::default() };
        let mut versions = versions_of(found);
        versions.sort_unstable();
        Known { versions, active: found["active"].as_u64(), ..Known::default() }
    }
}

fn versions_of(model: &Value) -> Vec<u64> {
    let versions = model["versions"].as_array().expect("a list").iter();
    versions.map(|version| version["version"].as_u64().expect("a number")).collect()
}

fn models(admin: &Admin) -> BTreeMap<String, Value> {
    let all = admin.get("/fleet/models");
    let all = all["models"].as_array().expect("a list").iter();
    all.map(|model| (model["name"].as_str().expect("a name").to_owned(), model.clone())).collect()
}

/// Changes until the engine is killed under them.
fn change_until_killed(
    engine: &mut Engine,
    admin: &Admin,
    good: &Files<'_>,
    known: &mut [Known; 2],
    dice: &mut Dice,
) {
    let (pid, after) = (engine.pid(), Duration::from_micros(dice.below(WITHIN.as_micros() as u64)));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::park_timeout(after);
            harness::engine::kill(pid, Signal::KILL);
        });
        for (index, known) in known.iter_mut().enumerate() {
            let (admin, mut dice) = (admin.clone(), Dice(dice.below(u64::MAX) | 1));
            scope.spawn(move || {
                loop {
                    let change = change(&mut dice, known);
                    let came = ask(&admin, MODELS[index], good, change);
                    if !known.learn(change, &came) {
                        break;
                    }
                }
            });
        }
    });
    engine.wait();
}

/// No version is on its way, and every active one answers.
fn is_at_rest(engine: &Engine, models: &BTreeMap<String, Value>) -> bool {
    let mut versions = models.values().flat_map(|it| it["versions"].as_array().expect("a list"));
    let resting = |version: &Value| {
        version["role"] != "candidate"
            && ["ready", "stopped", "failed"].iter().any(|it| version["standing"] == *it)
    };
    versions.all(resting)
        && models.iter().filter(|(_, model)| !model["active"].is_null()).all(|(name, model)| {
            let answer = engine.infer(name, &noop_row());
            let version = model["active"].to_string();
            answer.status == 200
                && answer.json()["model_version"].as_str() == Some(version.as_str())
        })
}

/// Files are those of the versions, processes those of the replicas, and no directory or shared memory is a dead engine's.
fn nothing_else_is_left(admin: &Admin, state: &Path, running: usize, dead: &[u32]) -> bool {
    let models = models(admin);
    let files = models.iter().flat_map(|(name, model)| {
        versions_of(model).into_iter().map(move |version| format!("{name}/{version}"))
    });
    let replicas = admin.get("/fleet/replicas");
    let replicas = replicas["replicas"].as_array().expect("a list").len();
    let temporary = [std::env::temp_dir(), "/dev/shm".into()];
    let names = temporary.iter().flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let of_dead = |name: &str| {
        let rest = name.strip_prefix("hydrofoil-");
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse().ok());
        pid.is_some_and(|pid: u32| dead.contains(&pid))
    };
    let files: BTreeSet<String> = files.collect();
    let left: Vec<_> = names.filter(|name| of_dead(name)).collect();
    let as_wanted = artifacts(state) == files && running == replicas && left.is_empty();
    if !as_wanted {
        // Seen of a test that fails.
        eprintln!(
            "{:?} of {files:?}, {running} of {replicas} processes, left {left:?}",
            artifacts(state)
        );
    }
    as_wanted
}

/// Where the models run, and how many containers an engine has there.
struct Where<'w> {
    name: &'w str,
    good: &'w Files<'w>,
    containers: fn(&Engine) -> usize,
    /// What killed engines left there.
    leftovers: fn(&[u32]) -> usize,
    kills: usize,
}

fn kill_at_random(place: &Where<'_>) {
    let state = Scratch::new(place.name);
    let (admin, mut dice) = (Admin::of(&state.0), Dice(0x9e37_79b9_7f4a_7c15));
    let (mut known, mut dead) = ([Known::default(), Known::default()], Vec::new());
    let (mut engine, mut acknowledged) = (start(&state.0), 0);
    for kill in 0..place.kills {
        change_until_killed(&mut engine, &admin, place.good, &mut known, &mut dice);
        dead.push(engine.pid());
        engine = start(&state.0);
        // Numbers of processes come again.
        dead.retain(|pid| *pid != engine.pid());
        let found = models(&admin);
        for (name, known) in MODELS.iter().zip(&known) {
            known.check(name, found.get(*name));
            acknowledged += known.versions.len();
        }
        wait_until(&format!("all is at rest after kill {kill}"), || {
            is_at_rest(&engine, &models(&admin))
        });
        wait_until("nothing else is left", || {
            let running = (place.containers)(&engine);
            nothing_else_is_left(&admin, &state.0, running, &dead) && (place.leftovers)(&dead) == 0
        });
        let found = models(&admin);
        known = MODELS.map(|name| Known::seen(found.get(name)));
    }
    let kills = place.kills;
    println!("{}: {kills} kills, {acknowledged} acknowledged versions found again", place.name);
    assert!(acknowledged > kills / 2, "changes were acknowledged: {acknowledged}");
    assert!(engine.stop().success());
}

#[test]
fn an_engine_killed_at_random_loses_no_acknowledged_change_and_leaves_nothing() {
    kill_at_random(&Where {
        name: "deployment-kills",
        good: NOOP,
        containers: |engine| engine.containers().len(),
        leftovers: |_| 0,
        kills: number("FOIL_TEST_DEPLOYMENT_KILLS", KILLS),
    });
}

#[test]
fn the_same_in_docker_leaves_no_container() {
    if !docker::is_here() {
        return;
    }
    let toml = format!("{}launcher = \"docker\"\n", NOOP[0].1);
    kill_at_random(&Where {
        name: "docker-kills",
        good: &[(NOOP[0].0, &toml)],
        containers: |engine| docker::containers(engine.pid()).len(),
        leftovers: |dead| {
            dead.iter().rev().take(DEAD_LOOKED_AT).map(|pid| docker::containers(*pid).len()).sum()
        },
        kills: number("FOIL_TEST_DEPLOYMENT_KILLS", KILLS) / KILLS_TO_ONE_IN_DOCKER,
    });
}

/// A container takes longer to start and to end than a process.
const KILLS_TO_ONE_IN_DOCKER: usize = 10;
/// Engines that were killed last: what earlier ones left was found before.
const DEAD_LOOKED_AT: usize = 2;

#[test]
fn deploying_and_removing_again_and_again_leaves_descriptors_memory_and_files_as_they_were() {
    let state = Scratch::new("deploy-cycles");
    let (admin, engine) = (Admin::of(&state.0), start(&state.0));
    let cycle = || {
        for version in 1..3 {
            let came = admin.deploy("m", "", NOOP);
            assert!(came.ended().is_some_and(|(_, ready)| ready), "{version}: {came:?}");
        }
        assert_eq!(engine.infer("m", &noop_row()).status, 200);
        assert_eq!(admin.remove("m").status, Some(200));
        wait_until("nothing of it is left", || {
            artifacts(&state.0).is_empty() && engine.containers().is_empty()
        });
    };
    (0..CYCLES_FIRST).for_each(|_| cycle());
    wait_until("connections close", || engine.metric("foil_http_connections{core=\"0\"}") == 0.0);
    let before = (engine.descriptors(), engine.shared_mappings());
    // What it has to itself.
    let memory = || engine.memory("RssAnon");
    let memory_before = memory();
    let cycles = number("FOIL_TEST_DEPLOY_CYCLES", CYCLES);
    (0..cycles).for_each(|_| cycle());
    wait_until("nothing more than before is there", || {
        (engine.descriptors(), engine.shared_mappings()) <= before
    });
    let grown = memory().saturating_sub(memory_before);
    println!("{cycles} cycles, {before:?} descriptors and mappings, memory grew by {grown} bytes");
    // An allocator keeps some of what it got: far less a cycle than anything that is forgotten would take.
    assert!(grown < (8 << 20) + cycles as u64 * 4096, "memory grew by {grown} bytes");
    let database = fs::metadata(state.0.join("fleet.db")).expect("it is there").len();
    assert!(database < 1 << 20, "the database grew to {database} bytes");
    assert!(engine.stop().success());
}
