//! Whatever a process may send over a replica's socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::lifecycle::{FromContainer, decode_from_container, decode_from_engine};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(FromContainer::Hello(hello)) = decode_from_container(bytes) {
        let _ = hello.spec.check();
    }
    let _ = decode_from_engine(bytes);
});
