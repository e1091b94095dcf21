//! Answers in parts, from a Python generator to an HTTP client: one by one, to their end, and no further than anybody
//! reads.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use harness::client::{Client, bytes_of};
use harness::engine::{Engine, Scratch, kill, model, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A generator that never says so by itself.
const ENDLESS: i64 = 1 << 40;

/// A stream of events under way.
struct Events {
    lines: BufReader<TcpStream>,
    status: String,
}

impl Events {
    fn ask(engine: &Engine, question: &Value) -> Events {
        let path = "/v2/models/parts/generate_stream";
        let mut client: Client = engine.client();
        client.send(&bytes_of("POST", path, &[], question.to_string().as_bytes()));
        let mut lines = BufReader::new(client.stream);
        let mut status = String::new();
        lines.read_line(&mut status).expect("a status line");
        Events { lines, status }
    }

    /// The next event; None at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("the stream goes on");
            if let Some(event) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(event).expect("an event is JSON"));
            }
            if line.trim_end() == "0" || line.is_empty() {
                return None;
            }
        }
    }
}

/// Where the model waits to be let go on.
struct Gate(Scratch);

impl Gate {
    fn new(name: &str) -> Gate {
        Gate(Scratch::new(&format!("parts-{name}")))
    }

    fn open(&self, number: i64) {
        self.0.write(&number.to_string(), "");
    }

    fn has_ended(&self) -> bool {
        std::fs::read_to_string(self.0.path("ended")).is_ok_and(|text| !text.is_empty())
    }

    fn ended(&self) -> String {
        wait_until("the generator ends", || self.has_ended());
        std::fs::read_to_string(self.0.path("ended")).expect("it is there")
    }

    fn question(&self, count: i64, fails_at: i64, chars: i64) -> Value {
        json!({"count": count, "fails_at": fails_at, "chars": chars, "gate": self.0.path("")})
    }
}

fn engine() -> Engine {
    Engine::start(&[&model("parts.py"), "--shared-user"], 1)
}

/// It has room for the next.
fn still_serves(engine: &Engine) {
    let question = json!({"count": 1, "fails_at": -1, "chars": 2, "gate": ""});
    let path = "/v2/models/parts/generate";
    let answer = engine.client().post(path, &[], question.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((&answer.json()["number"], &answer.json()["text"]), (&json!(0), &json!("xx")));
}

#[test]
fn parts_arrive_as_the_model_gives_them() {
    let (engine, gate) = (engine(), Gate::new("arrive"));
    let mut question = gate.question(3, -1, 0);
    question["id"] = json!("a name");
    let mut events = Events::ask(&engine, &question);
    assert!(events.status.starts_with("HTTP/1.1 200"), "{}", events.status);
    for number in 0..3 {
        // The model makes no further part before the gate opens: this one came by itself.
        let event = events.next().expect("a part");
        assert_eq!((&event["number"], &event["id"]), (&json!(number), &json!("a name")));
        gate.open(number);
    }
    assert_eq!(events.next(), None);
    assert_eq!(gate.ended(), "done");
    still_serves(&engine);
}

#[test]
fn a_client_that_leaves_closes_the_generator() {
    let (engine, gate) = (engine(), Gate::new("leave"));
    let mut events = Events::ask(&engine, &gate.question(ENDLESS, -1, 0));
    assert_eq!(events.next().expect("a part")["number"], json!(0));
    drop(events);
    // It hears of it with the first part that nobody takes.
    let mut number = 0;
    wait_until("the generator ends", || {
        gate.open(number);
        number += 1;
        gate.has_ended()
    });
    assert_eq!(gate.ended(), "closed");
    still_serves(&engine);
}

#[test]
fn a_failure_is_a_status_before_the_first_part_and_an_event_behind_it() {
    let (engine, gate) = (engine(), Gate::new("fail"));
    let at_once = Events::ask(&engine, &gate.question(3, 0, 0));
    assert!(at_once.status.starts_with("HTTP/1.1 500"), "{}", at_once.status);
    gate.open(0);
    let mut events = Events::ask(&engine, &gate.question(3, 1, 0));
    assert_eq!(events.next().expect("a part")["number"], json!(0));
    let last = events.next().expect("what went wrong");
    assert!(last["error"].as_str().is_some_and(|it| it.contains("no part 1")), "{last}");
    assert_eq!(events.next(), None);
    still_serves(&engine);
}

#[test]
fn a_reader_that_stops_reading_is_told_so_and_holds_nobody_up() {
    let (engine, gate) = (engine(), Gate::new("slow"));
    // Each larger than what the way holds, in some hundreds.
    let mut events = Events::ask(&engine, &gate.question(ENDLESS, -1, 32 << 10));
    assert_eq!(gate.ended(), "closed", "nothing was read");
    still_serves(&engine);
    let mut last = Value::Null;
    while let Some(event) = events.next() {
        last = event;
    }
    assert!(last["error"].as_str().is_some_and(|it| it.contains("read faster")), "{last}");
}

#[test]
fn a_lost_replica_ends_the_stream_and_the_question_is_not_run_again() {
    let (engine, gate) = (engine(), Gate::new("lost"));
    let mut events = Events::ask(&engine, &gate.question(ENDLESS, -1, 0));
    assert_eq!(events.next().expect("a part")["number"], json!(0));
    engine.containers().into_iter().for_each(|pid| kill(pid, Signal::KILL));
    let last = events.next().expect("what went wrong");
    assert!(last["error"].as_str().is_some_and(|it| it.contains("streamed")), "{last}");
    let begun = || std::fs::read_to_string(gate.0.path("begun")).expect("it began").lines().count();
    let question = json!({"count": 1, "fails_at": -1, "chars": 2, "gate": ""}).to_string();
    wait_until("another replica serves", || {
        let path = "/v2/models/parts/generate";
        engine.client().post(path, &[], question.as_bytes()).status == 200
    });
    assert_eq!(begun(), 1);
}

#[test]
fn a_deadline_of_its_own_ends_a_stream_that_has_begun() {
    let (engine, gate) = (engine(), Gate::new("deadline"));
    let mut question = gate.question(ENDLESS, -1, 0);
    question["parameters"] = json!({"timeout": 2_000_000});
    let mut events = Events::ask(&engine, &question);
    assert_eq!(events.next().expect("a part")["number"], json!(0));
    let last = events.next().expect("what went wrong");
    assert!(last["error"].as_str().is_some_and(|it| it.contains("deadline")), "{last}");
    gate.open(0);
    assert_eq!(gate.ended(), "closed");
    still_serves(&engine);
}

#[test]
fn a_question_for_one_answer_is_answered_by_a_model_that_gives_one_part() {
    let engine = engine();
    let asked = |count: i64| {
        let input = |name: &str, value: Value| {
            let datatype = if value.is_string() { "BYTES" } else { "INT64" };
            json!({"name": name, "shape": [1], "datatype": datatype, "data": [value]})
        };
        let inputs = [
            input("count", json!(count)),
            input("fails_at", json!(-1)),
            input("chars", json!(1)),
            input("gate", json!("")),
        ];
        engine.infer("parts", &json!({ "inputs": inputs }).to_string())
    };
    assert_eq!(asked(1).output(1), json!(["x"]));
    for (count, given) in [(0, "none"), (2, "more"), (500, "more")] {
        let refused = asked(count);
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.error().contains(given), "{}", refused.error());
    }
    still_serves(&engine);
}

#[test]
fn a_model_that_returns_answers_a_stream_with_one_event() {
    let files = Scratch::new("parts-unary");
    let text = "import hydrofoil as foil\n\n\n@foil.model(max_batch=4)\n\
                def parts(x: foil.f32[\"n\", 2]) -> foil.f32[\"n\"]:\n    return x.sum(1)\n";
    files.write("parts.py", text);
    let engine = Engine::start(&[&files.path("parts.py")], 1);
    let mut events = Events::ask(&engine, &json!({"x": [1, 2, 3, 4]}));
    assert_eq!(events.next().expect("the answer")["output"], json!([3.0, 7.0]));
    assert_eq!(events.next(), None);
    let refused = Events::ask(&engine, &json!({"x": [1, 2, 3]}));
    assert!(refused.status.starts_with("HTTP/1.1 400"), "{}", refused.status);
}
