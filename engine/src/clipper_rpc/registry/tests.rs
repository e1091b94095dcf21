//! Models and containers as the admin API sees them, on a real fleet and a real dispatcher, without a socket.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use bytes::Bytes;
use smallvec::smallvec;
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::clipper_rpc::batches;
use crate::clipper_rpc::models::{ClipperModels, channel};
use crate::clock::Clock;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::lane::remote::{PeerEnd, pair};
use crate::dispatch::{Core, run_core_mailbox};
use crate::fleet::catalog::{Catalog, ModelState, PublishedCatalog};
use crate::fleet::supervisor::{Fleet, FleetConfig};
use crate::fleet::test_config::config;
use crate::ids::{ClassId, CoreId};
use crate::observe::stages::CoreRecorder;
use crate::query::types::{Deadline, TaskInputs, TaskResult, Tensor, TensorData, Terms};

const CORE: CoreId = CoreId(0);

/// An engine's control thread and its one core, in one.
struct Stand {
    models: ClipperModels,
    catalog: PublishedCatalog,
    clock: Clock,
    _fleet: Fleet,
}

fn stand(strangers: Strangers) -> Stand {
    let clock = Clock::start();
    let catalog = PublishedCatalog::new(ArcSwap::from_pointee(Catalog::default()));
    let (link, mailbox) = mpsc::channel(64);
    let core = Core { id: CORE, clock, links: [link].into(), recorder: CoreRecorder::new(CORE) };
    let links = core.links.clone();
    tokio::task::spawn_local(run_core_mailbox(core, mailbox));
    let fleet = Fleet::new(FleetConfig { catalog: catalog.clone(), ..config(clock, links) });
    let (models, asks) = channel();
    Registry::start(fleet.shared(), strangers, ([127, 0, 0, 1], 7000).into(), asks);
    Stand { models, catalog, clock, _fleet: fleet }
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.unwrap().block_on(test);
}

fn seen(version: &str) -> ModelId {
    ModelId::new("seen", version).unwrap()
}

fn registration(version: &str) -> Registration {
    Registration { id: seen(version), input_type: InputType::Doubles, batch_size: None }
}

/// A container that dialled in.
struct Guest {
    peer: PeerEnd,
    gone: oneshot::Sender<Gone>,
}

impl Guest {
    /// Takes one batch and answers each row with the same text.
    async fn answer(&mut self, text: &'static str) -> u32 {
        let batch = self.peer.next_batch().await.unwrap();
        let outputs = vec![Bytes::from_static(text.as_bytes()); batch.rows as usize];
        self.peer.answer(batches::reply(batch.id, batch.rows, &outputs)).unwrap();
        batch.rows
    }

    fn leave(self) {
        self.peer.lose("it left".into());
        self.gone.send(Gone::Left("it left".into())).unwrap();
    }
}

impl Stand {
    async fn arrive(
        &self,
        version: &str,
        input_type: InputType,
    ) -> Result<(ReplicaId, Guest), Refused> {
        let (end, peer) = pair();
        let (verdict, answer) = oneshot::channel();
        let (tell, gone) = oneshot::channel();
        let id = seen(version);
        self.models.arrive(Arrival { id, input_type, end, verdict, gone }).await;
        Ok((answer.await.unwrap()?, Guest { peer, gone: tell }))
    }

    fn find(&self, version: Version) -> Option<(ModelHandle, ModelState)> {
        let catalog = self.catalog.load();
        let entry = catalog.find("seen", Some(version)).ok()?;
        Some((entry.handle.clone(), entry.state.clone()))
    }

    async fn ask(&self, version: Version) -> TaskResult {
        self.ask_of_length(version, 1).await
    }

    /// One row of so many elements.
    async fn ask_of_length(&self, version: Version, length: u64) -> TaskResult {
        let (handle, _) = self.find(version).expect("it is registered");
        let data = TensorData::Fixed(vec![0; 8 * length as usize].into());
        let tensor = Tensor { dtype: DType::F64, shape: smallvec![1, length], data };
        let inputs = TaskInputs { tensors: smallvec![tensor], rows: 1 };
        let now = self.clock.now();
        let due = now.after(Duration::from_secs(30));
        let deadline = Deadline { due, late_limit: due };
        let terms = Terms { deadline, class: ClassId::DEFAULT, weight: 1 };
        handle.submit(inputs, terms, now, CORE)?.await
    }

    /// Looks until the registry has done what it was told.
    async fn until(&self, mut done: impl AsyncFnMut() -> bool) {
        while !done().await {
            tokio::task::yield_now().await;
        }
    }

    async fn listed(&self) -> Vec<u32> {
        self.models.containers().await.iter().map(|container| container.replica.0).collect()
    }
}

fn text(result: TaskResult) -> String {
    match &result.unwrap().outputs[0].data {
        TensorData::Variable { offsets, values } => {
            let text = values.slice(offsets[0] as usize..offsets[1] as usize);
            String::from_utf8(text.to_vec()).unwrap()
        }
        TensorData::Fixed(_) => panic!("a text"),
    }
}

#[test]
fn a_container_that_comes_before_its_model_waits_and_serves_once_it_is_registered() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        let (replica, mut guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        assert_eq!((replica, stand.listed().await), (ReplicaId(0), vec![0]));
        assert!(stand.find(Version(1)).is_none(), "nobody registered it");
        assert_eq!(stand.models.register(registration("1")).await, Ok(Version(1)));
        let (answer, rows) = tokio::join!(stand.ask(Version(1)), guest.answer("yes"));
        assert_eq!((text(answer), rows), ("yes".into(), 1));
    });
}

#[test]
fn a_model_is_ready_while_a_container_is_there() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        stand.models.register(registration("1")).await.unwrap();
        let is_ready = || stand.find(Version(1)).unwrap().1 == ModelState::Ready;
        assert!(!is_ready());
        let (_, guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        stand.until(async || is_ready()).await;
        guest.leave();
        stand.until(async || !is_ready()).await;
        assert_eq!(stand.listed().await, [] as [u32; 0]);
        let (replica, _guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        assert_eq!(replica, ReplicaId(1), "ids are not used twice");
    });
}

#[test]
fn a_removed_version_is_found_no_more_and_its_containers_are_let_go() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        let version = stand.models.register(registration("v1")).await.unwrap();
        let (_, mut guest) = stand.arrive("v1", InputType::Doubles).await.unwrap();
        stand.models.remove(seen("v1")).await.unwrap();
        assert!(stand.find(version).is_none());
        assert!(guest.peer.next_batch().await.is_none(), "it is let go");
        assert_eq!(stand.models.remove(seen("v1")).await, Err(RemoveError::Unknown));
        assert_eq!(stand.models.register(registration("v1")).await, Ok(version));
    });
}

#[test]
fn what_a_removed_version_accepted_is_still_answered_by_its_own_containers() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        stand.models.register(registration("1")).await.unwrap();
        let (_, mut guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        let serve = async {
            let batch = guest.peer.next_batch().await.unwrap();
            stand.models.remove(seen("1")).await.unwrap();
            // The new one of this name gets none of the old one's containers.
            stand.models.register(registration("1")).await.unwrap();
            let outputs = [Bytes::from_static(b"late")];
            guest.peer.answer(batches::reply(batch.id, batch.rows, &outputs)).unwrap();
            assert!(guest.peer.next_batch().await.is_none(), "it is let go");
            guest.leave();
        };
        let (answer, ()) = tokio::join!(stand.ask(Version(1)), serve);
        assert_eq!(text(answer), "late");
        stand.until(async || stand.listed().await.is_empty()).await;
        assert_ne!(stand.find(Version(1)).unwrap().1, ModelState::Ready);
    });
}

#[test]
fn a_version_is_registered_once() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        stand.models.register(registration("1")).await.unwrap();
        let again = stand.models.register(registration("1")).await;
        assert!(matches!(again, Err(RegisterError::Exists { .. })));
        assert!(stand.models.register(registration("2")).await.is_ok());
    });
}

#[test]
fn a_container_of_another_input_type_is_refused_or_let_go() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        let (_, mut early) = stand.arrive("1", InputType::Strings).await.unwrap();
        stand.models.register(registration("1")).await.unwrap();
        assert!(early.peer.next_batch().await.is_none(), "it came too early to be refused");
        let late = stand.arrive("1", InputType::Strings).await.err();
        assert!(matches!(late, Some(Refused::InputType { model: "doubles", .. })));
    });
}

#[test]
fn a_batch_size_holds_and_nothing_waits_for_company() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        let batch_size = std::num::NonZeroU32::new(2);
        let registration = Registration { batch_size, ..registration("1") };
        stand.models.register(registration).await.unwrap();
        let (_, mut guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        let ask = || stand.ask(Version(1));
        let serve = async {
            let mut sizes = Vec::new();
            while sizes.iter().sum::<u32>() < 5 {
                sizes.push(guest.answer("x").await);
            }
            sizes
        };
        let (a, b, c, d, e, sizes) = tokio::join!(ask(), ask(), ask(), ask(), ask(), serve);
        assert!([a, b, c, d, e].iter().all(Result::is_ok));
        assert!(sizes.iter().all(|&size| size <= 2), "{sizes:?}");
        assert!(sizes.contains(&2), "{sizes:?}");
    });
}

#[test]
fn rows_of_unlike_lengths_share_a_batch() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        let registration =
            Registration { batch_size: std::num::NonZeroU32::new(8), ..registration("1") };
        stand.models.register(registration).await.unwrap();
        let (_, mut guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
        let serve = async {
            let batch = guest.peer.next_batch().await.unwrap();
            let inputs = batches::inputs(&batch);
            guest.peer.answer(batches::reply(batch.id, batch.rows, &inputs)).unwrap();
            inputs.iter().map(Bytes::len).collect::<Vec<_>>()
        };
        let ask = |length| stand.ask_of_length(Version(1), length);
        let (one, two, three, mut lengths) = tokio::join!(ask(1), ask(2), ask(3), serve);
        assert_eq!([one, two, three].map(|answer| text(answer).len()), [8, 16, 24]);
        lengths.sort_unstable();
        assert_eq!(lengths, [8, 16, 24], "one batch");
    });
}

#[test]
fn without_an_admin_api_a_container_registers_its_version() {
    on_a_runtime(async {
        let stand = stand(Strangers::Register);
        let (_, mut guest) = stand.arrive("3", InputType::Doubles).await.unwrap();
        let (answer, _) = tokio::join!(stand.ask(Version(3)), guest.answer("yes"));
        assert_eq!(text(answer), "yes");
    });
}

#[test]
fn versions_nobody_registered_are_forgotten_with_their_containers() {
    on_a_runtime(async {
        let stand = stand(Strangers::Wait);
        for _ in 0..3 {
            let (replica, guest) = stand.arrive("1", InputType::Doubles).await.unwrap();
            assert_eq!(replica, ReplicaId(0));
            guest.leave();
            stand.until(async || stand.listed().await.is_empty()).await;
        }
    });
}

#[test]
fn versions_that_are_numbers_keep_them() {
    let number = |text: &str| own_number(&text.into()).map(|version| version.0);
    assert_eq!(number("7"), Some(7));
    for text in ["007", "v7", "+7", "", "4294967296", "1.0"] {
        assert_eq!(number(text), None, "{text}");
    }
}

#[test]
fn other_versions_are_counted_by_model() {
    let id = |name, version| ModelId::new(name, version).unwrap();
    let numbers = [(id("m", "v1"), FIRST_NUMBER), (id("m", "7"), 7), (id("n", "a"), 7)];
    let numbers: HashMap<_, _> = numbers.map(|(id, number)| (id, Version(number))).into();
    assert_eq!(next_number(&numbers, "m"), Version(FIRST_NUMBER + 1));
    assert_eq!(next_number(&numbers, "n"), Version(FIRST_NUMBER));
    assert_eq!(next_number(&numbers, "new"), Version(FIRST_NUMBER));
}

#[test]
fn what_is_registered_can_be_served() {
    let id = ModelId::new("m", "1").unwrap();
    for code in 0..5 {
        let input_type = InputType::of_code(code).unwrap();
        spec(&id, input_type, 8).check().unwrap();
    }
}
