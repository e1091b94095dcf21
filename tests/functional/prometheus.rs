//! A real Prometheus scrapes a real engine, in text and with native histograms, and its own checker reads the page.
//!
//! Debian's package brings both programs; without them the tests say so and end.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use harness::client::Client;
use harness::engine::{Engine, Scratch, model, wait_until};
use harness::tensors::rows;
use serde_json::Value;

const REQUESTS: usize = 20;

const QUANTILE: &str = "histogram_quantile(0.5,foil_request_duration_seconds)";
const CLASSIC: &str = "histogram_quantile(0.5,foil_request_duration_seconds_bucket)";

fn is_here(program: &str) -> bool {
    let mut asks = Command::new(program);
    let found = asks.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let found = found.status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no {program} here (apt-get install prometheus)");
    }
    found
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _data: Scratch,
}

impl Prometheus {
    fn start(name: &str, target: SocketAddr, flags: &[&str]) -> Prometheus {
        let data = Scratch::new(name);
        let config = format!(
            "global:\n  scrape_interval: 200ms\nscrape_configs:\n  - job_name: foil\n    static_configs:\n      - targets: ['{target}']\n"
        );
        data.write("prometheus.yml", &config);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", data.path("prometheus.yml")));
        command.arg(format!("--storage.tsdb.path={}", data.path("data")));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]).args(flags);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("prometheus starts");
        let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut lines = log.lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let said: Value = serde_json::from_str(&line).ok()?;
            (said["msg"] == "Listening on").then(|| said["address"].as_str()?.parse().ok())?
        });
        std::thread::spawn(move || lines.for_each(drop));
        Prometheus { child, address: address.expect("it says where it listens"), _data: data }
    }

    /// The value of the first series that a query finds.
    fn query(&self, query: &str) -> Option<f64> {
        let path = format!("/api/v1/query?query={query}");
        let answer = Client::connect(self.address).get(&path);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let value = answer.json()["data"]["result"][0]["value"][1].as_str()?.parse();
        value.ok().filter(|value: &f64| value.is_finite())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn asked(arguments: &[&str]) -> Engine {
    let moody = model("moody.py");
    let engine = Engine::start(&[&[moody.as_str()], arguments].concat(), 1);
    let mut client = engine.client();
    for _ in 0..REQUESTS {
        assert_eq!(client.infer("moody", &rows(&[[0.0, 1.0]])).status, 200);
    }
    engine
}

#[test]
fn prometheus_reads_every_format() {
    if !is_here("prometheus") {
        return;
    }
    let engine = asked(&["--metrics-compat", "triton"]);
    let text = Prometheus::start("prometheus-text", engine.metrics, &[]);
    let native = ["--enable-feature=native-histograms"];
    let native = Prometheus::start("prometheus-native", engine.metrics, &native);
    for prometheus in [&text, &native] {
        wait_until("Prometheus has scraped", || {
            prometheus.query("foil_requests_total") == Some(REQUESTS as f64)
        });
        assert_eq!(prometheus.query("up"), Some(1.0));
        assert_eq!(prometheus.query("nv_inference_request_success"), Some(REQUESTS as f64));
        assert_eq!(prometheus.query("foil_build_info"), Some(1.0));
    }
    let classic = text.query(CLASSIC).expect("classic buckets");
    let fine = native.query(QUANTILE).expect("a native histogram");
    assert_eq!(text.query(QUANTILE), None, "text has no native histograms");
    // Half of the requests took no longer than this: within a bucket of either kind.
    assert!((1e-5..1.0).contains(&fine), "{fine} s");
    assert!(fine < classic * 2.6 && classic < fine * 2.6, "{fine} s and {classic} s");
    let count = native.query("histogram_count(foil_batch_size)");
    assert_eq!(count, Some(REQUESTS as f64));
    let ones = native.query("histogram_quantile(1,foil_batch_size)").expect("a batch size");
    assert!(
        (0.9..=1.0).contains(&ones),
        "batches of one row lie in the bucket that ends at 1, not at {ones}"
    );
}

#[test]
fn the_checker_of_prometheus_finds_nothing_wrong() {
    if !is_here("promtool") {
        return;
    }
    let engine = asked(&[]);
    let page = Client::connect(engine.metrics).get("/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut checker = Command::new("promtool");
    checker.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut checker = checker.spawn().expect("promtool starts");
    let mut stdin = checker.stdin.take().expect("stdin is piped");
    stdin.write_all(&page.body).expect("it reads");
    drop(stdin);
    let checked = checker.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}
