//! Keepers come and go as they are told; their containers end at once, so that none is ever live.

use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::clock::Clock;
use crate::config::ModelToml;
use crate::fleet::device_groups::DeviceGroups;
use crate::fleet::standing::Doing;
use crate::fleet::supervisor::Fleet;
use crate::fleet::target::{Program, Target};
use crate::fleet::test_config::config;
use crate::ids::{ClassId, Version};
use crate::labels::Labels;

fn target(devices: DeviceGroups) -> Target {
    Target {
        name: Some("m".into()),
        version: Version(1),
        program: Program::Executable { file: "/bin/false".into(), directory: "/".into() },
        settings: "{}".into(),
        env: Vec::new(),
        devices,
        class: None,
        labels: Labels::default(),
        fixed_batches: None,
        warm_up: true,
        queue_tasks_max: None,
        scale: None,
        config: None,
        place: Default::default(),
    }
}

fn on_a_fleet(name: &str, test: impl AsyncFnOnce(Rc<Shared>, Rc<Model>)) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.unwrap().block_on(async {
        let mut config = config(Clock::start(), [].into());
        let sockets = std::env::temp_dir().join(format!("foil-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&sockets).unwrap();
        config.sockets = sockets.clone();
        let fleet = Fleet::new(config);
        let model = Model::new(target(DeviceGroups::one(None)), ClassId(0), None);
        test(fleet.shared(), model).await;
        std::fs::remove_dir_all(sockets).unwrap();
    });
}

fn ids(model: &Model) -> Vec<u32> {
    model.standings().iter().map(|standing| standing.replica.0).collect()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let watchdog = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), watchdog).await.expect(what);
}

#[test]
fn ids_stay_dense_whatever_is_wanted() {
    on_a_fleet("dense", async |shared, model| {
        set_replicas(&shared, &model, 3).unwrap();
        assert!(ids(&model).is_empty(), "nobody starts before the first was live");
        start_others(&shared, &model);
        assert_eq!(ids(&model), [0, 1, 2]);
        set_replicas(&shared, &model, 1).unwrap();
        until("the others have gone", || ids(&model) == [0]).await;
        set_replicas(&shared, &model, 4).unwrap();
        assert_eq!(ids(&model), [0, 1, 2, 3]);
        set_replicas(&shared, &model, 2).unwrap();
        set_replicas(&shared, &model, 3).unwrap();
        until("the third is there anew", || ids(&model) == [0, 1, 2]).await;
        model.stopping.send_replace(true);
        keepers_ended(&model).await;
        assert!(ids(&model).is_empty());
        set_replicas(&shared, &model, 2).unwrap();
        assert!(ids(&model).is_empty(), "a model that stops starts none");
    });
}

#[test]
fn one_that_ends_waits_and_says_why() {
    on_a_fleet("ends", async |shared, model| {
        start_others(&shared, &model);
        let waits = || model.standings().iter().any(|it| it.doing == Doing::Waiting);
        until("its container has ended", waits).await;
        let standing = model.standings().remove(0);
        assert!(standing.restarts >= 1 && standing.pid.is_none());
        let why = standing.last_error.expect("a reason");
        assert!(why.contains("ended with"), "{why}");
    });
}

#[test]
fn a_number_that_can_not_be_is_refused_with_a_sentence() {
    on_a_fleet("refused", async |shared, _| {
        let text = "[[devices]]\nname = \"a\"\nreplicas = 2\n";
        let toml: ModelToml = crate::config::parse("model.toml".as_ref(), text).unwrap();
        let model = Model::new(target(DeviceGroups::read(&toml).unwrap()), ClassId(0), None);
        assert_eq!(set_replicas(&shared, &model, 0), Err(ScaleError::None));
        let too_many = ScaleError::TooMany { wanted: 3, most: 2 };
        assert_eq!(set_replicas(&shared, &model, 3), Err(too_many));
        assert_eq!(set_replicas(&shared, &model, 1), Ok(()));
        assert_eq!(model.replicas(), 1);
    });
}
