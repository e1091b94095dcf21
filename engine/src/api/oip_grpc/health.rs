//! gRPC's own health service: of the whole server, of the inference service, and of each model by its name.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use schemas::health::health_check_response::ServingStatus;
use schemas::health::{HealthCheckRequest, HealthCheckResponse};
use schemas::inference::grpc_inference_service_server::SERVICE_NAME;
use send_wrapper::SendWrapper;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;

use super::call::Answers;
use super::refused;
use crate::api::http2::Link;
use crate::api::inference::find;
use crate::api::status::ApiError;
use crate::query::serve::{Query, check_ready};

/// Between two looks for who watches: as often as the probes of those who orchestrate.
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn check(
    link: Rc<Link>,
    asked: HealthCheckRequest,
) -> Result<HealthCheckResponse, Status> {
    let status = status(&link, &asked.service).map_err(|error| refused(&link, &error))?;
    Ok(HealthCheckResponse { status: status.into() })
}

/// The status now, and again whenever it has changed.
pub(super) async fn watch(
    link: Rc<Link>,
    asked: HealthCheckRequest,
) -> Result<Answers<HealthCheckResponse>, Status> {
    let turn = link.turn();
    let closing = link.clone();
    let mut looks = interval(WATCH_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let statuses = stream::unfold((looks, None), move |(mut looks, last)| {
        let (link, service, _turn) = (link.clone(), asked.service.clone(), &turn);
        async move {
            loop {
                looks.tick().await;
                let found = status(&link, &service).unwrap_or(ServingStatus::ServiceUnknown);
                if last != Some(found) {
                    let answer = HealthCheckResponse { status: found.into() };
                    return Some((Ok(answer), (looks, Some(found))));
                }
            }
        }
    });
    let closing = poll_fn(move |context| closing.poll_closing(context));
    Ok(SendWrapper::new(Box::pin(statuses.take_until(closing))))
}

fn status(link: &Link, service: &str) -> Result<ServingStatus, ApiError> {
    let serving = match service {
        "" | SERVICE_NAME => link.is_ready(),
        model => {
            let catalog = link.front.catalog.load();
            check_ready(find(&catalog, Query { model, version: None })?).is_ok()
        }
    };
    Ok(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
}
