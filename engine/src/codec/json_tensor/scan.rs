//! A cursor over JSON text: tokens, strings, members of objects, and values nobody asked for.
//!
//! Strict: what it passes over is valid JSON too. It never recurses, so depth costs no stack.

use std::borrow::Cow;

use crate::codec::fault::InputFault;

/// Objects and arrays inside a value that is passed over: deeper than any client library nests parameters, and
/// one bit each fits a word.
pub(super) const SKIP_DEPTH_MAX: usize = 64;

/// Copied by value into cold paths, so that the hot loops can keep it in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    /// The bytes as far as they are UTF-8: all of them, in a request that is one.
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, text: valid_prefix(bytes), at: 0 }
    }

    /// The byte under the cursor; 0, which no JSON token starts with, past the end.
    #[inline(always)]
    pub(super) fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// The first byte of the next token, which stays unread.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.byte()
    }

    #[cold]
    pub(super) fn fault(self, expected: &'static str) -> InputFault {
        self.or_truncated(InputFault::Json { at: self.at, expected })
    }

    /// The fault, unless what is missing is simply not there yet.
    #[cold]
    pub(super) fn or_truncated(self, fault: InputFault) -> InputFault {
        let at = self.bytes.len();
        if self.at >= at { InputFault::Truncated { at } } else { fault }
    }

    pub(super) fn expect(&mut self, token: u8, name: &'static str) -> Result<(), InputFault> {
        if self.peek() != token {
            return Err(self.fault(name));
        }
        self.at += 1;
        Ok(())
    }

    /// After an element or a member: true when another one follows, false when `close` was read.
    #[inline(always)]
    pub(super) fn more(&mut self, close: u8, name: &'static str) -> Result<bool, InputFault> {
        let token = self.peek();
        if token != b',' && token != close {
            return Err(self.fault(name));
        }
        self.at += 1;
        Ok(token == b',')
    }

    /// True, and read, when the next token is `word` (`null`, `true`, `false`).
    pub(super) fn word(&mut self, word: &'static [u8]) -> bool {
        self.peek();
        let found = self.bytes[self.at.min(self.bytes.len())..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    pub(super) fn end(&mut self) -> Result<(), InputFault> {
        self.peek();
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(self.fault("the end of the request (one JSON object is a request)"))
    }

    /// Calls `each` with every key of an object, the cursor at its value.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), InputFault>,
    ) -> Result<(), InputFault> {
        self.expect(b'{', "an object")?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':', "':'")?;
            each(self, &key)?;
            if !self.more(b'}', "',' or '}'")? {
                return Ok(());
            }
        }
    }

    /// Calls `each` with the cursor at every element of an array.
    pub(super) fn elements(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), InputFault>,
    ) -> Result<(), InputFault> {
        self.expect(b'[', "a list")?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.more(b']', "',' or ']'")? {
                return Ok(());
            }
        }
    }

    /// A string; borrowed unless it has escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, InputFault> {
        self.expect(b'"', "a string")?;
        let plain = self.plain_run()?;
        if self.byte() == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = Vec::from(plain);
        self.string_rest(&mut text)?;
        String::from_utf8(text).map(Cow::Owned).map_err(|_| self.fault("UTF-8"))
    }

    /// Appends a string's characters, without its quotes.
    pub(super) fn string_into(&mut self, text: &mut Vec<u8>) -> Result<(), InputFault> {
        self.expect(b'"', "a string")?;
        self.string_rest(text)
    }

    fn string_rest(&mut self, text: &mut Vec<u8>) -> Result<(), InputFault> {
        loop {
            text.extend_from_slice(self.plain_run()?.as_bytes());
            if self.byte() == b'"' {
                self.at += 1;
                return Ok(());
            }
            self.at += 1;
            let escaped = self.escape()?;
            text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Characters up to a quote or a backslash, which stays unread.
    fn plain_run(&mut self) -> Result<&'a str, InputFault> {
        let start = self.at;
        let end = start + plain_length(&self.bytes[start..]);
        let Some(text) = self.text.get(start..end) else {
            self.at = self.text.len();
            return Err(self.fault("UTF-8"));
        };
        self.at = end;
        match self.byte() {
            b'"' | b'\\' => Ok(text),
            _ => Err(self.fault("a closing quote (control characters must be escaped)")),
        }
    }

    fn escape(&mut self) -> Result<char, InputFault> {
        let kind = self.byte();
        let escaped = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.fault("one of \" \\ / b f n r t u after a backslash")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn unicode_escape(&mut self) -> Result<char, InputFault> {
        const PAIR: &str = "a surrogate pair that is complete";
        let start = self.at;
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff if self.bytes[self.at..].starts_with(b"\\u") => {
                self.at += 1;
                let second = self.hex4()?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                low.map(|low| 0x10000 + ((first - 0xd800) << 10) + low)
            }
            _ => Some(first),
        };
        code.and_then(char::from_u32).ok_or(InputFault::Json { at: start, expected: PAIR })
    }

    /// `u` and four hexadecimal digits.
    fn hex4(&mut self) -> Result<u32, InputFault> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let value = digits.and_then(|digits| {
            digits
                .iter()
                .try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
        });
        let value = value.ok_or_else(|| self.fault("four hexadecimal digits after \\u"))?;
        self.at += 5;
        Ok(value)
    }

    /// Passes over one value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), InputFault> {
        // Bit 0 is the innermost container: 1 for an object, 0 for an array.
        let mut objects = 0u64;
        let mut depth = 0usize;
        loop {
            let opened = self.skip_open()?;
            if let Some(close) = opened {
                if depth == SKIP_DEPTH_MAX {
                    return Err(InputFault::TooDeep { at: self.at, limit: SKIP_DEPTH_MAX });
                }
                depth += 1;
                objects = objects << 1 | u64::from(close == b'}');
                if self.peek() != close {
                    self.skip_key(objects)?;
                    continue;
                }
                self.at += 1;
                depth -= 1;
                objects >>= 1;
            }
            if !self.skip_close(&mut depth, &mut objects)? {
                return Ok(());
            }
        }
    }

    /// Reads a scalar, or the opening of a container and then says how that one closes.
    fn skip_open(&mut self) -> Result<Option<u8>, InputFault> {
        match self.peek() {
            b'[' => {
                self.at += 1;
                return Ok(Some(b']'));
            }
            b'{' => {
                self.at += 1;
                return Ok(Some(b'}'));
            }
            b'"' => self.skip_string()?,
            b'-' | b'0'..=b'9' => drop(self.decimal()?),
            _ if self.word(b"null") || self.word(b"true") || self.word(b"false") => {}
            _ => return Err(self.fault("a JSON value")),
        }
        Ok(None)
    }

    /// Closes what ends here; true when another value follows.
    fn skip_close(&mut self, depth: &mut usize, objects: &mut u64) -> Result<bool, InputFault> {
        while *depth > 0 {
            let close = if *objects & 1 == 1 { b'}' } else { b']' };
            if self.more(close, "',' or the end of the list or object")? {
                self.skip_key(*objects)?;
                return Ok(true);
            }
            *depth -= 1;
            *objects >>= 1;
        }
        Ok(false)
    }

    fn skip_key(&mut self, objects: u64) -> Result<(), InputFault> {
        if objects & 1 == 0 {
            return Ok(());
        }
        self.peek();
        self.skip_string()?;
        self.expect(b':', "':'")
    }

    fn skip_string(&mut self) -> Result<(), InputFault> {
        self.expect(b'"', "a string")?;
        loop {
            self.plain_run()?;
            self.at += 1;
            if self.bytes[self.at - 1] == b'"' {
                return Ok(());
            }
            self.escape()?;
        }
    }
}

/// One pass over all of the text is several times as fast as one over each string.
fn valid_prefix(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = &bytes[..error.valid_up_to()];
        std::str::from_utf8(valid).expect("these bytes were just found valid")
    })
}

/// Bytes before the first quote, backslash or control character; all of them if there is none.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return index * 8 + stops.trailing_zeros() as usize / 8;
        }
    }
    let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    words.len() * 8 + rest.iter().position(stop).unwrap_or(rest.len())
}

/// The high bit of the lowest byte that ends a run is set, and no lower one. Bits above it may be wrong: a borrow
/// runs upwards (Mycroft's test for a zero byte).
fn stops(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGH;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, 0x20) | is(b'"') | is(b'\\')
}
