use schemas::tensor::{DType, Dim, TensorSpec};

use super::*;
use crate::ids::ClassId;

fn spec(slo_us: Option<u64>, late: Late) -> ModelSpec {
    let tensor = TensorSpec { name: "x".into(), dtype: DType::F32, dims: vec![Dim::Batch] };
    ModelSpec {
        name: "m".into(),
        platform: "python".into(),
        inputs: vec![tensor.clone()],
        outputs: vec![tensor],
        batched: true,
        max_batch: 8,
        slo_us,
        late,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

const ARRIVED: Time = Time::from_nanos(5_000_000_000);

fn after(span: Duration) -> Time {
    ARRIVED.after(span)
}

fn class() -> SloClass {
    SloClass::new("default", 1)
}

#[test]
fn a_requests_own_deadline_is_hard() {
    let own = Some(Duration::from_millis(7));
    let deadline = deadline(&spec(Some(20_000), Late::Serve), &class(), ARRIVED, own);
    assert!(deadline.is_hard());
    assert_eq!(deadline.due, after(Duration::from_millis(7)));
}

#[test]
fn the_slo_is_a_soft_deadline_unless_the_model_sheds() {
    let soft = deadline(&spec(Some(20_000), Late::Serve), &class(), ARRIVED, None);
    assert!(!soft.is_hard());
    assert_eq!(soft.due, after(Duration::from_millis(20)));
    assert_eq!(soft.late_limit, after(Duration::from_secs(1)));
    let slow = deadline(&spec(Some(400_000), Late::Serve), &class(), ARRIVED, None);
    assert_eq!(slow.late_limit, after(Duration::from_secs(4)));
    let shed = deadline(&spec(Some(20_000), Late::Shed), &class(), ARRIVED, None);
    assert!(shed.is_hard());
    assert_eq!(shed.due, after(Duration::from_millis(20)));
}

#[test]
fn nothing_waits_for_ever() {
    let none = deadline(&spec(None, Late::Serve), &class(), ARRIVED, None);
    assert_eq!(none.late_limit, after(LATE_LIMIT_WITHOUT_SLO));
    let endless = deadline(&spec(None, Late::Serve), &class(), ARRIVED, Some(Duration::MAX));
    assert_eq!(endless.due, after(TIMEOUT_MAX));
}

#[test]
fn a_class_has_its_own_slo_and_what_becomes_of_the_late() {
    let slo = Some(Duration::from_millis(5));
    let soft =
        deadline(&spec(Some(20_000), Late::Serve), &SloClass { slo, ..class() }, ARRIVED, None);
    assert!(!soft.is_hard());
    assert_eq!(soft.due, after(Duration::from_millis(5)));
    let late = Some(Late::Shed);
    let shed =
        deadline(&spec(Some(20_000), Late::Serve), &SloClass { late, ..class() }, ARRIVED, None);
    assert!(shed.is_hard());
    assert_eq!(shed.due, after(Duration::from_millis(20)));
    let late = Some(Late::Serve);
    let both = SloClass { slo, late, ..class() };
    assert!(!deadline(&spec(None, Late::Shed), &both, ARRIVED, None).is_hard());
    let own = deadline(&spec(None, Late::Shed), &both, ARRIVED, Some(Duration::from_millis(50)));
    assert!(own.is_hard(), "a request's own timeout is the strongest");
    assert_eq!(own.due, after(Duration::from_millis(50)));
}

#[test]
fn terms_carry_the_class_and_its_weight() {
    let class = SloClass { id: ClassId(3), ..SloClass::new("gold", 10) };
    let terms = terms(&spec(None, Late::Serve), &class, ARRIVED, None);
    assert_eq!((terms.class, terms.weight), (ClassId(3), 10));
}
