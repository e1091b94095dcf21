use super::*;
use crate::tensor::{DType, Shape};
use proptest::prelude::*;
use smallvec::smallvec;

fn header() -> BatchHeader {
    let fixed = |offset, len| Placement {
        dtype: DType::F32,
        shape: smallvec![2, 3],
        offset,
        len,
        offsets_at: 0,
    };
    BatchHeader { batch_id: 7, rows: 2, tensors: vec![fixed(4096, 24), fixed(4160, 24)] }
}

fn failure(message: &str) -> Failure {
    Failure { kind: FailureKind::InputRefused, message: message.into(), row: Some(3) }
}

#[test]
fn headers_come_back_as_they_were_written() {
    let mut writer = HeaderWriter::new();
    let mut read = BatchHeader::default();
    read_request(writer.request(&header()).unwrap(), &mut read).unwrap();
    assert_eq!(read, header());
    read_reply(writer.reply(&header()).unwrap(), &mut read).unwrap();
    assert_eq!(read, header());
}

#[test]
fn failures_come_back_with_their_message_cut_to_fit() {
    let mut writer = HeaderWriter::new();
    let written = writer.failure(9, &failure("no")).unwrap();
    assert_eq!(read_failure(written), Ok((9, failure("no"))));
    let long = "é".repeat(5000);
    let (_, read) = read_failure(writer.failure(9, &failure(&long)).unwrap()).unwrap();
    assert_eq!(read.message.len(), MESSAGE_BYTES_MAX);
}

#[test]
fn frozen_examples_still_read_the_same() {
    let mut read = BatchHeader::default();
    read_request(include_bytes!("../../golden/request.bin"), &mut read).unwrap();
    assert_eq!(read, header());
    read_reply(include_bytes!("../../golden/reply.bin"), &mut read).unwrap();
    assert_eq!(read, header());
    let read = read_failure(include_bytes!("../../golden/failure.bin"));
    assert_eq!(read, Ok((9, failure("frozen"))));
}

/// Writes the golden files anew; run it by hand when the schema version is raised.
#[test]
#[ignore = "writes files"]
fn freeze_examples() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    let mut writer = HeaderWriter::new();
    std::fs::create_dir_all(golden).unwrap();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(format!("{golden}/{name}"), bytes).unwrap();
    write("request.bin", writer.request(&header()).unwrap());
    write("reply.bin", writer.reply(&header()).unwrap());
    write("failure.bin", writer.failure(9, &failure("frozen")).unwrap());
}

#[test]
fn a_full_house_of_tensors_fits_a_header() {
    let tensor = Placement {
        dtype: DType::Str,
        shape: Shape::from_slice(&[1; crate::tensor::RANK_MAX]),
        offset: 4096,
        len: 24,
        offsets_at: 4096,
    };
    let mut full = header();
    full.tensors = vec![tensor.clone(); crate::tensor::TENSORS_MAX];
    assert!(HeaderWriter::new().request(&full).is_ok());
    full.tensors.push(tensor);
    let refused = HeaderWriter::new().request(&full).map(<[u8]>::len);
    assert!(matches!(refused, Err(SchemaError::TooManyTensors { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut into = BatchHeader::default();
        let _ = read_request(&bytes, &mut into);
        let _ = read_reply(&bytes, &mut into);
        let _ = read_failure(&bytes);
    }

    #[test]
    fn no_flipped_byte_makes_a_reader_panic(at in 0usize..400, flip in 1u8..) {
        let mut writer = HeaderWriter::new();
        let mut bytes = writer.request(&header()).unwrap().to_vec();
        let len = bytes.len();
        bytes[at % len] ^= flip;
        let mut into = BatchHeader::default();
        let _ = read_request(&bytes, &mut into);
        let _ = read_reply(&bytes, &mut into);
        let mut bytes = writer.failure(1, &failure("why")).unwrap().to_vec();
        let len = bytes.len();
        bytes[at % len] ^= flip;
        let _ = read_failure(&bytes);
    }
}
