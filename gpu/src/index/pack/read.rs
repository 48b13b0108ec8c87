//! Reading.

use jiff::Timestamp;
use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::{StrDeserializer, U32Deserializer},
    },
    forward_to_deserialize_any,
};
use uuid::Uuid;

use super::{PackError, tag};
use crate::index::strings::{Live, Strings, Sym};

const TRUNCATED: &str = "truncated";

pub(super) struct Reader<'p> {
    bytes: &'p [u8],
    strings: &'p Strings,
    /// So many more values are `ZERO` without being written.
    zeros: u8,
}

impl<'p> Reader<'p> {
    pub(super) fn new(bytes: &'p [u8], strings: &'p Strings) -> Self {
        Self {
            bytes,
            strings,
            zeros: 0,
        }
    }

    fn peek(&self) -> Result<u8, PackError> {
        if self.zeros > 0 {
            return Ok(tag::ZERO);
        }
        self.bytes
            .first()
            .copied()
            .ok_or_else(|| PackError(TRUNCATED.to_owned()))
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let byte = self.peek()?;
        if self.zeros > 0 {
            self.zeros -= 1;
        } else {
            self.bytes = &self.bytes[1..];
        }
        Ok(byte)
    }

    fn take(&mut self, len: usize) -> Result<&'p [u8], PackError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| PackError(TRUNCATED.to_owned()))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, PackError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(PackError("a number is too long".to_owned()))
    }

    fn len(&mut self) -> Result<usize, PackError> {
        let len = self.varint()?;
        usize::try_from(len).map_err(|_| PackError("a length is too large".to_owned()))
    }

    /// The string after its tag.
    fn string(&mut self, tag: u8) -> Result<std::borrow::Cow<'p, str>, PackError> {
        Ok(match tag {
            tag::ZERO => "".into(),
            tag::TEXT => {
                let len = self.len()?;
                str::from_utf8(self.take(len)?)
                    .map_err(|error| PackError(error.to_string()))?
                    .into()
            }
            tag::SHARED => {
                let sym = u32::try_from(self.varint()?).ok().and_then(Sym::from_raw);
                let sym = sym.ok_or_else(|| PackError("no such string".to_owned()))?;
                self.strings.get(sym).into()
            }
            tag::UUID => {
                let tag = self.byte()?;
                let prefix = self.string(tag)?;
                let uuid = Uuid::from_slice(self.take(16)?).map_err(|error| PackError(error.to_string()))?;
                format!("{prefix}{}", uuid.hyphenated()).into()
            }
            tag::TIME => {
                let zigzag = self.varint()?;
                let seconds = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
                let time = Timestamp::from_second(seconds).map_err(|error| PackError(error.to_string()))?;
                time.to_string().into()
            }
            tag::PATH => {
                let mut path = String::new();
                for part in 0..self.len()? {
                    if part > 0 {
                        path.push('/');
                    }
                    let tag = self.byte()?;
                    path.push_str(&self.string(tag)?);
                }
                path.into()
            }
            other => return Err(PackError(format!("tag {other} where a string belongs"))),
        })
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = PackError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        let tag = self.byte()?;
        match tag {
            tag::TRUE => visitor.visit_bool(true),
            tag::UNSIGNED => visitor.visit_u64(self.varint()?),
            tag::NEGATIVE => visitor.visit_i64(self.varint()?.cast_signed().wrapping_neg()),
            tag::SINGLE => {
                let bytes = self.take(4)?.try_into().expect("four bytes");
                visitor.visit_f64(f32::from_le_bytes(bytes).into())
            }
            tag::DOUBLE => {
                let bytes = self.take(8)?.try_into().expect("eight bytes");
                visitor.visit_f64(f64::from_le_bytes(bytes))
            }
            tag::SMALL.. => visitor.visit_u64((tag & 0x7f).into()),
            _ => match self.string(tag)? {
                std::borrow::Cow::Borrowed(text) => visitor.visit_str(text),
                std::borrow::Cow::Owned(text) => visitor.visit_string(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_bool(self.byte()? == tag::TRUE)
    }
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_u64(visitor)
    }
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        if self.peek()? == tag::ZERO {
            self.byte()?;
            return visitor.visit_u64(0);
        }
        self.deserialize_any(visitor)
    }
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_f64(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        if self.peek()? == tag::ZERO {
            self.byte()?;
            return visitor.visit_f64(0.0);
        }
        self.deserialize_any(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        match self.peek()? {
            tag::ZERO => {
                self.byte()?;
                visitor.visit_none()
            }
            tag::SOME => {
                self.byte()?;
                visitor.visit_some(self)
            }
            _ => visitor.visit_some(self),
        }
    }
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.byte()?;
        visitor.visit_unit()
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PackError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        let left = if self.byte()? == tag::ZERO { 0 } else { self.len()? };
        visitor.visit_seq(Elements { reader: self, left })
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        let left = if self.byte()? == tag::ZERO { 0 } else { self.len()? };
        visitor.visit_map(Elements { reader: self, left })
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        if self.byte()? == tag::ZERO {
            let mut empty = Reader::new(&[], self.strings);
            return visitor.visit_map(Fields {
                reader: &mut empty,
                names: fields.iter(),
                more: false,
            });
        }
        visitor.visit_map(Fields {
            reader: self,
            names: fields.iter(),
            more: true,
        })
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        self.byte()?;
        let index = u32::try_from(self.varint()?).map_err(|_| PackError("no such variant".to_owned()))?;
        visitor.visit_enum(UnitVariant(index))
    }

    forward_to_deserialize_any! { i128 u128 char str string bytes byte_buf unit_struct tuple tuple_struct identifier ignored_any }
}

struct Elements<'r, 'p> {
    reader: &'r mut Reader<'p>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = PackError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PackError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, '_> {
    type Error = PackError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PackError> {
        self.next_element_seed(seed)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, PackError> {
        seed.deserialize(&mut *self.reader)
    }
}

struct Fields<'r, 'p> {
    reader: &'r mut Reader<'p>,
    names: std::slice::Iter<'static, &'static str>,
    /// The end was not read yet.
    more: bool,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = PackError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PackError> {
        let Some(field) = self.names.next() else {
            // All fields were read, so that the end is next.
            if self.more {
                self.reader.byte()?;
            }
            return Ok(None);
        };
        if self.reader.zeros == 0 {
            if self.more {
                let next = self.reader.peek()?;
                if next == tag::END {
                    self.reader.byte()?;
                    self.more = false;
                } else if next & !0x3f == tag::ZEROS {
                    self.reader.byte()?;
                    self.reader.zeros = next & 0x3f;
                }
            }
            if !self.more {
                self.reader.zeros = 1;
            }
        }
        seed.deserialize(StrDeserializer::new(field)).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, PackError> {
        seed.deserialize(&mut *self.reader)
    }
}

struct UnitVariant(u32);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = PackError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), PackError> {
        let index = U32Deserializer::new(self.0);
        seed.deserialize(index).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = PackError;

    fn unit_variant(self) -> Result<(), PackError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, PackError> {
        Err(PackError("a variant with content".to_owned()))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, PackError> {
        Err(PackError("a variant with content".to_owned()))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, PackError> {
        Err(PackError("a variant with content".to_owned()))
    }
}

/// Marks the strings that packed values name. Every tag says how much follows, so that no type is needed.
pub(super) fn mark(bytes: &[u8], live: &mut Live) {
    let nothing = Strings::default();
    let mut reader = Reader::new(bytes, &nothing);
    while let Ok(tag) = reader.byte() {
        let skipped = match tag {
            tag::SHARED => reader.varint().map(|raw| {
                if let Some(sym) = u32::try_from(raw).ok().and_then(Sym::from_raw) {
                    live.mark(sym);
                }
            }),
            tag::UNSIGNED | tag::NEGATIVE | tag::TIME | tag::PATH | tag::LIST | tag::MAP | tag::VARIANT => {
                reader.varint().map(drop)
            }
            tag::DOUBLE => reader.take(8).map(drop),
            tag::SINGLE => reader.take(4).map(drop),
            tag::TEXT => reader.len().and_then(|len| reader.take(len).map(drop)),
            tag::UUID => mark_uuid(&mut reader, live),
            _ => Ok(()),
        };
        skipped.expect("packed by this process");
    }
}

/// The prefix comes before the 16 bytes.
fn mark_uuid(reader: &mut Reader<'_>, live: &mut Live) -> Result<(), PackError> {
    match reader.byte()? {
        tag::SHARED => {
            let raw = reader.varint()?;
            if let Some(sym) = u32::try_from(raw).ok().and_then(Sym::from_raw) {
                live.mark(sym);
            }
        }
        tag::TEXT => {
            let len = reader.len()?;
            reader.take(len)?;
        }
        tag::UUID => mark_uuid(reader, live)?,
        tag::TIME => drop(reader.varint()?),
        _ => {}
    }
    reader.take(16).map(drop)
}
