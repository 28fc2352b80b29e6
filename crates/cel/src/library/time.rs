//! The parts of points in time, in any time zone, and of durations.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::text;
use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Timestamp, Value};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// A function of one part: without and with a time zone, and of durations where they have it.
macro_rules! part {
    ($name:literal, $utc:literal, $zoned:literal, $of:expr $(, $duration:literal, $nanoseconds:expr)?) => {{
        fn local<'a>(args: &[Value<'a>]) -> Result<'a> {
            let time = civil(args)?;
            let of: fn(DateTime) -> i64 = $of;
            Ok(Value::Int(of(time)))
        }
        Function::new($name)
            .member($utc, &[Type::Timestamp], Type::Int, local)
            .member($zoned, &[Type::Timestamp, Type::String], Type::Int, local)
            $(.member($duration, &[Type::Duration], Type::Int, |args| match args[0] {
                Value::Duration(nanoseconds) => Ok(Value::Int(nanoseconds / $nanoseconds)),
                _ => Err(EvalError::NO_SUCH_OVERLOAD),
            }))?
    }};
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    vec![
        part!(
            "getFullYear",
            "timestamp_to_year",
            "timestamp_to_year_with_tz",
            |time| i64::from(time.year())
        ),
        part!(
            "getMonth",
            "timestamp_to_month",
            "timestamp_to_month_with_tz",
            |time| i64::from(time.month()) - 1
        ),
        part!(
            "getDayOfYear",
            "timestamp_to_day_of_year",
            "timestamp_to_day_of_year_with_tz",
            |time| { i64::from(time.day_of_year()) - 1 }
        ),
        part!(
            "getDayOfMonth",
            "timestamp_to_day_of_month",
            "timestamp_to_day_of_month_with_tz",
            |time| { i64::from(time.day()) - 1 }
        ),
        part!(
            "getDate",
            "timestamp_to_day_of_month_1_based",
            "timestamp_to_day_of_month_1_based_with_tz",
            |time| { i64::from(time.day()) }
        ),
        part!(
            "getDayOfWeek",
            "timestamp_to_day_of_week",
            "timestamp_to_day_of_week_with_tz",
            |time| { i64::from(time.weekday().to_sunday_zero_offset()) }
        ),
        part!(
            "getHours",
            "timestamp_to_hours",
            "timestamp_to_hours_with_tz",
            |time| i64::from(time.hour()),
            "duration_to_hours",
            3_600_000_000_000
        ),
        part!(
            "getMinutes",
            "timestamp_to_minutes",
            "timestamp_to_minutes_with_tz",
            |time| i64::from(time.minute()),
            "duration_to_minutes",
            60_000_000_000
        ),
        part!(
            "getSeconds",
            "timestamp_to_seconds",
            "timestamp_to_seconds_tz",
            |time| i64::from(time.second()),
            "duration_to_seconds",
            1_000_000_000
        ),
        part!(
            "getMilliseconds",
            "timestamp_to_milliseconds",
            "timestamp_to_milliseconds_with_tz",
            |time| i64::from(time.subsec_nanosecond() / 1_000_000),
            "duration_to_milliseconds",
            1_000_000
        ),
    ]
}

/// The first argument in UTC, or in the zone that the second names.
fn civil(args: &[Value<'_>]) -> std::result::Result<DateTime, EvalError> {
    let Value::Timestamp(time) = &args[0] else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    let ahead = if args.len() == 1 {
        0
    } else {
        ahead(time, text(args, 1)?)?
    };
    Ok(time.civil(ahead))
}

/// How far clocks are ahead of UTC: in a zone, or as written like `+05:30`, also where no clock is.
fn ahead(time: &Timestamp, zone: &str) -> std::result::Result<i64, EvalError> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        let found = match zone {
            "" | "UTC" => Ok(TimeZone::UTC),
            "Local" => Ok(TimeZone::system()),
            zone => TimeZone::get(zone),
        };
        let found = found.map_err(|_| EvalError::new(format!("unknown time zone {zone}")))?;
        return Ok(time.offset_in(&found));
    };
    let number = |digits: &str| {
        digits.parse::<i32>().map(i64::from).map_err(|_| {
            let quoted = apimachinery::quote::quote(digits);
            EvalError::new(format!("strconv.Atoi: parsing {quoted}: invalid syntax"))
        })
    };
    let (hour, minute) = (number(hours)?, number(minutes)?);
    Ok(60
        * if zone.starts_with('-') {
            hour * 60 - minute
        } else {
            hour * 60 + minute
        })
}
