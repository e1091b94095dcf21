//! The main job on real input: train on the digits, serve three models, ask every held-out row, check each answer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::setup::setup;
use crate::shell::{Done, command, run, target_dir, venv};

/// Models take a second or two to import and load; a busy machine takes longer.
const READY_WAIT: Duration = Duration::from_secs(120);

/// The engine's stderr lines that wait to be read here.
const LINES_MAX: usize = 1024;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Stay up afterwards, and print lines to copy.
    #[arg(long)]
    serve: bool,
    /// Ask for this long instead of once through the held-out rows.
    #[arg(long, default_value_t = 0)]
    seconds: u32,
}

const MODELS: [&str; 3] = ["forest", "logistic", "logistic_native"];

pub(crate) fn demo(arguments: &Arguments) -> Done {
    setup()?;
    let directory = target_dir().join("demo");
    let directory = directory.to_string_lossy();
    run(&mut command(venv("python"), &["xtask/demo/train.py", &directory]))?;
    let mut engine = Engine::start(&format!("{directory}/repository"))?;
    let mut ask = command(venv("python"), &["xtask/demo/ask.py", &directory, &engine.url]);
    ask.arg(engine.child.id().to_string()).arg(arguments.seconds.to_string());
    let asked = run(&mut ask).map_err(|error| format!("the demo failed: {error}"));
    if arguments.serve && asked.is_ok() {
        engine.stay_up()?;
    }
    let stopped = engine.stop();
    asked.and(stopped)
}

/// `foil serve`, ended when dropped.
struct Engine {
    child: Child,
    url: String,
    lines: Receiver<String>,
}

impl Engine {
    fn start(repository: &str) -> Done<Engine> {
        let addresses = ["--http", "--grpc", "--metrics"].map(|flag| [flag, "127.0.0.1:0"]);
        let mut serve = command(venv("foil"), &["serve", repository]);
        serve.args(addresses.concat()).stdin(Stdio::null()).stderr(Stdio::piped());
        // A demonstration leaves nothing in anybody's home.
        serve.env("FOIL_STATE", "none");
        let mut child = serve.spawn().map_err(|error| format!("cannot start foil: {error}"))?;
        let (tell, lines) = sync_channel(LINES_MAX);
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    // Nobody reads any more once the demo is over; the pipe must still be drained.
                    let _over = tell.send(line);
                }
            });
        }
        let mut engine = Engine { child, url: String::new(), lines };
        engine.wait_until_ready()?;
        Ok(engine)
    }

    fn wait_until_ready(&mut self) -> Done {
        let mut ready = 0;
        let mut said = Vec::new();
        while ready < MODELS.len() {
            match self.lines.recv_timeout(READY_WAIT) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening  ") {
                        self.url = address.split(' ').next().unwrap_or_default().to_owned();
                    }
                    ready += usize::from(line.starts_with("ready"));
                    said.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "the engine was not ready within {READY_WAIT:?}:\n{}",
                        said.join("\n")
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the engine ended:\n{}", said.join("\n")));
                }
            }
        }
        Ok(())
    }

    fn stay_up(&mut self) -> Done {
        let url = &self.url;
        let python = "import numpy as np, json, urllib.request as u; from sklearn.datasets import load_digits; x = load_digits().data[:1]";
        println!("\nStill serving. Try:\n");
        println!("  curl {url}/v2/models/logistic_native");
        println!(
            "  .venv/bin/python -c '{python}; print(json.load(u.urlopen(\"{url}/v2/models/forest/infer\", json.dumps({{\"inputs\": [{{\"name\": \"x\", \"shape\": [1, 64], \"datatype\": \"FP64\", \"data\": x.tolist()}}]}}).encode())))'"
        );
        println!("\nCtrl-C ends it.");
        let ended = self.child.wait().map_err(|error| format!("cannot wait for foil: {error}"))?;
        if ended.success() { Ok(()) } else { Err(format!("foil ended with {ended}")) }
    }

    /// SIGTERM, and a clean exit is part of the demo.
    fn stop(&mut self) -> Done {
        if let Ok(Some(_)) = self.child.try_wait() {
            return Ok(());
        }
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let ended = self.child.wait().map_err(|error| format!("cannot wait for foil: {error}"))?;
        if ended.success() { Ok(()) } else { Err(format!("foil ended with {ended} after SIGTERM")) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it may stay.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
