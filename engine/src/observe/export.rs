//! The metrics page: every core's records merged once per scrape, in Prometheus' text format.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::metrics::{ClassOutcome, ErrorKind, Histogram, Stage};
use super::stages::{CoreSnapshot, DeviceStanding, ModelCounts};
use crate::ids::Version;

/// Scrapers that may be connected at once: a Prometheus pair and a few people with a browser.
const SCRAPERS_MAX: usize = 16;

/// A scraper that sends no request within this is let go.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// Where replicas run of which nothing else is known.
const DEVICE: &str = "cpu";

/// In place of one device's name where a number counts several.
const ANY_DEVICE: &str = "any";

type Labels = Vec<(&'static str, String)>;

/// One scrape: all models, merged over cores.
#[derive(Debug)]
struct Scrape {
    cores: Vec<CoreSnapshot>,
    models: BTreeMap<(Arc<str>, Version), ModelCounts>,
}

/// The page for a set of snapshots.
pub fn page(cores: Vec<CoreSnapshot>) -> Result<String, fmt::Error> {
    let mut models: BTreeMap<_, ModelCounts> = BTreeMap::new();
    for model in cores.iter().flat_map(|core| &core.models) {
        models.entry((model.name.clone(), model.version)).or_default().merge(&model.counts);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { cores, models }));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.requests(&mut encoder)?;
        self.errors(&mut encoder)?;
        self.stages(&mut encoder)?;
        self.batches(&mut encoder)?;
        self.gauges(&mut encoder)?;
        self.batching(&mut encoder)?;
        self.classes(&mut encoder)?;
        self.devices(&mut encoder)?;
        self.connections(&mut encoder)
    }
}

impl Scrape {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that got a prediction";
        let mut family =
            encoder.encode_descriptor("foil_requests", help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            put_counter(&mut family, &labels(model, counts), counts.answered)?;
        }
        Ok(())
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Requests that got none, by cause; those that concern no model have an empty one";
        let mut family =
            encoder.encode_descriptor("foil_errors", help, None, MetricType::Counter)?;
        let nobody = ((Arc::from(""), Version(0)), ModelCounts::new());
        for kind in ErrorKind::ALL {
            for (model, counts) in &self.models {
                let labels = with(labels(model, counts), "code", kind.name());
                put_counter(&mut family, &labels, counts.errors[kind as usize])?;
            }
            let count = self.cores.iter().map(|core| core.errors[kind as usize]).sum();
            put_counter(
                &mut family,
                &with(labels(&nobody.0, &nobody.1), "code", kind.name()),
                count,
            )?;
        }
        Ok(())
    }

    fn stages(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Where a request's time goes, seconds";
        let name = "foil_stage_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            for stage in Stage::ALL {
                let labels = with(labels(model, counts), "stage", stage.name());
                put_histogram(&mut family, &labels, &counts.stages[stage as usize])?;
            }
        }
        Ok(())
    }

    fn batches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Rows of the batches that came back";
        let name = "foil_batch_size";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            put_histogram(&mut family, &labels(model, counts), &counts.batch_rows)?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Get = fn(&ModelCounts) -> u64;
        let gauges: [(&str, &str, Get); 4] = [
            ("foil_queue_length", "Requests that wait for a replica", |counts| counts.queue_tasks),
            ("foil_queue_bytes", "Bytes of the rows that wait", |counts| counts.queue_bytes),
            ("foil_replicas", "Replicas that can answer", |counts| counts.replicas),
            (
                "foil_batch_target",
                "Cost (rows, unless inputs vary) of the smallest batch that keeps up",
                |counts| counts.batching.target_cost,
            ),
        ];
        for (name, help, get) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (model, counts) in &self.models {
                put_gauge(&mut family, &labels(model, counts), get(counts))?;
            }
        }
        let help = "Replicas that ended without being asked to";
        let name = "foil_replica_restarts";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            put_counter(&mut family, &labels(model, counts), counts.replicas_lost)?;
        }
        Ok(())
    }

    fn batching(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests turned away or given up, by reason";
        let mut family = encoder.encode_descriptor("foil_shed", help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            for (reason, count) in
                counts.batching.shed.iter().filter(|(reason, _)| !reason.is_empty())
            {
                put_counter(&mut family, &with(labels(model, counts), "reason", reason), *count)?;
            }
        }
        let help = "How long requests had waited when they were shed, seconds";
        let name = "foil_shed_wait_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (model, counts) in &self.models {
            put_histogram(&mut family, &labels(model, counts), &counts.shed_waits)?;
        }
        let help = "Copies sent of batches that were overdue";
        let name = "foil_hedged_batches";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            put_counter(&mut family, &labels(model, counts), counts.batching.hedged_batches)?;
        }
        let help = "How long what waits and runs is expected to take, seconds";
        let name = "foil_predicted_drain_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, counts) in &self.models {
            let seconds = seconds(counts.batching.predicted_drain_ns);
            put_seconds(&mut family, &labels(model, counts), seconds)?;
        }
        Ok(())
    }

    fn classes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Requests that reached the model's dispatcher, by SLO class and what became of them";
        let name = "foil_class_requests";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (model, counts) in &self.models {
            let classes = counts.names.iter().flat_map(|names| names.classes.iter());
            for (class, counted) in classes.zip(&counts.by_class) {
                let labels = with(labels(model, counts), "class", &class.name);
                for outcome in ClassOutcome::ALL {
                    let labels = with(labels.clone(), "outcome", outcome.name());
                    put_counter(&mut family, &labels, counted[outcome as usize])?;
                }
            }
        }
        Ok(())
    }

    fn devices(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Times replicas of the device were found to have become slower or faster";
        let name = "foil_speed_changes";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, device) in self.each_device() {
            put_counter(&mut family, &labels, device.regimes)?;
        }
        let help = "Replicas on the device: those that can answer, and of these those with a batch";
        let name = "foil_device_replicas";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, device) in self.each_device() {
            put_gauge(&mut family, &with(labels.clone(), "state", "live"), device.live)?;
            put_gauge(&mut family, &with(labels, "state", "busy"), device.busy)?;
        }
        let help =
            "Learned time of a batch on the device, of cost 1 and of the target's; 0: unknown";
        let name = "foil_batch_seconds_learned";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, device) in self.each_device() {
            let one = with(labels.clone(), "cost", "one");
            put_seconds(&mut family, &one, seconds(device.one_ns))?;
            put_seconds(&mut family, &with(labels, "cost", "target"), seconds(device.target_ns))?;
        }
        Ok(())
    }

    /// Every device of every model that has started, with its labels.
    fn each_device(&self) -> impl Iterator<Item = (Labels, DeviceStanding)> {
        self.models.iter().flat_map(|(model, counts)| {
            let names = counts.names.iter().flat_map(|names| names.devices.iter());
            let one = |(name, standing): (&Arc<str>, &DeviceStanding)| {
                (device_labels(model, name), *standing)
            };
            names.zip(&counts.batching.devices).map(one)
        })
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let core = |core: &CoreSnapshot| vec![("core", core.core.to_string())];
        let help = "Open HTTP connections";
        let name = "foil_http_connections";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for snapshot in &self.cores {
            put_gauge(&mut family, &core(snapshot), snapshot.connections)?;
        }
        let help = "HTTP connections accepted";
        let name = "foil_http_connections_accepted";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for snapshot in &self.cores {
            put_counter(&mut family, &core(snapshot), snapshot.accepted)?;
        }
        Ok(())
    }
}

/// Of a number that counts all devices of a model.
fn labels(model: &(Arc<str>, Version), counts: &ModelCounts) -> Labels {
    let device = match counts.names.as_ref().map(|names| &*names.devices) {
        None | Some([]) => DEVICE,
        Some([one]) => one,
        Some(_) => ANY_DEVICE,
    };
    device_labels(model, device)
}

fn device_labels((model, version): &(Arc<str>, Version), device: &str) -> Labels {
    let model = ("model", model.to_string());
    vec![model, ("version", version.to_string()), ("device", device.to_owned())]
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn with(mut labels: Labels, key: &'static str, value: &str) -> Labels {
    labels.push((key, value.to_owned()));
    labels
}

fn put_counter(family: &mut MetricEncoder<'_>, labels: &Labels, count: u64) -> fmt::Result {
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

fn put_gauge(family: &mut MetricEncoder<'_>, labels: &Labels, value: u64) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

fn put_seconds(family: &mut MetricEncoder<'_>, labels: &Labels, seconds: f64) -> fmt::Result {
    ConstGauge::new(seconds).encode(family.encode_family(labels)?)
}

fn put_histogram(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    histogram: &Histogram,
) -> fmt::Result {
    let (sum, count, buckets) = (histogram.sum(), histogram.count(), histogram.buckets());
    family.encode_family(labels)?.encode_histogram::<Labels>(sum, count, &buckets, None)
}

/// Serves the page until the listener fails for good. `scrape` asks every core for its snapshot.
pub async fn serve<F, S>(listener: tokio::net::TcpListener, scrape: F)
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
        let scrape = scrape.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, &*scrape));
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
    scrape: &F,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn() -> S,
    S: Future<Output = Vec<CoreSnapshot>>,
{
    let text = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    };
    if !matches!(request.uri().path(), "/metrics" | "/") {
        return Ok(text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".into()));
    }
    if request.method() != Method::GET {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".into()));
    }
    let mut response = match page(scrape().await) {
        Ok(page) => text(StatusCode::OK, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(format));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CoreId;
    use crate::observe::stages::CoreRecorder;

    fn line<'a>(page: &'a str, start: &str) -> &'a str {
        page.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start}\n{page}"))
    }

    #[test]
    fn counts_of_two_cores_add_up() {
        let name: Arc<str> = "digits".into();
        let cores: Vec<_> = [0, 1].map(|core| CoreRecorder::new(CoreId(core))).into();
        for core in &cores {
            let model = core.model(&name, Version(1));
            model.answered(Duration::from_millis(3));
            model.batch(4);
            model.error(ErrorKind::QueueFull);
            core.connection_opened();
        }
        cores[0].error(ErrorKind::UnknownPath);
        let page = page(cores.iter().map(|core| core.snapshot()).collect()).unwrap();
        let model = r#"{model="digits",version="1",device="cpu""#;
        assert!(line(&page, &format!("foil_requests_total{model}")).ends_with(" 2"));
        assert!(
            line(&page, &format!(r#"foil_errors_total{model},code="queue_full""#)).ends_with(" 2")
        );
        assert!(line(&page, &format!("foil_batch_size_sum{model}")).ends_with(" 8.0"));
        assert!(
            line(&page, &format!(r#"foil_stage_seconds_count{model},stage="total""#))
                .ends_with(" 2")
        );
        assert!(line(&page, r#"foil_http_connections{core="1"}"#).ends_with(" 1"));
        assert!(page.contains(r#"code="unknown_path"} 1"#));
        assert!(page.contains(r#"le="+Inf""#), "quantiles need the last bucket");
        for kind in ErrorKind::ALL {
            assert!(page.contains(kind.name()), "{}", kind.name());
        }
    }
    #[test]
    fn classes_and_devices_are_shown_by_their_names() {
        use crate::classes::{Classes, SloClass};
        use crate::ids::ClassId;
        use crate::observe::stages::ModelNames;

        let name: Arc<str> = "digits".into();
        let cores: Vec<_> = [0, 1].map(|core| CoreRecorder::new(CoreId(core))).into();
        let classes = Classes::new(vec![SloClass::new("gold", 10)]).unwrap();
        let devices = ["slow".into(), "fast".into()].into();
        let model = cores[1].owned_model(&name, Version(1), &ModelNames { devices, classes });
        cores[0].model(&name, Version(1)).answered(Duration::from_millis(1));
        model.class(ClassId(1), ClassOutcome::Late);
        model.shed_after(Duration::from_micros(1500));
        model.batching(|batching| {
            batching.predicted_drain_ns = 1_500_000_000;
            let fast =
                DeviceStanding { live: 2, busy: 1, regimes: 3, one_ns: 4_000_000, target_ns: 5 };
            batching.devices[1] = fast;
        });
        let page = page(cores.iter().map(|core| core.snapshot()).collect()).unwrap();
        let ends = |start: &str, end: &str| assert!(line(&page, start).ends_with(end), "{page}");
        ends(r#"foil_requests_total{model="digits",version="1",device="any"}"#, " 1");
        let any = r#"foil_class_requests_total{model="digits",version="1",device="any""#;
        ends(&format!(r#"{any},class="gold",outcome="late"}}"#), " 1");
        ends(&format!(r#"{any},class="default",outcome="on_time"}}"#), " 0");
        let within = r#"foil_shed_wait_seconds_bucket{le="0.002""#;
        ends(within, " 1");
        ends(r#"foil_predicted_drain_seconds{model="digits",version="1",device="any"}"#, " 1.5");
        let fast = r#"{model="digits",version="1",device="fast""#;
        ends(&format!(r#"foil_device_replicas{fast},state="live"}}"#), " 2");
        ends(&format!(r#"foil_device_replicas{fast},state="busy"}}"#), " 1");
        ends(&format!("foil_speed_changes_total{fast}}}"), " 3");
        ends(&format!(r#"foil_batch_seconds_learned{fast},cost="one"}}"#), " 0.004");
        ends(
            r#"foil_device_replicas{model="digits",version="1",device="slow",state="live"}"#,
            " 0",
        );
    }
}
