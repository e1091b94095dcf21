//! Clipper's query and admin APIs over models that this engine serves from files. Their own client and containers are in
//! `tests/conformance/with_clipper`.

use std::net::SocketAddr;

use harness::client::{Client, Response};
use harness::engine::{Engine, Scratch, command, model};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Long enough for any machine.
const SLO_US: i32 = 20_000_000;

struct Clipper {
    engine: Engine,
    query: SocketAddr,
    admin: SocketAddr,
}

impl Clipper {
    /// Serves `moody` behind the application `a`.
    fn start(arguments: &[&str]) -> Clipper {
        let clipper = Clipper::unlinked(arguments);
        assert_eq!(clipper.administer("add_app", &app("a", SLO_US)).status, 200);
        let links = json!({"app_name": "a", "model_names": ["moody"]});
        assert_eq!(clipper.administer("add_model_links", &links).status, 200);
        clipper
    }

    fn unlinked(arguments: &[&str]) -> Clipper {
        let mut command = command(&[&model("moody.py")]);
        let ports = ["--clipper-query", "--clipper-admin", "--clipper-rpc"];
        command.args(ports.map(|flag| [flag, "127.0.0.1:0"]).concat()).args(arguments);
        let engine = Engine::start_with(command, 1);
        let said = engine.said();
        let line = said.lines().find(|line| line.starts_with("listening  clipper "));
        let line = line.expect("it says where applications are asked");
        let mut addresses = line.split("http://").skip(1).map(|it| it.split(' ').next());
        let mut address = || addresses.next().flatten()?.parse().ok();
        let (query, admin) = (address().expect("an address"), address().expect("an address"));
        Clipper { engine, query, admin }
    }

    fn administer(&self, page: &str, body: &Value) -> Response {
        self.administer_with(page, body, &[])
    }

    fn administer_with(&self, page: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
        let path = format!("/admin/{page}");
        Client::connect(self.admin).post(&path, headers, body.to_string().as_bytes())
    }

    fn ask(&self, path: &str, body: &Value) -> Response {
        Client::connect(self.query).post(path, &[], body.to_string().as_bytes())
    }
}

fn app(name: &str, slo_us: i32) -> Value {
    json!({
        "name": name,
        "input_type": "floats",
        "default_output": "nothing",
        "latency_slo_micros": slo_us,
    })
}

#[test]
fn a_models_answers_and_failures_are_in_both_accounts() {
    let clipper = Clipper::start(&["--clipper"]);
    let good = clipper.ask("/a/predict", &json!({"input": [20, 2.5]})).json();
    assert_eq!(good, json!({"query_id": 0, "output": 22.5, "default": false}));
    let bad = clipper.ask("/a/predict/", &json!({"input_batch": [[30.5, 0.5], [1.0, 0.0]]})).json();
    let [first, second] = &bad["batch_predictions"].as_array().expect("a batch")[..] else {
        panic!("two answers: {bad}")
    };
    assert_eq!(first["output"], json!(31.0));
    assert_eq!((&second["output"], &second["default"]), (&json!("nothing"), &json!(true)));
    assert!(second["default_cause"].as_str().is_some_and(|it| it.contains("raised")), "{second}");
    let answered = "foil_requests_total{model=\"moody\"";
    assert_eq!(clipper.engine.metric(answered), 2.0);
    let page = Client::connect(clipper.query).get("/metrics").json();
    let counters = page["counters"].as_array().expect("a list");
    let of_app = counters.iter().find_map(|it| it.get("app:a:num_predictions"));
    assert_eq!(of_app, Some(&json!({"count": "3"})));
}

#[test]
fn what_is_no_row_of_the_model_is_the_callers_fault() {
    let clipper = Clipper::start(&["--clipper"]);
    let answer = clipper.ask("/a/predict", &json!({"input": [20.0, 2.0, 3.0]}));
    assert_eq!((answer.status, answer.error().as_str()), (400, "Query processing error"));
    let cause = answer.json()["cause"].clone();
    assert!(cause.as_str().is_some_and(|it| it.contains("3 elements")), "{cause}");
}

#[test]
fn what_comes_later_than_the_slo_is_the_default() {
    let clipper = Clipper::start(&["--clipper"]);
    assert_eq!(clipper.administer("add_app", &app("hasty", 50_000)).status, 200);
    let links = json!({"app_name": "hasty", "model_names": ["moody"]});
    assert_eq!(clipper.administer("add_model_links", &links).status, 200);
    let slow = json!({"input": [10.0, 0.0]});
    let answer = clipper.ask("/hasty/predict", &slow).json();
    assert_eq!((&answer["output"], &answer["default"]), (&json!("nothing"), &json!(true)));
    let why = "Failed to retrieve a prediction response within the specified latency SLO";
    assert_eq!(answer["default_explanation"], json!(why));
    assert_eq!(clipper.ask("/a/predict", &slow).json()["output"], json!(10.0));
}

#[test]
fn unknown_pages_are_told_apart_and_by_the_letter_hung_up_on() {
    let sane = Clipper::start(&["--clipper"]);
    let question = json!({"input": [20.0, 2.0]});
    assert_eq!(sane.ask("/b/predict", &question).status, 404);
    assert_eq!(sane.ask("/a/predicts", &question).status, 404);
    let wrong = Client::connect(sane.query).get("/a/predict");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let wrong = Client::connect(sane.admin).get("/admin/add_app");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(Client::connect(sane.admin).get("/admin/ping").text(), "PONG");

    let strict = Clipper::start(&["--clipper=strict"]);
    let mut client = Client::connect(strict.query);
    client.send(b"POST /b/predict HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}");
    assert!(client.read().is_none(), "closed without a word");
    let mut client = Client::connect(strict.query);
    assert_eq!(client.post("/a/predict", &[], br#"{"input":[20.0,2.0]}"#).status, 200);
    client.send(b"GET /a/predict HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.read().is_none(), "closed without a word");
}

#[test]
fn changes_need_the_token_where_there_is_one_and_reading_does_not() {
    let scratch = Scratch::new("clipper-token");
    scratch.write("token", "0123456789abcdef\n");
    let clipper = Clipper::unlinked(&["--clipper", "--admin-token-file", &scratch.path("token")]);
    let refused = clipper.administer("add_app", &app("a", SLO_US));
    assert!(refused.status == 401 || refused.status == 403, "{}", refused.status);
    assert!(refused.text().contains("Bearer"), "{}", refused.text());
    let all = clipper.administer("get_all_applications", &json!({"verbose": false}));
    assert_eq!((all.status, all.text().as_str()), (200, "[]"));
    let token = [("Authorization", "Bearer 0123456789abcdef")];
    assert_eq!(clipper.administer_with("add_app", &app("a", SLO_US), &token).status, 200);
}

#[test]
fn a_page_in_a_browser_changes_nothing() {
    let clipper = Clipper::unlinked(&["--clipper"]);
    let origin = [("Origin", "https://example.org")];
    let refused = clipper.administer_with("add_app", &app("a", SLO_US), &origin);
    assert!(refused.text().contains("browser"), "{}", refused.text());
    assert_eq!(clipper.administer("get_application", &json!({"name": "a"})).text(), "{}");
}

#[test]
fn an_engine_with_clippers_interface_drains() {
    let clipper = Clipper::start(&["--clipper"]);
    let mut open = Client::connect(clipper.query);
    assert_eq!(open.post("/a/predict", &[], br#"{"input":[20.0,2.0]}"#).status, 200);
    clipper.engine.signal(Signal::TERM);
    let mut engine = clipper.engine;
    assert!(engine.wait().success());
}

#[test]
fn a_large_batch_is_answered_whole_and_in_order() {
    let clipper = Clipper::start(&["--clipper"]);
    let inputs: Vec<_> = (0..3000).map(|number| [f64::from(100 + number), 0.5]).collect();
    let answers = clipper.ask("/a/predict", &json!({"input_batch": inputs})).json();
    let answers = answers["batch_predictions"].as_array().expect("a batch").clone();
    assert_eq!(answers.len(), 3000);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["output"], json!(100.5 + number as f64), "{answer}");
        assert_eq!(answer["query_id"], json!(number));
    }
}

#[test]
fn addresses_without_the_switch_are_refused() {
    let mut command = command(&[&model("moody.py"), "--clipper-query", "127.0.0.1:0"]);
    let output = command.output().expect("foil runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("add --clipper"), "{said}");
}
