//! Misuse gets an error code and a sentence, in every order of calls; use gets through.

use super::*;
use crate::LaneConfig;
use crate::engine_side::EngineSide;
use crate::handshake::{EngineListener, EngineSession, Received};
use schemas::lifecycle::{
    FromEngine, LaneGeometry, LaneMemory, MESSAGE_BYTES_MAX, Welcome, encode_from_engine,
};
use schemas::predict::{BatchHeader, HeaderWriter, read_failure, read_reply};
use schemas::tensor::{DType, Layout};
use std::ffi::CStr;
use std::ptr::{null, null_mut};

const ANY_BY_TWO: [i64; 2] = [FOIL_ANY, 2];
const SLOT_BYTES: u32 = 8192;

fn tensor_spec(dims: &[i64]) -> foil_tensor_spec {
    foil_tensor_spec {
        struct_size: size_of::<foil_tensor_spec>(),
        name: c"x".as_ptr(),
        dtype: foil_dtype::FOIL_F32 as u32,
        rank: dims.len() as u32,
        dims: dims.as_ptr(),
    }
}

fn model(tensor: &foil_tensor_spec) -> foil_model {
    foil_model {
        struct_size: size_of::<foil_model>(),
        name: c"m".as_ptr(),
        inputs: tensor,
        input_count: 1,
        outputs: tensor,
        output_count: 1,
        max_batch: 8,
        batch_timeout_us: 0,
        slo_us: 0,
    }
}

fn empty_tensor() -> foil_tensor {
    foil_tensor {
        struct_size: size_of::<foil_tensor>(),
        dtype: 0,
        rank: 0,
        shape: null(),
        data: null_mut(),
        bytes: 0,
        offsets: null(),
        elements: 0,
    }
}

fn last_error() -> String {
    // SAFETY: the library's own string, copied before the next call.
    unsafe { CStr::from_ptr(foil_last_error()) }.to_str().unwrap().to_owned()
}

fn open(model: &foil_model) -> foil_status {
    let mut container = null_mut();
    // SAFETY: the model lives through the call.
    unsafe { foil_open(model, &raw mut container) }
}

/// The engine's half of a handshake, and a lane.
fn engine(mut listener: EngineListener) -> (EngineSession, EngineSide) {
    let mut session = loop {
        match listener.try_accept().unwrap() {
            Some(session) => break session,
            None => std::thread::yield_now(),
        }
    };
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    while matches!(session.try_recv(&mut bytes).unwrap(), Received::WouldBlock) {
        std::thread::yield_now();
    }
    let lane = LaneGeometry {
        ring_depth: 4,
        slots: 2,
        request_slot_bytes: SLOT_BYTES,
        reply_slot_bytes: SLOT_BYTES,
        incarnation: 5,
        memory: LaneMemory::Memfd,
        huge_pages: false,
        spin_us: 0,
    };
    let (side, fds) = EngineSide::create(LaneConfig::from(&lane), 5).unwrap();
    let welcome = encode_from_engine(&FromEngine::Welcome(Welcome { lane }));
    session.send_lane(&welcome, &fds).unwrap();
    (session, side)
}

/// A handle as `foil_open` makes it, over an engine in this process.
fn joined(name: &str) -> (*mut foil_container, EngineSession, EngineSide) {
    let path = std::env::temp_dir().join(format!("c-abi-{name}-{}.sock", std::process::id()));
    let listener = EngineListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || engine(listener));
    let identity = Identity { socket: path.into(), nonce: 1, settings: "{}".into() };
    let tensor = tensor_spec(&ANY_BY_TWO);
    // SAFETY: the model and its tensor live through the call.
    let spec = unsafe { read_model(&model(&tensor)) }.ok().unwrap();
    let served = Served::open(spec, &identity).unwrap();
    let (session, side) = serving.join().unwrap();
    (Box::into_raw(Box::new(foil_container { served })), session, side)
}

fn send(side: &mut EngineSide, tag: u64, numbers: [f32; 2]) {
    let slot = side.lease().unwrap();
    let mut layout = Layout::new();
    let placement = layout.fixed(DType::F32, [1, 2].as_slice().into()).unwrap();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    side.write(&slot, placement.offset, &bytes).unwrap();
    let mut writer = HeaderWriter::new();
    let header = BatchHeader { batch_id: tag, rows: 1, tensors: vec![placement] };
    let head = writer.request(&header).unwrap();
    side.write(&slot, 0, head).unwrap();
    side.publish(slot, tag, head.len() as u32, layout.total_bytes());
}

fn next(container: *mut foil_container) -> foil_status {
    let mut batch = foil_batch { struct_size: size_of::<foil_batch>(), rows: 0, id: 0 };
    // SAFETY: a live handle and a live struct.
    let status = unsafe { foil_next(container, 0, &raw mut batch) };
    assert!(status != foil_status::FOIL_OK || batch.rows == 1);
    status
}

#[test]
fn declarations_that_cannot_be_served_are_refused_with_a_sentence() {
    let tensor = tensor_spec(&ANY_BY_TWO);
    let good = || model(&tensor);
    let wrong_tensor = |change: fn(&mut foil_tensor_spec)| {
        let mut tensor = tensor_spec(&ANY_BY_TWO);
        change(&mut tensor);
        let status = open(&model(&tensor));
        (status, last_error())
    };
    let mut container = null_mut();
    // SAFETY: null is allowed.
    let null_model = unsafe { foil_open(null(), &raw mut container) };
    assert_eq!((null_model, last_error().as_str()), (FAILED, "model is null"));
    // SAFETY: null is allowed.
    assert_eq!(unsafe { foil_open(&good(), null_mut()) }, FAILED);
    assert_eq!(open(&foil_model { struct_size: 8, ..good() }), SIZE);
    assert!(last_error().contains("sizeof"));
    assert_eq!(open(&foil_model { name: null(), ..good() }), FAILED);
    assert_eq!(open(&foil_model { name: c"\xff".as_ptr(), ..good() }), FAILED);
    assert_eq!(open(&foil_model { inputs: null(), ..good() }), FAILED);
    assert_eq!(open(&foil_model { input_count: 25, ..good() }), FAILED);
    assert_eq!(wrong_tensor(|it| it.dtype = 99).0, FAILED);
    assert_eq!(wrong_tensor(|it| it.rank = 9).0, FAILED);
    assert_eq!(wrong_tensor(|it| it.dims = null()).0, FAILED);
    assert_eq!(wrong_tensor(|it| it.struct_size = 0).0, SIZE);
    assert_eq!(wrong_tensor(|it| it.dims = [-2, 2].as_ptr()).0, FAILED);
    assert_eq!(open(&good()), foil_status::FOIL_ERROR_ENVIRONMENT);
    assert!(last_error().contains("foil serve"), "{}", last_error());
}

const FAILED: foil_status = foil_status::FOIL_ERROR_ARGUMENT;
const SIZE: foil_status = foil_status::FOIL_ERROR_STRUCT_SIZE;
const ORDER: foil_status = foil_status::FOIL_ERROR_ORDER;

#[test]
fn a_batch_is_answered_from_memory_that_was_written_in_place() {
    let (container, _session, mut side) = joined("serves");
    let (mut x, mut y) = (empty_tensor(), empty_tensor());
    // SAFETY: a live handle, and pointers the library gave, used before the reply.
    unsafe {
        assert_eq!(foil_ready(container), foil_status::FOIL_OK);
        assert_eq!(next(container), foil_status::FOIL_IDLE);
        send(&mut side, 7, [1.5, 2.5]);
        assert_eq!(next(container), foil_status::FOIL_OK);
        assert_eq!(foil_input(container, 0, &raw mut x), foil_status::FOIL_OK);
        assert_eq!((x.rank, x.bytes, x.elements, x.offsets.is_null()), (2, 8, 2, true));
        assert_eq!(foil_output(container, 0, x.shape, 2, &raw mut y), foil_status::FOIL_OK);
        assert!(y.data.addr().is_multiple_of(64) && y.data != x.data);
        let (from, to) = (x.data.cast::<f32>(), y.data.cast::<f32>());
        (0..2).for_each(|at| to.add(at).write(2.0 * from.add(at).read()));
        assert_eq!(foil_reply(container), foil_status::FOIL_OK);
    }
    let done = side.poll().unwrap().unwrap();
    let mut head = vec![0; done.header_bytes as usize];
    side.read(&done, 0, &mut head).unwrap();
    let mut header = BatchHeader::default();
    read_reply(&head, &mut header).unwrap();
    let mut bytes = [0; 8];
    side.read(&done, header.tensors[0].offset, &mut bytes).unwrap();
    assert_eq!(bytes, [3.0_f32.to_le_bytes(), 5.0_f32.to_le_bytes()].concat()[..]);
    side.finish(done);
    side.shut();
    assert_eq!(next(container), foil_status::FOIL_SHUT);
    // SAFETY: closed once.
    unsafe { foil_close(container) };
}

#[test]
fn calls_out_of_order_or_range_are_errors_and_the_batch_goes_on() {
    let (container, _session, mut side) = joined("misuse");
    let mut tensor = empty_tensor();
    let wide = [1_u64, 1 << 40];
    // SAFETY: a live handle and live arguments; nulls are allowed.
    unsafe {
        assert_eq!(foil_reply(container), ORDER);
        assert_eq!(foil_input(container, 0, &raw mut tensor), ORDER);
        assert_eq!(foil_fail(container, 1, c"no".as_ptr(), -1), ORDER);
        send(&mut side, 8, [0.0, 0.0]);
        assert_eq!(next(container), foil_status::FOIL_OK);
        assert_eq!(next(container), ORDER, "{}", last_error());
        assert_eq!(foil_input(container, 1, &raw mut tensor), FAILED);
        assert_eq!(foil_input(container, 0, null_mut()), FAILED);
        let mut small = foil_tensor { struct_size: 4, ..empty_tensor() };
        assert_eq!(foil_input(container, 0, &raw mut small), SIZE);
        assert_eq!(foil_output(container, 0, null(), 2, &raw mut tensor), FAILED);
        assert_eq!(foil_output(container, 3, wide.as_ptr(), 1, &raw mut tensor), FAILED);
        let too_large = foil_output(container, 0, wide.as_ptr(), 2, &raw mut tensor);
        assert_eq!(too_large, foil_status::FOIL_ERROR_TOO_LARGE);
        assert!(last_error().contains("limits.slot_bytes_max"), "{}", last_error());
        let texts = foil_output_texts(container, 0, wide.as_ptr(), 1, [0, 0].as_ptr(), null());
        assert_eq!(texts, FAILED, "{}", last_error());
        assert_eq!(foil_reply(container), ORDER, "an output is missing");
        assert_eq!(
            foil_output(container, 0, wide.as_ptr(), 1, &raw mut tensor),
            foil_status::FOIL_OK
        );
        assert_eq!(foil_output(container, 0, wide.as_ptr(), 1, &raw mut tensor), ORDER);
        assert_eq!(foil_fail(container, 9, c"no".as_ptr(), -1), FAILED);
        assert_eq!(foil_fail(container, 2, null(), -1), FAILED);
        assert_eq!(foil_fail(container, 2, c"not today".as_ptr(), 0), foil_status::FOIL_OK);
        assert_eq!(foil_reply(null_mut()), FAILED);
        foil_close(null_mut());
    }
    let done = side.poll().unwrap().unwrap();
    let mut head = vec![0; done.header_bytes as usize];
    side.read(&done, 0, &mut head).unwrap();
    let (_, failure) = read_failure(&head).unwrap();
    assert_eq!((failure.message.as_str(), failure.row), ("not today", Some(0)));
    side.finish(done);
    drop(side);
    drop(_session);
    assert_eq!(next(container), foil_status::FOIL_SHUT, "the engine is gone");
    // SAFETY: closed once.
    unsafe { foil_close(container) };
}

#[test]
fn a_panic_becomes_an_error_code() {
    let status = guarded(|| panic!("a bug"));
    assert_eq!(
        (status, last_error().as_str()),
        (foil_status::FOIL_ERROR_INTERNAL, "a bug in this library")
    );
}
