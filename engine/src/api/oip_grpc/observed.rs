//! The calls of the statistics, trace and logging extensions.

use std::rc::Rc;

use hyper::HeaderMap;
use schemas::inference::{
    LogSettingsRequest, LogSettingsResponse, ModelStatisticsRequest, ModelStatisticsResponse,
    TraceSettingRequest, TraceSettingResponse,
};
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::router::version;
use crate::api::settings::{self, Of, Settings};
use crate::api::statistics;
use crate::api::status::ApiError;

pub(super) async fn statistics(
    link: Rc<Link>,
    asked: ModelStatisticsRequest,
) -> Result<ModelStatisticsResponse, Status> {
    let refuse = |error| refused(&link, &error);
    let version = version(&asked.version).map_err(refuse)?;
    statistics::statistics(&link.front, named(&asked.name), version).await.map_err(refuse)
}

pub(super) async fn trace_setting(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: TraceSettingRequest,
) -> Result<TraceSettingResponse, Status> {
    let of = Of::Trace { model: named(&asked.model_name) };
    let settings = set(&link, &headers, of, &settings::trace_changes(&asked));
    settings.map(|settings| settings::trace_message(&settings)).map_err(|it| refused(&link, &it))
}

pub(super) async fn log_settings(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: LogSettingsRequest,
) -> Result<LogSettingsResponse, Status> {
    let settings = set(&link, &headers, Of::Log, &settings::log_changes(&asked));
    settings.map(|settings| settings::log_message(&settings)).map_err(|it| refused(&link, &it))
}

/// Whoever brings no changes wants to see what is set.
fn set(
    link: &Link,
    headers: &HeaderMap,
    of: Of<'_>,
    changes: &Settings,
) -> Result<Settings, ApiError> {
    if changes.is_empty() {
        return settings::read(&link.front, of);
    }
    settings::change(&link.front, headers, of, changes)
}

/// Nothing means all.
fn named(model: &str) -> Option<&str> {
    (!model.is_empty()).then_some(model)
}
