//! The shell that answers scrapers.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{Beside, Format, page};
use crate::observe::stages::CoreSnapshot;

/// Scrapers that may be connected at once: a Prometheus pair and a few people with a browser.
const SCRAPERS_MAX: usize = 16;

/// A scraper that sends no request within this is let go.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// Serves the page until the listener fails for good. `scrape` asks every core for its snapshot.
pub async fn serve<F, S>(listener: tokio::net::TcpListener, beside: Beside, scrape: F)
where
    F: Fn() -> S + 'static,
    S: Future<Output = Vec<CoreSnapshot>> + 'static,
{
    let scrape = Rc::new(scrape);
    let seats = Arc::new(tokio::sync::Semaphore::new(SCRAPERS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: give others time to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (scrape, beside) = (scrape.clone(), beside.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, &beside, &*scrape));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_WAIT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a scraper's connection ended early");
            }
            drop(seat);
        });
    }
}

async fn answer<F, S>(
    request: Request<Incoming>,
    beside: &Beside,
    scrape: &F,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn() -> S,
    S: Future<Output = Vec<CoreSnapshot>>,
{
    if !matches!(request.uri().path(), "/metrics" | "/") {
        return Ok(text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"));
    }
    if request.method() != Method::GET {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n"));
    }
    let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accept.collect::<Vec<_>>().join(","));
    Ok(match page(scrape().await, beside, format) {
        Ok(page) => of_format(format, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    })
}

fn of_format(format: Format, page: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(page));
    let content_type = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
