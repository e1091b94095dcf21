//! Requests of unlike sizes in one batch, as a client sees them.

use harness::Scratch;
use harness::client::{Client, Response, bytes_of};
use harness::engine::{Engine, wait_until};
use serde_json::json;

/// Returns the sum of each row, and beside it how wide the batch was; waits while the file `hold` lies beside it.
const SUMS: &str = "import os, time, hydrofoil as foil

@foil.model(slo='30s'PAD)
class Sums:
    def load(self, ctx):
        self.hold = ctx.path('hold')

    def predict(self, x: foil.i64['n', 't']) -> {'sum': foil.i64['n'], 'width': foil.i64['n']}:
        while os.path.exists(self.hold):
            time.sleep(0.005)
        sums = x.sum(axis=1)
        return {'sum': sums, 'width': sums * 0 + x.shape[1]}
";

/// As many rows as asked for, of this many ones.
fn ones(rows: usize, length: usize) -> String {
    let data = vec![1; rows * length];
    json!({"inputs": [{"name": "x", "shape": [rows, length], "datatype": "INT64", "data": data}]})
        .to_string()
}

fn engine(scratch: &Scratch, pad: &str, settings: &str) -> Engine {
    scratch.write("models/sums/1/model.py", &SUMS.replace("PAD", pad));
    scratch.write("models/sums/model.toml", settings);
    let engine = Engine::start(&[&scratch.path("models")], 1);
    // Batches as dear as the largest below are then nothing new.
    for _ in 0..5 {
        assert_eq!(engine.infer("sums", &ones(1, 400)).output(0), json!([400]));
    }
    engine
}

/// The answers to requests of these rows and lengths, which all come while the model is busy with another.
fn asked_together(
    scratch: &Scratch,
    engine: &Engine,
    requests: &[(usize, usize)],
) -> Vec<Response> {
    let send = |&(rows, length): &(usize, usize)| {
        let mut client = engine.client();
        let body = ones(rows, length);
        client.send(&bytes_of("POST", "/v2/models/sums/infer", &[], body.as_bytes()));
        client
    };
    let hold = "models/sums/1/hold";
    scratch.write(hold, "");
    let mut first = send(&(1, 1));
    let busy = "foil_device_replicas{model=\"sums\",version=\"1\",device=\"cpu\",state=\"busy\"}";
    wait_until("the model is busy", || engine.metric(busy) == 1.0);
    let queued = || engine.metric("foil_queue_length{model=\"sums\"");
    let mut clients: Vec<Client> = Vec::new();
    for request in requests {
        clients.push(send(request));
        wait_until("it waits behind those before it", || queued() == clients.len() as f64);
    }
    std::fs::remove_file(scratch.path(hold)).expect("it was there");
    assert_eq!(first.read().expect("an answer").output(0), json!([1]));
    clients.into_iter().map(|mut client| client.read().expect("an answer")).collect()
}

fn batch_rows(answer: &Response) -> String {
    let timing = answer.header("server-timing").unwrap_or_default();
    let (_, after) = timing.split_once("batch ").unwrap_or_else(|| panic!("no batch: {timing}"));
    after.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn requests_of_like_lengths_share_a_batch_as_wide_as_the_longest() {
    let scratch = Scratch::new("padding");
    let engine = engine(&scratch, ", pad=True", "");
    let answers = asked_together(&scratch, &engine, &[(2, 30), (1, 50), (1, 40), (1, 3)]);
    let (padded, short) = answers.split_at(3);
    for (answer, sums) in padded.iter().zip([json!([30, 30]), json!([50]), json!([40])]) {
        assert_eq!(answer.output(0), sums);
        let widths = answer.output(1);
        assert!(widths.as_array().expect("widths").iter().all(|it| it == 50), "{widths}");
        assert_eq!(batch_rows(answer), "4");
    }
    // With it, the batch would be too much padding.
    assert_eq!((short[0].output(0), short[0].output(1)), (json!([3]), json!([3])));
    assert_eq!(batch_rows(&short[0]), "1");
}

#[test]
fn without_padding_only_equal_lengths_share_a_batch() {
    let scratch = Scratch::new("no-padding");
    let engine = engine(&scratch, "", "");
    let answers = asked_together(&scratch, &engine, &[(1, 30), (1, 50), (1, 30)]);
    let rows: Vec<_> = answers.iter().map(batch_rows).collect();
    assert_eq!(rows, ["2", "1", "2"]);
    assert_eq!(answers[0].output(1), json!([30]));
}

#[test]
fn padding_may_be_declared_in_model_toml() {
    let scratch = Scratch::new("toml-padding");
    let engine = engine(&scratch, "", "pad = true\n");
    let answers = asked_together(&scratch, &engine, &[(1, 40), (1, 50)]);
    let widths: Vec<_> = answers.iter().map(|answer| answer.output(1)).collect();
    assert_eq!(widths, [json!([50]), json!([50])]);
}
