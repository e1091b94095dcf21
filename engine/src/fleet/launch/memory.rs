//! How much memory one container may use.

use std::fs;

use crate::fleet::devices::linux::total_bytes;

/// Of this machine's memory, what one container may use unless its model says otherwise: two that grow without end leave
/// the engine its own.
const SHARE: u64 = 2;
/// Where the system doesn't say how much it has.
const UNKNOWN_BYTES: u64 = 4 << 30;

/// Docker takes no less.
const LEAST_BYTES: u64 = 6 << 20;

pub fn default_memory_bytes() -> u64 {
    let about = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    total_bytes(&about).map_or(UNKNOWN_BYTES, |total| total / SHARE)
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no amount; write at least 6m, as in 2g or 512m")]
pub struct MemoryError {
    text: String,
}

/// `2g`, `512m`, `65536k`, or bytes; as Docker has it, which takes no less than 6m.
pub fn parse_memory(text: &str) -> Result<u64, MemoryError> {
    bytes(text).ok_or_else(|| MemoryError { text: text.to_owned() })
}

fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match lower.as_bytes().last()? {
        b'k' => (&lower[..lower.len() - 1], 10),
        b'm' => (&lower[..lower.len() - 1], 20),
        b'g' => (&lower[..lower.len() - 1], 30),
        _ => (lower, 0),
    };
    let bytes = number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (bytes >= LEAST_BYTES && i64::try_from(bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_docker_has_it() {
        assert_eq!(parse_memory("2g"), Ok(2 << 30));
        assert_eq!(parse_memory("512MB"), Ok(512 << 20));
        assert_eq!(parse_memory("67108864"), Ok(64 << 20));
        for wrong in ["", "2x", "g", "-1g", "1.5g", "5m", "99999999999g"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_system_says_how_much_it_has() {
        assert_eq!(
            total_bytes("MemFree: 1 kB\nMemTotal:       24104624 kB\n"),
            Some(24104624 << 10)
        );
        assert_eq!(total_bytes("nothing"), None);
    }
}
