//! Compressed bodies: requests that say so, answers where it is asked for.
//!
//! A body is inflated in pieces, with other work of the core between them, and stops at the bound of bodies: a small
//! body that claims to be large costs no more than a large one. What it can cost is the time to inflate that bound.
//!
//! An answer is compressed only for a client that names one encoding and no other, as Triton's clients do when told to.
//! A list such as `gzip, deflate` is what libraries send by default: what they can read, not what anybody wants, and
//! compressing numbers costs a core more time than most networks save.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::api::body::Gathering;
use crate::api::status::ApiError;
use crate::codec::fault::excerpt;

/// Bytes in or out between two turns of other work: about a tenth of a millisecond.
const PIECE_BYTES: usize = 64 << 10;
/// The largest window there is: 32 KiB.
const WINDOW_BITS: u8 = 15;
/// An answer that fits a packet is not made smaller.
const ANSWER_BYTES_MIN: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// As HTTP means it: with zlib's framing.
    Deflate,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }

    fn find(name: &[u8]) -> Option<Encoding> {
        let known = |encoding: &Encoding| name.eq_ignore_ascii_case(encoding.name().as_bytes());
        [Encoding::Gzip, Encoding::Deflate].into_iter().find(known)
    }

    /// Of a `Content-Encoding`.
    pub fn of_request(value: &[u8]) -> Result<Option<Encoding>, ApiError> {
        let value = value.trim_ascii();
        if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
            return Ok(None);
        }
        let unknown = || ApiError::Encoding { found: excerpt(&String::from_utf8_lossy(value)) };
        Encoding::find(value).map(Some).ok_or_else(unknown)
    }

    /// The one that an `Accept-Encoding` asks for.
    pub fn wanted(value: &[u8]) -> Option<Encoding> {
        Encoding::find(value.trim_ascii())
    }
}

/// The body that `packed` stands for: the whole of it, and nothing behind it.
pub async fn inflate(
    encoding: Encoding,
    packed: Bytes,
    mut gathering: Gathering<'_>,
) -> Result<Bytes, ApiError> {
    let mut decoder = match encoding {
        Encoding::Gzip => Decompress::new_gzip(WINDOW_BITS),
        Encoding::Deflate => Decompress::new(true),
    };
    let (mut whole, mut rest) = (Vec::new(), &packed[..]);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(rest, &mut piece, FlushDecompress::None);
        rest = &rest[(decoder.total_in() - read) as usize..];
        let written = (decoder.total_out() - written) as usize;
        gathering.take(written)?;
        whole.extend_from_slice(&piece[..written]);
        match status {
            Ok(Status::StreamEnd) if rest.is_empty() => return Ok(whole.into()),
            Ok(Status::Ok) if written > 0 => tokio::task::yield_now().await,
            _ => return Err(ApiError::BrokenEncoding),
        }
    }
}

/// None: it is better left as it is.
pub async fn deflate(encoding: Encoding, plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < ANSWER_BYTES_MIN {
        return None;
    }
    let mut encoder = match encoding {
        Encoding::Gzip => Compress::new_gzip(Compression::fast(), WINDOW_BITS),
        Encoding::Deflate => Compress::new(Compression::fast(), true),
    };
    let (mut packed, mut rest) = (Vec::with_capacity(plain.len() / 2), plain);
    loop {
        packed.reserve(PIECE_BYTES);
        let (piece, behind) = rest.split_at(rest.len().min(PIECE_BYTES));
        let flush = if behind.is_empty() { FlushCompress::Finish } else { FlushCompress::None };
        let before = encoder.total_in();
        let status = encoder.compress_vec(piece, &mut packed, flush);
        if status.expect("any bytes can be compressed") == Status::StreamEnd {
            return Some(packed);
        }
        rest = &rest[(encoder.total_in() - before) as usize..];
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::body::BodyLimits;
    use crate::api::connections::{Connection, Connections};
    use crate::api::test_server::run;

    fn gathering(connection: &Connection, one: u64, all: u64) -> Gathering<'_> {
        let limits =
            BodyLimits { bytes_max: one, gathered_bytes_max: all, time_max: Duration::ZERO };
        Gathering::new(connection, limits)
    }

    const BOTH: [Encoding; 2] = [Encoding::Gzip, Encoding::Deflate];

    #[test]
    fn what_is_packed_comes_back_whole() {
        run(async {
            let plain: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 9).to_le_bytes()).collect();
            let shared = std::rc::Rc::new(Connections::default()).share();
            let connection = &*shared.connection;
            for encoding in BOTH {
                let packed = Bytes::from(deflate(encoding, &plain).await.unwrap());
                assert!(packed.len() < plain.len());
                let limit = plain.len() as u64;
                let inflate = |packed: &Bytes, limit, limit_of_all| {
                    inflate(encoding, packed.clone(), gathering(connection, limit, limit_of_all))
                };
                assert_eq!(inflate(&packed, limit, limit).await.unwrap(), plain);
                let refused = inflate(&packed, limit - 1, limit).await.unwrap_err();
                assert_eq!(refused, ApiError::BodyTooLarge { limit: limit - 1 });
                let refused = inflate(&packed, limit, limit - 1).await.unwrap_err();
                assert_eq!(refused, ApiError::Crowded { limit: limit - 1 });
                let half = packed.slice(..packed.len() / 2);
                assert_eq!(inflate(&half, limit, limit).await, Err(ApiError::BrokenEncoding));
                let more = Bytes::from([&packed[..], b"more"].concat());
                assert_eq!(inflate(&more, limit, limit).await, Err(ApiError::BrokenEncoding));
                assert_eq!(connection.gather(0), 0, "nothing is left to count");
            }
        });
    }

    #[test]
    fn a_small_answer_stays_as_it_is() {
        run(async {
            assert_eq!(deflate(Encoding::Gzip, &[0; ANSWER_BYTES_MIN - 1]).await, None);
        });
    }

    #[test]
    fn only_a_single_wish_is_one() {
        for (value, wanted) in [
            (&b"gzip"[..], Some(Encoding::Gzip)),
            (b" Deflate ", Some(Encoding::Deflate)),
            (b"gzip, deflate", None),
            (b"gzip;q=0", None),
            (b"*", None),
            (b"", None),
        ] {
            assert_eq!(Encoding::wanted(value), wanted);
        }
    }
}
