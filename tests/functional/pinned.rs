//! Inputs that a GPU copies by itself: from slots that were registered with it, and never from one that moved or was
//! given back.

use harness::engine::{Engine, Scratch, model};
use harness::tensors::rows;
use serde_json::json;

// What the model `pinned` is asked for.
const PLAIN: f32 = 0.0;
const KEEP: f32 = 1.0;
/// Batches that keep their inputs until the container no longer registers what would move again.
const MOVES_MAX: i64 = 4;

/// What the model says of the batches before.
#[derive(Debug, PartialEq)]
struct Found {
    unfinished: i64,
    wrong: i64,
    registered: i64,
    staged: i64,
    changed: i64,
}

fn ask(engine: &Engine, how: f32, number: f32) -> Found {
    let answer = engine.infer("pinned", &rows(&[[how, number]]));
    let at = |index| answer.output(index)[0].as_i64().expect("a number");
    let [unfinished, wrong, registered, staged, changed] = [0, 1, 2, 3, 4].map(at);
    Found { unfinished, wrong, registered, staged, changed }
}

#[test]
fn a_slot_goes_back_only_once_the_gpu_has_read_it_and_kept_views_never_change() {
    for lane in ["memfd", "posix"] {
        let engine = Engine::start(&[&model("pinned.py"), "--lane", lane], 1);
        for number in 0..20_u8 {
            let found = ask(&engine, PLAIN, number.into());
            assert_eq!((found.unfinished, found.wrong, found.staged), (0, 0, 0), "{lane}");
            assert!((1..=2).contains(&found.registered), "each slot once: {found:?}");
        }
        for number in 0..20_u8 {
            let found = ask(&engine, KEEP, number.into());
            assert_eq!((found.unfinished, found.wrong, found.changed), (0, 0, 0), "{lane}");
        }
        let found = ask(&engine, PLAIN, 9.0);
        assert_eq!((found.unfinished, found.wrong, found.changed), (0, 0, 0), "{lane}");
        assert_eq!(found.staged, 20 - MOVES_MAX + 1, "what moved too often is copied first");
        let told = engine.said().matches("keeps its inputs past their batch").count();
        assert_eq!(told, 1, "it is said once: {}", engine.said());
    }
}

#[test]
fn memory_that_the_gpu_refuses_is_copied_first_and_that_is_said_once() {
    let scratch = Scratch::new("pinned-refused");
    let source = std::fs::read_to_string(model("pinned.py")).expect("the model is there");
    scratch.write("pinned/1/model.py", &source);
    scratch.write("pinned/model.toml", "[parameters]\nrefuses = \"yes\"\n");
    let engine = Engine::start(&[&scratch.path("")], 1);
    for number in 0..5_u8 {
        ask(&engine, PLAIN, number.into());
    }
    let found = ask(&engine, PLAIN, 1.0);
    assert_eq!((found.registered, found.wrong), (0, 0));
    assert!(found.staged >= 6, "{found:?}");
    let told = engine.said().matches("can't register the lane's memory (not supported)").count();
    assert_eq!(told, 1, "{}", engine.said());
}

#[test]
fn without_a_gpu_to_torch_gives_views_that_may_be_kept() {
    let engine = Engine::start(&[&model("to_torch.py")], 1);
    for number in 0..10_u8 {
        let answer = engine.infer("to_torch", &rows(&[[number.into(), 2.0], [number.into(), 4.0]]));
        let number = f32::from(number);
        assert_eq!(answer.output(0), json!([number + 2.0, number + 4.0]));
        assert_eq!(answer.output(2), json!([0, 0]));
        if answer.output(1) == json!([false, false]) {
            println!("skipped: PyTorch is not installed");
        }
    }
}
