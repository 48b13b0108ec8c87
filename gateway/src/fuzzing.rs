//! What fuzz targets call; no interface of this crate.

pub use crate::{
    inventory::probe,
    recording::terminal::{Event, Output, Protocol, Terminal, Undecodable},
};
