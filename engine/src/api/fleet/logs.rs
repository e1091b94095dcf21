//! What replicas print, as text.

use std::rc::Rc;

use super::Answer;
use super::asked::Query;
use crate::api::connections::Connection;
use crate::api::front_end::FrontEnd;
use crate::api::status::ApiError;
use crate::fleet::deployments::asks::{Ask, OutputOf};

/// Lines of each replica, unless another number is asked for.
const LINES: usize = 100;

pub(super) async fn logs(
    front: &FrontEnd,
    _connection: &Rc<Connection>,
    name: String,
    query: &Query<'_>,
) -> Result<Answer, ApiError> {
    let lines = query.number("lines")?.unwrap_or(LINES);
    let (version, replica) = (query.number("version")?, query.number("replica")?);
    let of = OutputOf { name, version, replica, lines };
    front.fleet.ask(|done| Ask::Output { of, done }).await?;
    Err(ApiError::UnknownPath)
}
