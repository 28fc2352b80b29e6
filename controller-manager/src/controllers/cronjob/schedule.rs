//! Five-field cron schedules. Upstream: github.com/robfig/cron/v3, `ParseStandard`.
//!
//! `minute hour day-of-month month day-of-week`, each a list of ranges with steps; the descriptors `@hourly` and so on;
//! `@every 1h30m`; and a leading `TZ=` or `CRON_TZ=`. Where upstream is odd, so is this: a day matches by either day field when
//! both are restricted, and times that a clock change skips are not made up for.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Marks a field that was given as a star.
const STAR: u64 = 1 << 63;
/// No search goes further than this.
const YEARS_AHEAD: i16 = 5;

/// When something is due.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At matching minutes of a zone's clock.
    Fields(Box<Fields>),
    /// Again and again after this many seconds.
    Every(i64),
}

/// Bit sets of matching values.
#[derive(Clone, Debug)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    zone: TimeZone,
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds {
    min: 0,
    max: 59,
    names: &[],
};
const HOURS: Bounds = Bounds {
    min: 0,
    max: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    min: 1,
    max: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Bounds = Bounds {
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The zone of this name: "" and "UTC" are UTC, "Local" the machine's; names are spelled exactly.
pub fn location(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        name => {
            let zone = TimeZone::get(name)
                .ok()
                .filter(|zone| zone.iana_name() == Some(name));
            zone.ok_or_else(|| format!("unknown time zone {name}"))
        }
    }
}

impl Schedule {
    /// Reads a schedule. Without a zone of its own it follows the machine's clock.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, TimeZone::system())
    }

    fn parse_in(text: &str, local: TimeZone) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (zone, text) = match text
            .strip_prefix("TZ=")
            .or_else(|| text.strip_prefix("CRON_TZ="))
        {
            None => (local, text),
            Some(rest) => {
                let Some((name, rest)) = rest.split_once(' ') else {
                    return Err(format!("expected a schedule after the time zone: {text}"));
                };
                (
                    location(name)
                        .map_err(|error| format!("provided bad location {name}: {error}"))?,
                    rest.trim(),
                )
            }
        };
        if text.starts_with('@') {
            return descriptor(text, zone);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            ));
        };
        Ok(Self::Fields(Box::new(Fields {
            minute: field(minute, &MINUTES)?,
            hour: field(hour, &HOURS)?,
            day: field(day, &DAYS)?,
            month: field(month, &MONTHS)?,
            weekday: field(weekday, &WEEKDAYS)?,
            zone,
        })))
    }

    /// The first due time after `after`, in whole seconds; nothing when there is none within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second =
            Timestamp::from_second(after.as_second() - i64::from(after.subsec_nanosecond() < 0))
                .ok()?;
        match self {
            Self::Every(seconds) => second.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Self::Fields(fields) => fields.next(second.checked_add(1.second()).ok()?),
        }
    }
}

fn descriptor(text: &str, zone: TimeZone) -> Result<Schedule, String> {
    let all = |bounds: &Bounds| bits(bounds.min, bounds.max, 1) | STAR;
    let fields = |hour, day, month, weekday| {
        Ok(Schedule::Fields(Box::new(Fields {
            minute: 1,
            hour,
            day,
            month,
            weekday,
            zone,
        })))
    };
    match text {
        "@yearly" | "@annually" => fields(1, 1 << 1, 1 << 1, all(&WEEKDAYS)),
        "@monthly" => fields(1, 1 << 1, all(&MONTHS), all(&WEEKDAYS)),
        "@weekly" => fields(1, all(&DAYS), all(&MONTHS), 1),
        "@daily" | "@midnight" => fields(1, all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        "@hourly" => fields(all(&HOURS), all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        _ => match text.strip_prefix("@every ") {
            Some(duration) => {
                let nanos = apimachinery::duration::parse(duration)
                    .map_err(|error| format!("failed to parse duration {text}: {error}"))?;
                Ok(Schedule::Every((nanos / 1_000_000_000).max(1)))
            }
            None => Err(format!("unrecognized descriptor: {text}")),
        },
    }
}

fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    text.split(',')
        .filter(|range| !range.is_empty())
        .try_fold(0, |all, text| Ok(all | range(text, bounds)?))
}

/// `number`, `number-number`, `*` or `?`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let mut star = 0;
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => {
            star = STAR;
            (bounds.min, bounds.max)
        }
        [only] => (number(only, bounds)?, number(only, bounds)?),
        [start, end] => (number(start, bounds)?, number(end, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = integer(step)?;
            // "N/step" is "N-max/step".
            if ends.len() == 1 {
                end = bounds.max;
            }
            if step > 1 {
                star = 0;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (min, max) = (bounds.min, bounds.max);
    if start < min {
        return Err(format!(
            "beginning of range ({start}) below minimum ({min}): {text}"
        ));
    }
    if end > max {
        return Err(format!(
            "end of range ({end}) above maximum ({max}): {text}"
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(bits(start, end, step) | star)
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.min + at as u32),
        None => integer(text),
    }
}

fn integer(text: &str) -> Result<u32, String> {
    let value: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })?;
    u32::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}"))
}

fn bits(start: u32, end: u32, step: u32) -> u64 {
    (start..=end)
        .step_by(step as usize)
        .fold(0, |all, value| all | 1 << value)
}

/// A moment with the zone's clock beside it.
#[derive(Clone, Copy)]
struct Moment {
    time: Timestamp,
    clock: DateTime,
}

impl Fields {
    fn at(&self, time: Timestamp) -> Moment {
        Moment {
            time,
            clock: self.zone.to_offset(time).to_datetime(time),
        }
    }

    /// The moment the zone's clock shows `clock`. Skipped and repeated times are resolved as Go's time.Date does.
    fn on_clock(&self, clock: DateTime) -> Option<Moment> {
        let as_utc = Offset::UTC.to_timestamp(clock).ok()?;
        let guess = self.zone.to_offset(as_utc).to_timestamp(clock).ok()?;
        Some(self.at(self.zone.to_offset(guess).to_timestamp(clock).ok()?))
    }

    fn next(&self, from: Timestamp) -> Option<Timestamp> {
        let mut now = self.at(from);
        let last_year = now.clock.year() + YEARS_AHEAD;
        // Whether smaller fields have been set back to their beginning.
        let mut reset = false;
        'wrap: loop {
            if now.clock.year() > last_year {
                return None;
            }
            while self.month & 1 << now.clock.month() == 0 {
                let first = if reset {
                    now.clock
                } else {
                    now.clock
                        .date()
                        .first_of_month()
                        .to_datetime(jiff::civil::Time::midnight())
                };
                reset = true;
                now = self.on_clock(first.checked_add(1.month()).ok()?)?;
                if now.clock.month() == 1 {
                    continue 'wrap;
                }
            }
            while !self.day_matches(now.clock.date()) {
                let day = if reset {
                    now.clock
                } else {
                    now.clock.date().to_datetime(jiff::civil::Time::midnight())
                };
                reset = true;
                now = self.on_clock(day.checked_add(1.day()).ok()?)?;
                // Midnight may not exist when clocks change: go to the next full hour after, or back to the first.
                let hour = i64::from(now.clock.hour());
                if hour != 0 {
                    let shift = if hour > 12 { 24 - hour } else { -hour };
                    now = self.at(now
                        .time
                        .checked_add(SignedDuration::from_hours(shift))
                        .ok()?);
                }
                if now.clock.day() == 1 {
                    continue 'wrap;
                }
            }
            while self.hour & 1 << now.clock.hour() == 0 {
                if !reset {
                    reset = true;
                    let hour = now.clock.with().minute(0).second(0).build().ok()?;
                    now = self.on_clock(hour)?;
                }
                now = self.at(now.time.checked_add(1.hour()).ok()?);
                if now.clock.hour() == 0 {
                    continue 'wrap;
                }
            }
            while self.minute & 1 << now.clock.minute() == 0 {
                if !reset {
                    reset = true;
                    now = self.at(truncate_to_minute(now.time)?);
                }
                now = self.at(now.time.checked_add(1.minute()).ok()?);
                if now.clock.minute() == 0 {
                    continue 'wrap;
                }
            }
            // Schedules are due at second 0 only.
            while now.clock.second() != 0 {
                now = self.at(now.time.checked_add(1.second()).ok()?);
                if now.clock.second() == 0 {
                    continue 'wrap;
                }
            }
            return Some(now.time);
        }
    }

    fn day_matches(&self, date: Date) -> bool {
        let day = self.day & 1 << date.day() != 0;
        let weekday = self.weekday & 1 << date.weekday().to_sunday_zero_offset() != 0;
        if (self.day | self.weekday) & STAR != 0 {
            day && weekday
        } else {
            day || weekday
        }
    }
}

fn truncate_to_minute(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second().div_euclid(60) * 60).ok()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
