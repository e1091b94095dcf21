//! A request's body, whole, within its bounds of size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};

use crate::api::connections::Connection;
use crate::api::status::ApiError;

/// Memory taken on the word of a Content-Length alone; beyond it, it grows with what arrives.
const CLAIMED_BYTES_MAX: u64 = 1 << 20;
/// What is read and dropped of a refused body, so that its sender gets to read the refusal and not a reset.
const DISCARD_BYTES_MAX: u64 = 256 << 20;
/// And for how long.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    pub bytes_max: u64,
    pub time_max: Duration,
    /// Of all bodies that one core gathers at a time.
    pub gathered_bytes_max: u64,
}

/// A body that comes together in memory; what it holds counts until it is whole.
pub struct Gathering<'c> {
    connection: &'c Connection,
    limits: BodyLimits,
    bytes: u64,
}

impl<'c> Gathering<'c> {
    pub fn new(connection: &'c Connection, limits: BodyLimits) -> Gathering<'c> {
        Gathering { connection, limits, bytes: 0 }
    }

    /// That many bytes more, unless they are too many for one body or with all others.
    pub fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes as u64;
        let gathered = self.connection.gather(bytes as u64);
        match self.limits {
            BodyLimits { bytes_max: limit, .. } if self.bytes > limit => {
                Err(ApiError::BodyTooLarge { limit })
            }
            BodyLimits { gathered_bytes_max: limit, .. } if gathered > limit => {
                Err(ApiError::Crowded { limit })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.connection.gathered(self.bytes);
    }
}

/// Reads to the end. A body that came in one piece, as most do, is not copied.
pub async fn read(
    mut body: Incoming,
    limits: BodyLimits,
    connection: &Connection,
    continue_asked: Continue,
) -> Result<Bytes, ApiError> {
    let claimed = body.size_hint().exact();
    if claimed.is_some_and(|bytes| bytes > limits.bytes_max) {
        let error = ApiError::BodyTooLarge { limit: limits.bytes_max };
        return Err(refused(body, error, continue_asked));
    }
    let Some(first) = next(&mut body, limits, connection).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() as u64 <= limits.bytes_max {
        return Ok(first);
    }
    let mut whole = Vec::with_capacity(claimed.unwrap_or(0).min(CLAIMED_BYTES_MAX) as usize);
    let mut gathering = Gathering::new(connection, limits);
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if let Err(error) = gathering.take(bytes.len()) {
            return Err(refused(body, error, Continue::No));
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body, limits, connection).await?;
    }
    Ok(Bytes::from(whole))
}

/// Whether the client waits for leave to send its body (`Expect: 100-continue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continue {
    Asked,
    No,
}

/// The next piece of data; `None` at the end.
pub(super) async fn next(
    body: &mut Incoming,
    limits: BodyLimits,
    connection: &Connection,
) -> Result<Option<Bytes>, ApiError> {
    poll_fn(|context| {
        loop {
            if connection.body_expired() {
                return Poll::Ready(Err(ApiError::SlowSender { limit: limits.time_max }));
            }
            let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(context));
            match frame.transpose().map_err(|_| ApiError::BrokenBody)? {
                None => return Poll::Ready(Ok(None)),
                // Trailers say nothing a request needs.
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
            }
        }
    })
    .await
}

/// `error`, once its sender can read it: what is left of the body is read and dropped.
pub(super) fn refused(body: Incoming, error: ApiError, continue_asked: Continue) -> ApiError {
    if continue_asked == Continue::No {
        tokio::task::spawn_local(discard(body));
    }
    error
}

/// Reads what is left, within bounds of its own.
pub(super) async fn discard(mut body: Incoming) {
    let read = async {
        let mut bytes = 0;
        while bytes <= DISCARD_BYTES_MAX {
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let Some(Ok(frame)) = frame else { return };
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    };
    // Whoever takes longer gets a reset.
    let _in_time = tokio::time::timeout(DISCARD_TIME_MAX, read).await;
}
