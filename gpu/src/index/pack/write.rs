//! Writing.

use std::fmt;

use jiff::Timestamp;
use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct},
};
use uuid::Uuid;

use super::{PackError, UNIQUE, tag};
use crate::index::strings::Strings;

/// `8-4-4-4-12` digits.
const UUID_LEN: usize = 36;
/// Shorter strings are not worth a number.
const SHORT: usize = 3;

pub(super) struct Writer<'s> {
    out: Vec<u8>,
    /// Without them every string is written out.
    strings: Option<&'s mut Strings>,
    /// The next string is the value of a field of this name.
    field: Option<&'static str>,
}

impl<'s> Writer<'s> {
    pub(super) fn new(strings: Option<&'s mut Strings>) -> Self {
        Self {
            out: Vec::with_capacity(256),
            strings,
            field: None,
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_le_bytes()[0]);
    }

    fn unsigned(&mut self, value: u64) {
        match value {
            0 => self.out.push(tag::ZERO),
            1..0x80 => self.out.push(tag::SMALL | value.to_le_bytes()[0]),
            _ => {
                self.out.push(tag::UNSIGNED);
                self.varint(value);
            }
        }
    }

    fn signed(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.unsigned(value);
        } else {
            self.out.push(tag::NEGATIVE);
            self.varint(value.unsigned_abs());
        }
    }

    fn string(&mut self, text: &str, field: Option<&'static str>) {
        if text.is_empty() {
            self.out.push(tag::ZERO);
            return;
        }
        let unique = field.is_some_and(|field| UNIQUE.contains(&field));
        if let Some(seconds) = time(text) {
            self.out.push(tag::TIME);
            // Zigzag: small for both signs.
            self.varint((seconds.cast_unsigned() << 1) ^ (seconds >> 63).cast_unsigned());
        } else if let Some((prefix, uuid)) = uuid(text) {
            self.out.push(tag::UUID);
            self.string(prefix, None);
            self.out.extend_from_slice(uuid.as_bytes());
        } else if unique && field != Some("message") && text.contains('/') {
            let parts = text.split('/');
            self.out.push(tag::PATH);
            self.varint(parts.clone().count() as u64);
            for part in parts {
                self.string(part, None);
            }
        } else if let Some(strings) = self.strings.as_mut().filter(|_| !unique && text.len() > SHORT) {
            let sym = strings.intern(text);
            self.out.push(tag::SHARED);
            self.varint(sym.raw().into());
        } else {
            self.out.push(tag::TEXT);
            self.varint(text.len() as u64);
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// Writes `value` and says whether it was `ZERO`.
    fn value<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        field: Option<&'static str>,
    ) -> Result<bool, PackError> {
        let start = self.out.len();
        self.field = field;
        value.serialize(&mut *self)?;
        self.field = None;
        Ok(self.out[start..] == [tag::ZERO])
    }
}

/// Seconds, if the text is a time that reads the same when written again.
fn time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[19] == b'Z';
    let seconds = shaped.then(|| text.parse::<Timestamp>().ok())??.as_second();
    let same = Timestamp::from_second(seconds).ok()?.to_string() == text;
    same.then_some(seconds)
}

/// A UUID at the end, in lower case as it is written again, and what is before it.
pub(super) fn uuid(text: &str) -> Option<(&str, Uuid)> {
    let (prefix, end) = text.split_at_checked(text.len().checked_sub(UUID_LEN)?)?;
    let uuid = Uuid::try_parse(end).ok()?;
    let mut buffer = Uuid::encode_buffer();
    let same = uuid.hyphenated().encode_lower(&mut buffer) == end;
    (same && !prefix.contains('/') && prefix.len() <= UUID_LEN).then_some((prefix, uuid))
}

impl<'w, 's> Serializer for &'w mut Writer<'s> {
    type Ok = ();
    type Error = PackError;
    type SerializeSeq = Self;
    type SerializeTuple = Impossible<(), PackError>;
    type SerializeTupleStruct = Impossible<(), PackError>;
    type SerializeTupleVariant = Impossible<(), PackError>;
    type SerializeMap = Items<'w, 's>;
    type SerializeStruct = Fields<'w, 's>;
    type SerializeStructVariant = Impossible<(), PackError>;

    fn serialize_bool(self, v: bool) -> Result<(), PackError> {
        self.out.push(if v { tag::TRUE } else { tag::ZERO });
        Ok(())
    }
    fn serialize_i8(self, v: i8) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i16(self, v: i16) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i32(self, v: i32) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i64(self, v: i64) -> Result<(), PackError> {
        self.signed(v);
        Ok(())
    }
    fn serialize_u8(self, v: u8) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u16(self, v: u16) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u32(self, v: u32) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u64(self, v: u64) -> Result<(), PackError> {
        self.unsigned(v);
        Ok(())
    }
    fn serialize_f32(self, v: f32) -> Result<(), PackError> {
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, v: f64) -> Result<(), PackError> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the next line tells whether anything was lost"
        )]
        let single = v as f32;
        if v.to_bits() == 0 {
            self.out.push(tag::ZERO);
        } else if f64::from(single).to_bits() == v.to_bits() {
            self.out.push(tag::SINGLE);
            self.out.extend_from_slice(&single.to_le_bytes());
        } else {
            self.out.push(tag::DOUBLE);
            self.out.extend_from_slice(&v.to_le_bytes());
        }
        Ok(())
    }
    fn serialize_char(self, v: char) -> Result<(), PackError> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Result<(), PackError> {
        let field = self.field.take();
        self.string(v, field);
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), PackError> {
        Err(unsupported("bytes"))
    }
    fn serialize_none(self) -> Result<(), PackError> {
        self.out.push(tag::ZERO);
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PackError> {
        let (start, field) = (self.out.len(), self.field.take());
        self.value(value, field)?;
        if matches!(self.out[start], tag::ZERO | tag::SOME) {
            self.out.insert(start, tag::SOME);
        }
        Ok(())
    }
    fn serialize_unit(self) -> Result<(), PackError> {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), PackError> {
        self.serialize_none()
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), PackError> {
        self.out.push(tag::VARIANT);
        self.varint(index.into());
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), PackError> {
        Err(unsupported(name))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, PackError> {
        match len {
            None => return Err(unsupported("a list without a length")),
            Some(0) => self.out.push(tag::ZERO),
            Some(len) => {
                self.out.push(tag::LIST);
                self.varint(len as u64);
            }
        }
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, PackError> {
        Err(unsupported("a tuple"))
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTuple, PackError> {
        Err(unsupported(name))
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTuple, PackError> {
        Err(unsupported(name))
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Items<'w, 's>, PackError> {
        match len {
            None => return Err(unsupported("a map without a length")),
            Some(0) => self.out.push(tag::ZERO),
            Some(len) => {
                self.out.push(tag::MAP);
                self.varint(len as u64);
            }
        }
        Ok(Items { writer: self })
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'w, 's>, PackError> {
        let start = self.out.len();
        self.out.push(tag::STRUCT);
        Ok(Fields {
            writer: self,
            start,
            zeros: 0,
        })
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, PackError> {
        Err(unsupported(name))
    }
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), PackError> {
        self.serialize_str(&value.to_string())
    }
}

/// Elements of lists are shared: roles, vendors, addresses.
impl SerializeSeq for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.value(value, None).map(drop)
    }
    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

/// Keys of maps are shared; their values are as long as they are, and mostly all different.
pub(super) struct Items<'w, 's> {
    writer: &'w mut Writer<'s>,
}

impl SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PackError> {
        self.writer.value(key, None).map(drop)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.writer.value(value, Some("message")).map(drop)
    }
    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

pub(super) struct Fields<'w, 's> {
    writer: &'w mut Writer<'s>,
    start: usize,
    /// Empty fields that are not written yet.
    zeros: u8,
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        let start = self.writer.out.len();
        if self.zeros > 0 {
            self.writer.out.push(tag::ZEROS | self.zeros);
        }
        if self.writer.value(value, Some(key))? {
            self.writer.out.truncate(start);
            return self.skip_field(key);
        }
        self.zeros = 0;
        Ok(())
    }
    fn skip_field(&mut self, _: &'static str) -> Result<(), PackError> {
        self.zeros += 1;
        if self.zeros == 64 {
            return Err(unsupported("a struct with 64 empty fields in a row"));
        }
        Ok(())
    }
    fn end(self) -> Result<(), PackError> {
        if self.writer.out.len() == self.start + 1 {
            self.writer.out[self.start] = tag::ZERO;
        } else {
            self.writer.out.push(tag::END);
        }
        Ok(())
    }
}

fn unsupported(what: &str) -> PackError {
    PackError(format!("{what} cannot be packed"))
}

impl serde::ser::Error for PackError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for PackError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}
