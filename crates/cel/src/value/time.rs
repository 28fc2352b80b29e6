//! Points in time and lengths of time, and their texts.

use std::fmt;

use apimachinery::duration;
use jiff::civil::{Date, DateTime};

use crate::error::EvalError;

/// A point in time, with the offset it was written with: it is shown the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Since 1970, rounded down.
    seconds: i64,
    nanoseconds: i32,
    offset_seconds: i32,
}

/// The years 1 to 9999.
const MIN_SECOND: i64 = -62_135_596_800;
const MAX_SECOND: i64 = 253_402_300_799;
const BILLION: i128 = 1_000_000_000;

/// What timestamps outside of the years 1 to 9999 give.
pub(crate) const TIMESTAMP_OVERFLOW: EvalError =
    EvalError::Value(std::borrow::Cow::Borrowed("timestamp overflow"));

impl Timestamp {
    /// Seconds and nanoseconds since 1970, in UTC.
    pub fn from_unix(seconds: i64, nanoseconds: i32) -> Result<Self, EvalError> {
        if !(MIN_SECOND..=MAX_SECOND).contains(&seconds) {
            return Err(TIMESTAMP_OVERFLOW);
        }
        Ok(Timestamp {
            seconds,
            nanoseconds,
            offset_seconds: 0,
        })
    }

    fn from_nanoseconds(total: i128) -> Result<Self, EvalError> {
        let seconds = i64::try_from(total.div_euclid(BILLION)).map_err(|_| TIMESTAMP_OVERFLOW)?;
        Timestamp::from_unix(seconds, total.rem_euclid(BILLION) as i32)
    }

    /// Nanoseconds since 1970: the point in time itself.
    pub fn unix_nanoseconds(&self) -> i128 {
        i128::from(self.seconds) * BILLION + i128::from(self.nanoseconds)
    }

    /// Whole seconds since 1970, rounded down.
    pub(crate) fn unix(&self) -> i64 {
        self.seconds
    }

    /// Go's zero time.
    pub(crate) fn is_zero(&self) -> bool {
        self.seconds == MIN_SECOND && self.nanoseconds == 0
    }

    /// This much later, shown with the same offset.
    pub(crate) fn plus(self, nanoseconds: i64) -> Result<Self, EvalError> {
        let moved = Self::from_nanoseconds(self.unix_nanoseconds() + i128::from(nanoseconds))?;
        Ok(Timestamp {
            offset_seconds: self.offset_seconds,
            ..moved
        })
    }

    /// The time between two points.
    pub(crate) fn since(self, other: Timestamp) -> Result<i64, EvalError> {
        let difference = self.unix_nanoseconds() - other.unix_nanoseconds();
        // As upstream, which multiplies the seconds on their own first.
        let seconds = (self.seconds - other.seconds).checked_mul(1_000_000_000);
        seconds
            .and(i64::try_from(difference).ok())
            .ok_or_else(|| EvalError::new("integer overflow"))
    }

    /// Date and time where clocks are ahead of UTC by this much.
    pub(crate) fn civil(&self, ahead_seconds: i64) -> DateTime {
        let local = self.seconds.saturating_add(ahead_seconds);
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let date = jiff::civil::date(1970, 1, 1).saturating_add(jiff::ToSpan::days(days));
        date.at(
            (second / 3600) as i8,
            (second / 60 % 60) as i8,
            (second % 60) as i8,
            self.nanoseconds,
        )
    }

    /// How far clocks of a zone are ahead of UTC at this time, in seconds.
    pub(crate) fn offset_in(&self, zone: &jiff::tz::TimeZone) -> i64 {
        // The last days of all are beyond what zones know.
        let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let known = self.seconds.clamp(first.as_second(), last.as_second());
        let at = jiff::Timestamp::from_second(known).unwrap_or(last);
        zone.to_offset(at).seconds().into()
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(at: jiff::Timestamp) -> Self {
        let total = at.as_nanosecond();
        Timestamp {
            seconds: total.div_euclid(BILLION) as i64,
            nanoseconds: total.rem_euclid(BILLION) as i32,
            offset_seconds: 0,
        }
    }
}

/// RFC 3339 with as many digits of a second as there are.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.civil(self.offset_seconds.into());
        write!(
            f,
            "{:04}-{:02}-{:02}T",
            local.year(),
            local.month(),
            local.day()
        )?;
        write!(
            f,
            "{:02}:{:02}:{:02}",
            local.hour(),
            local.minute(),
            local.second()
        )?;
        if self.nanoseconds != 0 {
            let digits = format!("{:09}", self.nanoseconds);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        if self.offset_seconds == 0 {
            return f.write_str("Z");
        }
        let minutes = self.offset_seconds / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        write!(
            f,
            "{sign}{:02}:{:02}",
            minutes.abs() / 60,
            minutes.abs() % 60
        )
    }
}

/// Reads RFC 3339. None when it is something else.
pub(crate) fn parse_timestamp(text: &str) -> Option<Result<Timestamp, EvalError>> {
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize| -> Option<i64> {
        let digits = text.get(from..from + length)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let mark = |at: usize, mark: u8| (bytes.get(at) == Some(&mark)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    mark(4, b'-')
        .and(mark(7, b'-'))
        .and(mark(10, b'T'))
        .and(mark(13, b':'))
        .and(mark(16, b':'))?;
    let mut at = 19;
    let mut nanosecond = 0i32;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let digits = bytes[at + 1..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits == 0 {
            return None;
        }
        let fraction = &text[at + 1..at + 1 + digits.min(9)];
        nanosecond = format!("{fraction:0<9}").parse().ok()?;
        at += 1 + digits;
    }
    let offset_seconds = match bytes.get(at) {
        Some(b'Z') if bytes.len() == at + 1 => 0,
        Some(sign @ (b'+' | b'-')) if bytes.len() == at + 6 => {
            mark(at + 3, b':')?;
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            let seconds = (hours * 60 + minutes) as i32 * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let part = |number: i64| i8::try_from(number).ok();
    let date = Date::new(i16::try_from(year).ok()?, part(month)?, part(day)?).ok()?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days();
    let local = i64::from(days) * 86_400 + hour * 3600 + minute * 60 + second;
    let parsed = Timestamp::from_unix(local - i64::from(offset_seconds), nanosecond);
    Some(parsed.map(|time| Timestamp {
        offset_seconds,
        ..time
    }))
}

/// Reads a duration as Go does, `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    duration::parse(text).ok()
}

/// A duration in seconds, `5400.005s`.
pub(crate) fn duration_text(nanoseconds: i64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let rest = nanoseconds % 1_000_000_000;
    // As upstream: the sum of two doubles.
    format!("{}s", seconds as f64 + rest as f64 / 1e9)
}
