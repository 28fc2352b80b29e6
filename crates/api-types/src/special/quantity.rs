//! `resource.Quantity` (interim).
use std::cmp::Ordering;
use std::fmt;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySI,
    /// `12M`.
    #[default]
    DecimalSI,
}

/// A fixed point number with a format.
#[derive(Clone, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    text: String,
}

/// The text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseQuantityError(&'static str);
impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for ParseQuantityError {}

impl Quantity {
    /// Reads text.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
        let err = ParseQuantityError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-' && c != '+').unwrap_or(text.len());
        let value: f64 = text[..split].parse().map_err(|_| err)?;
        let factor: f64 = match &text[split..] {
            "" => 1.0, "n" => 1e-9, "u" => 1e-6, "m" => 1e-3, "k" => 1e3, "M" => 1e6, "G" => 1e9, "T" => 1e12, "P" => 1e15, "E" => 1e18,
            "Ki" => 1024.0, "Mi" => 1048576.0, "Gi" => 1073741824.0, "Ti" => 1099511627776.0,
            _ => 1.0,
        };
        Ok(Quantity { nanos: (value * factor * 1e9) as i128, format: Format::DecimalSI, text: text.to_string() })
    }
    pub(crate) fn write_canonical(&self, out: &mut Vec<u8>) { out.extend_from_slice(self.to_string().as_bytes()); }
    /// Whether it is the zero value.
    pub fn is_unset(&self) -> bool { self.nanos == 0 && self.text.is_empty() }
    /// Whether the number is zero.
    pub fn is_zero(&self) -> bool { self.nanos == 0 }
    /// The format.
    pub fn format(&self) -> Format { self.format }
    /// Thousandths, rounded up.
    pub fn milli_value(&self) -> i64 { self.scaled_value(-3) }
    /// Whole units, rounded up.
    pub fn value(&self) -> i64 { self.scaled_value(0) }
    /// In units of 10^scale, rounded up.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let unit = 10i128.pow((scale + 9).max(0) as u32);
        ((self.nanos + unit - 1).div_euclid(unit)) as i64
    }
    /// From thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self { Quantity { nanos: i128::from(value) * 1_000_000, format, text: format!("{value}m") } }
    /// From whole units.
    pub fn from_value(value: i64, format: Format) -> Self { Quantity { nanos: i128::from(value) * 1_000_000_000, format, text: value.to_string() } }
    /// From units of 10^scale.
    pub fn from_scaled(value: i64, scale: i32, format: Format) -> Self { Quantity { nanos: i128::from(value) * 10i128.pow((scale + 9).max(0) as u32), format, text: format!("{value}e{scale}") } }
    /// Adds.
    pub fn add(&mut self, other: &Quantity) { self.nanos += other.nanos; }
    /// Subtracts.
    pub fn sub(&mut self, other: &Quantity) { self.nanos -= other.nanos; }
    /// Negates.
    pub fn neg(&mut self) { self.nanos = -self.nanos; }
    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 { self.nanos.signum() as i32 }
    /// Compares the numbers.
    pub fn cmp(&self, other: &Quantity) -> Ordering { self.nanos.cmp(&other.nanos) }
}
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool { self.nanos == other.nanos }
}
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(if self.text.is_empty() { "0" } else { &self.text }) }
}
impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "Quantity({self})") }
}
