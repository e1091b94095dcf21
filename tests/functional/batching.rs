//! Batches, replicas and deadlines as a client sees them.

use harness::engine::{Engine, model};
use harness::tensors::rows;
use rustix::process::Signal;
use serde_json::json;

/// Codes of the model `moody`.
const SLOW: f32 = 10.0;
const KEEP: f32 = 11.0;

/// Asks from `count` clients at once.
fn together<T: Send>(count: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..count)
            .map(|index| {
                let ask = &ask;
                scope.spawn(move || ask(index))
            })
            .collect();
        asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn what_waits_for_a_busy_replica_goes_in_one_batch() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    // Teaches the controller that batches of several rows are fine.
    for _ in 0..20 {
        together(8, |_| assert_eq!(engine.infer("moody", &rows(&[[0.0, 1.0]])).status, 200));
    }
    let batches = together(9, |index| {
        let code = if index == 0 { SLOW } else { 0.0 };
        let answer = engine.infer("moody", &rows(&[[code, index as f32]]));
        assert_eq!(answer.output(0), json!([code + index as f32]));
        answer.header("server-timing").unwrap_or_default().to_owned()
    });
    let shared = batches.iter().filter(|timing| !timing.contains("batch 1\"")).count();
    assert!(shared >= 2, "{batches:?}");
}

#[test]
fn replicas_share_the_work_and_each_answer_reaches_who_asked() {
    let scratch = harness::Scratch::new("replicas");
    let text = "import os, hydrofoil as foil\n\n@foil.model(replicas=2, max_batch=4)\ndef who(x: foil.i64[\"n\"]) -> {\"x\": foil.i64[\"n\"], \"pid\": foil.i64[\"n\"]}:\n    import time; time.sleep(0.02)\n    return {\"x\": x, \"pid\": x * 0 + os.getpid()}\n";
    scratch.write("who.py", text);
    let engine = Engine::start(&[&scratch.path("who.py")], 1);
    harness::engine::wait_until("both replicas are live", || {
        engine.metric(r#"foil_replicas{model="who""#) == 2.0
    });
    let pids = together(24, |index| {
        let body =
            json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [index]}]});
        let answer = engine.infer("who", &body.to_string());
        assert_eq!(answer.output(0), json!([index]));
        answer.output(1)[0].as_i64().expect("a pid")
    });
    let distinct: std::collections::BTreeSet<_> = pids.into_iter().collect();
    assert_eq!(distinct.len(), 2);
}

#[test]
fn a_hard_deadline_is_answered_504_while_the_model_still_runs() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let headers = [("X-Request-Timeout-Ms", "50")];
    let body = rows(&[[SLOW, 1.0]]);
    let late = engine.client().post("/v2/models/moody/infer", &headers, body.as_bytes());
    assert_eq!(late.status, 504, "{}", late.text());
    let with_parameter = body.replacen('{', r#"{"parameters": {"timeout": 1000},"#, 1);
    assert_eq!(
        engine.infer("moody", &with_parameter).status,
        504,
        "1000 µs, while a batch of 300 ms runs"
    );
    assert_eq!(engine.infer("moody", &rows(&[[0.0, 1.0]])).status, 200, "the model goes on");
}

#[test]
fn a_view_kept_after_its_batch_is_never_overwritten() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    for index in 0..20 {
        let answer = client.infer("moody", &rows(&[[KEEP, index as f32]]));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(client.infer("moody", &rows(&[[0.0, 5.0]])).output(0), json!([5.0]));
}

#[test]
fn sigterm_under_load_loses_nothing_accepted() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let cut_off = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = engine.client();
                    let body = rows(&[[0.0, 1.0]]);
                    let request = harness::client::bytes_of(
                        "POST",
                        "/v2/models/moody/infer",
                        &[],
                        body.as_bytes(),
                    );
                    for _ in 0..100_000 {
                        use std::io::Write;
                        if client.stream.write_all(&request).is_err() {
                            return 0;
                        }
                        // The end of a connection between two requests is a clean one.
                        let Some(answer) = client.read() else { return 0 };
                        if answer.status == 503 {
                            return 0;
                        }
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    1
                })
            })
            .collect();
        harness::engine::wait_until("load flows", || {
            asked.load(std::sync::atomic::Ordering::Relaxed) > 200
        });
        engine.signal(Signal::TERM);
        clients.into_iter().map(|client| client.join().expect("no panic")).sum::<usize>()
    });
    assert_eq!(cut_off, 0, "every client saw the end");
    let mut engine = engine;
    assert!(engine.wait().success(), "{}", engine.said());
}

#[test]
fn overload_is_answered_at_once_and_the_page_says_why() {
    let scratch = harness::Scratch::new("overload");
    let text = "import time, numpy as np, hydrofoil as foil\n\n@foil.model(max_batch=4, slo=\"60ms\", late=\"shed\")\ndef slow(x: foil.i64[\"n\"]) -> foil.i64[\"n\"]:\n    time.sleep(0.0205)\n    return x\n";
    scratch.write("slow.py", text);
    let engine = Engine::start(&[&scratch.path("slow.py")], 1);
    let ask = |index: usize| {
        let body =
            json!({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [index]}]});
        engine.infer("slow", &body.to_string())
    };
    // One at a time first: what a batch takes must be known before anyone can be turned away for it.
    (0..20).for_each(|index| drop(ask(index)));
    // Three times what four in a batch of 20 ms get through.
    let answers =
        together(48, |index| (0..20).map(|nth| ask(100 * index + nth)).collect::<Vec<_>>());
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let (good, bad): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!good.is_empty(), "of {} none was answered", answers.len());
    assert!(bad.iter().all(|answer| matches!(answer.status, 503 | 504)));
    let shed: Vec<_> = bad.iter().filter(|answer| answer.status == 503).collect();
    assert!(!shed.is_empty(), "48 callers can't all be served in time");
    for answer in &shed {
        let wait = |name: &str| answer.header(name).and_then(|wait| wait.parse::<u64>().ok());
        assert!(wait("retry-after").is_some_and(|seconds| seconds >= 1), "whole seconds");
        assert!(wait("retry-after-ms").is_some_and(|ms| ms >= 1), "and milliseconds");
        assert!(answer.error().contains("overloaded"), "{}", answer.error());
    }
    let page = engine.get("/v2/models/slow/batching").json();
    assert_eq!(page["slo_ms"], json!(60.0));
    let measured = page["curve"]["measured"].as_array().expect("sizes");
    let sizes: Vec<_> = measured.iter().filter_map(|size| size["mean_ms"].as_f64()).collect();
    assert!(
        !sizes.is_empty() && sizes.iter().all(|&mean| mean >= 20.0),
        "it sleeps 20 ms: {sizes:?}"
    );
    let counted: u64 = page["shed"]["total"]
        .as_object()
        .expect("reasons")
        .values()
        .filter_map(|count| count.as_u64())
        .sum();
    assert!(counted >= shed.len() as u64, "{page}");
    let recent = page["shed"]["recent"].as_array().expect("the latest");
    assert!(
        !recent.is_empty()
            && recent.len() <= 100
            && recent.iter().all(|gone| gone["why"].is_string())
    );
    assert!(engine.metric(r#"foil_shed_total{model="slow""#) >= 0.0);
    assert_eq!(engine.get("/v2/models/nobody/batching").status, 404);
}

#[test]
fn a_timed_model_takes_its_known_time_for_batches_of_a_fixed_size() {
    let scratch = harness::Scratch::new("timed");
    scratch.write("models/slow/1/README", "");
    let toml = "runtime = \"native\"\nkind = \"timed\"\n[env]\nTIMED_FIXED_US = \"5000\"\nTIMED_PER_ROW_US = \"1000\"\n[fixed_batches]\nsize = 4\ndelay = \"5s\"\n";
    scratch.write("models/slow/model.toml", toml);
    let engine = Engine::start(&[&scratch.path("models")], 1);
    let body = json!({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [7]}]});
    let answers = together(4, |_| engine.infer("slow", &body.to_string()));
    for answer in answers {
        let timing = answer.header("server-timing").unwrap_or_default();
        assert!(timing.ends_with("desc=\"batch 4\""), "{timing}");
        let (_, model) = timing.split_once("model;dur=").expect("the model's time");
        let (ms, _) = model.split_once(';').expect("milliseconds");
        assert!(ms.parse::<f64>().expect("a number") >= 9.0, "5 ms and 1 ms for each row: {ms}");
    }
}
