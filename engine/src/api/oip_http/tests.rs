use schemas::tensor::DType;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{ROW, Script, TestServer, entry, post, run, spec};
use crate::fleet::catalog::ModelState;
use crate::labels::Labels;
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
        assert_eq!(server.infer("content-encoding: br\r\n", ROW).await.status, 415);
        assert_eq!(server.infer("content-encoding: gzip, gzip\r\n", ROW).await.status, 415);
        assert_eq!(server.infer("content-encoding: gzip\r\n", ROW).await.status, 400);
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
        let first = [br#"{"parameters":{"priority":1},"#, &ROW[1..]].concat();
        let second = [br#"{"parameters":{"priority":2},"#, &ROW[1..]].concat();
        let both = [br#"{"parameters":{"priority":1,"foil_class":"default"},"#, &ROW[1..]].concat();
        for (header, body, class, weight) in [
            ("", ROW, 0, 1),
            ("", &none[..], 0, 1),
            ("x-foil-class: gold\r\n", ROW, 1, 10),
            ("", &parameter[..], 1, 10),
            ("x-foil-class: default\r\n", &parameter[..], 0, 1),
            ("", &first[..], 1, 10),
            ("", &second[..], 0, 1),
            ("", &both[..], 0, 1),
            ("x-foil-class: default\r\n", &first[..], 0, 1),
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
                "classification",
                "parameters",
                "schedule_policy",
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
fn compressed_questions_are_understood() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let long = [ROW, &[b' '; 2000]].concat();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let packed = encoding::deflate(encoding, &long).await.unwrap();
            // The length header is that of the JSON before it was compressed, as Triton's clients send it.
            let header = format!(
                "content-encoding: {}\r\ninference-header-content-length: {}\r\n",
                encoding.name(),
                long.len()
            );
            assert_eq!(server.infer(&header, &packed).await.status, 200);
        }
    });
}

#[test]
fn a_body_that_inflates_beyond_the_bound_is_refused_as_if_it_came_so() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 100_000, ..HttpLimits::default() };
        let model = entry(spec("m", false), 1, Script::Echo);
        let server = TestServer::start_with(vec![model], limits, HttpOptions::default());
        let bomb = encoding::deflate(Encoding::Gzip, &[b' '; 10_000_000]).await.unwrap();
        assert!(bomb.len() < 100_000);
        let reply = server.infer("content-encoding: gzip\r\n", &bomb).await;
        assert_eq!((reply.status, server.errors(ErrorKind::TooLarge)), (413, 1));
    });
}

/// More rows than a packet holds, as JSON and behind it.
fn many_rows() -> (ModelSpec, Vec<u8>, usize) {
    let spec = ModelSpec { max_batch: 1000, ..spec("m", false) };
    let json = br#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","shape":[1000,2],"datatype":"FP32",
        "parameters":{"binary_data_size":8000}}]}"#;
    (spec, [&json[..], &[0; 8000]].concat(), json.len())
}

#[test]
fn an_answer_is_compressed_for_whoever_names_one_encoding() {
    run(async {
        let (spec, body, json_bytes) = many_rows();
        let server = TestServer::start(vec![entry(spec, 1, Script::Echo)]);
        let ask = |accepts: &'static str| {
            let headers = format!("inference-header-content-length: {json_bytes}\r\n{accepts}");
            let (server, body) = (&server, &body);
            async move { server.infer(&headers, body).await }
        };
        let plain = ask("accept-encoding: gzip, deflate\r\n").await;
        assert_eq!(plain.headers.get("content-encoding"), None);
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let reply = ask(match encoding {
                Encoding::Gzip => "accept-encoding: gzip\r\n",
                Encoding::Deflate => "accept-encoding: deflate\r\n",
            });
            let reply = reply.await;
            assert_eq!(reply.headers["content-encoding"], encoding.name());
            let same = "inference-header-content-length";
            assert_eq!(reply.headers[same], plain.headers[same], "of the JSON as it was");
            let longer = |name: &&String| {
                name.starts_with("content-length") && name.len() > "content-length".len()
            };
            assert_eq!(reply.headers.keys().find(longer), None, "C++ clients compare prefixes");
            let shared = std::rc::Rc::new(Connections::default()).share();
            let gathering = Gathering::new(&shared.connection, HttpLimits::default().of_bodies());
            let unpacked = encoding::inflate(encoding, reply.body.into(), gathering).await;
            assert_eq!(unpacked.unwrap(), plain.body);
        }
        let error = server.infer("accept-encoding: gzip\r\n", b"{").await;
        assert_eq!((error.status, error.headers.get("content-encoding")), (400, None));
    });
}

#[test]
fn classes_come_in_place_of_scores_in_json_and_in_binary() {
    run(async {
        let mut model = entry(spec("m", false), 1, Script::Echo);
        model.handle = model.handle.with_labels(Labels::new([("x", vec!["cat".into()])]));
        let server = TestServer::start(vec![model]);
        let ask = |parameters: &str| {
            let outputs = format!(r#"{{"outputs":[{{"name":"x","parameters":{{{parameters}}}}}],"#);
            [outputs.as_bytes(), &ROW[1..]].concat()
        };
        let reply = server.infer("", &ask(r#""classification":2"#)).await;
        let output = json!({"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": ["1.500000:0:cat", "-2.000000:1"]});
        assert_eq!(reply.json()["outputs"], json!([output]));
        let reply = server.infer("", &ask(r#""classification":1,"binary_data":true"#)).await;
        let text = b"1.500000:0:cat";
        let tail = [&(text.len() as u32).to_le_bytes()[..], text].concat();
        assert!(reply.body.ends_with(&tail));
        let length: usize = reply.headers["inference-header-content-length"].parse().unwrap();
        let head: serde_json::Value = serde_json::from_slice(&reply.body[..length]).unwrap();
        assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], tail.len());
        assert_eq!(head["outputs"][0]["shape"], json!([1, 1]));
    });
}

#[test]
fn what_has_no_order_is_refused_before_the_model_runs() {
    run(async {
        let server = TestServer::start(vec![entry(spec("m", true), 1, Script::Echo)]);
        let outputs =
            br#"{"outputs":[{"name":"s","parameters":{"classification":1}}],"inputs":[]}"#;
        let reply = server.infer("", outputs).await;
        assert_eq!(reply.status, 400);
        let given = br#"{"outputs":[{"name":"s","parameters":{"classification":1}}],"inputs":[
            {"name":"s","shape":[1],"datatype":"BYTES","data":["a"]},
            {"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"#;
        let reply = server.infer("", given).await;
        assert!(
            reply.status == 400 && reply.error().contains("without classification"),
            "{reply:?}"
        );
    });
}

#[test]
fn sequences_are_unsupported_with_the_status_that_says_so() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let asked =
            [br#"{"parameters":{"sequence_id":7,"sequence_end":true},"#, &ROW[1..]].concat();
        let reply = server.infer("", &asked).await;
        assert_eq!((reply.status, server.errors(ErrorKind::Unsupported)), (501, 1));
        assert!(reply.error().contains("unsupported"));
    });
}

#[test]
fn halves_travel_in_binary_only() {
    run(async {
        for dtype in [DType::F16, DType::Bf16] {
            let mut spec = spec("m", false);
            spec.inputs[0].dtype = dtype;
            spec.outputs[0].dtype = dtype;
            let server = TestServer::start(vec![entry(spec, 1, Script::Echo)]);
            let name = dtype.oip_name();
            let json = format!(
                r#"{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"x","shape":[1,2],"datatype":"{name}","parameters":{{"binary_data_size":4}}}}]}}"#
            );
            let header = format!("inference-header-content-length: {}\r\n", json.len());
            let reply = server.infer(&header, &[json.as_bytes(), b"\x80\x3f\0\xc0"].concat()).await;
            assert!(reply.status == 200 && reply.body.ends_with(b"\x80\x3f\0\xc0"), "{reply:?}");
            let json = String::from_utf8(ROW.to_vec()).unwrap().replace("FP32", name);
            let reply = server.infer("", json.as_bytes()).await;
            assert!(reply.status == 400 && reply.error().contains("binary"), "{reply:?}");
        }
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
