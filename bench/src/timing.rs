//! The `Server-Timing` header of an answer: where the server says its time went. Pure.

/// One answer's stages, and the batch it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerTiming {
    pub queue_us: u32,
    pub lane_us: u32,
    pub model_us: u32,
    pub batch_rows: u32,
}

impl ServerTiming {
    /// `queue;dur=0.021, lane;dur=0.034, model;dur=1.207;desc="batch 8"`; None where a part is missing.
    pub fn parse(value: &[u8]) -> Option<ServerTiming> {
        let text = std::str::from_utf8(value).ok()?;
        let (mut queue_us, mut lane_us, mut model_us, mut batch_rows) = (None, None, None, None);
        for metric in text.split(',') {
            let mut parts = metric.split(';').map(str::trim);
            let name = parts.next()?;
            for part in parts {
                match (name, part.split_once('=')?) {
                    ("queue", ("dur", ms)) => queue_us = micros(ms),
                    ("lane", ("dur", ms)) => lane_us = micros(ms),
                    ("model", ("dur", ms)) => model_us = micros(ms),
                    ("model", ("desc", batch)) => batch_rows = rows(batch),
                    _ => {}
                }
            }
        }
        Some(ServerTiming {
            queue_us: queue_us?,
            lane_us: lane_us?,
            model_us: model_us?,
            batch_rows: batch_rows?,
        })
    }

    /// From the batch's departure to its reply.
    pub fn service_us(self) -> u32 {
        self.lane_us.saturating_add(self.model_us)
    }
}

fn micros(ms: &str) -> Option<u32> {
    let ms: f64 = ms.parse().ok()?;
    Some((ms * 1e3).round() as u32)
}

fn rows(quoted: &str) -> Option<u32> {
    quoted.trim_matches('"').strip_prefix("batch ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_batch_are_read() {
        let value = b"queue;dur=0.021, lane;dur=0.034, model;dur=11.207;desc=\"batch 8\"";
        let timing = ServerTiming::parse(value).expect("whole");
        let read = ServerTiming { queue_us: 21, lane_us: 34, model_us: 11_207, batch_rows: 8 };
        assert_eq!(timing, read);
        assert_eq!(timing.service_us(), 11_241);
    }

    #[test]
    fn a_header_of_another_server_is_none() {
        for value in ["", "db;dur=5", "queue;dur=1, lane;dur=x, model;dur=1;desc=\"batch 8\""] {
            assert_eq!(ServerTiming::parse(value.as_bytes()), None, "{value}");
        }
    }
}
