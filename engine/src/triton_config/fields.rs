//! What a field's value is, by the type that the field has.

use super::fault::{ConfigFault, Fault, Like};
use super::text::{Field, Message, Value};

/// Further than this a name is not like another.
const EDITS_MAX: usize = 3;

impl Field {
    pub(super) fn fault(&self, fault: Fault) -> ConfigFault {
        ConfigFault { at: self.at, fault }
    }

    /// Of a name that is no field here; `known` are those that are.
    pub(super) fn unknown(&self, known: &[&'static str]) -> ConfigFault {
        let nearest = known.iter().map(|name| (distance(&self.name, name), *name)).min();
        let like = Like(nearest.filter(|(edits, _)| *edits <= EDITS_MAX).map(|(_, name)| name));
        self.fault(Fault::Unknown { name: self.name.clone(), like })
    }

    pub(super) fn refused(&self, field: &'static str, instead: &'static str) -> ConfigFault {
        self.fault(Fault::Refused { field, instead })
    }

    fn wanted(&self, wanted: &'static str) -> ConfigFault {
        let fault = Fault::Kind { name: self.name.clone(), wanted };
        ConfigFault { at: self.value_at, fault }
    }

    pub(super) fn text(&self) -> Result<String, ConfigFault> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.wanted("a string")),
        }
    }

    /// One of a set of names; JSON writes it as a string.
    pub(super) fn name_of<T: Copy>(
        &self,
        names: &[(&str, T)],
        wanted: &'static str,
    ) -> Result<T, ConfigFault> {
        let (Value::Word(word) | Value::Text(word)) = &self.value else {
            return Err(self.wanted(wanted));
        };
        let found = names.iter().find(|(name, _)| name == word);
        found.map(|(_, it)| *it).ok_or_else(|| self.wanted(wanted))
    }

    pub(super) fn truth(&self) -> Result<bool, ConfigFault> {
        match &self.value {
            Value::Word(word) if ["true", "True", "t", "1"].contains(&word.as_str()) => Ok(true),
            Value::Word(word) if ["false", "False", "f", "0"].contains(&word.as_str()) => Ok(false),
            _ => Err(self.wanted("true or false")),
        }
    }

    /// A whole number that is not negative; JSON may write one of 64 bits as a string.
    pub(super) fn count<T: TryFrom<u64>>(&self) -> Result<T, ConfigFault> {
        let number = self.number()?;
        let count = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
        count.ok_or_else(|| self.wanted("a whole number that is not negative and not too large"))
    }

    pub(super) fn number(&self) -> Result<i64, ConfigFault> {
        let (Value::Word(text) | Value::Text(text)) = &self.value else {
            return Err(self.wanted("a whole number"));
        };
        let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |it| (-1, it));
        let (digits, radix) = match digits {
            hex if hex.starts_with("0x") || hex.starts_with("0X") => (&hex[2..], 16),
            octal if octal.len() > 1 && octal.starts_with('0') => (&octal[1..], 8),
            decimal => (decimal, 10),
        };
        let plain = digits.starts_with(|it: char| it.is_digit(radix));
        let number = plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten();
        number.map(|number| sign * number).ok_or_else(|| self.wanted("a whole number"))
    }

    pub(super) fn message(&self) -> Result<&Message, ConfigFault> {
        match &self.value {
            Value::Message(message) => Ok(message),
            _ => Err(self.wanted("a block, { … }")),
        }
    }

    /// Key and value of a map's entry.
    pub(super) fn entry(&self) -> Result<(String, &Message), ConfigFault> {
        let message = self.message()?;
        let (mut key, mut value) = (None, None);
        for field in &message.fields {
            match field.name.as_str() {
                "key" => set(&mut key, field, field.text()?)?,
                "value" => set(&mut value, field, field.message()?)?,
                _ => return Err(field.unknown(&["key", "value"])),
            }
        }
        let missing = |name| self.fault(Fault::Missing { name });
        Ok((key.ok_or_else(|| missing("key"))?, value.ok_or_else(|| missing("value"))?))
    }
}

/// A field that is there once.
pub(super) fn set<T>(slot: &mut Option<T>, field: &Field, value: T) -> Result<(), ConfigFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(field.fault(Fault::Twice { name: field.name.clone() })),
    }
}

/// Levenshtein's, cut short where names are nothing alike.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > EDITS_MAX {
        return usize::MAX;
    }
    crate::config::distance(a, b)
}
