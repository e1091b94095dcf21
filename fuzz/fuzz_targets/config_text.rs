//! Any text as a config.pbtxt, and as the JSON that a load may carry.
#![no_main]

use engine::triton_config::{from_json, from_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = from_text(text);
    let _ = from_json(text);
});
