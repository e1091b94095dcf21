//! How long it takes from `foil deploy` to a first answer, from an engine's death to one, and back to the version before.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::docker;
use crate::setup::setup;
use crate::shell::{Done, command, venv};

/// What is deployed: a small model that is NumPy alone.
const MODEL: &str = "import hydrofoil as foil\nimport numpy as np\n\n\n@foil.model(max_batch=64)\nclass Small:\n    def load(self, ctx):\n        self.w = np.ones((4, 2), np.float32)\n\n    def predict(self, x: foil.f32[\"n\", 4]) -> foil.f32[\"n\", 2]:\n        return x @ self.w\n";
const QUESTION: &str =
    r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
/// Nothing that is measured here takes this long; what does, hangs.
const WATCHDOG: Duration = Duration::from_secs(60);
/// Between two questions to an engine that does not answer yet.
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Times that each is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Where foil and python lie, in place of .venv/bin, which is then not set up.
    #[arg(long)]
    bin: Option<PathBuf>,
    /// The last line is a JSON object.
    #[arg(long)]
    json: bool,
}

/// What was measured with one launcher, in seconds.
struct Figures {
    launcher: &'static str,
    deploy: Vec<f64>,
    rollback: Vec<f64>,
    restart: Vec<f64>,
}

pub(crate) fn deploy(arguments: &Arguments) -> Done {
    let bin = match &arguments.bin {
        Some(bin) => bin.clone(),
        None => {
            setup()?;
            venv("")
        }
    };
    let mut all = vec![figures(&bin, "process", arguments.rounds)?];
    match docker::ready() {
        Ok(()) => all.push(figures(&bin, "docker", arguments.rounds)?),
        Err(why) => println!("not measured in Docker: {why}"),
    }
    println!("{:>8} {:>26} {:>10} {:>10} {:>10}", "", "", "median s", "slowest s", "target s");
    for figures in &all {
        figures.print();
    }
    if arguments.json {
        let all: Vec<_> = all.iter().map(Figures::json).collect();
        println!("{}", json!({ "rounds": arguments.rounds, "launchers": all }));
    }
    Ok(())
}

fn figures(bin: &Path, launcher: &'static str, rounds: usize) -> Done<Figures> {
    let place = Place::new(bin, launcher)?;
    let mut figures =
        Figures { launcher, deploy: Vec::new(), rollback: Vec::new(), restart: Vec::new() };
    let mut engine = place.start()?;
    // The first pays for what the system has not read yet.
    for round in 0..=rounds {
        let begun = now();
        place.foil(&["deploy", &place.model(), "--name", &format!("m{round}")])?;
        engine.first_answer(&format!("m{round}"))?;
        figures.deploy.push(begun.elapsed().as_secs_f64());
        if round < rounds {
            place.foil(&["rm", &format!("m{round}")])?;
        }
    }
    figures.deploy.remove(0);
    let name = format!("m{rounds}");
    place.foil(&["deploy", &place.model(), "--name", &name])?;
    for _ in 0..rounds {
        let begun = now();
        place.foil(&["rollback", &name])?;
        engine.first_answer(&name)?;
        figures.rollback.push(begun.elapsed().as_secs_f64());
    }
    for _ in 0..rounds {
        let begun = now();
        engine.kill();
        engine = place.start()?;
        engine.first_answer(&name)?;
        figures.restart.push(begun.elapsed().as_secs_f64());
    }
    Ok(figures)
}

impl Figures {
    fn each(&self) -> [(&'static str, &'static str, &[f64], Option<f64>); 3] {
        let deploy = if self.launcher == "docker" { 5.0 } else { 3.0 };
        [
            ("deploy_s", "deploy to first answer", &self.deploy, Some(deploy)),
            ("rollback_s", "rollback to first answer", &self.rollback, None),
            ("restart_s", "SIGKILL to first answer", &self.restart, Some(2.0)),
        ]
    }

    fn print(&self) {
        for (_, what, seconds, target) in self.each() {
            let (median, slowest) = (median(seconds), slowest(seconds));
            let target = target.map_or("-".to_owned(), |target| format!("{target:.1}"));
            println!("{:>8} {what:>26} {median:>10.3} {slowest:>10.3} {target:>10}", self.launcher);
        }
    }

    fn json(&self) -> Value {
        let mut shown = json!({ "launcher": self.launcher });
        for (key, _, seconds, target) in self.each() {
            let (median, slowest) = (median(seconds), slowest(seconds));
            shown[key] = json!({ "median": median, "slowest": slowest, "target": target });
        }
        shown
    }
}

#[expect(clippy::disallowed_methods, reason = "measuring needs a clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "an engine that starts can only be asked again")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn slowest(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(0.0, f64::max)
}

/// A state directory and a model's file, removed at the end.
struct Place {
    path: PathBuf,
    bin: PathBuf,
    launcher: &'static str,
}

impl Place {
    fn new(bin: &Path, launcher: &'static str) -> Done<Place> {
        let path = std::env::temp_dir().join(format!("foil-deploy-{}", std::process::id()));
        let path = path.join(launcher);
        let failed = |error| format!("{} can't be made: {error}", path.display());
        fs::create_dir_all(path.join("state")).map_err(failed)?;
        fs::write(path.join("small.py"), MODEL).map_err(failed)?;
        Ok(Place { path, bin: bin.to_owned(), launcher })
    }

    fn model(&self) -> String {
        self.path.join("small.py").display().to_string()
    }

    fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    fn foil(&self, arguments: &[&str]) -> Done {
        let mut foil = command(self.bin.join("foil"), arguments);
        foil.env("FOIL_STATE", self.state()).stdin(Stdio::null());
        let ended = foil.output().map_err(|error| format!("cannot run foil: {error}"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() { Ok(()) } else { Err(format!("foil {arguments:?}: {said}")) }
    }

    fn start(&self) -> Done<Engine> {
        let mut foil = command(self.bin.join("foil"), &["serve", "--launcher", self.launcher]);
        let addresses = ["--http", "--grpc", "--metrics"].map(|flag| [flag, "127.0.0.1:0"]);
        foil.args(addresses.concat()).env("FOIL_STATE", self.state());
        foil.env("FOIL_PYTHON", self.bin.join("python"));
        Engine::start(&mut foil)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _left = fs::remove_dir_all(self.path.parent().unwrap_or(&self.path));
    }
}

struct Engine {
    child: Child,
    http: SocketAddr,
}

impl Engine {
    fn start(foil: &mut Command) -> Done<Engine> {
        let started = foil.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("cannot run foil: {error}"))?;
        let stderr = child.stderr.take().ok_or("its output can't be read")?;
        let (say, said) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let address = line.strip_prefix("listening  http://");
                let address = address.and_then(|it| it.split(' ').next()?.parse().ok());
                if let Some(address) = address {
                    // Waited for once.
                    let _told = say.try_send(address);
                }
            }
        });
        let http = said.recv_timeout(WATCHDOG).map_err(|_| "foil serve does not start")?;
        Ok(Engine { child, http })
    }

    /// Asks until it is answered.
    fn first_answer(&self, model: &str) -> Done {
        let begun = now();
        while !self.answers(model) {
            if begun.elapsed() > WATCHDOG {
                return Err(format!("{model} does not answer within {WATCHDOG:?}"));
            }
            pause();
        }
        Ok(())
    }

    fn answers(&self, model: &str) -> bool {
        let length = QUESTION.len();
        let request = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: foil\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{QUESTION}"
        );
        let Ok(mut stream) = TcpStream::connect(self.http) else { return false };
        let mut answer = [0; 12];
        let asked =
            stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut answer));
        asked.is_ok() && answer.ends_with(b" 200")
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
