//! The elements of a list, one after the other, as text.

/// Over a valid JSON list. Nothing is kept but the place.
#[derive(Clone, Debug)]
pub(super) struct Elements<'a> {
    /// What follows the opening bracket or the last comma.
    rest: &'a str,
    ended: bool,
}

/// `list` must be a valid JSON list.
pub(super) fn elements(list: &str) -> Elements<'_> {
    let inner = list.trim();
    let inner = inner.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or_default();
    let rest = inner.trim();
    Elements { rest, ended: rest.is_empty() }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.ended {
            return None;
        }
        let end = comma(self.rest.as_bytes());
        let element = &self.rest[..end.unwrap_or(self.rest.len())];
        match end {
            Some(end) => self.rest = &self.rest[end + 1..],
            None => self.ended = true,
        }
        Some(element.trim())
    }
}

/// Where the first comma stands that is in no string and no list or object.
fn comma(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b',' if depth == 0 => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = closing_quote(text, at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn closing_quote(text: &[u8], opening: usize) -> usize {
    let mut at = opening + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<&str> {
        elements(text).collect()
    }

    #[test]
    fn elements_are_told_apart_whatever_they_hold() {
        assert_eq!(list(" [ ] "), Vec::<&str>::new());
        assert_eq!(list("[1, -2.5e3 ,3]"), ["1", "-2.5e3", "3"]);
        assert_eq!(
            list(r#"["a,b", "\"]", [1,[2]], {"k": ","}, null]"#),
            [r#""a,b""#, r#""\"]""#, "[1,[2]]", r#"{"k": ","}"#, "null"]
        );
    }
}
