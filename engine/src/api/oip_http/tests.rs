use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{ROW, Script, TestServer, entry, post, run, spec};
use crate::fleet::catalog::ModelState;
use crate::observe::metrics::ErrorKind;
use crate::query::types::TaskError;

fn f32_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

#[test]
fn a_row_in_json_comes_back_in_json() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let reply = server.infer("", ROW).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "application/json");
        let timing = "queue;dur=1234.005, lane;dur=0.000, model;dur=0.042;desc=\"batch 8\"";
        assert_eq!(reply.headers["server-timing"], timing);
        let output = json!({"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]});
        let expected =
            json!({"model_name": "m", "model_version": "1", "id": "7", "outputs": [output]});
        assert_eq!(reply.json(), expected);
        assert_eq!(server.recorder.snapshot().models[0].counts.answered, 1);
    });
}

#[test]
fn binary_tensors_come_back_behind_the_json() {
    run(async {
        let server = TestServer::start(vec![entry(spec("m", true), 1, Script::Echo)]);
        let json = br#"{"parameters":{"binary_data_output":true},"inputs":[
            {"name":"s","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},
            {"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}]}"#;
        let text = [&3u32.to_le_bytes()[..], b"abc", &0u32.to_le_bytes()].concat();
        let floats = f32_bytes(&[1.0, f32::NAN, 3.0, 4.0]);
        let body = [&json[..], &text, &floats].concat();
        let header = format!("Inference-Header-Content-Length: {}\r\n", json.len());
        let reply = server.infer(&header, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.headers["content-type"], "application/octet-stream");
        let length: usize = reply.headers["inference-header-content-length"].parse().unwrap();
        let (head, blobs) = reply.body.split_at(length);
        let head: serde_json::Value = serde_json::from_slice(head).unwrap();
        assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 16);
        assert_eq!(blobs, [floats, text].concat());
    });
}

#[test]
fn a_raw_body_is_answered_in_binary() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let body = f32_bytes(&[5.0, 6.0]);
        let reply = server.infer("Inference-Header-Content-Length: 0\r\n", &body).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.ends_with(&body));
    });
}

#[test]
fn the_length_header_does_not_prove_that_bytes_follow() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let header = format!("Inference-Header-Content-Length: {}\r\nexpect:\r\n", ROW.len());
        assert_eq!(server.infer(&header, ROW).await.status, 200);
    });
}

#[test]
fn a_lying_length_header_is_refused() {
    run(async {
        let server = TestServer::one(Script::Echo);
        for lie in ["99999999999999999999", "4294967296", "-1", "abc", "20"] {
            let header = format!("Inference-Header-Content-Length: {lie}\r\n");
            let reply = server.infer(&header, ROW).await;
            assert_eq!(reply.status, 400, "{lie}");
            assert!(!reply.error().is_empty());
        }
    });
}

#[test]
fn bad_input_is_named_and_concerns_only_itself() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let cases: [(&str, &str); 10] = [
            ("{", "ends too early"),
            ("not json", "valid JSON"),
            (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}"#, "FP64"),
            (
                r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#,
                "[-1, 2]",
            ),
            (r#"{"inputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#, "'y'"),
            (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[NaN,2]}]}"#, "NaN"),
            (
                r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}]}"#,
                "2 elements",
            ),
            (r#"{"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","data":[]}]}"#, "no rows"),
            (
                r#"{"inputs":[{"name":"x","shape":[5,2],"datatype":"FP32","data":[1,2,3,4,5,6,7,8,9,0]}]}"#,
                "max_batch",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],"outputs":[{"name":"z"}]}"#,
                "'z'",
            ),
        ];
        let mut client = server.client().await;
        for (body, named) in cases {
            client.send(&post("/v2/models/m/infer", "", body.as_bytes())).await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 400, "{body}");
            assert!(reply.error().contains(named), "{body}: {}", reply.error());
        }
        // The connection is as good as before.
        client.send(&post("/v2/models/m/infer", "", ROW)).await;
        assert_eq!(client.reply().await.status, 200);
        assert_eq!(server.errors(ErrorKind::BadInput), cases.len() as u64);
    });
}

#[test]
fn unknown_things_and_wrong_methods_are_told_apart() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let unknown = server.ask(&post("/v2/models/none/infer", "", ROW)).await;
        assert_eq!((unknown.status, server.errors(ErrorKind::UnknownModel)), (404, 1));
        let version = server.ask(&post("/v2/models/m/versions/9/infer", "", ROW)).await;
        assert_eq!((version.status, server.errors(ErrorKind::UnknownVersion)), (404, 1));
        assert_eq!(server.get("/v2/models/m/versions/latest").await.status, 404);
        let path = server.get("/predict").await;
        assert_eq!((path.status, path.error().is_empty()), (404, false));
        let method = server.get("/v2/models/m/infer").await;
        assert_eq!((method.status, method.headers["allow"].as_str()), (405, "POST"));
        assert_eq!(server.ask(&post("/v2/models/m", "", b"")).await.status, 405);
    });
}

#[test]
fn encodings_and_timeouts_in_headers_are_checked() {
    run(async {
        let server = TestServer::one(Script::Echo);
        assert_eq!(server.infer("content-encoding: gzip\r\n", ROW).await.status, 415);
        assert_eq!(server.infer("content-encoding: identity\r\n", ROW).await.status, 200);
        for bad in ["0", "-5", "1.5", "soon", "", "99999999999999999999999"] {
            let header = format!("x-request-timeout-ms: {bad}\r\n");
            assert_eq!(server.infer(&header, ROW).await.status, 400, "{bad:?}");
        }
        assert_eq!(server.infer("x-request-timeout-ms: 5000\r\n", ROW).await.status, 200);
    });
}

#[test]
fn the_earlier_of_two_deadlines_counts_and_is_hard() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let server = TestServer::one(Script::Hold(hold));
        let parameter = [br#"{"parameters":{"timeout":3000000},"#, &ROW[1..]].concat();
        for (header, body, wait_ms) in [
            ("x-request-timeout-ms: 9000\r\n", &parameter[..], Some(3000)),
            ("x-request-timeout-ms: 1000\r\n", &parameter[..], Some(1000)),
            ("", ROW, None),
        ] {
            let mut client = server.client().await;
            client.send(&post("/v2/models/m/infer", header, body)).await;
            let submission = held.recv().await.unwrap();
            let deadline = submission.terms.deadline;
            assert_eq!(deadline.is_hard(), wait_ms.is_some());
            let due = deadline.due.since(submission.submitted);
            assert!(due <= Duration::from_millis(wait_ms.unwrap_or(20)));
            let _ = submission.reply.waiter.send(Err(TaskError::DeadlinePassed));
            assert_eq!(client.reply().await.status, 504);
        }
    });
}

#[test]
fn the_class_is_the_headers_else_the_parameters_else_the_models() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let server = TestServer::one(Script::Hold(hold));
        let parameter = [br#"{"parameters":{"foil_class":"gold"},"#, &ROW[1..]].concat();
        let none = [br#"{"parameters":{"foil_class":null},"#, &ROW[1..]].concat();
        for (header, body, class, weight) in [
            ("", ROW, 0, 1),
            ("", &none[..], 0, 1),
            ("x-foil-class: gold\r\n", ROW, 1, 10),
            ("", &parameter[..], 1, 10),
            ("x-foil-class: default\r\n", &parameter[..], 0, 1),
        ] {
            let mut client = server.client().await;
            client.send(&post("/v2/models/m/infer", header, body)).await;
            let submission = held.recv().await.unwrap();
            let terms = submission.terms;
            assert_eq!((terms.class, terms.weight), (ClassId(class), weight), "{header:?}");
            let _ = submission.reply.waiter.send(Err(TaskError::DeadlinePassed));
            assert_eq!(client.reply().await.status, 504);
        }
    });
}

#[test]
fn an_unknown_class_is_refused_with_the_known_ones() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let parameter = [br#"{"parameters":{"foil_class":"tin"},"#, &ROW[1..]].concat();
        for (header, body) in
            [("x-foil-class: tin\r\n", ROW), ("", &parameter[..]), ("x-foil-class:\r\n", ROW)]
        {
            let reply = server.infer(header, body).await;
            assert_eq!(reply.status, 400, "{header:?}");
            assert!(reply.error().ends_with("the classes are default, gold"), "{}", reply.error());
        }
        assert_eq!(server.errors(ErrorKind::BadInput), 3);
        let overruled = server.infer("x-foil-class: gold\r\n", &parameter).await;
        assert_eq!(overruled.status, 200, "the header has the last word");
    });
}

#[test]
fn failures_behind_the_queue_keep_their_status_and_sentence() {
    run(async {
        let error = TaskError::ModelRaised { message: "ValueError: no such digit".into() };
        let server = TestServer::one(Script::Fail(error));
        let reply = server.infer("", ROW).await;
        assert_eq!(reply.status, 500);
        assert!(reply.error().contains("no such digit"));
        assert_eq!(server.errors(ErrorKind::ModelRaised), 1);
    });
}

#[test]
fn a_model_without_a_live_replica_says_when_to_come_back() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let reason = "it exited with code 1; last output: boom".into();
        let state = ModelState::Unavailable { reason, retry_after: Duration::from_millis(1500) };
        let handle = server.catalog.load().find("m", None).unwrap().handle.clone();
        let catalog = server.catalog.load().with_state(&handle, state);
        server.catalog.store(catalog.into());
        let reply = server.infer("", ROW).await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.headers["retry-after"], "2");
        assert_eq!(reply.headers["retry-after-ms"], "1500");
        assert!(reply.error().contains("boom"));
        let ready = server.get("/v2/models/m/ready").await;
        assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
        assert_eq!(server.get("/v2/health/ready").await.status, 503);
        assert_eq!(server.get("/v2/health/live").await.status, 200);
        // It still describes itself.
        assert_eq!(server.get("/v2/models/m").await.status, 200);
    });
}

#[test]
fn server_and_models_describe_themselves() {
    run(async {
        let models = vec![
            entry(spec("m", true), 1, Script::Echo),
            entry(spec("m", false), 12, Script::Echo),
        ];
        let server = TestServer::start(models);
        assert_eq!(
            server.get("/v2").await.json()["extensions"],
            json!([
                "binary_tensor_data",
                "model_configuration",
                "model_repository",
                "model_repository(unload_dependents)",
                "statistics",
                "trace",
                "logging"
            ])
        );
        assert_eq!(server.get("/v2/").await.status, 200);
        assert_eq!(server.get("/v2/health/live").await.json(), json!({"live": true}));
        assert_eq!(server.get("/v2/health/ready").await.json()["ready"], true);
        let newest = server.get("/v2/models/m").await.json();
        let x = json!({"name": "x", "datatype": "FP32", "shape": [-1, 2]});
        assert_eq!(newest["versions"], json!(["1", "12"]));
        assert_eq!(newest["inputs"], json!([x]));
        let first = server.get("/v2/models/%6D/versions/1").await.json();
        assert_eq!(first["outputs"][1], json!({"name": "s", "datatype": "BYTES", "shape": [-1]}));
        let reply = server.ask(&post("/v2/models/m/infer", "", ROW)).await;
        assert_eq!(reply.json()["model_version"], "12");
    });
}

#[test]
fn server_timing_can_be_switched_off() {
    run(async {
        let model = entry(spec("m", false), 1, Script::Echo);
        let options = HttpOptions { server_timing: false };
        let server = TestServer::start_with(vec![model], HttpLimits::default(), options);
        let reply = server.infer("", ROW).await;
        assert_eq!((reply.status, reply.headers.get("server-timing")), (200, None));
    });
}

#[test]
fn a_client_that_leaves_takes_its_task_along() {
    run(async {
        let (hold, mut held) = mpsc::channel(1);
        let server = TestServer::one(Script::Hold(hold));
        let mut client = server.client().await;
        client.send(&post("/v2/models/m/infer", "", ROW)).await;
        let mut submission = held.recv().await.unwrap();
        drop(client);
        submission.reply.waiter.closed().await;
        assert_eq!(server.errors(ErrorKind::ClientGone), 1);
    });
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn ids_that_a_request_brings_go_back_with_its_answer_and_its_error() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let ids = format!("traceparent: {PARENT}\r\nX-Request-Id: job-7\r\n");
        let refused = server.infer(&ids, b"no JSON").await;
        let unknown = server.ask(&post("/v2/models/nobody/infer", &ids, ROW)).await;
        let page = server.ask(format!("GET /v2 HTTP/1.1\r\nhost: x\r\n{ids}\r\n").as_bytes()).await;
        for reply in [server.infer(&ids, ROW).await, refused, unknown, page] {
            assert_eq!(reply.headers["traceparent"], PARENT, "{}", reply.status);
            assert_eq!(reply.headers["x-request-id"], "job-7", "{}", reply.status);
        }
        let broken = "traceparent: 00-zz\r\nX-Request-Id: a \"b\"\r\n";
        let bare = server.infer(broken, ROW).await;
        assert_eq!(bare.status, 200, "what can't be read is no reason to refuse");
        for name in ["traceparent", "x-request-id"] {
            assert!(!bare.headers.contains_key(name), "{name}");
            assert!(!server.infer("", ROW).await.headers.contains_key(name), "none is made up");
        }
    });
}

#[test]
fn settings_are_shown_changed_and_cleared() {
    run(async {
        let server = TestServer::administered(Script::Echo);
        let set = async |path: &str, body: &str| server.ask(&post(path, "", body.as_bytes())).await;
        let shown = server.get("/v2/logging").await.json();
        assert_eq!((&shown["log_info"], &shown["log_verbose_level"]), (&json!(true), &json!(0)));
        let changed = set("/v2/logging", r#"{"log_verbose_level":1,"log_info":false}"#).await;
        assert_eq!((changed.status, &changed.json()["log_verbose_level"]), (200, &json!(1)));
        assert_eq!(server.get("/v2/logging").await.json(), changed.json());

        let of_model = "/v2/models/m/trace/setting";
        let on = r#"{"trace_level":["TIMESTAMPS"],"trace_rate":"7"}"#;
        assert_eq!(set(of_model, on).await.json()["trace_rate"], "7");
        let all = server.get("/v2/trace/setting").await.json();
        assert_eq!((&all["trace_level"], &all["trace_rate"]), (&json!(["OFF"]), &json!("1000")));
        let cleared = set(of_model, r#"{"trace_level":null,"trace_rate":null}"#).await.json();
        assert_eq!(cleared, all);
    });
}

#[test]
fn settings_that_do_not_work_are_refused() {
    run(async {
        let server = TestServer::administered(Script::Echo);
        let set = async |path: &str, body: &str| server.ask(&post(path, "", body.as_bytes())).await;
        let refused = [
            ("/v2/logging", r#"{"log_file":"/tmp/x"}"#, 501),
            ("/v2/logging", r#"{"log_sound":"loud"}"#, 400),
            ("/v2/logging", "[]", 400),
            ("/v2/logging", "{", 400),
            ("/v2/trace/setting", r#"{"trace_file":"/tmp/x"}"#, 501),
            ("/v2/trace/setting", r#"{"trace_rate":"none"}"#, 400),
            ("/v2/models/nobody/trace/setting", "{}", 404),
        ];
        for (path, body, status) in refused {
            let reply = set(path, body).await;
            assert_eq!(reply.status, status, "{path} {body}: {}", reply.error());
        }
        let large = " ".repeat(SETTINGS_BYTES_MAX as usize + 1);
        assert_eq!(set("/v2/logging", &large).await.status, 413);
    });
}

#[test]
fn settings_are_for_everybody_to_see_and_for_administrators_to_change() {
    run(async {
        let server = TestServer::one(Script::Echo);
        for path in ["/v2/logging", "/v2/trace/setting", "/v2/models/m/trace/setting"] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
            let refused = server.ask(&post(path, "", b"{}")).await;
            assert_eq!(refused.status, 403, "{path}");
            assert!(refused.error().contains("--admin"), "{}", refused.error());
        }
    });
}
