//! The names under which others know a request: W3C's trace context and the widely used request id.
//!
//! They come from outside and go into answers and the log: what is not well-formed is passed over, as if it had not
//! been sent.

/// Bytes of a request id: twice the longest that is common, a UUID with a prefix.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// `00-` trace id `-` span id `-` flags.
const TRACE_PARENT_BYTES: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;

pub const TRACE_PARENT: &str = "traceparent";
pub const REQUEST_ID: &str = "x-request-id";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestIds {
    trace_parent: Option<String>,
    request_id: Option<String>,
}

impl RequestIds {
    /// Of the values of the two headers, or of gRPC's metadata by the same names. None where neither is of use.
    pub fn of(trace_parent: Option<&[u8]>, request_id: Option<&[u8]>) -> Option<RequestIds> {
        if trace_parent.is_none() && request_id.is_none() {
            return None;
        }
        let trace_parent = trace_parent.filter(|text| is_trace_parent(text)).map(text);
        let request_id = request_id.filter(|text| is_request_id(text)).map(text);
        let ids = RequestIds { trace_parent, request_id };
        (ids != RequestIds::default()).then_some(ids)
    }

    /// Gives it a request id where it has none.
    pub fn name(&mut self, id: impl FnOnce() -> String) {
        self.request_id.get_or_insert_with(id);
    }

    /// What goes back with the answer, by its names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [(TRACE_PARENT, &self.trace_parent), (REQUEST_ID, &self.request_id)];
        both.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    pub fn trace_id(&self) -> Option<&str> {
        self.trace_parent.as_deref().map(|parent| &parent[TRACE_ID])
    }

    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// Only of ASCII, as was checked.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Of the present version; later ones may be longer and begin alike, all but `ff`.
fn is_trace_parent(text: &[u8]) -> bool {
    let Some((known, rest)) = text.split_at_checked(TRACE_PARENT_BYTES) else { return false };
    let longer = &known[..2] != b"00" && rest.first() == Some(&b'-');
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let well_formed = known.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => hex(byte),
    });
    let zero = |range: std::ops::Range<usize>| known[range].iter().all(|byte| *byte == b'0');
    let printable = rest.iter().all(u8::is_ascii_graphic) && rest.len() <= REQUEST_ID_BYTES_MAX;
    (rest.is_empty() || longer && printable)
        && well_formed
        && &known[..2] != b"ff"
        && !zero(TRACE_ID)
        && !zero(SPAN_ID)
}

/// What ids are made of, and nothing that a log or a shell would read otherwise.
fn is_request_id(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn well_formed_ids_go_back_as_they_came() {
        let ids = RequestIds::of(Some(PARENT), Some(b"job-7/3")).expect("both are well-formed");
        let parent = std::str::from_utf8(PARENT).expect("ASCII");
        assert_eq!(
            ids.named().collect::<Vec<_>>(),
            [(TRACE_PARENT, parent), (REQUEST_ID, "job-7/3")]
        );
        assert_eq!(ids.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(RequestIds::of(None, None), None);
    }

    #[test]
    fn broken_trace_contexts_are_passed_over() {
        let parent = |change: fn(&mut Vec<u8>)| {
            let mut parent = PARENT.to_vec();
            change(&mut parent);
            RequestIds::of(Some(&parent), None)
        };
        assert_eq!(parent(|it| it.truncate(54)), None);
        assert_eq!(parent(|it| it.push(b'0')), None);
        assert_eq!(parent(|it| it[5] = b'G'), None);
        assert_eq!(parent(|it| it[5] = b'B'), None, "hexadecimal digits are small");
        assert_eq!(parent(|it| it[35] = b'0'), None);
        assert_eq!(parent(|it| it[..2].copy_from_slice(b"ff")), None);
        assert_eq!(parent(|it| it[3..35].fill(b'0')), None);
        assert_eq!(parent(|it| it[36..52].fill(b'0')), None);
        let later = parent(|it| {
            it[..2].copy_from_slice(b"01");
            it.extend(b"-more");
        });
        assert!(later.is_some(), "of a later version what is known is read");
    }

    #[test]
    fn request_ids_are_short_and_plain() {
        let id = |id: &[u8]| RequestIds::of(None, Some(id));
        assert!(id(b"123e4567-e89b-12d3-a456-426614174000").is_some());
        assert!(id(&[b'x'; REQUEST_ID_BYTES_MAX]).is_some());
        let broken: [&[u8]; 6] =
            [b"", &[b'x'; REQUEST_ID_BYTES_MAX + 1], b"a b", b"a\"b", b"\xff", b"a\nb"];
        for broken in broken {
            assert_eq!(id(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_request_without_an_id_can_be_given_one() {
        let mut ids = RequestIds::of(Some(PARENT), Some(b"bad id")).expect("the parent is fine");
        ids.name(|| "1".to_owned());
        ids.name(|| "2".to_owned());
        assert_eq!(ids.request_id(), Some("1"));
    }
}
