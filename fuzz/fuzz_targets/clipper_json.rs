//! Any bytes as what Clipper's clients may send: questions, feedback and administration; and as what a model may say.
#![no_main]

use engine::apps::{InputType, Mode};
use engine::codec::clipper::answer::embed;
use engine::codec::clipper::{admin, request};
use libfuzzer_sys::fuzz_target;

const TYPES: [InputType; 5] =
    [InputType::Bytes, InputType::Integers, InputType::Floats, InputType::Doubles, InputType::Strings];

fuzz_target!(|json: &[u8]| {
    for of in TYPES {
        let sane = request::predict(json, of, Mode::Sane);
        let strict = request::predict(json, of, Mode::Strict);
        // The letter refuses more, but for base64, which it does not check.
        assert!(sane.is_ok() || strict.is_err() || of == InputType::Bytes);
        for mode in [Mode::Sane, Mode::Strict] {
            let _ = request::update(json, of, mode);
        }
    }
    if let Ok(body) = admin::Body::read(json) {
        let _ = (body.add_app(), body.links(), body.verbose(), body.replica(), body.state());
        for mode in [Mode::Sane, Mode::Strict] {
            let _ = (body.add_model(mode), body.model(mode));
        }
    }
    if let Ok(text) = std::str::from_utf8(json) {
        let mut said = Vec::new();
        embed(&mut said, text);
        // An object around it is one again: whatever a model says, answers are JSON.
        let answer = [b"{\"input\":", &said[..], b"}"].concat();
        assert!(admin::Body::read(&answer).is_ok());
    }
});
