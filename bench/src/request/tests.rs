//! Specs against a small server on loopback that sums rows and speaks every protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::npy::saved;
use super::*;
use crate::driver::drive;
use crate::measured::Measured;
use crate::plan::Plan;

struct Question {
    path: String,
    header_bytes: Option<usize>,
    body: Vec<u8>,
}

/// Threads end with the test's process at the latest.
fn server(
    answer: impl Fn(&Question) -> (u16, String, Vec<u8>) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.expect("accept"), answer.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("clone"));
                while let Some(question) = read(&mut reader) {
                    let (status, headers, body) = answer(&question);
                    let length = body.len();
                    let head =
                        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n");
                    if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Question> {
    let mut lines =
        reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let head: Vec<(String, String)> = lines
        .filter_map(|line| {
            line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let number = |wanted: &str| {
        head.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.parse().ok())
    };
    let mut body = vec![0; number("content-length").unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Question { path, header_bytes: number("inference-header-content-length"), body })
}

/// Takes rows of three floats and answers their sums, in the form in which it was asked.
fn summing() -> SocketAddr {
    server(|question| match &*question.path {
        "/v2/models/m" => ok(&json!({ "inputs": [
            { "name": "x", "datatype": "FP32", "shape": [-1, 3] }] })),
        "/v1/models/m/metadata" => ok(&json!({ "metadata": { "signature_def": { "signature_def": {
            "serving_default": { "inputs": { "x": { "dtype": "DT_FLOAT", "tensor_shape": {
                "dim": [{ "size": "-1" }, { "size": "3" }] } } } } } } } })),
        "/v2/models/m/versions/2/infer" | "/v2/models/m/infer" => {
            if question.header_bytes.is_some() { sum_binary(question) } else { sum_json(question) }
        }
        "/v1/models/m:predict" => {
            let body: Value = serde_json::from_slice(&question.body).expect("JSON");
            let rows = body["instances"].as_array().expect("instances");
            let sums: Vec<f64> = rows.iter().map(|row| sums(&floats(row))[0]).collect();
            ok(&json!({ "predictions": sums }))
        }
        "/echo" => (200, String::new(), question.body.clone()),
        _ => (404, String::new(), b"no such model here".to_vec()),
    })
}

fn ok(body: &Value) -> (u16, String, Vec<u8>) {
    (200, String::new(), body.to_string().into_bytes())
}

fn sum_json(question: &Question) -> (u16, String, Vec<u8>) {
    let body: Value = serde_json::from_slice(&question.body).expect("JSON");
    let sums = sums(&floats(&body["inputs"][0]["data"]));
    ok(&json!({ "outputs": [{ "name": "y", "datatype": "FP32", "data": sums }] }))
}

fn sum_binary(question: &Question) -> (u16, String, Vec<u8>) {
    let raw = &question.body[question.header_bytes.expect("binary")..];
    let floats: Vec<f64> = raw
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().expect("four")).into())
        .collect();
    let sums: Vec<u8> = sums(&floats).iter().flat_map(|sum| (*sum as f32).to_le_bytes()).collect();
    let output = json!({ "name": "y", "datatype": "FP32",
        "parameters": { "binary_data_size": sums.len() } });
    let head = json!({ "outputs": [output] }).to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", head.len());
    (200, header, [head.as_bytes(), &sums].concat())
}

fn floats(array: &Value) -> Vec<f64> {
    array
        .as_array()
        .expect("an array")
        .iter()
        .map(|float| float.as_f64().expect("a float"))
        .collect()
}

fn sums(floats: &[f64]) -> Vec<f64> {
    assert_eq!(floats.len() % 3, 0, "whole rows");
    floats.chunks_exact(3).map(|row| row.iter().sum()).collect()
}

fn spec(text: &str) -> Spec {
    toml::from_str(text).expect("a spec")
}

fn bodies(target: &Target) -> Vec<String> {
    let body = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.split_once("\r\n\r\n").expect("a head").1.to_owned()
    };
    target.requests.iter().map(|request| body(&request.bytes)).collect()
}

/// Each request once or more.
fn driven(target: &Target) -> Measured {
    let plan = Plan { requests_max: 12, ..Plan::closed(2, Duration::from_secs(60)) };
    drive(target, &plan, &mut |_| {}).expect("a run")
}

/// A folder of this test alone, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &[u8])]) -> Folder {
        let path = std::env::temp_dir().join(format!("foil-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        for (file, bytes) in files {
            std::fs::write(path.join(file), bytes).expect("written");
        }
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ROWS: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.25, 0.5, -1.0];

// ---- the spec ----

#[test]
fn a_scenario_says_what_it_means_and_nothing_else() {
    assert_eq!(spec(""), Spec::default());
    let whole = spec(
        r#"
        protocol = "tf-serving"
        model = "m"
        version = 3
        rows = 4
        payload = "rows.npy"
        [check]
        status = 200
        same-answer = true
        reference = "answers.jsonl"
        tolerance = 0.5
        "#,
    );
    assert_eq!((whole.protocol, whole.version, whole.rows), (Protocol::TfServing, Some(3), 4));
    assert_eq!(whole.payload, Source::File("rows.npy".into()));
    assert_eq!((whole.check.status, whole.check.tolerance), (Some(200), 0.5));
    let beside = whole.beside(Path::new("/scenarios"));
    assert_eq!(beside.payload, Source::File("/scenarios/rows.npy".into()));
    assert_eq!(beside.check.reference, Some("/scenarios/answers.jsonl".into()));
    for unknown in ["rowz = 1", "protocol = \"soap\"", "[check]\nbody = \"x\""] {
        assert!(toml::from_str::<Spec>(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_the_field_to_mend() {
    for (text, wrong) in [
        ("rows = 0", "rows"),
        ("variants = 0", "variants"),
        ("payload = \"constant\"", "value"),
        ("value = 1", "value"),
        ("payload = \"a.npy\"\nvariants = 2", "variants"),
        ("shape = [3]", "datatype"),
        ("path = \"/x\"", "protocol"),
        ("protocol = \"http\"\npayload = \"constant\"\nvalue = 1.0", "payload"),
        ("protocol = \"http\"\nbody = \"a\"\nbody-file = \"b\"", "body-file"),
        ("[check]\ntolerance = -1.0", "check.tolerance"),
        ("protocol = \"oip-grpc\"", "model"),
        ("", "model"),
        ("model = \"a b\"", "model"),
        ("model = \"m\"\npayload = \"a.csv\"", "payload"),
        ("model = \"m\"\nshape = [3]\ndatatype = \"FP8\"", "datatype"),
        ("model = \"m\"\nshape = [3]\ndatatype = \"FP32\"", "input"),
        ("model = \"m\"\nshape = [99999999]\ndatatype = \"FP32\"", "shape"),
    ] {
        match prepare(&spec(text), SocketAddr::from(([127, 0, 0, 1], 9))) {
            Err(RequestError::Field { field, .. }) => assert_eq!(field, wrong, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn all_requests_together_have_a_limit() {
    let mut prepared = Prepared { bytes: PREPARED_BYTES_MAX - 1, ..Prepared::default() };
    assert!(prepared.push(vec![0]).is_ok());
    assert!(matches!(prepared.push(vec![0]), Err(RequestError::TooMuch)));
}

// ---- payloads ----

#[test]
fn variants_differ_and_one_seed_gives_the_same_again() {
    let address = summing();
    for protocol in ["oip-binary", "oip-json", "tf-serving"] {
        let text = format!("protocol = \"{protocol}\"\nmodel = \"m\"\nrows = 2\nvariants = 3");
        let target = prepare(&spec(&text), address).expect("requests");
        let [first, second, third] = <[String; 3]>::try_from(bodies(&target)).expect("three");
        assert!(first != second && second != third && first != third, "{protocol}");
        let again = prepare(&spec(&text), address).expect("requests");
        assert_eq!(target.requests[2].bytes, again.requests[2].bytes);
        assert_eq!((driven(&target).answered, driven(&target).failures.total()), (12, 0));
    }
}

#[test]
fn a_given_shape_spares_the_metadata() {
    let nothing_but_answers = server(|question| match &*question.path {
        "/v2/models/m/infer" => sum_json(question),
        "/v1/models/m:predict" => (200, String::new(), b"{}".to_vec()),
        _ => (404, String::new(), Vec::new()),
    });
    let given =
        "model = \"m\"\npayload = \"constant\"\nvalue = 7\nshape = [3]\ndatatype = \"INT32\"";
    let oip = spec(&format!("protocol = \"oip-json\"\ninput = \"ids\"\n{given}"));
    let [body] = <[String; 1]>::try_from(bodies(&prepare(&oip, nothing_but_answers).expect("one")))
        .expect("one");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let expected =
        json!({ "name": "ids", "shape": [1, 3], "datatype": "INT32", "data": [7, 7, 7] });
    assert_eq!(body["inputs"][0], expected);
    let tf = spec(&format!("protocol = \"tf-serving\"\n{given}"));
    let target = prepare(&tf, nothing_but_answers).expect("one");
    assert_eq!(bodies(&target), [r#"{"instances":[[7,7,7]]}"#]);
    let unknown = prepare(&spec("protocol = \"tf-serving\"\nmodel = \"m\""), nothing_but_answers);
    assert!(matches!(unknown, Err(RequestError::NoMetadata { status: 404, .. })), "{unknown:?}");
}

#[test]
fn lines_are_bodies_or_the_values_of_the_only_input() {
    let lines = "{\"instances\":[[1,2,3]]}\n\n{\"input\":[[4,5,6]]}\n";
    let folder = Folder::with("lines", &[("in.jsonl", lines.as_bytes())]);
    let text = |protocol: &str| {
        format!("protocol = \"{protocol}\"\nmodel = \"m\"\npayload = \"in.jsonl\"")
    };
    let tf = prepare(&spec(&text("tf-serving")).beside(&folder.0), summing()).expect("two");
    assert_eq!(bodies(&tf), ["{\"instances\":[[1,2,3]]}", "{\"instances\":[[4,5,6]]}"]);
    let binary = prepare(&spec(&text("oip-binary")).beside(&folder.0), summing());
    assert!(matches!(binary, Err(RequestError::Line { line: 1, .. })), "{binary:?}");
    std::fs::write(folder.0.join("in.jsonl"), "{\"input\":[1,2,3]}").expect("written");
    let binary = prepare(&spec(&text("oip-binary")).beside(&folder.0), summing()).expect("one");
    assert!(bodies(&binary)[0].contains("\"shape\":[1,3]"));
    assert!(
        binary.requests[0].bytes.ends_with(&[1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat())
    );
    std::fs::write(folder.0.join("in.jsonl"), "{\"input\":[1,2,1e39]}").expect("written");
    let large = prepare(&spec(&text("oip-binary")).beside(&folder.0), summing());
    assert!(matches!(large, Err(RequestError::Value { .. })), "{large:?}");
}

#[test]
fn a_template_is_filled_for_each_variant() {
    let mut raw = spec(
        r#"
        protocol = "http"
        path = "/echo"
        body = '{"n": {{index}}, "seed": {{seed}}}'
        seed = 9
        variants = 2
        headers = { "content-type" = "text/plain", "X-Key" = "k" }
        [check]
        same-answer = true
        "#,
    );
    let target = prepare(&raw, summing()).expect("two");
    assert_eq!(bodies(&target), [r#"{"n": 0, "seed": 9}"#, r#"{"n": 1, "seed": 9}"#]);
    let head = String::from_utf8_lossy(&target.requests[0].bytes);
    assert!(head.starts_with("POST /echo HTTP/1.1\r\n") && head.contains("\r\nX-Key: k\r\n"));
    assert_eq!(head.to_lowercase().matches("content-type").count(), 1, "{head}");
    assert_eq!(target.requests[1].expect.body.as_deref(), Some(&br#"{"n": 1, "seed": 9}"#[..]));
    assert_eq!((driven(&target).answered, driven(&target).failures.total()), (12, 0));
    let folder = Folder::with("body", &[("body", b"\xff{{seed}}")]);
    (raw.body, raw.body_file, raw.variants) = (None, Some("body".into()), 1);
    let target = prepare(&raw.beside(&folder.0), summing()).expect("one");
    assert!(target.requests[0].bytes.ends_with(b"\xff{{seed}}"), "what is no text stays");
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let refused = prepare(&spec("protocol = \"http\"\npath = \"/nowhere\""), summing());
    let told = refused.expect_err("refused").to_string();
    assert_eq!(told, "the server answered request 0 with status 404: no such model here");
    let expected = "protocol = \"http\"\npath = \"/nowhere\"\n[check]\nstatus = 404";
    assert!(prepare(&spec(expected), summing()).is_ok());
}

// ---- references ----

#[test]
fn rows_of_a_file_meet_the_answers_of_another_in_every_protocol() {
    let (rows, sums) = (saved("(3, 3)", &ROWS), saved("(3,)", &[6.0, 15.0, -0.25]));
    let wrong = saved("(3,)", &[6.0, 15.0, 99.0]);
    let lines = b"[6, 15]\n{\"predictions\": [-0.25]}\n";
    let folder = Folder::with(
        "reference",
        &[("rows.npy", &rows), ("sums.npy", &sums), ("wrong.npy", &wrong), ("sums.jsonl", lines)],
    );
    let address = summing();
    for protocol in ["oip-binary", "oip-json", "tf-serving"] {
        let run = |reference: &str| {
            let text = format!(
                "protocol = \"{protocol}\"\nmodel = \"m\"\nrows = 2\npayload = \"rows.npy\"\n[check]\nreference = \"{reference}\""
            );
            let target = prepare(&spec(&text).beside(&folder.0), address).expect("requests");
            assert_eq!(target.requests.len(), 2, "two rows, then one");
            driven(&target)
        };
        for right in ["sums.npy", "sums.jsonl"] {
            let measured = run(right);
            assert_eq!((measured.answered, measured.failures.total()), (12, 0), "{protocol}");
        }
        let measured = run("wrong.npy");
        assert_eq!((measured.answered, measured.failures.wrong_body), (6, 6), "{protocol}");
        let told = measured.wrong_answers.first();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].request, &*told[0].told), (1, "value 0 is -0.25, expected was 99"));
    }
}

#[test]
fn a_reference_has_as_many_answers_as_there_are_requests() {
    let folder = Folder::with("count", &[("a.jsonl", b"[1]\n[2]\n"), ("b.jsonl", b"[\"cat\"]\n")]);
    let with = |reference: &str| {
        let text =
            format!("protocol = \"http\"\npath = \"/echo\"\n[check]\nreference = \"{reference}\"");
        prepare(&spec(&text).beside(&folder.0), summing())
    };
    let counted = with("a.jsonl");
    assert!(matches!(counted, Err(RequestError::ReferenceCount { requests: 1, answers: 2 })));
    assert!(matches!(with("b.jsonl"), Err(RequestError::Line { line: 1, .. })));
    assert!(matches!(with("none.npy"), Err(RequestError::File { .. })));
    assert!(matches!(with("a.csv"), Err(RequestError::Field { .. })));
}
