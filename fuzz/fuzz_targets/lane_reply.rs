//! Whatever a container may leave in the head of a reply slot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::predict::{BatchHeader, read_failure, read_reply, read_request};

fuzz_target!(|input: (u32, &[u8])| {
    let (slot_bytes, bytes) = input;
    let mut header = BatchHeader::default();
    if read_reply(bytes, &mut header).is_ok() {
        header.tensors.iter().for_each(|tensor| drop(tensor.check(slot_bytes)));
    }
    let _ = read_request(bytes, &mut header);
    let _ = read_failure(bytes);
});
