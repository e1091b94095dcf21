use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::ids::CoreId;
use crate::observe::stages::CoreRecorder;
use crate::observe::statistics::Compute;

fn line<'a>(page: &'a str, start: &str) -> &'a str {
    page.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start}\n{page}"))
}

fn written(cores: &[Rc<CoreRecorder>], compat: Compat, format: Format) -> Vec<u8> {
    let beside = Beside { compat, ..Beside::default() };
    page(cores.iter().map(|core| core.snapshot()).collect(), &beside, format)
        .expect("it is written")
}

fn text(cores: &[Rc<CoreRecorder>], compat: Compat) -> String {
    String::from_utf8(written(cores, compat, Format::Text)).expect("text")
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
    let page = text(&cores, Compat::None);
    let model = r#"{model="digits",version="1",device="cpu""#;
    assert!(line(&page, &format!("foil_requests_total{model}")).ends_with(" 2"));
    assert!(line(&page, &format!(r#"foil_errors_total{model},code="queue_full""#)).ends_with(" 2"));
    assert!(line(&page, &format!("foil_batch_size_sum{model}")).ends_with(" 8.0"));
    assert!(
        line(&page, &format!(r#"foil_stage_seconds_count{model},stage="total""#)).ends_with(" 2")
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
        let fast = DeviceStanding { live: 2, busy: 1, regimes: 3, one_ns: 4_000_000, target_ns: 5 };
        batching.devices[1] = fast;
    });
    let page = text(&cores, Compat::None);
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
    ends(r#"foil_device_replicas{model="digits",version="1",device="slow",state="live"}"#, " 0");
}

fn served() -> Vec<Rc<CoreRecorder>> {
    let cores: Vec<_> = vec![CoreRecorder::new(CoreId(0))];
    let model = cores[0].model(&"digits".into(), Version(2));
    let ms = Duration::from_millis;
    let compute = Compute { input: ms(1), infer: ms(5), output: ms(2) };
    model.executed(3, &compute, crate::clock::Time::ZERO);
    model.predicted(1, ms(4), &compute);
    model.predicted(2, ms(4), &compute);
    model.error(ErrorKind::QueueFull);
    model.error(ErrorKind::DeadlinePassed);
    model.error(ErrorKind::ModelRaised);
    model.queue(7, 0, 9);
    cores
}

#[test]
fn tritons_names_come_only_when_asked_for_and_bear_tritons_labels() {
    let cores = served();
    assert!(!text(&cores, Compat::None).contains("nv_"));
    let page = text(&cores, Compat::Triton);
    let series = [
        ("request_success", 2),
        ("count", 3),
        ("exec_count", 1),
        ("request_duration_us", 24_000),
        ("queue_duration_us", 8_000),
        ("compute_input_duration_us", 2_000),
        ("compute_infer_duration_us", 10_000),
        ("compute_output_duration_us", 4_000),
        ("pending_request_count", 7),
    ];
    for (name, value) in series {
        let whole = format!(r#"nv_inference_{name}{{model="digits",version="2"}} {value}"#);
        assert!(page.lines().any(|line| line == whole), "no {whole} in\n{page}");
    }
    for (reason, count) in [("REJECTED", 2), ("CANCELED", 0), ("BACKEND", 1), ("OTHER", 0)] {
        let labels = format!(r#"{{model="digits",version="2",reason="{reason}"}}"#);
        let whole = format!("nv_inference_request_failure{labels} {count}");
        assert!(page.lines().any(|line| line == whole), "no {whole} in\n{page}");
    }
    assert!(page.contains("# TYPE nv_inference_count counter\n"), "as Triton says");
    assert!(page.contains("# TYPE nv_inference_pending_request_count gauge\n"));
    assert!(!page.contains("nv_gpu_"), "nobody looked at a GPU");
}

#[test]
fn people_find_the_names_they_look_for() {
    let cores = served();
    let model = cores[0].model(&"digits".into(), Version(2));
    model.answered(Duration::from_millis(3));
    model.class(crate::ids::ClassId(0), ClassOutcome::Late);
    model.class(crate::ids::ClassId(0), ClassOutcome::OnTime);
    model.class(crate::ids::ClassId(0), ClassOutcome::Shed);
    model.lane_bytes(512);
    let page = text(&cores, Compat::None);
    let model = r#"{model="digits",version="2",device="cpu"}"#;
    let ends = |start: &str, end: &str| assert!(line(&page, start).ends_with(end), "{page}");
    ends(&format!("foil_slo_violations_total{model}"), " 2");
    ends(&format!("foil_inflight_requests{model}"), " 9");
    ends(&format!("foil_lane_bytes_total{model}"), " 512");
    ends(&format!("foil_request_duration_seconds_count{model}"), " 1");
    ends(&format!("foil_queue_duration_seconds_count{model}"), " 0");
    ends("foil_build_info{", " 1");
}

#[test]
fn native_buckets_travel_in_protobuf_alone() {
    let cores = served();
    cores[0].model(&"digits".into(), Version(2)).batch(4);
    let page = written(&cores, Compat::Triton, Format::Protobuf);
    let name = b"foil_batch_size";
    assert!(page.windows(name.len()).any(|bytes| bytes == name));
    // Of `Histogram`: schema 3 (zigzag, field 5), then the breadth of the zero bucket (field 6).
    let mut schema = vec![5 << 3, 6, 6 << 3 | 1];
    schema.extend(0.5_f64.to_le_bytes());
    assert!(page.windows(schema.len()).any(|bytes| bytes == schema));
    let text = String::from_utf8(written(&cores, Compat::None, Format::OpenMetrics)).expect("text");
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE foil_requests counter\n"));
}

#[test]
fn forgotten_models_leave_the_page() {
    let cores = served();
    cores[0].forget(&"digits".into(), Version(2));
    assert!(!text(&cores, Compat::Triton).contains("digits"));
}
