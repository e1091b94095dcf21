//! What a model's batching knows and does, as the page `/v2/models/{name}/batching` shows it, and the same in numbers
//! for the metrics.

use schemas::lifecycle::Late;
use serde_json::{Map, Value, json};

use super::in_flight::InFlight;
use super::recent::RecentCounts;
use crate::batch::latency_profile::{LEVELS, LatencyProfile};
use crate::batch::shed_log::Reason;
use crate::batch::slo::{Decided, SloController};
use crate::batch::{Batcher, Batching as Controller};
use crate::classes::SloClass;
use crate::clock::Time;
use crate::dispatch::warm_up::prior::Prior;
use crate::dispatch::warm_up::{Origin, WarmUps};
use crate::ids::{ClassId, DeviceClass};
use crate::observe::metrics::ClassOutcome;
use crate::observe::stages::{Batching, DeviceStanding, ModelNames, ModelRecorder};

const MS: f64 = 1e6;

/// What a page is made from.
pub(super) struct Subject<'a> {
    pub(super) batcher: &'a Batcher<Controller>,
    pub(super) in_flight: &'a InFlight,
    pub(super) recorder: &'a ModelRecorder,
    pub(super) names: &'a ModelNames,
    pub(super) recent: &'a RecentCounts,
    pub(super) warm_ups: &'a WarmUps,
}

impl Subject<'_> {
    /// Durations in milliseconds, rates per second, sizes in cost (rows, where the model declares nothing else).
    pub(super) fn explain(&self, now: Time) -> Value {
        let batcher = self.batcher;
        let mut page = match batcher.controller() {
            Controller::Learned(controller) => learned(controller, now),
            Controller::Fixed(fixed) => json!({
                "fixed_batches": { "size": fixed.size, "delay_ms": fixed.delay.as_secs_f64() * 1e3 },
            }),
        };
        let late = batcher.queued() - batcher.queued_on_time();
        let all = json!({
            "limit": batcher.batch_cost_limit(),
            "queue": { "on_time": batcher.queued_on_time(), "late": late },
            "replicas": { "live": batcher.live_replicas(), "busy": batcher.in_flight() },
            "devices": self.devices(),
            "classes": self.classes(now),
            "predicted_drain_ms": round(batcher.predicted_drain().as_nanos() as f64 / MS),
            "hedged_batches": batcher.hedged_batches(),
            "shed": self.shed(now),
            "started_from": self.warm_ups.origins().iter().map(started_from).collect::<Vec<_>>(),
            "warming_up": self.warm_ups.count(),
        });
        if let (Value::Object(page), Value::Object(all)) = (&mut page, all) {
            page.extend(all);
        }
        page
    }

    /// Each kind of device with what was learned of it.
    fn devices(&self) -> Vec<Value> {
        let device = |(class, name): (u8, &std::sync::Arc<str>)| {
            let class = DeviceClass(class);
            let (live, busy) = self.batcher.replicas_of(class);
            let mut about = json!({ "name": &**name, "replicas": { "live": live, "busy": busy } });
            if let Some(controller) = self.batcher.controller().learned()
                && let Some(profile) = controller.profile_of(class)
            {
                let target = controller.target().0;
                about["curve"] = curve(profile);
                about["quantiles"] = quantiles(profile);
                let centre = |cost: f64| round(profile.centre(cost) / MS);
                about["batch_ms"] = json!({ "one": centre(1.0), "target": centre(target) });
            }
            about
        };
        (0..).zip(self.names.devices.iter()).map(device).collect()
    }

    /// Each SLO class with what became of its tasks since the start and lately.
    fn classes(&self, now: Time) -> Vec<Value> {
        let total = self.recorder.by_class();
        let (over, recent) = self.recent.until(now, &total);
        let waiting = self.in_flight.waiting_by_class();
        let class = |class: &SloClass| {
            let nth = usize::from(class.id.0);
            let mut recently = outcomes(&recent[nth]);
            recently.insert("over_s".to_owned(), json!(round(over.as_secs_f64())));
            json!({
                "name": &*class.name,
                "weight": class.weight,
                "late": class.late.map(late),
                "slo_ms": class.slo.map(|slo| round(slo.as_secs_f64() * 1e3)),
                "waiting": waiting[nth],
                "total": outcomes(&total[nth]),
                "recent": recently,
            })
        };
        self.names.classes.iter().map(class).collect()
    }

    /// How many were turned away for which reason, and the circumstances of the latest, oldest first.
    fn shed(&self, now: Time) -> Value {
        let log = self.batcher.shed_log();
        let total: Map<_, _> = Reason::ALL
            .iter()
            .zip(log.counts())
            .map(|(why, count)| (why.name().to_owned(), json!(count)))
            .collect();
        let recent = log.recent().map(|gone| {
            json!({
                "ms_ago": round(now.since(gone.at).as_nanos() as f64 / MS),
                "why": gone.why.name(),
                "class": &*self.names.classes.get(ClassId(gone.class)).name,
                "waited_ms": round(gone.waited.as_nanos() as f64 / MS),
                "slack_ms": round(gone.slack.as_nanos() as f64 / MS),
                "queued": gone.queued,
            })
        });
        json!({ "total": total, "recent": recent.collect::<Vec<_>>() })
    }
}

/// The present decision's inputs; `curve` and `quantiles` are the first device's.
fn learned(controller: &SloController, now: Time) -> Value {
    let profile = &controller.profiles()[0];
    let target = controller.target();
    let [fast, slow] = controller.rates(now).map(|rate| round(rate * 1e9));
    json!({
        "slo_ms": controller.slo_ms().map(round),
        "curve": curve(profile),
        "quantiles": quantiles(profile),
        "target": { "need": target.0, "cap": target.1 },
        "arrivals_per_s": { "fast": fast, "slow": slow },
        "latest_decision": controller.latest().map(|decided| decision(decided, now)),
    })
}

fn curve(profile: &LatencyProfile) -> Value {
    let curve = profile.curve();
    let buckets = curve.buckets().map(|bucket| {
        let measured = round(bucket.service / MS);
        let expected = round(profile.centre(bucket.cost) / MS);
        json!({ "cost": round(bucket.cost), "batches": round(bucket.weight), "mean_ms": measured, "curve_ms": expected })
    });
    json!({
        "fixed_ms": round(curve.intercept() / MS),
        "per_cost_ms": round(curve.slope() / MS),
        "measured": buckets.collect::<Vec<_>>(),
        "batches_learned": profile.batches(),
        "regimes": profile.regimes(),
    })
}

/// Pairs of a share and the ratio to the curve that this share of batches keeps below.
fn quantiles(profile: &LatencyProfile) -> Value {
    let residuals = profile.residuals();
    json!(LEVELS.map(|(level, share)| json!([share, round(residuals.ratio(level))])))
}

/// Where the profile of a device class came from.
fn started_from(origin: &Origin) -> Value {
    let (used, factor) = match origin.prior {
        Prior::None => ("none stored", None),
        Prior::Trusted => ("as stored", None),
        Prior::Scaled { factor } => ("scaled to the warm-up", Some(round(factor))),
        Prior::Refuted => ("left aside: of another shape", None),
    };
    json!({
        "device": origin.device.0,
        "warm_up": {
            "state": origin.ended.name(),
            "batches": origin.batches,
            "largest": origin.rows_largest,
            "took_ms": round(origin.took.as_nanos() as f64 / MS),
        },
        "prior": { "state": used, "sizes": origin.prior_sizes, "factor": factor },
    })
}

fn decision(decided: &Decided, now: Time) -> Value {
    json!({
        "ms_ago": round(now.since(decided.at).as_nanos() as f64 / MS),
        "waiting": decided.waiting,
        "head_slack_ms": round(decided.slack / MS),
        "fits": decided.size,
        "need": decided.need,
        "did": decided.did.name(),
    })
}

fn late(late: Late) -> &'static str {
    match late {
        Late::Serve => "serve",
        Late::Shed => "shed",
    }
}

fn outcomes(counts: &[u64; ClassOutcome::COUNT]) -> Map<String, Value> {
    let one = |outcome: ClassOutcome| (outcome.name().to_owned(), json!(counts[outcome as usize]));
    ClassOutcome::ALL.map(one).into_iter().collect()
}

/// Four digits behind the point are more than anyone measures.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The same in numbers, each turn: in place, and only for the devices there are.
pub(super) fn stand(batcher: &Batcher<Controller>, names: &ModelNames, into: &mut Batching) {
    let (counts, learned) = (batcher.shed_log().counts(), batcher.controller().learned());
    into.shed = std::array::from_fn(|nth| (Reason::ALL[nth].name(), counts[nth]));
    into.hedged_batches = batcher.hedged_batches();
    into.predicted_drain_ns = batcher.predicted_drain().as_nanos() as u64;
    into.target_cost = learned
        .map_or_else(|| batcher.batch_cost_limit(), |controller| controller.target().0 as u64);
    let devices = into.devices.iter_mut().take(names.devices.len());
    for (class, device) in (0..).zip(devices) {
        *device = stand_of(batcher, DeviceClass(class));
    }
}

fn stand_of(batcher: &Batcher<Controller>, class: DeviceClass) -> DeviceStanding {
    let (live, busy) = batcher.replicas_of(class);
    let (live, busy) = (live as u64, busy as u64);
    let learned = batcher.controller().learned();
    let known = learned.and_then(|controller| Some((controller, controller.profile_of(class)?)));
    let Some((controller, profile)) = known else {
        return DeviceStanding { live, busy, ..DeviceStanding::default() };
    };
    let (one_ns, target_ns) =
        (profile.centre(1.0) as u64, profile.centre(controller.target().0) as u64);
    DeviceStanding { live, busy, regimes: profile.regimes(), one_ns, target_ns }
}
