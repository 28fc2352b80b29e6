//! `metav1.MicroTime`: microseconds precision, six decimals in JSON.

use std::fmt;

use jiff::Timestamp;

use super::time::{GO_ZERO_SECONDS, ParseTimeError, parse_rfc3339, write_rfc3339};

const GO_ZERO_MICROS: i64 = GO_ZERO_SECONDS * 1_000_000;

/// A point in time with microseconds precision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroTime {
    micros: i64,
}

impl Default for MicroTime {
    /// Go's zero time.
    fn default() -> Self {
        MicroTime {
            micros: GO_ZERO_MICROS,
        }
    }
}

impl MicroTime {
    /// The current time, cut to microseconds.
    pub fn now() -> Self {
        MicroTime::from_timestamp(Timestamp::now())
    }

    /// Whether it is Go's zero time, which stands for "not set".
    pub fn is_zero(&self) -> bool {
        self.micros == GO_ZERO_MICROS
    }

    /// Cuts a timestamp to microseconds.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        MicroTime {
            micros: timestamp.as_nanosecond().div_euclid(1_000) as i64,
        }
    }

    /// From microseconds since the Unix epoch.
    pub const fn from_unix_micros(micros: i64) -> Self {
        MicroTime { micros }
    }

    /// Microseconds since the Unix epoch.
    pub const fn unix_micros(&self) -> i64 {
        self.micros
    }

    /// As a timestamp; years beyond 9999 are cut to the last representable one.
    pub fn timestamp(&self) -> Timestamp {
        let micros = self.micros.clamp(
            Timestamp::MIN.as_microsecond(),
            Timestamp::MAX.as_microsecond(),
        );
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Reads RFC 3339 text; fractions below a microsecond are dropped.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        let (seconds, nanos) = parse_rfc3339(text, "2006-01-02T15:04:05.000000Z07:00")?;
        Ok(MicroTime {
            micros: seconds * 1_000_000 + i64::from(nanos / 1_000),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_rfc3339(
            self.micros.div_euclid(1_000_000),
            Some(self.micros.rem_euclid(1_000_000) as u32),
            out,
        );
    }
}

impl fmt::Display for MicroTime {
    /// RFC 3339 in UTC with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = Vec::with_capacity(30);
        self.write(&mut buffer);
        f.write_str(&String::from_utf8_lossy(&buffer))
    }
}

impl fmt::Debug for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            f.write_str("MicroTime(zero)")
        } else {
            write!(f, "MicroTime({self})")
        }
    }
}

impl From<super::Time> for MicroTime {
    fn from(time: super::Time) -> Self {
        MicroTime {
            micros: time.unix().saturating_mul(1_000_000),
        }
    }
}
