//! `metav1.Time`: seconds precision, RFC 3339 in JSON. Go's zero time (year 1) is the zero value and `null` in JSON.

use std::fmt;

use jiff::Timestamp;

/// Unix seconds of Go's zero time, 0001-01-01T00:00:00Z.
pub(crate) const GO_ZERO_SECONDS: i64 = -62_135_596_800;

/// A point in time with seconds precision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: i64,
}

impl Default for Time {
    /// Go's zero time.
    fn default() -> Self {
        Time {
            seconds: GO_ZERO_SECONDS,
        }
    }
}

/// The text is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimeError(pub(crate) String);

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseTimeError {}

impl Time {
    /// The current time, cut to seconds.
    pub fn now() -> Self {
        Time::from_timestamp(Timestamp::now())
    }

    /// Whether it is Go's zero time, which stands for "not set".
    pub fn is_zero(&self) -> bool {
        self.seconds == GO_ZERO_SECONDS
    }

    /// Cuts a timestamp to seconds.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        Time {
            seconds: timestamp.as_nanosecond().div_euclid(1_000_000_000) as i64,
        }
    }

    /// From seconds since the Unix epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        Time { seconds }
    }

    /// Seconds since the Unix epoch.
    pub const fn unix(&self) -> i64 {
        self.seconds
    }

    /// As a timestamp; years beyond 9999 are cut to the last representable one.
    pub fn timestamp(&self) -> Timestamp {
        let seconds = self
            .seconds
            .clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_rfc3339(self.seconds, None, out);
    }

    /// Reads RFC 3339 text; fractions of a second are dropped.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        let (seconds, _) = parse_rfc3339(text, "2006-01-02T15:04:05Z07:00")?;
        Ok(Time { seconds })
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = Vec::with_capacity(24);
        write_rfc3339(self.seconds, None, &mut buffer);
        f.write_str(&String::from_utf8_lossy(&buffer))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            f.write_str("Time(zero)")
        } else {
            write!(f, "Time({self})")
        }
    }
}

/// Days since the Unix epoch of a civil date (proleptic Gregorian).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Appends `2006-01-02T15:04:05[.000000]Z`.
pub(crate) fn write_rfc3339(seconds: i64, micros: Option<u32>, out: &mut Vec<u8>) {
    let days = seconds.div_euclid(86_400);
    let time = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let two = |out: &mut Vec<u8>, value: i64| {
        out.push(b'0' + (value / 10 % 10) as u8);
        out.push(b'0' + (value % 10) as u8);
    };
    if (0..=9999).contains(&year) {
        two(out, year / 100);
        two(out, year % 100);
    } else {
        // Go prints what does not fit four digits as it is.
        out.extend_from_slice(format!("{year:04}").as_bytes());
    }
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
    out.push(b'T');
    two(out, time / 3600);
    out.push(b':');
    two(out, time / 60 % 60);
    out.push(b':');
    two(out, time % 60);
    if let Some(micros) = micros {
        out.extend_from_slice(format!(".{micros:06}").as_bytes());
    }
    out.push(b'Z');
}

/// Reads RFC 3339 as Go's `time.Parse` does with the given layout (named in errors); gives seconds and nanoseconds.
pub(crate) fn parse_rfc3339(text: &str, layout: &str) -> Result<(i64, u32), ParseTimeError> {
    let fail = |rest: &str, want: &str| {
        ParseTimeError(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {want:?}"
        ))
    };
    let out_of_range =
        |what: &str| ParseTimeError(format!("parsing time {text:?}: {what} out of range"));
    let mut at = 0;
    let number = |at: &mut usize, len: usize, want: &str| -> Result<i64, ParseTimeError> {
        let digits = text
            .as_bytes()
            .get(*at..*at + len)
            .filter(|d| d.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                *at += len;
                Ok(digits
                    .iter()
                    .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
            }
            None => Err(fail(text.get(*at..).unwrap_or_default(), want)),
        }
    };
    let literal = |at: &mut usize, byte: u8, want: &str| -> Result<(), ParseTimeError> {
        if text.as_bytes().get(*at) == Some(&byte) {
            *at += 1;
            Ok(())
        } else {
            Err(fail(text.get(*at..).unwrap_or_default(), want))
        }
    };
    let year = number(&mut at, 4, "2006")?;
    literal(&mut at, b'-', "-")?;
    let month = number(&mut at, 2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(out_of_range("month"));
    }
    literal(&mut at, b'-', "-")?;
    let day = number(&mut at, 2, "02")?;
    literal(&mut at, b'T', "T")?;
    let hour = number(&mut at, 2, "15")?;
    if hour > 23 {
        return Err(out_of_range("hour"));
    }
    literal(&mut at, b':', ":")?;
    let minute = number(&mut at, 2, "04")?;
    if minute > 59 {
        return Err(out_of_range("minute"));
    }
    literal(&mut at, b':', ":")?;
    let second = number(&mut at, 2, "05")?;
    if second > 59 {
        return Err(out_of_range("second"));
    }
    let mut nanos = 0;
    if matches!(text.as_bytes().get(at), Some(b'.' | b','))
        && text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit)
    {
        at += 1;
        let mut scale = 100_000_000;
        while let Some(digit) = text.as_bytes().get(at).filter(|d| d.is_ascii_digit()) {
            nanos += u32::from(digit - b'0') * scale;
            scale /= 10;
            at += 1;
        }
    }
    let offset = match text.as_bytes().get(at) {
        Some(b'Z') => {
            at += 1;
            0
        }
        Some(sign @ (b'+' | b'-')) => {
            let rest = text.get(at..).unwrap_or_default();
            let mut inner = at + 1;
            let parsed = number(&mut inner, 2, "Z07:00")
                .and_then(|hours| literal(&mut inner, b':', "Z07:00").map(|()| hours))
                .and_then(|hours| number(&mut inner, 2, "Z07:00").map(|minutes| (hours, minutes)));
            let (hours, minutes) = parsed.map_err(|_| fail(rest, "Z07:00"))?;
            if hours > 24 || minutes > 60 {
                return Err(out_of_range(if hours > 24 {
                    "time zone offset hour"
                } else {
                    "time zone offset minute"
                }));
            }
            at = inner;
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return Err(fail(text.get(at..).unwrap_or_default(), "Z07:00")),
    };
    if at != text.len() {
        let rest = text.get(at..).unwrap_or_default();
        return Err(ParseTimeError(format!(
            "parsing time {text:?}: extra text: {rest:?}"
        )));
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day < 1 || day > last {
        return Err(out_of_range("day"));
    }
    let seconds =
        days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-02-28T23:59:59Z", 1_772_323_199),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("0001-01-01T00:00:00Z", GO_ZERO_SECONDS),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(Time::parse(text), Ok(Time::from_unix(seconds)), "{text}");
            assert_eq!(Time::from_unix(seconds).to_string(), text);
        }
    }

    #[test]
    fn zones_and_fractions_are_read() {
        let want = Time::from_unix(1_772_323_199);
        for text in [
            "2026-03-01T01:59:59+02:00",
            "2026-02-28T18:29:59.999999999-05:30",
        ] {
            assert_eq!(Time::parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors_are_gos() {
        for (text, message) in [
            (
                "abc",
                r#"parsing time "abc" as "2006-01-02T15:04:05Z07:00": cannot parse "abc" as "2006""#,
            ),
            (
                "2026-01-02",
                r#"parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            (
                "2026-13-02T00:00:00Z",
                r#"parsing time "2026-13-02T00:00:00Z": month out of range"#,
            ),
            (
                "2026-02-30T00:00:00Z",
                r#"parsing time "2026-02-30T00:00:00Z": day out of range"#,
            ),
            (
                "2026-01-02T00:00:00Zx",
                r#"parsing time "2026-01-02T00:00:00Zx": extra text: "x""#,
            ),
        ] {
            assert_eq!(
                Time::parse(text).map_err(|err| err.to_string()),
                Err(message.to_string())
            );
        }
    }
}
