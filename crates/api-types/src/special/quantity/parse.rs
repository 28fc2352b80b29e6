//! Reading quantities.

use std::fmt;

use super::decimal::Decimal;
use super::{Format, Quantity, Repr};

/// The text is no quantity; the messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseQuantityError {
    /// It does not have the form of a number with a suffix.
    FormatWrong,
    /// The number is broken.
    Numeric,
    /// The suffix is not known.
    Suffix,
}

impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseQuantityError::FormatWrong => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            ParseQuantityError::Numeric => "unable to parse numeric part of quantity",
            ParseQuantityError::Suffix => "unable to parse quantity's suffix",
        })
    }
}

impl std::error::Error for ParseQuantityError {}

const NANO: i32 = -9;

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros; `0` when there are none.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
    /// Whether any digit was there at all; upstream only notices when the number is large.
    has_digits: bool,
}

fn split(text: &str) -> Result<Parts<'_>, ParseQuantityError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let negative = bytes.first() == Some(&b'-');
    if matches!(bytes.first(), Some(b'-' | b'+')) {
        at += 1;
    }
    let zeros = bytes[at..].iter().take_while(|byte| **byte == b'0').count();
    at += zeros;
    if at == bytes.len() {
        return Ok(Parts {
            negative,
            whole: "0",
            fraction: "",
            suffix: "",
            has_digits: true,
        });
    }
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let len = digits(at);
    let whole = if len == 0 { "0" } else { &text[at..at + len] };
    let mut has_digits = zeros + len > 0;
    at += len;
    let mut fraction = "";
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let len = digits(at);
        fraction = &text[at..at + len];
        has_digits |= len > 0;
        at += len;
    }
    let start = at;
    at += bytes[at..]
        .iter()
        .take_while(|byte| b"eEinumkKMGTP".contains(byte))
        .count();
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    at += digits(at);
    if at < bytes.len() {
        return Err(ParseQuantityError::FormatWrong);
    }
    Ok(Parts {
        negative,
        whole,
        fraction,
        suffix: &text[start..],
        has_digits,
    })
}

/// Base, exponent and format of a suffix.
fn suffix_meaning(suffix: &str) -> Option<(u32, i32, Format)> {
    let (base, exponent, format) = match suffix {
        "" => (10, 0, Format::DecimalSI),
        "n" => (10, -9, Format::DecimalSI),
        "u" => (10, -6, Format::DecimalSI),
        "m" => (10, -3, Format::DecimalSI),
        "k" => (10, 3, Format::DecimalSI),
        "M" => (10, 6, Format::DecimalSI),
        "G" => (10, 9, Format::DecimalSI),
        "T" => (10, 12, Format::DecimalSI),
        "P" => (10, 15, Format::DecimalSI),
        "E" => (10, 18, Format::DecimalSI),
        "Ki" => (2, 10, Format::BinarySI),
        "Mi" => (2, 20, Format::BinarySI),
        "Gi" => (2, 30, Format::BinarySI),
        "Ti" => (2, 40, Format::BinarySI),
        "Pi" => (2, 50, Format::BinarySI),
        "Ei" => (2, 60, Format::BinarySI),
        _ => {
            let digits = suffix
                .strip_prefix(['e', 'E'])
                .filter(|digits| !digits.is_empty())?;
            // Upstream cuts the exponent to 32 bits.
            (
                10,
                digits.parse::<i64>().ok()? as i32,
                Format::DecimalExponent,
            )
        }
    };
    Some((base, exponent, format))
}

pub(super) fn parse(text: &str) -> Result<Quantity, ParseQuantityError> {
    if text.is_empty() {
        return Err(ParseQuantityError::FormatWrong);
    }
    if text == "0" {
        return Ok(Quantity::small(0, 0, Format::DecimalSI));
    }
    let parts = split(text)?;
    let (base, exponent, format) =
        suffix_meaning(parts.suffix).ok_or(ParseQuantityError::Suffix)?;
    match parse_small(text, &parts, base, exponent, format)? {
        Some(quantity) => Ok(quantity),
        None => parse_big(&parts, base, exponent, format),
    }
}

/// The fast path, for numbers whose digits surely fit 64 bits.
fn parse_small(
    text: &str,
    parts: &Parts<'_>,
    base: u32,
    exponent: i32,
    format: Format,
) -> Result<Option<Quantity>, ParseQuantityError> {
    let (whole, fraction) = (parts.whole.len() as i64, parts.fraction.len() as i64);
    let (precision, scale, factor) = match (base, parts.fraction.is_empty()) {
        (10, _) => (18 - whole - fraction, exponent, 1),
        (_, true) => (
            15 - whole - i64::from(exponent * 3 / 10) - 1,
            0,
            1_i64 << exponent,
        ),
        (_, false) => return Ok(None),
    };
    if precision < 0 {
        return Ok(None);
    }
    let scale = scale.wrapping_sub(fraction as i32);
    if scale < NANO {
        return Ok(None);
    }
    let digits = parts.whole.bytes().chain(parts.fraction.bytes());
    let value = digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let Some(product) = value.checked_mul(factor) else {
        return Ok(None);
    };
    let signed = if parts.negative { -product } else { product };
    let quantity = Quantity::small(signed, scale, format);
    // Upstream keeps text that it holds for canonical. It is mistaken about some, such as `+1`, `01` and `1.500`.
    let keeps_text = match format {
        Format::BinarySI => value & 7 != 0,
        _ => {
            let ends_in_zeros = parts
                .whole
                .bytes()
                .chain(parts.fraction.bytes())
                .rev()
                .take(3)
                .eq(*b"000");
            scale % 3 == 0 && !ends_in_zeros && !parts.whole.starts_with('0')
        }
    };
    if keeps_text && !is_canonical(text, parts, exponent, format) {
        return Ok(Some(Quantity {
            repr: Repr::Verbatim(Box::new((signed, scale, text.to_string()))),
            format,
        }));
    }
    Ok(Some(quantity))
}

/// Whether text that upstream keeps is what it would write itself: sign, digits and suffix without anything else.
fn is_canonical(text: &str, parts: &Parts<'_>, exponent: i32, format: Format) -> bool {
    if text.len() != usize::from(parts.negative) + parts.whole.len() + parts.suffix.len() {
        return false;
    }
    match format {
        Format::DecimalExponent => exponent != 0 && parts.suffix == format!("e{exponent}"),
        _ => true,
    }
}

fn parse_big(
    parts: &Parts<'_>,
    base: u32,
    exponent: i32,
    mut format: Format,
) -> Result<Quantity, ParseQuantityError> {
    if !parts.has_digits {
        return Err(ParseQuantityError::Numeric);
    }
    let digits = parts.whole.bytes().chain(parts.fraction.bytes());
    let mut amount =
        Decimal::from_digits(false, digits, (parts.fraction.len() as i32).wrapping_neg());
    match base {
        10 => amount = amount.shifted(exponent),
        _ => amount.multiply(1 << exponent),
    }
    // Rounding up means that whoever asks for something gets something, however little was asked for.
    amount.round_up(NANO);
    if format == Format::BinarySI {
        let limit = Decimal::from_i64(i64::MAX, 0);
        if amount.compare(&limit).is_gt() {
            amount = limit;
        }
        if !amount.is_zero() && amount.compare(&Decimal::from_i64(1, 0)).is_lt() {
            format = Format::DecimalSI;
        }
    }
    if parts.negative {
        amount.negate();
    }
    Ok(Quantity {
        repr: Repr::Big(Box::new(amount)),
        format,
    })
}
