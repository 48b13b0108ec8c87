//! Records in few bytes.
//!
//! Tens of thousands of records are kept, and most of their fields are empty or the same as in the next one. A value is written field
//! by field in the order of its type: a run of empty fields is one byte, strings that repeat are numbers of [`Strings`], UUIDs are 16
//! bytes, times are seconds. What is written can be read with the same type and the same strings only; it never leaves the process.

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::{Serialize, de::DeserializeOwned};

use super::strings::{Live, Strings};

/// A packed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

/// A type that does not fit the format: records consist of structs, enums without content, options, maps, lists and plain values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct PackError(String);

impl Packed {
    /// Packs a value.
    pub(super) fn new<T: Serialize>(value: &T, strings: &mut Strings) -> Self {
        let mut writer = write::Writer::new(Some(strings));
        value
            .serialize(&mut writer)
            .expect("records consist of what can be packed");
        // Not the writer's own memory made smaller: an allocator leaves what is up to half empty where it is.
        Self(writer.finish().as_slice().into())
    }

    /// The value.
    pub(super) fn get<T: DeserializeOwned>(&self, strings: &Strings) -> T {
        T::deserialize(&mut read::Reader::new(&self.0, strings))
            .expect("packed by this process with this type")
    }

    /// Marks the strings that it names.
    pub(super) fn mark(&self, live: &mut Live) {
        read::mark(&self.0, live);
    }
}

/// The bytes of a value, which do not depend on what else is kept: equal if and only if the values are.
pub(super) fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut writer = write::Writer::new(None);
    value
        .serialize(&mut writer)
        .expect("records consist of what can be packed");
    writer.finish()
}

/// Whether a text ends in a UUID, so that it is unique in the world.
pub(super) fn is_uuid(text: &str) -> bool {
    write::uuid(text).is_some()
}

/// What a value begins with.
mod tag {
    /// `None`, 0, false, an empty string, list, map or struct.
    pub(super) const ZERO: u8 = 0x00;
    /// `Some` of what looks like `ZERO` or `SOME`.
    pub(super) const SOME: u8 = 0x01;
    pub(super) const TRUE: u8 = 0x02;
    pub(super) const UNSIGNED: u8 = 0x03;
    pub(super) const NEGATIVE: u8 = 0x04;
    pub(super) const DOUBLE: u8 = 0x05;
    pub(super) const SINGLE: u8 = 0x06;
    /// Length and bytes.
    pub(super) const TEXT: u8 = 0x07;
    /// Number of a shared string.
    pub(super) const SHARED: u8 = 0x08;
    /// Prefix, a string by itself, and 16 bytes.
    pub(super) const UUID: u8 = 0x09;
    /// Seconds since 1970.
    pub(super) const TIME: u8 = 0x0a;
    /// Strings to be joined by `/`.
    pub(super) const PATH: u8 = 0x0b;
    pub(super) const LIST: u8 = 0x0c;
    pub(super) const MAP: u8 = 0x0d;
    /// Fields until `END`.
    pub(super) const STRUCT: u8 = 0x0e;
    pub(super) const END: u8 = 0x0f;
    /// Index of a variant without content.
    pub(super) const VARIANT: u8 = 0x10;
    /// In a struct: so many fields that are `ZERO`, 1 to 63.
    pub(super) const ZEROS: u8 = 0x40;
    /// A number below 128.
    pub(super) const SMALL: u8 = 0x80;
}

/// Fields whose values are all different: sharing them would cost more than it saves.
const UNIQUE: [&str; 7] = ["id", "gpu", "pod", "podUid", "uid", "uuid", "message"];
