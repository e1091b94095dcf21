//! A JSON header of any claimed length with any bytes behind it.
#![no_main]

use bytes::Bytes;
use engine::codec::binary_tensor::{Form, attach, form};
use engine::codec::json_tensor::parse_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let (length, json, behind) = input;
    if let Ok(Form::JsonThenBytes { json_bytes }) = form(Some(length), json.len() + behind.len()) {
        assert!(json_bytes <= json.len() + behind.len(), "a header never exceeds its body");
    }
    if let Ok(mut request) = parse_request(json) {
        let _ = attach(&mut request.inputs, Some(Bytes::copy_from_slice(behind)));
    }
});
