//! `intstr.IntOrString`: a port number or name, a count or a percentage.

use std::fmt;

/// An integer or text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// Text, such as a port name or `25%`.
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}

impl IntOrString {
    /// Reads text: a number that fits 32 bits is an integer, anything else stays text (upstream's `intstr.Parse`).
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.to_string()),
        }
    }

    /// The number; text that is no number counts as 0 (upstream's `IntValue`).
    pub fn int_value(&self) -> i32 {
        match self {
            IntOrString::Int(number) => *number,
            IntOrString::String(text) => text.parse().unwrap_or(0),
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(number) => number.fmt(f),
            IntOrString::String(text) => text.fmt(f),
        }
    }
}

impl From<i32> for IntOrString {
    fn from(number: i32) -> Self {
        IntOrString::Int(number)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        IntOrString::String(text.to_string())
    }
}

impl From<String> for IntOrString {
    fn from(text: String) -> Self {
        IntOrString::String(text)
    }
}
