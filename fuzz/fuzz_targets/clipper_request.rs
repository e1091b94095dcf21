//! Any bytes as what Clipper's query and admin APIs are sent, and as what a model says.
#![no_main]

use engine::apps::{InputType, Mode};
use engine::codec::clipper::admin::Body;
use engine::codec::clipper::answer::embed;
use engine::codec::clipper::request::{predict, update};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 5] = ["integers", "floats", "doubles", "strings", "bytes"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, json)) = bytes.split_first() else { return };
    let of = InputType::of_name(TYPES[usize::from(choice >> 1) % TYPES.len()]).expect("listed");
    let mode = if choice & 1 == 0 { Mode::Sane } else { Mode::Strict };
    let asked = predict(json, of, mode);
    // Whatever is refused by the sane mode is refused by the letter, but for base64.
    if asked.is_err() && of != InputType::Bytes {
        assert!(predict(json, of, Mode::Strict).is_err());
    }
    let _ = update(json, of, mode);
    if let Ok(body) = Body::read(json) {
        let _ = (body.add_app(), body.add_model(mode), body.links(), body.verbose(), body.state());
    }
    if let Ok(text) = std::str::from_utf8(json) {
        let mut said = Vec::new();
        embed(&mut said, text);
        assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&said).is_ok());
    }
});
