//! `resource.Quantity`: a fixed-point number with a suffix, such as `100m`, `1.5Gi` or `12e6`.
//!
//! Upstream: k8s.io/apimachinery/pkg/api/resource. Invariants: a quantity remembers the family of suffixes it was
//! given in; nothing below 10^-9 survives parsing, it is rounded up; the canonical text is upstream's to the byte,
//! including the few texts that upstream holds for canonical by mistake and keeps.

use std::cmp::Ordering;
use std::fmt;

mod decimal;
mod parse;

use decimal::Decimal;
pub use parse::ParseQuantityError;

/// The family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`, powers of 1024.
    BinarySI,
    /// `12M`, powers of 1000.
    #[default]
    DecimalSI,
}

/// An amount of a resource.
#[derive(Clone)]
pub struct Quantity {
    repr: Repr,
    format: Format,
}

#[derive(Clone)]
enum Repr {
    /// `value × 10^scale`; nearly every quantity.
    Small { value: i64, scale: i32 },
    /// A small number with the text it was given in, where upstream keeps a text that is not canonical.
    Verbatim(Box<(i64, i32, String)>),
    /// Anything else.
    Big(Box<Decimal>),
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity::small(0, 0, Format::DecimalSI)
    }
}

impl Quantity {
    const fn small(value: i64, scale: i32, format: Format) -> Self {
        Quantity {
            repr: Repr::Small { value, scale },
            format,
        }
    }

    /// Reads text.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        parse::parse(text)
    }

    /// From whole units.
    pub const fn from_value(value: i64, format: Format) -> Self {
        Quantity::small(value, 0, format)
    }

    /// From thousandths.
    pub const fn from_milli(value: i64, format: Format) -> Self {
        Quantity::small(value, -3, format)
    }

    /// From units of `10^scale`, written with decimal suffixes.
    pub const fn from_scaled(value: i64, scale: i32) -> Self {
        Quantity::small(value, scale, Format::DecimalSI)
    }

    /// Whole units, rounded up.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths, rounded up. What does not fit 64 bits gives 0, as upstream does.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// Units of `10^scale`, rounded up (away from zero). What does not fit 64 bits gives 0, as upstream does.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        match self.as_small() {
            Some((value, own)) if own < scale => {
                round_down_scale(value, i64::from(scale) - i64::from(own)).0
            }
            Some((value, own)) => {
                multiply_scale(value, i64::from(own) - i64::from(scale)).unwrap_or(0)
            }
            None => self.decimal().scaled_value(scale),
        }
    }

    /// The number as a 64-bit integer, if it is one without rounding and was not kept as a big number.
    pub fn as_i64(&self) -> Option<i64> {
        match self.as_small() {
            Some((value, scale)) if scale >= 0 => multiply_scale(value, i64::from(scale)),
            _ => None,
        }
    }

    /// The nearest double.
    pub fn as_f64(&self) -> f64 {
        match self.as_small() {
            Some((value, 0)) => value as f64,
            Some((value, scale)) => value as f64 * 10_f64.powi(scale),
            None => self.decimal().to_f64(),
        }
    }

    /// The family of suffixes.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Sets the family of suffixes.
    pub fn set_format(&mut self, format: Format) {
        self.forget_text();
        self.format = format;
    }

    /// Whether the number is zero.
    pub fn is_zero(&self) -> bool {
        self.signum() == 0
    }

    /// Whether nothing was ever set (the zero value).
    pub(crate) fn is_unset(&self) -> bool {
        matches!(self.repr, Repr::Small { value: 0, scale: 0 })
    }

    /// -1, 0 or 1.
    pub fn signum(&self) -> i32 {
        match self.as_small() {
            Some((value, _)) => value.signum() as i32,
            None => self.decimal().signum(),
        }
    }

    /// Adds. A zero takes over the other's suffixes.
    pub fn add(&mut self, other: &Quantity) {
        self.forget_text();
        if self.is_zero() {
            self.format = other.format;
        }
        if let (Some(a), Some(b)) = (self.as_small(), other.as_small())
            && let Some((value, scale)) = add_small(a, b)
        {
            self.repr = Repr::Small { value, scale };
            return;
        }
        let mut sum = self.decimal();
        sum.add(&other.decimal());
        self.repr = Repr::Big(Box::new(sum));
    }

    /// Subtracts. A zero takes over the other's suffixes.
    pub fn sub(&mut self, other: &Quantity) {
        self.forget_text();
        if self.is_zero() {
            self.format = other.format;
        }
        if let (Some(a), Some((value, scale))) = (self.as_small(), other.as_small())
            && let Some(negated) = value.checked_neg()
            && let Some((value, scale)) = add_small(a, (negated, scale))
        {
            self.repr = Repr::Small { value, scale };
            return;
        }
        let mut negated = other.decimal();
        negated.negate();
        let mut sum = self.decimal();
        sum.add(&negated);
        self.repr = Repr::Big(Box::new(sum));
    }

    /// Multiplies; tells whether the digits of the product fit 64 bits.
    pub fn mul(&mut self, factor: i64) -> bool {
        self.forget_text();
        if let Some((value, scale)) = self.as_small() {
            if value == 0 {
                return true;
            }
            if factor == 0 {
                self.repr = Repr::Small { value: 0, scale: 0 };
                return true;
            }
            if let Some(product) = value.checked_mul(factor)
                && (scale <= 0 || multiply_scale(product, i64::from(scale)).is_some())
            {
                self.repr = Repr::Small {
                    value: product,
                    scale,
                };
                return true;
            }
        }
        let mut product = self.decimal();
        product.multiply(factor.unsigned_abs());
        if factor < 0 {
            product.negate();
        }
        let fits = product.fits_i64();
        self.repr = Repr::Big(Box::new(product));
        fits
    }

    /// Changes the sign.
    pub fn neg(&mut self) {
        self.forget_text();
        match &mut self.repr {
            Repr::Small { value, .. } => *value = value.wrapping_neg(),
            Repr::Big(decimal) => decimal.negate(),
            Repr::Verbatim(_) => {}
        }
    }

    /// Rounds away from zero to a multiple of `10^scale`; tells whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if let Some((value, own)) = self.as_small() {
            if own >= scale {
                return true;
            }
            let (value, exact) = round_down_scale(value, i64::from(scale) - i64::from(own));
            self.repr = Repr::Small { value, scale };
            return exact;
        }
        let mut decimal = self.decimal();
        let exact = decimal.round_up(scale);
        self.repr = Repr::Big(Box::new(decimal));
        exact
    }

    /// Compares with a whole number.
    pub fn cmp_i64(&self, other: i64) -> Ordering {
        self.cmp(&Quantity::small(other, 0, Format::DecimalSI))
    }

    fn as_small(&self) -> Option<(i64, i32)> {
        match &self.repr {
            Repr::Small { value, scale } => Some((*value, *scale)),
            Repr::Verbatim(kept) => Some((kept.0, kept.1)),
            Repr::Big(_) => None,
        }
    }

    fn decimal(&self) -> Decimal {
        match &self.repr {
            Repr::Small { value, scale } => Decimal::from_i64(*value, *scale),
            Repr::Verbatim(kept) => Decimal::from_i64(kept.0, kept.1),
            Repr::Big(decimal) => (**decimal).clone(),
        }
    }

    fn forget_text(&mut self) {
        if let Repr::Verbatim(kept) = &self.repr {
            self.repr = Repr::Small {
                value: kept.0,
                scale: kept.1,
            };
        }
    }

    /// Appends the text: canonical, or the one upstream keeps.
    pub(crate) fn write_canonical(&self, out: &mut Vec<u8>) {
        if let Repr::Verbatim(kept) = &self.repr {
            out.extend_from_slice(kept.2.as_bytes());
            return;
        }
        if self.is_zero() {
            out.push(b'0');
            return;
        }
        match self.format {
            // Binary suffixes are for whole numbers of at least 1024.
            Format::BinarySI if self.is_binary() => self.write_binary(out),
            Format::BinarySI => self.write_decimal(Format::DecimalSI, out),
            format => self.write_decimal(format, out),
        }
    }

    fn is_binary(&self) -> bool {
        let between = self.cmp_i64(-1024).is_gt() && self.cmp_i64(1024).is_lt();
        !between
            && match self.as_small() {
                Some((value, scale)) => scale >= 0 || round_down_scale(value, -i64::from(scale)).1,
                None => self.decimal().round_up(0),
            }
    }

    fn write_binary(&self, out: &mut Vec<u8>) {
        let whole = self.as_small().and_then(|(value, scale)| match scale {
            ..0 => Some(round_down_scale(value, -i64::from(scale)).0),
            _ => multiply_scale(value, i64::from(scale)),
        });
        let times = match whole {
            Some(mut value) => {
                let mut times = 0;
                while value.unsigned_abs() >= 1024 && value % 1024 == 0 {
                    value /= 1024;
                    times += 1;
                }
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                times
            }
            None => {
                let (digits, times) = self.decimal().base_1024();
                out.extend_from_slice(digits.as_bytes());
                times
            }
        };
        // Beyond the largest suffix upstream writes none.
        out.extend_from_slice(match times {
            1 => b"Ki",
            2 => b"Mi",
            3 => b"Gi",
            4 => b"Ti",
            5 => b"Pi",
            6 => b"Ei",
            _ => b"",
        });
    }

    fn write_decimal(&self, format: Format, out: &mut Vec<u8>) {
        let small = self.as_small().and_then(|(mut value, mut exponent)| {
            while value % 10 == 0 && value != 0 {
                value /= 10;
                exponent = exponent.wrapping_add(1);
            }
            let up = exponent.rem_euclid(3);
            multiply_scale(value, i64::from(up)).map(|value| (value, exponent - up))
        });
        let exponent = match small {
            Some((value, exponent)) => {
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                exponent
            }
            None => {
                let (digits, exponent) = self.decimal().without_trailing_zeros();
                out.extend_from_slice(digits.as_bytes());
                let up = exponent.rem_euclid(3);
                out.extend(std::iter::repeat_n(b'0', up as usize));
                exponent - up
            }
        };
        if format == Format::DecimalExponent {
            if exponent != 0 {
                out.push(b'e');
                out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
            }
            return;
        }
        // Beyond the known suffixes upstream writes none.
        out.extend_from_slice(match exponent {
            -9 => b"n",
            -6 => b"u",
            -3 => b"m",
            3 => b"k",
            6 => b"M",
            9 => b"G",
            12 => b"T",
            15 => b"P",
            18 => b"E",
            _ => b"",
        });
    }
}

/// `value × 10^scale`, if it fits.
fn multiply_scale(value: i64, scale: i64) -> Option<i64> {
    if value == 0 {
        return Some(0);
    }
    let factor = 10_i64.checked_pow(u32::try_from(scale).ok()?)?;
    // Upstream does not scale the smallest number.
    if value == i64::MIN && factor != 1 {
        return None;
    }
    value.checked_mul(factor)
}

/// `value ÷ 10^scale`, rounded away from zero, and whether nothing was lost.
fn round_down_scale(value: i64, scale: i64) -> (i64, bool) {
    match u32::try_from(scale)
        .ok()
        .and_then(|scale| 10_i64.checked_pow(scale))
    {
        Some(factor) => {
            let rest = value % factor;
            (value / factor + rest.signum(), rest == 0)
        }
        None => (value.signum(), value == 0),
    }
}

fn add_small(a: (i64, i32), b: (i64, i32)) -> Option<(i64, i32)> {
    if b.0 == 0 {
        return Some(a);
    }
    if a.0 == 0 {
        return Some(b);
    }
    let scale = a.1.min(b.1);
    let lined_up =
        |(value, own): (i64, i32)| multiply_scale(value, i64::from(own) - i64::from(scale));
    Some((lined_up(a)?.checked_add(lined_up(b)?)?, scale))
}

impl PartialEq for Quantity {
    /// Equal numbers are equal, whatever their suffixes (upstream's semantic equality).
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    /// Compares the numbers; suffixes do not matter.
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some((a, a_scale)), Some((b, b_scale))) = (self.as_small(), other.as_small()) {
            if a_scale == b_scale {
                return a.cmp(&b);
            }
            let distance = i64::from(a_scale) - i64::from(b_scale);
            if distance.abs() <= 18 {
                let factor = 10_i128.pow(distance.unsigned_abs() as u32);
                return if distance > 0 {
                    (i128::from(a) * factor).cmp(&i128::from(b))
                } else {
                    i128::from(a).cmp(&(i128::from(b) * factor))
                };
            }
        }
        self.decimal().compare(&other.decimal())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_canonical(&mut text);
        f.pad(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantity({self})")
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Quantity::parse(text)
    }
}

#[cfg(test)]
mod tests;
