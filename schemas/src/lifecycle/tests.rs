use super::*;
use crate::tensor::DType;
use proptest::prelude::*;

fn spec() -> ModelSpec {
    let tensor = |name: &str, dims: &[Dim]| TensorSpec {
        name: name.into(),
        dtype: DType::F32,
        dims: dims.to_vec(),
    };
    ModelSpec {
        name: "digits".into(),
        platform: "python".into(),
        inputs: vec![tensor("x", &[Dim::Batch, Dim::Fixed(64), Dim::Variable])],
        outputs: vec![tensor("label", &[Dim::Batch])],
        batched: true,
        max_batch: 64,
        slo_us: Some(20_000),
        late: Late::Shed,
        batch_timeout_us: 30_000_000,
        replicas: 2,
        pad: false,
        decoupled: false,
    }
}

fn hello() -> FromContainer {
    FromContainer::Hello(Hello {
        schema_version: SCHEMA_VERSION,
        abi_hash: 3,
        nonce: u64::MAX,
        spec: spec(),
        beats: true,
    })
}

#[test]
fn messages_come_back_as_they_were_sent() {
    let failed = FromContainer::LoadFailed { message: "no weights (model.py:7)".into() };
    for message in [hello(), FromContainer::Ready, failed] {
        assert_eq!(decode_from_container(&encode_from_container(&message)), Ok(message));
    }
    let lane = LaneGeometry {
        ring_depth: 8,
        slots: 2,
        request_slot_bytes: 1 << 20,
        reply_slot_bytes: 8192,
        incarnation: 12,
        memory: LaneMemory::Posix,
        huge_pages: true,
        spin_us: 30,
    };
    let refused = FromEngine::Refused { message: "update hydrofoil".into() };
    for message in [FromEngine::Welcome(Welcome { lane }), refused] {
        assert_eq!(decode_from_engine(&encode_from_engine(&message)), Ok(message));
    }
}

#[test]
fn a_spec_that_can_be_served_passes() {
    assert_eq!(spec().check(), Ok(()));
    assert_eq!(ModelSpec { pad: true, ..spec() }.check(), Ok(()));
}

#[test]
fn a_spec_that_cannot_be_served_is_refused_with_a_sentence() {
    let changed = |change: fn(&mut ModelSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec.check()
    };
    let refused = [
        changed(|it| it.inputs.clear()),
        changed(|it| it.outputs.push(it.outputs[0].clone())),
        changed(|it| it.max_batch = 0),
        changed(|it| it.max_batch = BATCH_ROWS_MAX + 1),
        changed(|it| it.batched = false),
        changed(|it| it.inputs[0].dims[2] = Dim::Batch),
        changed(|it| it.replicas = 0),
        changed(|it| it.batch_timeout_us = 0),
        changed(|it| it.name.clear()),
        changed(|it| (it.pad, it.inputs[0].dtype) = (true, DType::Str)),
        changed(|it| (it.pad, it.inputs[0].dims) = (true, vec![Dim::Batch, Dim::Fixed(2)])),
    ];
    for result in refused {
        assert!(matches!(result, Err(SchemaError::Spec(_))), "{result:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_handshake_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode_from_container(&bytes);
        let _ = decode_from_engine(&bytes);
    }

    #[test]
    fn no_flipped_byte_makes_the_handshake_panic(at: usize, flip in 1u8..) {
        let mut bytes = encode_from_container(&hello());
        let len = bytes.len();
        bytes[at % len] ^= flip;
        let _ = decode_from_container(&bytes);
    }
}
