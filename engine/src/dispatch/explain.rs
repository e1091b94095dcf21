//! What a model's batching knows and does, as the page `/v2/models/{name}/batching` shows it.

use serde_json::{Value, json};

use crate::batch::latency_profile::LEVELS;
use crate::batch::shed_log::Reason;
use crate::batch::slo::{Decided, SloController};
use crate::batch::{Batcher, Batching as Controller};
use crate::clock::Time;
use crate::dispatch::warm_up::prior::Prior;
use crate::dispatch::warm_up::{Origin, WarmUps};
use crate::observe::stages::Batching;

const MS: f64 = 1e6;

/// Durations in milliseconds, rates per second, sizes in cost (rows, where the model declares nothing else).
pub(super) fn explain(batcher: &Batcher<Controller>, warm_ups: &WarmUps, now: Time) -> Value {
    let mut page = match batcher.controller() {
        Controller::Learned(controller) => learned(controller, now),
        Controller::Fixed(fixed) => json!({
            "fixed_batches": { "size": fixed.size, "delay_ms": fixed.delay.as_secs_f64() * 1e3 },
        }),
    };
    let all = json!({
        "limit": batcher.batch_cost_limit(),
        "queue": { "on_time": batcher.queued_on_time(), "late": batcher.queued() - batcher.queued_on_time() },
        "replicas": { "live": batcher.live_replicas(), "busy": batcher.in_flight() },
        "predicted_drain_ms": round(batcher.predicted_drain().as_nanos() as f64 / MS),
        "hedged_batches": batcher.hedged_batches(),
        "shed": shed(batcher, now),
        "started_from": warm_ups.origins().iter().map(started_from).collect::<Vec<_>>(),
        "warming_up": warm_ups.count(),
    });
    if let (Value::Object(page), Value::Object(all)) = (&mut page, all) {
        page.extend(all);
    }
    page
}

fn learned(controller: &SloController, now: Time) -> Value {
    let profile = controller.profile();
    let (curve, residuals) = (profile.curve(), profile.residuals());
    let buckets = curve.buckets().map(|bucket| {
        let measured = round(bucket.service / MS);
        let expected = round(profile.centre(bucket.cost) / MS);
        json!({ "cost": round(bucket.cost), "batches": round(bucket.weight), "mean_ms": measured, "curve_ms": expected })
    });
    let quantiles = LEVELS.map(|(level, share)| json!([share, round(residuals.ratio(level))]));
    let target = controller.target();
    json!({
        "slo_ms": controller.slo_ms().map(round),
        "curve": {
            "fixed_ms": round(curve.intercept() / MS),
            "per_cost_ms": round(curve.slope() / MS),
            "measured": buckets.collect::<Vec<_>>(),
            "batches_learned": profile.batches(),
            "regimes": profile.regimes(),
        },
        "quantiles": quantiles,
        "target": { "need": target.0, "cap": target.1 },
        "arrivals_per_s": { "fast": round(controller.rates(now)[0] * 1e9), "slow": round(controller.rates(now)[1] * 1e9) },
        "latest_decision": controller.latest().map(|decided| decision(decided, now)),
    })
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

/// The same in numbers that add up over time.
pub(super) fn standing(batcher: &Batcher<Controller>) -> Batching {
    let (counts, learned) = (batcher.shed_log().counts(), batcher.controller().learned());
    Batching {
        shed: std::array::from_fn(|nth| (Reason::ALL[nth].name(), counts[nth])),
        hedged_batches: batcher.hedged_batches(),
        regimes: learned.map_or(0, |controller| controller.profile().regimes()),
        target_cost: learned
            .map_or(batcher.batch_cost_limit(), |controller| controller.target().0 as u64),
    }
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

fn shed(batcher: &Batcher<Controller>, now: Time) -> Value {
    let log = batcher.shed_log();
    let total: serde_json::Map<_, _> = Reason::ALL
        .iter()
        .zip(log.counts())
        .map(|(why, count)| (why.name().to_owned(), json!(count)))
        .collect();
    let recent = log.recent().map(|gone| {
        json!({
            "ms_ago": round(now.since(gone.at).as_nanos() as f64 / MS),
            "why": gone.why.name(),
            "slack_ms": round(gone.slack.as_nanos() as f64 / MS),
            "queued": gone.queued,
        })
    });
    json!({ "total": total, "recent": recent.collect::<Vec<_>>() })
}

/// Four digits behind the point are more than anyone measures.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
