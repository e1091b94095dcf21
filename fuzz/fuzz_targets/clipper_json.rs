//! Any bytes as what Clipper's clients may send: questions, feedback and administration.
#![no_main]

use engine::apps::{InputType, Mode};
use engine::codec::clipper::{admin, request};
use libfuzzer_sys::fuzz_target;

const TYPES: [InputType; 5] =
    [InputType::Bytes, InputType::Integers, InputType::Floats, InputType::Doubles, InputType::Strings];

fuzz_target!(|json: &[u8]| {
    for mode in [Mode::Sane, Mode::Strict] {
        for of in TYPES {
            let _ = request::predict(json, of, mode);
            let _ = request::update(json, of, mode);
        }
        let _ = admin::Body::read(json).map(|body| body.add_model(mode));
    }
    let _ = admin::Body::read(json).map(|body| body.add_app());
    let _ = admin::Body::read(json).map(|body| body.links());
});
