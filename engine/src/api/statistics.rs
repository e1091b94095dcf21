//! The statistics extension: what was counted of each model version, as the protocol's message and as its JSON.
//!
//! Both protocols answer with the same value. `queue` is from a request handed to its model to its batch sent;
//! `compute_input` what it took to gather the batch into shared memory, `compute_infer` the time inside the model,
//! `compute_output` the rest until the reply was read; `success` is their sum. `fail` counts the requests that reached
//! the model's queue and left it without a prediction.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use schemas::inference::{
    InferBatchStatistics, InferStatistics, ModelStatistics, ModelStatisticsResponse,
    StatisticDuration,
};
use serde_json::{Value, json};

use crate::api::front_end::FrontEnd;
use crate::api::inference::find;
use crate::api::status::ApiError;
use crate::clock::Clock;
use crate::dispatch::handle::ModelHandle;
use crate::fleet::catalog::Catalog;
use crate::ids::Version;
use crate::observe::statistics::{ComputeTotals, Statistics};
use crate::query::serve::Query;
use crate::query::types::TaskError;

/// Of all models; of all versions of the one named; or of one version. A model whose dispatcher does not answer is left
/// out where all are asked for.
pub async fn statistics(
    front: &FrontEnd,
    model: Option<&str>,
    version: Option<Version>,
) -> Result<ModelStatisticsResponse, ApiError> {
    let handles = handles(&front.catalog.load(), model, version)?;
    let mut model_stats = Vec::with_capacity(handles.len());
    for handle in &handles {
        match handle.statistics().await {
            Some(counted) => model_stats.push(entry(front.clock, handle, &counted)),
            None if model.is_some() => return Err(TaskError::Draining.into()),
            None => {}
        }
    }
    Ok(ModelStatisticsResponse { model_stats })
}

fn handles(
    catalog: &Arc<Catalog>,
    model: Option<&str>,
    version: Option<Version>,
) -> Result<Vec<ModelHandle>, ApiError> {
    let Some(model) = model else {
        return Ok(catalog.entries().into_iter().map(|entry| entry.handle.clone()).collect());
    };
    let newest = find(catalog, Query { model, version })?;
    if version.is_some() {
        return Ok(vec![newest.handle.clone()]);
    }
    let versions = catalog.versions(model).map(Some);
    let each = versions.map(|version| find(catalog, Query { model, version }));
    each.map(|entry| Ok(entry?.handle.clone())).collect()
}

fn entry(clock: Clock, handle: &ModelHandle, counted: &Statistics) -> ModelStatistics {
    let last = counted.last.map(|last| clock.wall_at(last));
    let last = last.and_then(|last| last.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    message(&handle.name, handle.version, last, counted)
}

/// `last` is when the latest batch came back, since 1970.
fn message(name: &str, version: Version, last: Duration, counted: &Statistics) -> ModelStatistics {
    let ComputeTotals { count, input_ns, infer_ns, output_ns } = counted.predicted;
    let of = |count, ns| Some(StatisticDuration { count, ns });
    let by_rows = counted.by_rows.iter().map(|(rows, batches)| InferBatchStatistics {
        batch_size: u64::from(*rows),
        compute_input: of(batches.count, batches.input_ns),
        compute_infer: of(batches.count, batches.infer_ns),
        compute_output: of(batches.count, batches.output_ns),
    });
    ModelStatistics {
        name: name.to_owned(),
        version: version.to_string(),
        last_inference: last.as_millis() as u64,
        inference_count: counted.rows,
        execution_count: counted.executions,
        inference_stats: Some(InferStatistics {
            success: of(count, counted.success_ns()),
            fail: of(counted.failed, counted.failed_ns),
            queue: of(count, counted.queue_ns),
            compute_input: of(count, input_ns),
            compute_infer: of(count, infer_ns),
            compute_output: of(count, output_ns),
            // There is no cache of answers.
            cache_hit: of(0, 0),
            cache_miss: of(0, 0),
        }),
        batch_stats: by_rows.collect(),
        memory_usage: Vec::new(),
        response_stats: Default::default(),
    }
}

/// The same over HTTP. Clients read all eight durations without looking whether they are there.
pub fn json(response: &ModelStatisticsResponse) -> Value {
    json!({ "model_stats": response.model_stats.iter().map(of_model).collect::<Vec<_>>() })
}

fn of_model(of: &ModelStatistics) -> Value {
    let stats = of.inference_stats.unwrap_or_default();
    let of_batch = |of: &InferBatchStatistics| {
        json!({
            "batch_size": of.batch_size,
            "compute_input": duration(of.compute_input),
            "compute_infer": duration(of.compute_infer),
            "compute_output": duration(of.compute_output),
        })
    };
    json!({
        "name": of.name,
        "version": of.version,
        "last_inference": of.last_inference,
        "inference_count": of.inference_count,
        "execution_count": of.execution_count,
        "inference_stats": {
            "success": duration(stats.success),
            "fail": duration(stats.fail),
            "queue": duration(stats.queue),
            "compute_input": duration(stats.compute_input),
            "compute_infer": duration(stats.compute_infer),
            "compute_output": duration(stats.compute_output),
            "cache_hit": duration(stats.cache_hit),
            "cache_miss": duration(stats.cache_miss),
        },
        "response_stats": {},
        "batch_stats": of.batch_stats.iter().map(of_batch).collect::<Vec<_>>(),
        "memory_usage": [],
    })
}

fn duration(of: Option<StatisticDuration>) -> Value {
    let StatisticDuration { count, ns } = of.unwrap_or_default();
    json!({ "count": count, "ns": ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::observe::statistics::Compute;

    #[test]
    fn a_models_page_has_all_eight_durations_and_every_batch_size() {
        let ms = Duration::from_millis;
        let compute = Compute { input: ms(1), infer: ms(5), output: ms(2) };
        let mut counted = Statistics::default();
        counted.executed(3, &compute, Time::ZERO);
        counted.predicted(1, ms(4), &compute);
        counted.predicted(2, ms(6), &compute);
        counted.failed(ms(9));
        let message = message("digits", Version(2), ms(1234), &counted);
        let page = json(&ModelStatisticsResponse { model_stats: vec![message] });
        let of = |count: u64, ms: u64| json!({ "count": count, "ns": ms * 1_000_000 });
        let expected = json!({ "model_stats": [{
            "name": "digits",
            "version": "2",
            "last_inference": 1234,
            "inference_count": 3,
            "execution_count": 1,
            "inference_stats": {
                "success": of(2, 26),
                "fail": of(1, 9),
                "queue": of(2, 10),
                "compute_input": of(2, 2),
                "compute_infer": of(2, 10),
                "compute_output": of(2, 4),
                "cache_hit": of(0, 0),
                "cache_miss": of(0, 0),
            },
            "response_stats": {},
            "batch_stats": [{
                "batch_size": 3,
                "compute_input": of(1, 1),
                "compute_infer": of(1, 5),
                "compute_output": of(1, 2),
            }],
            "memory_usage": [],
        }] });
        assert_eq!(page, expected);
    }
}
