//! What fuzz targets call; no interface of this crate.

pub use crate::inventory::probe;
