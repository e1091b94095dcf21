//! Every bound that a deployment may want otherwise, with its unit and its reason.

use serde::Deserialize;

use super::ConfigError;

/// Bounds that a deployment may want otherwise. All have defaults.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests of one model that may wait. At 10 000 answers a second, 1 024 wait a tenth of a second.
    pub queue_tasks_max: usize,
    /// Bytes of the rows of one model that may wait: bounds memory when rows are large.
    pub queue_bytes_max: u64,
    /// Bytes of one slot of shared memory; a larger batch or reply is an error that names this setting.
    pub slot_bytes_max: u32,
    /// Bytes of a slot beyond its fixed part where a tensor's size is not declared; at most `slot_bytes_max` in all.
    pub variable_slot_bytes: u32,
    /// Bytes of one request's line and headers: eight times what proxies usually let pass.
    pub head_bytes_max: usize,
    /// Bytes of one request's body, inflated where it comes compressed, or message of gRPC. Triton's default for HTTP.
    pub body_bytes_max: u64,
    /// Bytes of all bodies that one core receives or inflates at a time: sixteen of the largest.
    pub gathered_bytes_max: u64,
    /// Bytes that the archive of a deployed version may unpack to: the weights of a large model.
    pub upload_bytes_max: u64,
    /// Regions of client shared memory: each keeps a descriptor, of which a process has 1,024 by default.
    pub client_shm_regions_max: usize,
    /// Bytes of all of them: they stay allocated until they are unregistered, even when their client is gone.
    pub client_shm_bytes_max: u64,
    /// Open connections per core and protocol; more are told so. Below the 8192 tasks of the hand-off to a dispatcher.
    pub connections_max: usize,
    /// Seconds a client may take to send the head of its first request.
    pub head_s: u64,
    /// Seconds a connection may idle: longer than the 60 s after which most proxies close their side.
    pub idle_s: u64,
    /// Seconds a body may take to arrive.
    pub body_s: u64,
    /// Seconds a container may take from its start to its hello: imports of large frameworks are slow.
    pub hello_s: u64,
    /// Seconds a model may take to load.
    pub load_s: u64,
    /// Seconds a drain may take before what is left is abandoned.
    pub drain_s: u64,
    /// Milliseconds a replica's heart may stand still before it is killed and replaced; it beats every 100.
    pub heartbeat_ms: u64,
    /// Seconds a container of Clipper's that owes no answer may be silent; it sends a heartbeat every 5.
    pub container_silence_s: u64,
    /// Seconds for which fewer replicas must do before any goes, where the engine chooses (`replicas_max`): longer than a
    /// lull between bursts.
    pub scale_down_s: u64,
    /// Seconds between two looks at whether a replica that may run on several kinds of device is on the right one.
    pub review_s: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            queue_tasks_max: 1024,
            queue_bytes_max: 256 << 20,
            slot_bytes_max: 16 << 20,
            variable_slot_bytes: 1 << 20,
            head_bytes_max: 64 << 10,
            body_bytes_max: 64 << 20,
            gathered_bytes_max: 1 << 30,
            upload_bytes_max: 32 << 30,
            client_shm_regions_max: 512,
            client_shm_bytes_max: 8 << 30,
            connections_max: 4096,
            head_s: 10,
            idle_s: 75,
            body_s: 30,
            hello_s: 60,
            load_s: 600,
            drain_s: 30,
            heartbeat_ms: 1000,
            container_silence_s: 30,
            scale_down_s: 60,
            review_s: 10,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let least = [
            ("limits.queue_tasks_max", self.queue_tasks_max as u64, 1),
            ("limits.client_shm_regions_max", self.client_shm_regions_max as u64, 1),
            ("limits.upload_bytes_max", self.upload_bytes_max, 1),
            ("limits.client_shm_bytes_max", self.client_shm_bytes_max, 1),
            ("limits.connections_max", self.connections_max as u64, 1),
            ("limits.head_s", self.head_s, 1),
            ("limits.idle_s", self.idle_s, 1),
            ("limits.body_s", self.body_s, 1),
            ("limits.hello_s", self.hello_s, 1),
            ("limits.load_s", self.load_s, 1),
            ("limits.drain_s", self.drain_s, 1),
            // Three looks apart: a late look counts as two, and one alone must not take a living replica for dead.
            ("limits.heartbeat_ms", self.heartbeat_ms, 750),
            ("limits.container_silence_s", self.container_silence_s, 1),
            ("limits.scale_down_s", self.scale_down_s, 1),
            ("limits.review_s", self.review_s, 1),
            // A slot holds its header's page and at least as much again.
            ("limits.slot_bytes_max", u64::from(self.slot_bytes_max), 8192),
            ("limits.variable_slot_bytes", u64::from(self.variable_slot_bytes), 4096),
            // A batch that fits a slot must fit the queue.
            ("limits.queue_bytes_max", self.queue_bytes_max, u64::from(self.slot_bytes_max)),
            ("limits.head_bytes_max", self.head_bytes_max as u64, 1024),
            ("limits.body_bytes_max", self.body_bytes_max, 1024),
            ("limits.gathered_bytes_max", self.gathered_bytes_max, self.body_bytes_max),
        ];
        for (limit, value, least) in least {
            if value < least {
                return Err(ConfigError::LimitTooSmall { limit, value, least });
            }
        }
        Ok(())
    }
}
