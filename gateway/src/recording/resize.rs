//! What a client says of its terminal's size: JSON objects one after the other, as `k8s.io/client-go/tools/remotecommand` writes them.

use serde::Deserialize;

use super::terminal::Event;

/// Bytes that one object may take: kubectl's has less than 40.
const MAX: usize = 1024;

/// What has come of an object.
#[derive(Debug, Default)]
pub(super) struct Resizes {
    rest: Vec<u8>,
    /// Something else came: the server reads no further either.
    ended: bool,
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    columns: u16,
    #[serde(rename = "Height", alias = "height")]
    rows: u16,
}

impl Resizes {
    pub(super) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Event<'_>)) {
        for piece in bytes.chunks(MAX) {
            if self.ended {
                return;
            }
            self.rest.extend_from_slice(piece);
            let mut values = serde_json::Deserializer::from_slice(&self.rest).into_iter::<Size>();
            let mut used = 0;
            while let Some(value) = values.next() {
                match value {
                    Ok(Size { columns, rows }) => {
                        used = values.byte_offset();
                        // No terminal; kubectl's means that it does not know.
                        if columns > 0 && rows > 0 {
                            each(Event::Resize { columns, rows });
                        }
                    }
                    Err(error) if error.is_eof() => break,
                    Err(_) => self.ended = true,
                }
            }
            self.rest.drain(..used);
            if self.ended || self.rest.len() > MAX {
                (self.ended, self.rest) = (true, Vec::new());
            }
        }
    }
}
