use schemas::tensor::{DType, Dim, TensorSpec};

use super::*;

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
    }
}

const ARRIVED: Time = Time::from_nanos(5_000_000_000);

fn after(span: Duration) -> Time {
    ARRIVED.after(span)
}

#[test]
fn a_requests_own_deadline_is_hard() {
    let own = Some(Duration::from_millis(7));
    let deadline = deadline(&spec(Some(20_000), Late::Serve), ARRIVED, own);
    assert!(deadline.is_hard());
    assert_eq!(deadline.due, after(Duration::from_millis(7)));
}

#[test]
fn the_slo_is_a_soft_deadline_unless_the_model_sheds() {
    let soft = deadline(&spec(Some(20_000), Late::Serve), ARRIVED, None);
    assert!(!soft.is_hard());
    assert_eq!(soft.due, after(Duration::from_millis(20)));
    assert_eq!(soft.late_limit, after(Duration::from_secs(1)));
    let slow = deadline(&spec(Some(400_000), Late::Serve), ARRIVED, None);
    assert_eq!(slow.late_limit, after(Duration::from_secs(4)));
    let shed = deadline(&spec(Some(20_000), Late::Shed), ARRIVED, None);
    assert!(shed.is_hard());
    assert_eq!(shed.due, after(Duration::from_millis(20)));
}

#[test]
fn nothing_waits_for_ever() {
    let none = deadline(&spec(None, Late::Serve), ARRIVED, None);
    assert_eq!(none.late_limit, after(LATE_LIMIT_WITHOUT_SLO));
    let endless = deadline(&spec(None, Late::Serve), ARRIVED, Some(Duration::MAX));
    assert_eq!(endless.due, after(TIMEOUT_MAX));
}
