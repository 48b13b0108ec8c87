//! The link's decoder: the first thing that reads what comes out of a carrier.

use bytes::Bytes;
use kantaloupe_tunnel::frame::Frame;

/// Every message is read in one way only: what is decoded encodes to the same bytes.
pub fn run(data: &[u8]) {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(frame.encode(), data, "{frame:?} has another encoding");
    }
}
