//! TraceSetting and LogSettings: without settings they tell, with some they change.

use std::rc::Rc;

use schemas::inference::{
    LogSettingsRequest, LogSettingsResponse, TraceSettingRequest, TraceSettingResponse,
};
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::settings::{
    Of, Settings, change, log_changes, log_message, read, trace_changes, trace_message,
};

pub(super) async fn trace(
    link: Rc<Link>,
    asked: TraceSettingRequest,
) -> Result<TraceSettingResponse, Status> {
    let model = (!asked.model_name.is_empty()).then_some(asked.model_name.as_str());
    let in_force = changed(&link, Of::Trace { model }, &trace_changes(&asked))?;
    Ok(trace_message(&in_force))
}

pub(super) async fn log(
    link: Rc<Link>,
    asked: LogSettingsRequest,
) -> Result<LogSettingsResponse, Status> {
    Ok(log_message(&changed(&link, Of::Log, &log_changes(&asked))?))
}

fn changed(link: &Link, of: Of<'_>, changes: &Settings) -> Result<Settings, Status> {
    let front = &link.front;
    let in_force = if changes.is_empty() { read(front, of) } else { change(front, of, changes) };
    in_force.map_err(|error| refused(link, &error))
}
