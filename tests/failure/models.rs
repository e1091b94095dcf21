//! Models that raise, lie, die and hang: an error for the requests concerned, and only for them.

use harness::engine::{Engine, model, wait_until};
use harness::tensors::rows;
use serde_json::json;

// Codes of the model `moody`.
const RAISE: f32 = 1.0;
const WRONG_DTYPE: f32 = 2.0;
const WRONG_SHAPE: f32 = 3.0;
const TOO_FEW_ROWS: f32 = 4.0;
const CHATTER: f32 = 5.0;
const EXIT: f32 = 6.0;
const HANG: f32 = 7.0;
const KILL: f32 = 8.0;
const REFUSE: f32 = 9.0;
const SLOW: f32 = 10.0;

fn engine() -> Engine {
    Engine::start(&[&model("moody.py"), &model("unbatched.py")], 2)
}

fn ask(engine: &Engine, code: f32) -> harness::Response {
    engine.infer("moody", &rows(&[[code, 1.0]]))
}

/// The neighbour model and the model itself answer.
fn all_fine(engine: &Engine) {
    let body =
        json!({"inputs": [{"name": "matrix", "shape": [1, 1], "datatype": "FP32", "data": [2]}]});
    assert_eq!(engine.infer("trace", &body.to_string()).output(0), json!([2.0]));
    assert_eq!(ask(engine, 0.0).output(0), json!([1.0]));
}

#[test]
fn a_model_that_raises_or_breaks_its_word_is_quoted_and_goes_on() {
    let engine = engine();
    for (code, status, says) in [
        (RAISE, 500, "ValueError"),
        (WRONG_DTYPE, 500, "output"),
        (WRONG_SHAPE, 500, "output"),
        (TOO_FEW_ROWS, 500, "output"),
        (REFUSE, 400, "not to my taste"),
    ] {
        let answer = ask(&engine, code);
        assert_eq!(answer.status, status, "{code}: {}", answer.text());
        assert!(answer.error().contains(says), "{code}: {}", answer.error());
        assert!(!answer.error().contains("/"), "no paths: {}", answer.error());
    }
    all_fine(&engine);
    assert_eq!(engine.restarts("moody"), 0.0);
}

#[test]
fn megabytes_of_output_hold_up_nobody() {
    let engine = engine();
    assert_eq!(ask(&engine, CHATTER).status, 200);
    all_fine(&engine);
    assert!(engine.said().len() < 1 << 20, "the flood is not forwarded whole");
}

#[test]
fn one_bad_row_among_many_fails_alone() {
    let engine = engine();
    // Teaches the controller that batches are fine, then fills the queue behind a slow one.
    for _ in 0..20 {
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| ask(&engine, 0.0)))));
    }
    for bad in [RAISE, REFUSE] {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| ask(&engine, SLOW));
            wait_until("the slow one runs", || engine.metric("foil_stage_seconds_count") >= 0.0);
            let others: Vec<_> = (0..8)
                .map(|index| {
                    let engine = &engine;
                    scope.spawn(move || (index, ask(engine, if index == 3 { bad } else { 0.0 })))
                })
                .collect();
            assert_eq!(slow.join().expect("no panic").status, 200);
            for other in others {
                let (index, answer) = other.join().expect("no panic");
                let status = match (index, bad) {
                    (3, RAISE) => 500,
                    (3, _) => 400,
                    _ => 200,
                };
                assert_eq!(answer.status, status, "{index}: {}", answer.text());
            }
        });
    }
}

#[test]
fn a_model_that_exits_or_is_killed_is_replaced_and_its_neighbours_answered() {
    for code in [EXIT, KILL] {
        let engine = engine();
        let answer = ask(&engine, code);
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(
            answer.error().contains("two replicas"),
            "tried once more, alone: {}",
            answer.error()
        );
        all_fine(&engine);
        assert_eq!(engine.restarts("moody"), 2.0);
    }
}

#[test]
fn a_model_that_hangs_is_stopped_after_its_batch_timeout() {
    let engine = engine();
    let body = rows(&[[HANG, 1.0]]);
    let headers = [("X-Request-Timeout-Ms", "500")];
    let late = engine.client().post("/v2/models/moody/infer", &headers, body.as_bytes());
    assert_eq!(late.status, 504, "{}", late.text());
    let hung = engine.infer("moody", &body);
    assert_eq!(hung.status, 504, "{}", hung.text());
    assert!(hung.error().contains("batch_timeout"), "{}", hung.error());
    all_fine(&engine);
}

#[test]
fn a_full_queue_answers_503_with_retry_after() {
    let scratch = harness::Scratch::new("full");
    scratch.write("foil.toml", "[limits]\nqueue_tasks_max = 2\n");
    let engine = Engine::start(&["--config", &scratch.path("foil.toml"), &model("moody.py")], 1);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| ask(&engine, SLOW))).collect();
        asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!refused.is_empty() && refused.len() < 16);
    for answer in refused {
        assert!(
            answer.header("retry-after").is_some_and(|it| it.parse::<u32>().is_ok_and(|s| s >= 1))
        );
        assert!(answer.header("retry-after-ms").is_some());
    }
    assert_eq!(ask(&engine, 0.0).status, 200);
}
