//! Any bytes as the JSON of an infer request.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = engine::codec::json_tensor::parse_request(bytes);
});
