//! The compression of SPDY's headers: one zlib stream (RFC 1950) with a dictionary for all blocks of a direction, flushed after each.

use std::fmt;

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_HAS_MORE_INPUT},
};

use crate::recording::terminal::Undecodable;

/// What both ends begin with: draft-mbelshe-httpbis-spdy-00, section 2.6.10.1.
const DICTIONARY: &[u8; 1423] = include_bytes!("headers.dict");
/// Adler-32 of the dictionary, which the stream names (RFC 1950, section 2.2).
const DICTIONARY_ID: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];
/// The stream's head: two bytes and the dictionary's id.
const ZLIB_HEAD: usize = 6;
/// What a match may refer back to (RFC 1951).
const WINDOW: usize = 32 << 10;
/// Bytes that a block may become.
const MAX_PLAIN: usize = 64 << 10;

const BROKEN: Undecodable = Undecodable("headers cannot be decompressed");

/// Where the stream stands. The memory is taken with the first block.
#[derive(Default)]
pub(super) struct Inflate {
    begun: Option<Begun>,
    plain: Vec<u8>,
}

struct Begun {
    state: Box<DecompressorOxide>,
    window: Box<[u8]>,
    at: usize,
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

impl Inflate {
    /// Decompresses the next block.
    pub(super) fn block(&mut self, mut compressed: &[u8]) -> Result<&[u8], Undecodable> {
        if self.begun.is_none() {
            let (head, rest) = compressed.split_first_chunk::<ZLIB_HEAD>().ok_or(BROKEN)?;
            let [method, flags, id @ ..] = *head;
            let sound = u16::from_be_bytes([method, flags]).is_multiple_of(31);
            // Deflate, with a dictionary.
            if method & 0x0f != 8 || flags & 0x20 == 0 || !sound || id != DICTIONARY_ID {
                return Err(BROKEN);
            }
            compressed = rest;
            let mut window = vec![0; WINDOW].into_boxed_slice();
            window[..DICTIONARY.len()].copy_from_slice(DICTIONARY);
            self.begun = Some(Begun {
                state: Box::default(),
                window,
                at: DICTIONARY.len(),
            });
        }
        let begun = self.begun.as_mut().ok_or(BROKEN)?;
        self.plain.clear();
        loop {
            let flags = TINFL_FLAG_HAS_MORE_INPUT;
            let (status, read, wrote) =
                decompress(&mut begun.state, compressed, &mut begun.window, begun.at, flags);
            compressed = compressed.get(read..).ok_or(BROKEN)?;
            let new = begun.window.get(begun.at..begun.at + wrote).ok_or(BROKEN)?;
            self.plain.extend_from_slice(new);
            begun.at = (begun.at + wrote) % WINDOW;
            if self.plain.len() > MAX_PLAIN {
                return Err(Undecodable("headers are too long"));
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if compressed.is_empty() => return Ok(&self.plain),
                _ => return Err(BROKEN),
            }
        }
    }
}
