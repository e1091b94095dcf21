//! Any text as a model's config.pbtxt, and as the same in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = engine::triton_config::from_text(text);
    let _ = engine::triton_config::from_json(text);
});
