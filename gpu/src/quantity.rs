//! Kubernetes quantities: `8k`, `1500m`, `24Gi`, `12e6`. Kept exact, in thousandths, because memory and cores are compared for equality.

use thiserror::Error;

/// A quantity in thousandths, so that CPU and GPU shares in `m` are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(i128);

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// No digits.
    #[error("there is no number")]
    NoNumber,
    /// Something after the number that is no known suffix.
    #[error("the suffix is none of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei, or an exponent")]
    Suffix,
    /// Larger than anything that Kubernetes counts.
    #[error("the number is too large")]
    TooLarge,
}

/// Digits beyond these cannot matter: the largest quantity of Kubernetes has 19 before the point, the smallest unit is a billionth.
const MAX_DIGITS: usize = 30;

/// Bytes in one MiB.
const MIB: i128 = 1024 * 1024;

/// Reads a quantity. What is finer than a thousandth is rounded up, as Kubernetes does.
pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
    let text = text.trim();
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(QuantityError::NoNumber);
    }
    if whole.len() + fraction.len() > MAX_DIGITS {
        return Err(QuantityError::TooLarge);
    }
    let mut digits: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        digits = digits * 10 + i128::from(byte - b'0');
    }
    // value in thousandths = digits * multiplier * 10^(3 + exponent - fraction digits)
    let (multiplier, exponent) = scale(suffix)?;
    let shift = 3 + exponent - i32::try_from(fraction.len()).map_err(|_| QuantityError::TooLarge)?;
    let scaled = digits.checked_mul(multiplier).ok_or(QuantityError::TooLarge)?;
    let millis = if shift >= 0 {
        10i128
            .checked_pow(shift.unsigned_abs())
            .and_then(|factor| scaled.checked_mul(factor))
            .ok_or(QuantityError::TooLarge)?
    } else {
        match 10i128.checked_pow(shift.unsigned_abs()) {
            Some(divisor) => scaled / divisor + i128::from(scaled % divisor != 0),
            None => i128::from(scaled != 0),
        }
    };
    Ok(Quantity(if negative { -millis } else { millis }))
}

/// The factor and the decimal exponent that a suffix stands for.
fn scale(suffix: &str) -> Result<(i128, i32), QuantityError> {
    Ok(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse::<i32>().ok())
                .ok_or(QuantityError::Suffix)?;
            if exponent.abs() > 30 {
                return Err(QuantityError::TooLarge);
            }
            (1, exponent)
        }
    })
}

impl Quantity {
    /// The whole number, if it is one and not negative.
    pub fn units(self) -> Option<u64> {
        (self.0 % 1000 == 0)
            .then(|| u64::try_from(self.0 / 1000).ok())
            .flatten()
    }

    /// Rounded up to a whole number, as `Quantity.Value()` of Kubernetes; `None` if negative.
    pub fn ceil(self) -> Option<u64> {
        if self.0 < 0 {
            return None;
        }
        u64::try_from((self.0 + 999) / 1000).ok()
    }

    /// Thousandths; `None` if negative.
    pub fn millis(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// Bytes as MiB, rounded down; `None` if negative.
    pub fn mib(self) -> Option<u64> {
        u64::try_from(self.0).ok()?;
        u64::try_from(self.0 / 1000 / MIB).ok()
    }
}

/// A whole number of a resource, such as `nvidia.com/gpu: "10"` or `8k`. `None` if it is not one.
pub fn units(text: &str) -> Option<u64> {
    parse(text).ok()?.units()
}

/// Bytes, such as `24Gi`, as MiB.
pub fn mib(text: &str) -> Option<u64> {
    parse(text).ok()?.mib()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_of_kubernetes() {
        for (text, millis) in [
            ("0", 0),
            ("10", 10_000),
            ("8k", 8_000_000),
            ("1500m", 1500),
            ("1.5", 1500),
            (".5", 500),
            ("5.", 5000),
            ("12e6", 12_000_000_000),
            ("12E6", 12_000_000_000),
            ("1e-3", 1),
            ("1E", 1_000_000_000_000_000_000_000),
            ("100n", 1),
            ("0n", 0),
            ("+3", 3000),
            ("24Gi", 24 * 1024 * 1024 * 1024 * 1000),
        ] {
            assert_eq!(parse(text), Ok(Quantity(millis)), "{text}");
        }
        assert_eq!(parse("-1"), Ok(Quantity(-1000)));
        assert_eq!(parse("-1").unwrap().units(), None);
    }

    #[test]
    fn what_is_no_quantity() {
        for (text, error) in [
            ("", QuantityError::NoNumber),
            ("Gi", QuantityError::NoNumber),
            (".", QuantityError::NoNumber),
            ("1.2.3", QuantityError::NoNumber),
            ("1 Gi", QuantityError::Suffix),
            ("1GiB", QuantityError::Suffix),
            ("1K", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1e99", QuantityError::TooLarge),
            ("9999999999999999999999999999999", QuantityError::TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn units_and_mib() {
        assert_eq!(units("8k"), Some(8000));
        assert_eq!(units("1500m"), None);
        assert_eq!(parse("1500m").unwrap().ceil(), Some(2));
        assert_eq!(mib("24Gi"), Some(24 * 1024));
        assert_eq!(mib("4864Mi"), Some(4864));
        assert_eq!(mib("263856180Ki"), Some(257_672));
        assert_eq!(mib("x"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn number_and_suffix(n in 0u64..=u64::from(u32::MAX), suffix in prop::sample::select(vec![("", 1u64), ("k", 1000), ("M", 1_000_000), ("Ki", 1024), ("Mi", 1 << 20)])) {
            prop_assert_eq!(units(&format!("{n}{}", suffix.0)), Some(n * suffix.1));
        }
    }
}
