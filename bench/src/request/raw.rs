//! Any HTTP request: a method, a path, headers, and a body with places to fill, or bodies from a file.

use std::fmt::Write;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::questions::{each_line, has_ending, unreadable};
use super::{PREPARED_BYTES_MAX, Prepared, RequestError, Source, Spec, field};
use crate::address::Address;

pub(super) fn requests(spec: &Spec, address: Address) -> Result<Vec<Vec<u8>>, RequestError> {
    check_head(spec)?;
    let mut prepared = Prepared::default();
    match &spec.payload {
        Source::File(path) if has_ending(path, "jsonl") => {
            let mut index = 0;
            each_line(path, &mut |_, line| {
                let mut filler = Filler::of(spec, index);
                index += 1;
                prepared.push(request(spec, address, &mut filler, line.as_bytes()))
            })?;
        }
        Source::File(_) | Source::Constant => {
            return Err(field("payload", "with \"http\", give body or a .jsonl file"));
        }
        Source::Random => {
            let template = template(spec)?;
            for index in 0..spec.variants {
                let mut filler = Filler::of(spec, index);
                let body = filler.filled_bytes(&template);
                prepared.push(request(spec, address, &mut filler, &body))?;
            }
        }
    }
    Ok(prepared.requests)
}

fn template(spec: &Spec) -> Result<Vec<u8>, RequestError> {
    match (&spec.body, &spec.body_file) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(path)) => body_file(path),
        (None, None) => Ok(Vec::new()),
    }
}

fn body_file(path: &Path) -> Result<Vec<u8>, RequestError> {
    let length = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.len();
    if length > PREPARED_BYTES_MAX as u64 {
        return Err(RequestError::TooMuch);
    }
    std::fs::read(path).map_err(|source| unreadable(path, source))
}

/// A head that ends early would be another request.
fn check_head(spec: &Spec) -> Result<(), RequestError> {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|sign| sign.is_ascii_graphic());
    if !spec.method.as_deref().is_none_or(is_word) {
        return Err(field("method", "give a word, as \"POST\""));
    }
    if !spec.path.as_deref().is_none_or(|path| is_word(path) && path.starts_with('/')) {
        return Err(field("path", "begin it with / and write it without spaces"));
    }
    for (name, value) in &spec.headers {
        if !is_word(name) || name.contains(':') || value.contains(['\r', '\n', '\0']) {
            return Err(field("headers", "give names without spaces and values on one line"));
        }
        if ["content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own))
        {
            return Err(field("headers", "leave out the length: it is that of the body"));
        }
    }
    Ok(())
}

fn request(spec: &Spec, address: Address, filler: &mut Filler, body: &[u8]) -> Vec<u8> {
    let path = filler.filled(spec.path.as_deref().unwrap_or("/"));
    let mut head = format!("{} {path} HTTP/1.1\r\n", spec.method.as_deref().unwrap_or("POST"));
    let host = address.host();
    for (name, value) in [("Host", &*host), ("Content-Type", "application/json")] {
        if !spec.headers.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    for (name, value) in &spec.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// What the places of one request are filled with.
struct Filler {
    seed: u64,
    index: u64,
    rng: SmallRng,
}

impl Filler {
    fn of(spec: &Spec, index: u64) -> Filler {
        let rng = SmallRng::seed_from_u64(spec.seed.wrapping_add(index));
        Filler { seed: spec.seed, index, rng }
    }

    /// What is not text has no places.
    fn filled_bytes(&mut self, template: &[u8]) -> Vec<u8> {
        match std::str::from_utf8(template) {
            Ok(text) => self.filled(text).into_bytes(),
            Err(_) => template.to_vec(),
        }
    }

    fn filled(&mut self, template: &str) -> String {
        let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            rest = match after
                .split_once("}}")
                .and_then(|(name, after)| self.value(name.trim()).map(|value| (value, after)))
            {
                Some((value, after)) => {
                    let _ = write!(filled, "{value}");
                    after
                }
                // Braces of another meaning stay.
                None => {
                    filled.push_str("{{");
                    after
                }
            };
        }
        filled + rest
    }

    fn value(&mut self, name: &str) -> Option<u64> {
        match name {
            "seed" => Some(self.seed),
            "index" => Some(self.index),
            "random" => Some(self.rng.random::<u32>().into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, index: u64) -> String {
        Filler::of(&Spec { seed: 5, ..Spec::default() }, index).filled(template)
    }

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        assert_eq!(filled("{{seed}}-{{ index }}", 3), "5-3");
        let nested = r#"{"a":{"b":{{index}}},"c":"{{other}}"}"#;
        assert_eq!(filled(nested, 1), r#"{"a":{"b":1},"c":"{{other}}"}"#);
        assert_eq!(filled("{{", 0), "{{");
    }

    #[test]
    fn random_places_differ_and_come_back_with_the_seed() {
        let drawn = filled("{{random}} {{random}}", 0);
        let (first, second) = drawn.split_once(' ').expect("two");
        assert_ne!(first, second);
        assert!(first.parse::<u32>().is_ok());
        assert_eq!(drawn, filled("{{random}} {{random}}", 0));
        assert_ne!(drawn, filled("{{random}} {{random}}", 1));
    }

    #[test]
    fn a_head_that_would_end_early_is_refused() {
        let base = Spec::default;
        let header = |name: &str, value: &str| Spec {
            headers: [(name.to_owned(), value.to_owned())].into(),
            ..base()
        };
        for spec in [
            Spec { method: Some("POST /".to_owned()), ..base() },
            Spec { path: Some("/a\r\nb".to_owned()), ..base() },
            Spec { path: Some("a".to_owned()), ..base() },
            header("a b", "c"),
            header("a", "b\r\nc: d"),
            header("content-LENGTH", "3"),
        ] {
            assert!(matches!(check_head(&spec), Err(RequestError::Field { .. })), "{spec:?}");
        }
        assert!(check_head(&header("X-Key", "a b")).is_ok());
    }
}
