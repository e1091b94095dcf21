//! The text format of protocol buffers: fields with values, blocks of fields, lists, comments.
//!
//! A value keeps its place and its words; what they mean depends on the field. Bounds: bytes of the text, depth of blocks.
//! Deliberately absent: extensions and `Any`, which no model's configuration has.

use super::fault::{ConfigFault, Fault, Place};

/// Hundreds of times what the longest known configuration takes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// A model's configuration needs five.
const DEPTH_MAX: usize = 32;
/// Of what is quoted in a message.
const SHOWN_CHARS_MAX: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A number, a truth value or the name of one of a set.
    Word(String),
    Message(Message),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) at: Place,
    pub(super) value_at: Place,
    pub(super) value: Value,
}

/// Of a list there is one field for each entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) at: Place,
    pub(super) fields: Vec<Field>,
}

pub(super) fn parse(text: &str) -> Result<Message, ConfigFault> {
    let mut parser = Parser { rest: text, at: Place { line: 1, column: 1 } };
    if text.len() > TEXT_BYTES_MAX {
        return Err(parser.fault(Fault::TooLong { max: TEXT_BYTES_MAX }));
    }
    let at = parser.at;
    let fields = parser.fields(None, 0)?;
    Ok(Message { at, fields })
}

struct Parser<'t> {
    rest: &'t str,
    at: Place,
}

impl<'t> Parser<'t> {
    /// Until the block's end, or that of the text.
    fn fields(&mut self, end: Option<char>, depth: usize) -> Result<Vec<Field>, ConfigFault> {
        let mut fields = Vec::new();
        loop {
            self.skip();
            match (self.peek(), end) {
                (None, None) => return Ok(fields),
                (found, Some(end)) if found == Some(end) => {
                    self.next();
                    return Ok(fields);
                }
                _ => self.field(&mut fields, depth)?,
            }
        }
    }

    fn field(&mut self, fields: &mut Vec<Field>, depth: usize) -> Result<(), ConfigFault> {
        let at = self.at;
        let name = self.word();
        if name.is_empty() || name.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '_') {
            let wanted = "the name of a field, or the end of the block";
            return Err(ConfigFault {
                at,
                fault: Fault::Unexpected { found: self.found(name), wanted },
            });
        }
        let first = fields.len();
        self.skip();
        let colon = self.take(':');
        self.skip();
        match self.peek() {
            Some('[') => self.list(name, fields, depth)?,
            Some('{' | '<') => fields.push(self.block(name, depth)?),
            _ if colon => fields.push(self.scalar(name)?),
            _ => return Err(self.unexpected("':' or a block")),
        }
        fields[first..].iter_mut().for_each(|field| field.at = at);
        self.skip();
        let _separated = self.take(',') || self.take(';');
        Ok(())
    }

    fn list(
        &mut self,
        name: &str,
        fields: &mut Vec<Field>,
        depth: usize,
    ) -> Result<(), ConfigFault> {
        self.next();
        self.skip();
        if self.take(']') {
            return Ok(());
        }
        loop {
            self.skip();
            fields.push(match self.peek() {
                Some('{' | '<') => self.block(name, depth)?,
                _ => self.scalar(name)?,
            });
            self.skip();
            if self.take(']') {
                return Ok(());
            }
            if !self.take(',') {
                return Err(self.unexpected("',' or the end of the list, ']'"));
            }
        }
    }

    fn block(&mut self, name: &str, depth: usize) -> Result<Field, ConfigFault> {
        let at = self.at;
        if depth >= DEPTH_MAX {
            return Err(self.fault(Fault::TooDeep { max: DEPTH_MAX }));
        }
        let end = if self.take('{') { '}' } else { '>' };
        if end == '>' {
            self.next();
        }
        let fields = self.fields(Some(end), depth + 1)?;
        let value = Value::Message(Message { at, fields });
        Ok(Field { name: name.to_owned(), at, value_at: at, value })
    }

    fn scalar(&mut self, name: &str) -> Result<Field, ConfigFault> {
        let at = self.at;
        let name = name.to_owned();
        if matches!(self.peek(), Some('"' | '\'')) {
            let value = Value::Text(self.strings()?);
            return Ok(Field { name, at, value_at: at, value });
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.unexpected("a value"));
        }
        Ok(Field { name, at, value_at: at, value: Value::Word(word.to_owned()) })
    }

    /// Strings that follow each other are one.
    fn strings(&mut self) -> Result<String, ConfigFault> {
        let at = self.at;
        let mut bytes = Vec::new();
        while let Some(quote @ ('"' | '\'')) = self.peek() {
            self.next();
            self.string(quote, &mut bytes)?;
            self.skip();
        }
        String::from_utf8(bytes).map_err(|_| ConfigFault { at, fault: Fault::NotUtf8 })
    }

    fn string(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), ConfigFault> {
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.fault(Fault::OpenString)),
                Some(found) if found == quote => return Ok(()),
                Some('\\') => self.escape(bytes)?,
                Some(found) => push(bytes, found),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), ConfigFault> {
        let at = self.at;
        let wrong = || ConfigFault { at, fault: Fault::Escape };
        let plain = match self.next().ok_or_else(wrong)? {
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            it @ ('\\' | '\'' | '"' | '?') => it as u8,
            'x' | 'X' => self.digits(16, 2).and_then(|it| it.try_into().ok()).ok_or_else(wrong)?,
            it @ '0'..='7' => {
                let first = it as u32 - u32::from(b'0');
                let rest =
                    self.rest.bytes().take(2).take_while(|it| (b'0'..=b'7').contains(it)).count();
                let more = if rest == 0 { 0 } else { self.digits(8, rest).ok_or_else(wrong)? };
                (first * 8u32.pow(rest as u32) + more).try_into().map_err(|_| wrong())?
            }
            it @ ('u' | 'U') => {
                let digits = if it == 'u' { 4 } else { 8 };
                let all = self.rest.chars().take(digits).filter(char::is_ascii_hexdigit).count();
                let code = (all == digits).then(|| self.digits(16, digits)).flatten();
                push(bytes, code.and_then(char::from_u32).ok_or_else(wrong)?);
                return Ok(());
            }
            _ => return Err(wrong()),
        };
        bytes.push(plain);
        Ok(())
    }

    /// The number of up to `most` digits that come next; None where there is none.
    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let count = self.rest.chars().take(most).take_while(|it| it.is_digit(radix)).count();
        let number = u32::from_str_radix(&self.rest[..count], radix).ok();
        self.advance(count);
        number
    }

    /// Letters, digits and what numbers are written with.
    fn word(&mut self) -> &'t str {
        let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-' | '+');
        let end = self.rest.find(|it| !is_part(it)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.advance(word.len());
        word
    }

    /// Blanks and comments.
    fn skip(&mut self) {
        while let Some(found) = self.peek() {
            if found == '#' {
                while self.peek().is_some_and(|it| it != '\n') {
                    self.next();
                }
            } else if found.is_ascii_whitespace() {
                self.next();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.at = Place { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(next)
    }

    /// Over characters of one byte, none of them the end of a line.
    fn advance(&mut self, count: usize) {
        self.rest = &self.rest[count..];
        self.at.column += count as u32;
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.next();
        }
        is_there
    }

    fn fault(&self, fault: Fault) -> ConfigFault {
        ConfigFault { at: self.at, fault }
    }

    fn unexpected(&self, wanted: &'static str) -> ConfigFault {
        self.fault(Fault::Unexpected { found: self.found(""), wanted })
    }

    /// What stands here, for a message.
    fn found(&self, word: &str) -> String {
        match self.peek() {
            _ if !word.is_empty() => {
                format!("'{}'", word.chars().take(SHOWN_CHARS_MAX).collect::<String>())
            }
            Some(found) => format!("'{}'", found.escape_debug()),
            None => "the end of the file".into(),
        }
    }
}

fn push(bytes: &mut Vec<u8>, found: char) {
    bytes.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes());
}
