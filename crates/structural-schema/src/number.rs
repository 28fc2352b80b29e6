//! Numbers as Go sees them: what fits an `int64` is one, everything else is a `float64`.

use serde_json::Number;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GoNumber {
    Int(i64),
    Float(f64),
}

impl GoNumber {
    pub(crate) fn new(number: &Number) -> Self {
        match number.as_i64() {
            Some(number) => Self::Int(number),
            None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// Whether a number is an integer that JSON keeps exactly, give or take an error in the ninth digit.
pub(crate) fn is_json_integer(number: f64) -> bool {
    const MAX: f64 = 9_007_199_254_740_991.0;
    if !number.is_finite() || number.abs() > MAX {
        return false;
    }
    let rounded = number.round();
    number == rounded || (rounded != 0.0 && (number - rounded).abs() < 1e-9 * rounded.abs())
}

/// Go's `%v`.
pub(crate) fn format_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        let cases = [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (12_345_678.0, "1.2345678e+07"),
            (1e21, "1e+21"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
        ];
        for (number, want) in cases {
            assert_eq!(format_float(number), want);
        }
    }

    #[test]
    fn integers_among_floats() {
        for number in [
            0.0,
            1.0,
            -3.0,
            9_007_199_254_740_991.0,
            1_000_000_000.000_000_1,
        ] {
            assert!(is_json_integer(number), "{number}");
        }
        for number in [0.5, 1e-12, 9.1e15, f64::NAN, f64::INFINITY, 1.001] {
            assert!(!is_json_integer(number), "{number}");
        }
    }
}
