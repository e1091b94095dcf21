//! Clipper's RPC, version 3: what the frames of a message mean. Pure.
//!
//! Numbers are little-endian. In both directions a message begins with an empty frame, which ZeroMQ's REQ would put
//! there. See [`read`] and the makers for what follows.

use bytes::Bytes;

use super::models::InputType;

pub(super) const RPC_VERSION: u32 = 3;

/// Frames before the outputs of a response.
pub(super) const RESPONSE_HEAD_FRAMES: usize = 5;

const NEW_CONTAINER: u32 = 0;
const CONTENT: u32 = 1;
const HEARTBEAT: u32 = 2;

const REQUEST_PREDICT: u32 = 0;

const WORD_BYTES: usize = 8;

/// What the engine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    KeepAlive = 0,
    RequestMetadata = 1,
}

/// What a container says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Heartbeat,
    NewContainer(NewContainer),
    Response { message: u32, outputs: Vec<Bytes> },
}

/// What a container runs, by its own account.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewContainer {
    pub(super) name: String,
    pub(super) version: String,
    /// None: none that there is.
    pub(super) input_type: Option<InputType>,
    /// None: containers of Clipper before 0.3 send none.
    pub(super) rpc_version: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameFault {
    #[error("it sent a message that does not begin with an empty frame")]
    NoDelimiter,
    #[error("it sent a {message} of {frames} frames")]
    FrameCount { message: &'static str, frames: usize },
    #[error("it sent a {field} of {bytes} bytes")]
    Size { field: &'static str, bytes: usize },
    #[error("it sent a message of unknown type {0}")]
    Type(u32),
    #[error("it sent a {field} that is not UTF-8")]
    Text { field: &'static str },
    #[error("the header of its response does not agree with what follows it")]
    Header,
}

/// What the frames of one message say.
pub(super) fn read(frames: &[Bytes]) -> Result<Said, FrameFault> {
    let count = |message| FrameFault::FrameCount { message, frames: frames.len() };
    let [delimiter, kind, rest @ ..] = frames else { return Err(count("message")) };
    if !delimiter.is_empty() {
        return Err(FrameFault::NoDelimiter);
    }
    match (u32_of("message type", kind)?, rest) {
        (HEARTBEAT, []) => Ok(Said::Heartbeat),
        (HEARTBEAT, _) => Err(count("heartbeat")),
        (NEW_CONTAINER, [name, version, input_type]) => {
            new_container(name, version, input_type, None).map(Said::NewContainer)
        }
        (NEW_CONTAINER, [name, version, input_type, rpc]) => {
            new_container(name, version, input_type, Some(rpc)).map(Said::NewContainer)
        }
        (NEW_CONTAINER, _) => Err(count("new-container message")),
        (CONTENT, [message, header_bytes, header, outputs @ ..]) => {
            let message = u32_of("message id", message)?;
            check_header(header_bytes, header, outputs)?;
            Ok(Said::Response { message, outputs: outputs.to_vec() })
        }
        (CONTENT, _) => Err(count("response")),
        (unknown, _) => Err(FrameFault::Type(unknown)),
    }
}

fn new_container(
    name: &Bytes,
    version: &Bytes,
    input_type: &Bytes,
    rpc_version: Option<&Bytes>,
) -> Result<NewContainer, FrameFault> {
    let code = text("input type", input_type)?.trim().parse().ok();
    Ok(NewContainer {
        name: text("model name", name)?.to_owned(),
        version: text("model version", version)?.to_owned(),
        input_type: code.and_then(InputType::of_code),
        rpc_version: rpc_version.map(|frame| u32_of("RPC version", frame)).transpose()?,
    })
}

/// The header holds the number of outputs and the size of each.
fn check_header(header_bytes: &Bytes, header: &Bytes, outputs: &[Bytes]) -> Result<(), FrameFault> {
    let field = "header length";
    let announced = header_bytes.as_ref().try_into().map(u64::from_le_bytes);
    let announced = announced.map_err(|_| FrameFault::Size { field, bytes: header_bytes.len() })?;
    let (words, rest) = header.as_chunks::<WORD_BYTES>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let agrees = announced == header.len() as u64
        && rest.is_empty()
        && words.next() == Some(outputs.len() as u64)
        && words.eq(outputs.iter().map(|output| output.len() as u64));
    if agrees { Ok(()) } else { Err(FrameFault::Header) }
}

fn u32_of(field: &'static str, frame: &Bytes) -> Result<u32, FrameFault> {
    let bytes = frame.as_ref().try_into();
    bytes.map(u32::from_le_bytes).map_err(|_| FrameFault::Size { field, bytes: frame.len() })
}

fn text<'f>(field: &'static str, frame: &'f Bytes) -> Result<&'f str, FrameFault> {
    str::from_utf8(frame).map_err(|_| FrameFault::Text { field })
}

/// An answer to a heartbeat, or a question who is there.
pub(super) fn heartbeat(beat: Beat) -> [Bytes; 4] {
    [Bytes::new(), word(RPC_VERSION), word(HEARTBEAT), word(beat as u32)]
}

/// A batch, one frame an input.
pub(super) fn predict(message: u32, input_type: InputType, inputs: &[Bytes]) -> Vec<Bytes> {
    let sizes = inputs.iter().map(|input| input.len() as u64);
    let header = [input_type as u64, inputs.len() as u64].into_iter().chain(sizes);
    let header: Vec<u8> = header.flat_map(u64::to_le_bytes).collect();
    let header_bytes = Bytes::copy_from_slice(&(header.len() as u64).to_le_bytes());
    let head = [
        Bytes::new(),
        word(RPC_VERSION),
        word(CONTENT),
        word(message),
        word(REQUEST_PREDICT),
        header_bytes,
        header.into(),
    ];
    head.into_iter().chain(inputs.iter().cloned()).collect()
}

fn word(value: u32) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(parts: &[&[u8]]) -> Vec<Bytes> {
        parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()
    }

    fn said(parts: &[&[u8]]) -> Result<Said, FrameFault> {
        read(&frames(parts))
    }

    const HEADER: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    const HEADER_BYTES: &[u8] = &[24, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn what_containers_say_is_read_to_the_byte() {
        assert_eq!(said(&[b"", &[2, 0, 0, 0]]), Ok(Said::Heartbeat));
        let new = said(&[b"", &[0; 4], b"sum", b"v1", b"3", &[3, 0, 0, 0]]);
        let container = NewContainer {
            name: "sum".into(),
            version: "v1".into(),
            input_type: Some(InputType::Doubles),
            rpc_version: Some(3),
        };
        assert_eq!(new, Ok(Said::NewContainer(container)));
        let response =
            said(&[b"", &[1, 0, 0, 0], &[9, 1, 0, 0], HEADER_BYTES, HEADER, b"a", b"bcd"]);
        let outputs = frames(&[b"a", b"bcd"]);
        assert_eq!(response, Ok(Said::Response { message: 265, outputs }));
    }

    #[test]
    fn what_containers_are_told_is_written_to_the_byte() {
        let beat = heartbeat(Beat::RequestMetadata);
        assert_eq!(beat.to_vec(), frames(&[b"", &[3, 0, 0, 0], &[2, 0, 0, 0], &[1, 0, 0, 0]]));
        let inputs = frames(&[&[1, 2, 3, 4], &[5, 6, 7, 8, 9, 10, 11, 12]]);
        let header = [1u64, 2, 4, 8].map(u64::to_le_bytes).concat();
        let expected: [&[u8]; 9] = [
            b"",
            &[3, 0, 0, 0],
            &[1, 0, 0, 0],
            &[7, 0, 0, 0],
            &[0, 0, 0, 0],
            &[32, 0, 0, 0, 0, 0, 0, 0],
            &header,
            &[1, 2, 3, 4],
            &[5, 6, 7, 8, 9, 10, 11, 12],
        ];
        assert_eq!(predict(7, InputType::Integers, &inputs), frames(&expected));
    }

    #[test]
    fn a_container_without_a_version_or_of_an_unknown_type_is_told_apart() {
        let Ok(Said::NewContainer(old)) = said(&[b"", &[0; 4], b"m", b"1", b"0"]) else {
            panic!("a new container")
        };
        assert_eq!((old.input_type, old.rpc_version), (Some(InputType::Bytes), None));
        for code in [&b"5"[..], b"-1", b"doubles", b""] {
            let Ok(Said::NewContainer(new)) =
                said(&[b"", &[0; 4], b"m", b"1", code, &[3, 0, 0, 0]])
            else {
                panic!("a new container")
            };
            assert_eq!(new.input_type, None);
        }
    }

    /// Frames as a message has them, more often than chance would make them.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(Vec::new()),
            (0u32..4).prop_map(|word| word.to_le_bytes().to_vec()),
            (0u64..40).prop_map(|word| word.to_le_bytes().to_vec()),
            prop::collection::vec(0u64..4, 0..4)
                .prop_map(|words| words.into_iter().flat_map(u64::to_le_bytes).collect()),
            prop::collection::vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(parts in prop::collection::vec(frame(), 0..8)) {
            let frames: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
            if let Ok(Said::Response { outputs, .. }) = read(&frames) {
                prop_assert_eq!(outputs.len(), frames.len() - RESPONSE_HEAD_FRAMES);
            }
        }
    }

    #[test]
    fn everything_else_is_a_fault() {
        let content: &[u8] = &[1, 0, 0, 0];
        let id: &[u8] = &[0; 4];
        let lies: [&[&[u8]]; 14] = [
            &[],
            &[b""],
            &[b"x", &[2, 0, 0, 0]],
            &[b"", &[2, 0, 0]],
            &[b"", &[3, 0, 0, 0]],
            &[b"", &[2, 0, 0, 0], b""],
            &[b"", &[0; 4], b"m", b"1"],
            &[b"", &[0; 4], b"\xff", b"1", b"0", &[3, 0, 0, 0]],
            &[b"", &[0; 4], b"m", b"1", b"0", &[3]],
            &[b"", content, id],
            &[b"", content, id, &[24, 0, 0], HEADER, b"a", b"bcd"],
            &[b"", content, id, HEADER_BYTES, HEADER, b"a", b"bc"],
            &[b"", content, id, HEADER_BYTES, HEADER, b"a"],
            &[b"", content, id, HEADER_BYTES, &HEADER[..23], b"a", b"bcd"],
        ];
        for lie in lies {
            assert!(said(lie).is_err(), "{lie:?}");
        }
    }
}
