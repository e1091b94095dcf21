//! The peers and the settings each is measured in: as shipped, as its documentation advises for throughput, and without
//! batching. What is listed here is what the results list.

use crate::overhead::ask::{Dialect, Form};

pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    /// Answers 200 once the model is up, not only the server. `{model}` stands for its name.
    pub(super) ready_path: &'static str,
    /// Its REST interface takes raw tensors, or something that can carry them.
    pub(super) takes_binary: bool,
    /// It is asked over gRPC, too.
    pub(super) takes_grpc: bool,
    /// Packages whose versions belong to a result.
    pub(super) packages: &'static [&'static str],
}

pub(super) const PEERS: [Peer; 6] = [
    Peer {
        name: "mosec",
        dialect: Dialect::Plain,
        ready_path: "/",
        takes_binary: true,
        takes_grpc: false,
        packages: &["mosec", "numpy", "orjson"],
    },
    Peer {
        name: "triton",
        dialect: Dialect::Oip,
        ready_path: "/v2/models/{model}/ready",
        takes_binary: true,
        takes_grpc: true,
        packages: &["nvidia-pytriton", "numpy"],
    },
    Peer {
        name: "pytriton",
        dialect: Dialect::Oip,
        ready_path: "/v2/models/{model}/ready",
        takes_binary: true,
        takes_grpc: false,
        packages: &["nvidia-pytriton", "numpy"],
    },
    Peer {
        name: "litserve",
        dialect: Dialect::Base64,
        ready_path: "/health",
        takes_binary: true,
        takes_grpc: false,
        packages: &["litserve", "uvicorn", "numpy"],
    },
    Peer {
        name: "mlserver",
        dialect: Dialect::Oip,
        ready_path: "/v2/models/{model}/ready",
        takes_binary: false,
        takes_grpc: false,
        packages: &["mlserver", "numpy"],
    },
    Peer {
        name: "uvicorn",
        dialect: Dialect::Plain,
        ready_path: "/",
        takes_binary: true,
        takes_grpc: false,
        packages: &["fastapi", "uvicorn", "uvloop", "httptools", "numpy", "orjson"],
    },
];

/// Without `--only`: those that the goals are set against.
pub(super) const USUAL: [&str; 2] = ["mosec", "triton"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// What the peer uses unless told otherwise.
    Shipped,
    Orjson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) peer: &'static str,
    /// As in keys and file names.
    pub(super) name: &'static str,
    /// 1: batching is off.
    pub(super) batch_max: u32,
    /// `None`: the peer's own default.
    pub(super) delay_ms: Option<u32>,
    pub(super) json: Json,
    pub(super) what: &'static str,
}

const BATCH_MAX: u32 = 64;

const fn setting(peer: &'static str, name: &'static str, what: &'static str) -> Setting {
    Setting { peer, name, batch_max: BATCH_MAX, delay_ms: None, json: Json::Shipped, what }
}

impl Setting {
    const fn delay(self, delay_ms: u32) -> Setting {
        Setting { delay_ms: Some(delay_ms), ..self }
    }

    const fn unbatched(self) -> Setting {
        Setting { batch_max: 1, ..self }
    }

    const fn orjson(self) -> Setting {
        Setting { json: Json::Orjson, ..self }
    }

    pub(super) fn is_batching(&self) -> bool {
        self.batch_max > 1
    }

    pub(super) fn is_shipped(&self) -> bool {
        self.json == Json::Shipped
    }

    /// Whether there is something to measure: another JSON library changes nothing of a binary request.
    pub(super) fn applies_to(&self, form: Form) -> bool {
        let takes = |it: fn(&Peer) -> bool| self.is_shipped() && peer(self.peer).is_some_and(it);
        match form {
            Form::Json => true,
            Form::Binary => takes(|peer| peer.takes_binary),
            Form::Grpc => takes(|peer| peer.takes_grpc),
        }
    }
}

pub(super) const SETTINGS: [Setting; 16] = [
    setting("mosec", "mosec_10ms", "batches of 64, waiting 10 ms (its default)").delay(10),
    setting("mosec", "mosec_1ms", "batches of 64, waiting 1 ms").delay(1),
    setting("mosec", "mosec_off", "no batching (its default)").unbatched(),
    setting("mosec", "mosec_orjson_10ms", "as mosec_10ms, orjson instead of json")
        .delay(10)
        .orjson(),
    setting("mosec", "mosec_orjson_1ms", "as mosec_1ms, orjson instead of json").delay(1).orjson(),
    setting("triton", "triton_1ms", "dynamic batches of 64, waiting 1 ms").delay(1),
    setting("triton", "triton_0ms", "dynamic batches of 64, no delay (the batcher's default)"),
    setting("triton", "triton_off", "no batching (its default)").unbatched(),
    setting("pytriton", "pytriton_1ms", "dynamic batches of 64, waiting 1 ms").delay(1),
    setting("pytriton", "pytriton_0ms", "dynamic batches of 64, no delay (its default)"),
    setting("litserve", "litserve_1ms", "batches of 64, waiting 1 ms").delay(1),
    setting("litserve", "litserve_off", "no batching (its default)").unbatched(),
    setting("mlserver", "mlserver_1ms", "adaptive batches of 64, waiting 1 ms").delay(1),
    setting("mlserver", "mlserver_off", "no batching (its default)").unbatched(),
    setting("uvicorn", "uvicorn", "FastAPI; has no batching").unbatched(),
    setting("uvicorn", "uvicorn_orjson", "the same, orjson instead of json").unbatched().orjson(),
];

pub(super) fn peer(name: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name)
}

pub(super) fn setting_named(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The settings of one peer that have something to measure, in the order of the list.
pub(super) fn of_peer(peer: &str, form: Form) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |it| it.peer == peer && it.applies_to(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_setting_and_every_setting_a_peer() {
        for known in &PEERS {
            assert!(of_peer(known.name, Form::Json).next().is_some(), "{}", known.name);
        }
        for one in &SETTINGS {
            assert!(peer(one.peer).is_some(), "{}", one.name);
            assert!(one.name.starts_with(one.peer), "{}", one.name);
            assert_eq!(setting_named(one.name), Some(one), "names are told apart");
        }
    }

    #[test]
    fn a_json_library_is_no_setting_of_a_binary_request() {
        let names = |peer, form| of_peer(peer, form).map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names("mosec", Form::Binary), ["mosec_10ms", "mosec_1ms", "mosec_off"]);
        assert_eq!(names("mosec", Form::Json).len(), 5);
        assert!(names("mlserver", Form::Binary).is_empty());
        assert_eq!(names("triton", Form::Grpc).len(), 3);
        assert!(names("mosec", Form::Grpc).is_empty());
    }
}
