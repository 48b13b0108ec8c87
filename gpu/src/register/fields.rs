//! Fields of entries, as Go reads them.

use serde_json::{Map, Value};

use super::{RegisterError, shorten};

/// A number as `strconv.ParseInt` reads it, within `int32`.
pub(super) fn int32(field: &'static str, text: &str) -> Result<i32, RegisterError> {
    text.parse().map_err(|_| field_error(field, text))
}

/// A number that cannot be negative. What is written as negative is no number of anything.
pub(super) fn natural(field: &'static str, text: &str) -> Result<u32, RegisterError> {
    u32::try_from(int32(field, text)?).map_err(|_| field_error(field, text))
}

/// A truth value as `strconv.ParseBool` reads it.
pub(super) fn boolean(field: &'static str, text: &str) -> Result<bool, RegisterError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(field_error(field, text)),
    }
}

fn field_error(field: &'static str, found: &str) -> RegisterError {
    RegisterError::Field {
        field,
        found: format!("`{}`", shorten(found)),
    }
}

/// The members of a JSON object. Names are compared without regard to case, as Go does, with a name in the right case first.
pub(super) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    pub(super) const fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    /// A member; `null` is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0
            .get(name)
            .or_else(|| {
                self.0
                    .iter()
                    .find(|(known, _)| known.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            })
            .filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&'a str>, RegisterError> {
        self.typed(name, Value::as_str)
    }

    pub(super) fn boolean(&self, name: &'static str) -> Result<Option<bool>, RegisterError> {
        self.typed(name, Value::as_bool)
    }

    pub(super) fn natural(&self, name: &'static str) -> Result<Option<u32>, RegisterError> {
        self.typed(name, |value| i32::try_from(value.as_u64()?).ok()?.try_into().ok())
    }

    pub(super) fn integer(&self, name: &'static str) -> Result<Option<i32>, RegisterError> {
        self.typed(name, |value| i32::try_from(value.as_i64()?).ok())
    }

    fn typed<T>(
        &self,
        name: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, RegisterError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| RegisterError::Field {
                field: name,
                found: format!("`{}`", shorten(&value.to_string())),
            }),
        }
    }
}
