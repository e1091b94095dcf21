//! ModelStatistics.

use std::rc::Rc;

use schemas::inference::{ModelStatisticsRequest, ModelStatisticsResponse};
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::router::version;
use crate::api::statistics::statistics;

pub(super) async fn of_models(
    link: Rc<Link>,
    asked: ModelStatisticsRequest,
) -> Result<ModelStatisticsResponse, Status> {
    let version = version(&asked.version).map_err(|error| refused(&link, &error))?;
    let model = (!asked.name.is_empty()).then_some(asked.name.as_str());
    let counted = statistics(&link.front, model, version).await;
    counted.map_err(|error| refused(&link, &error))
}
