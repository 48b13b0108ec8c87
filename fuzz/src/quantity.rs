//! Kubernetes quantities.

use kantaloupe_gpu::quantity::{self, Quantity};

/// What can be read is exact: rounding changes only what has a fraction, leading zeros change nothing, and a sign changes the sign.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(value) = quantity::parse(text) else { return };
    if let Some(units) = value.units() {
        assert_eq!(value.ceil(), Some(units), "a whole number was rounded");
        assert_eq!(
            quantity::parse(&units.to_string()),
            Ok(value),
            "another number was read"
        );
    }
    if let (Some(mib), Some(bytes)) = (value.mib(), value.ceil()) {
        assert!(mib <= bytes / (1024 * 1024) && bytes / (1024 * 1024) <= mib + 1);
    }
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let negative = quantity::parse(&format!("-{text}")).expect("with a sign it is a quantity too");
        assert_eq!(negative < Quantity::default(), value > Quantity::default());
        // The longest that is read may not get longer.
        if let Ok(padded) = quantity::parse(&format!("0{text}")) {
            assert_eq!(padded, value);
        }
    }
}
