//! `foil serve` with the models of a step, asked for answers and loaded.

use std::net::SocketAddr;
use std::time::Duration;

use super::partition::Apart;
use super::site::Site;
use super::step::{Stop, fail};
use crate::driver::drive;
use crate::http::exchange;
use crate::overhead::OverheadError;
use crate::overhead::ask::{Dialect, after_json, of_raw};
use crate::overhead::servers::{Server, free_address};
use crate::payload::{Datatype, Encoding, Input, http_request, payload};
use crate::plan::{Expect, Plan, Target, Wait};
use crate::threads::on_core;

/// Connections, caches and the latency profile settle within this.
const WARM_UP: Duration = Duration::from_millis(500);

impl From<OverheadError> for Stop {
    fn from(error: OverheadError) -> Stop {
        fail(error)
    }
}

/// An engine, ended when dropped.
pub(super) struct Served {
    server: Server,
    admin: SocketAddr,
}

/// What a model is asked: rows of numbers of one seed.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) model: String,
    pub(super) input: Input,
    pub(super) seed: u64,
}

/// Where a client runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    Anywhere,
    /// On a core that nobody else uses: it never sleeps.
    Own(usize),
    Shares(usize),
}

impl Client {
    fn core_and_wait(self) -> (Option<usize>, Wait) {
        match self {
            Client::Anywhere => (None, Wait::Sleep),
            Client::Own(core) => (Some(core), Wait::Spin),
            Client::Shares(core) => (Some(core), Wait::Sleep),
        }
    }
}

/// What a closed loop had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Had {
    pub(super) answers_per_s: f64,
    pub(super) p50_us: f64,
}

impl Question {
    /// One row of what the least models take.
    pub(super) fn row(model: &str, columns: u64) -> Question {
        Question { model: model.to_owned(), input: Input::fp32("x", &[1, columns]), seed: 1 }
    }

    /// `rows` rows of `columns` small integers.
    pub(super) fn ids(model: &str, rows: u64, columns: u64) -> Question {
        let datatype = Datatype::from_name("INT64").expect("one of the protocol's");
        let shape = vec![rows, columns];
        let input =
            Input { name: "ids".to_owned(), datatype_name: "INT64".to_owned(), datatype, shape };
        Question { model: model.to_owned(), input, seed: 1 }
    }

    fn request(&self, host: SocketAddr) -> Vec<u8> {
        let path = format!("/v2/models/{}/infer", self.model);
        let payload = payload(Encoding::Binary, std::slice::from_ref(&self.input), self.seed);
        http_request(&host.to_string(), &path, &payload)
    }
}

impl Served {
    /// Serves a folder of the workplace; comes back when every model is ready.
    pub(super) fn start(site: &Site, target: &str, cores: &[usize]) -> Result<Served, Stop> {
        let [http, grpc, metrics, admin] = addresses()?;
        let mut command = site.command(&site.program("foil"));
        command.arg("serve").arg(site.workplace.file(target));
        for (flag, address) in
            [("--http", http), ("--grpc", grpc), ("--metrics", metrics), ("--admin", admin)]
        {
            command.args([flag, &address.to_string()]);
        }
        let cores = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        command.args(["--cores", &cores, "--lane", site.lane.0]);
        // What is carried along may lie where no other user can read it.
        command.arg("--shared-user").env("FOIL_STATE", "none");
        if let Ok(python) = &site.python {
            command.arg("--python").arg(&python.file);
        }
        let server = Server::start(&site.workplace, "foil", Dialect::Oip, http, None, command)?;
        Ok(Served { server: server.ready("/v2/health/ready")?, admin })
    }

    /// The numbers that the model answers.
    pub(super) fn answer(&self, question: &Question) -> Result<Vec<f32>, Stop> {
        let body = self.said(question)?;
        let numbers = after_json(&body).and_then(of_raw).filter(|numbers| !numbers.is_empty());
        numbers.ok_or_else(|| fail(format!("{} answered no numbers", question.model)))
    }

    fn said(&self, question: &Question) -> Result<Vec<u8>, Stop> {
        let address = self.server.address;
        let answer = exchange(address, &question.request(address)).map_err(fail)?;
        match answer.status {
            200 => Ok(answer.body),
            status => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                Err(fail(format!("{} answered {status}: {body}", question.model)))
            }
        }
    }

    /// A closed loop.
    pub(super) fn load(
        &self,
        question: &Question,
        (connections, client): (usize, Client),
        measure: Duration,
    ) -> Result<Had, Stop> {
        let address = self.server.address;
        let expect = Expect { status: Some(200), ..Expect::default() };
        let target = Target::one(address, question.request(address), expect);
        let (core, wait) = client.core_and_wait();
        let plan = Plan { wait, warm_up: WARM_UP, ..Plan::closed(connections, measure) };
        let measured = on_core(core, || drive(&target, &plan, &mut |_| {}));
        let measured = measured.map_err(fail)?.map_err(fail)?;
        if measured.failures.total() > 0 {
            let (failures, told) = (measured.failures, measured.wrong_answers.first());
            let told = told.first().map(ToString::to_string).unwrap_or_default();
            return Err(fail(format!("{} failed under load: {failures:?} {told}", question.model)));
        }
        let answers_per_s = measured.requests_per_second();
        let p50_us = measured.latency.summary().p50_us;
        let silent = || fail(format!("{} answered nothing under load", question.model));
        Ok(Had { answers_per_s, p50_us: p50_us.ok_or_else(silent)? })
    }

    /// The same from several clients at once, each for its own model; requests a second of them all.
    pub(super) fn load_all(
        &self,
        asked: &[(Question, Client)],
        connections: usize,
        measure: Duration,
    ) -> Result<f64, Stop> {
        std::thread::scope(|scope| {
            let clients: Vec<_> = asked
                .iter()
                .map(|(question, client)| {
                    scope.spawn(move || self.load(question, (connections, *client), measure))
                })
                .collect();
            let had = clients.into_iter().map(|client| {
                client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            had.map(|had| Ok(had?.answers_per_s)).sum()
        })
    }

    /// Takes the model off the engine; it is gone when this returns.
    pub(super) fn unload(&self, model: &str) -> Result<(), Stop> {
        let (host, admin) = (self.admin.to_string(), self.admin);
        let path = format!("/v2/repository/models/{model}/unload");
        let nothing = crate::payload::Payload::json("{}".to_owned());
        let answer = exchange(admin, &http_request(&host, &path, &nothing)).map_err(fail)?;
        match answer.status {
            200 => Ok(()),
            status => Err(fail(format!("the unload of {model} was answered {status}"))),
        }
    }
}

fn addresses() -> Result<[SocketAddr; 4], Stop> {
    // What is free may be found twice.
    let mut found = Vec::new();
    while found.len() < 4 {
        let address = free_address("foil")?;
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok([found[0], found[1], found[2], found[3]])
}

/// The line of a model.toml that keeps a model to CPUs of its own, where it has any.
pub(super) fn pinned(apart: &Apart) -> String {
    match &apart.models[..] {
        [] => String::new(),
        cpus => format!("cpus = {cpus:?}\n"),
    }
}
