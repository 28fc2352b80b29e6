//! Values that read themselves from text.

use std::cmp::Ordering;

use api_types::{Duration, Format, IntOrString, MicroTime, Quantity, Time};

use crate::target::{Case, Outcome, Target, Verdict, listed, same};

/// `1500Mi`.
pub const QUANTITY: Target = Target {
    name: "scalars/quantity",
    promise: "its text means the same number and is its own text; arithmetic of any two ends",
    cases: 4000,
    seed: |number| {
        listed(
            &[
                "1500Mi",
                "1",
                "100m",
                "-0.5",
                "1e3",
                "1E-9",
                "12.345678901234567890123456789Ki",
                "9223372036854775807",
                "9223372036854775808",
                "-9223372036854775808",
                "0.0000000001n",
                "1e2147483647",
                "1e-2147483648",
                "+1Ei",
                "99999999999999999999999999999999999999999999E",
                ".5",
                "5.",
                "1e18n",
                "0e99999999999",
            ],
            number,
        )
    },
    tokens: &[
        "0",
        "1",
        "9",
        "999999999999999999",
        ".",
        "-",
        "+",
        "e",
        "E",
        "e-",
        "m",
        "u",
        "n",
        "k",
        "Ki",
        "Mi",
        "Gi",
        "Ti",
        "Pi",
        "Ei",
        "M",
        "G",
        "T",
        "P",
        " ",
        "00000000000000000000",
    ],
    check: quantity,
};

/// `2024-01-01T00:00:00Z`, with and without microseconds.
pub const TIME: Target = Target {
    name: "scalars/time",
    promise: "its text is read as the same moment",
    cases: 4000,
    seed: |number| {
        listed(
            &[
                "2024-02-29T23:59:59Z",
                "2024-01-01T00:00:00.123456Z",
                "2024-01-01T00:00:00.123456789+05:30",
                "0001-01-01T00:00:00Z",
                "0000-01-01T00:00:00+23:59",
                "9999-12-31T23:59:59-23:59",
                "1969-12-31T23:59:59.9999999Z",
                "2023-02-29T00:00:00Z",
                "2024-01-01t00:00:00z",
                "2024-01-01T24:00:00Z",
                "2016-12-31T23:59:60Z",
            ],
            number,
        )
    },
    tokens: &[
        "0", "1", "9", "-", ":", "T", "Z", ".", ",", "+", "+00:00", "-24:00", "2024", "0000",
        "9999", "é",
    ],
    check: time,
};

/// `1h30m`.
pub const DURATION: Target = Target {
    name: "scalars/duration",
    promise: "its text is read as the same duration; both readers agree",
    cases: 4000,
    seed: |number| {
        listed(
            &[
                "1h30m",
                "-1.5s",
                "0",
                "+5ms",
                "2562047h47m16.854775807s",
                "-2562047h47m16.854775808s",
                "1ns",
                "1us",
                "1µs",
                "1μs",
                "9223372036854775808ns",
                ".5h",
                "1.s",
                "0.100000000000000000000h",
            ],
            number,
        )
    },
    tokens: &[
        "0",
        "1",
        "9",
        "999999999999",
        ".",
        "-",
        "+",
        "h",
        "m",
        "s",
        "ms",
        "us",
        "µs",
        "ns",
        " ",
    ],
    check: duration,
};

/// `80` or `25%`.
pub const INT_OR_STRING: Target = Target {
    name: "scalars/int-or-string",
    promise: "its text is read as the same; JSON and protobuf keep it",
    cases: 2000,
    seed: |number| {
        listed(
            &[
                "80",
                "25%",
                "http",
                "-2147483648",
                "2147483648",
                "+1",
                "007",
                "",
            ],
            number,
        )
    },
    tokens: &["0", "1", "%", "-", "+", "2147483647", "\"", "\\", " ", "é"],
    check: int_or_string,
};

fn quantity(case: &Case) -> Outcome {
    let Ok(value) = Quantity::parse(&case.text()) else {
        return Ok(Verdict::Refused);
    };
    // Beyond the largest suffix, upstream writes none.
    if value.as_f64().abs() >= 1e21 {
        let _ = (value.to_string(), value.value(), value.milli_value());
        return Ok(Verdict::Accepted);
    }
    let text = value.to_string();
    let again = Quantity::parse(&text).map_err(|error| format!("{text:?}: {error}"))?;
    if again.cmp(&value) != Ordering::Equal {
        return Err(format!("{value:?} is written {text:?}, which is {again:?}"));
    }
    same("written again", &again.to_string(), &text)?;
    // What does not fit is cut in two ways, as upstream does, depending on the text.
    // So are fractions below zero.
    if (0.0..9e15).contains(&value.as_f64()) {
        same("value", &again.value(), &value.value())?;
        same("milli_value", &again.milli_value(), &value.milli_value())?;
    }
    let other = Quantity::parse(
        ["1500Mi", "0.1", "1e-3", "-9223372036854775808"][case.number as usize % 4],
    )
    .map_err(|error| error.to_string())?;
    let mut sum = value.clone();
    sum.add(&other);
    sum.sub(&other);
    let _ = (
        sum.to_string(),
        sum.as_f64(),
        sum.as_i64(),
        sum.signum(),
        sum.is_zero(),
    );
    let mut other = value.clone();
    let _ = other.mul(i64::from(case.number));
    other.neg();
    let _ = other.round_up(-(case.number as i32 % 20));
    for format in [Format::DecimalSI, Format::BinarySI, Format::DecimalExponent] {
        // Beyond the largest suffix, upstream writes none in a family that was set.
        if value.as_i64().is_none() {
            break;
        }
        let mut other = value.clone();
        other.set_format(format);
        let text = other.to_string();
        let again = Quantity::parse(&text).map_err(|error| format!("{text:?}: {error}"))?;
        if again.cmp(&other) != Ordering::Equal {
            return Err(format!("{other:?} is written {text:?}, which is {again:?}"));
        }
    }
    Ok(Verdict::Accepted)
}

fn time(case: &Case) -> Outcome {
    let text = case.text();
    let (time, micro) = (Time::parse(&text), MicroTime::parse(&text));
    if time.is_ok() != micro.is_ok() {
        return Err(format!("{time:?} but {micro:?}"));
    }
    let (Ok(time), Ok(micro)) = (time, micro) else {
        return Ok(Verdict::Refused);
    };
    let _ = (
        time.timestamp(),
        micro.timestamp(),
        format!("{time:?} {micro:?}"),
    );
    let written = (time.to_string(), micro.to_string());
    // Years of other than four digits are written and not read, as in Go.
    if written.0.as_bytes().get(4) == Some(&b'-') && !written.0.starts_with('-') {
        same(
            "time",
            &Time::parse(&written.0).map_err(|error| error.to_string())?,
            &time,
        )?;
        same(
            "micro time",
            &MicroTime::parse(&written.1).map_err(|error| error.to_string())?,
            &micro,
        )?;
    }
    Ok(Verdict::Accepted)
}

fn duration(case: &Case) -> Outcome {
    let text = case.text();
    let value = Duration::parse(&text);
    let other = apimachinery::duration::parse(&text);
    if value.is_ok() != other.is_ok() {
        return Err(format!("{value:?} but {other:?}"));
    }
    let (Ok(value), Ok(other)) = (value, other) else {
        return Ok(Verdict::Refused);
    };
    same("both readers", &value.0, &other)?;
    let written = value.to_string();
    same(
        "both writers",
        &written,
        &apimachinery::duration::format(other),
    )?;
    same(
        "again",
        &Duration::parse(&written).map_err(|error| error.to_string())?,
        &value,
    )?;
    let _ = value.as_std();
    let seconds = value.0 / 1_000_000_000;
    let _ = (
        apimachinery::duration::human(seconds),
        apimachinery::duration::short_human(seconds),
    );
    Ok(Verdict::Accepted)
}

fn int_or_string(case: &Case) -> Outcome {
    let value = IntOrString::parse(&case.text());
    if matches!(value, IntOrString::String(_)) {
        same("text", &value.to_string(), &case.text().into_owned())?;
    }
    same("again", &IntOrString::parse(&value.to_string()), &value)?;
    let _ = value.int_value();
    let port = api_types::core::v1::ServicePort {
        target_port: value,
        ..Default::default()
    };
    let json = api_types::decode_json(&api_types::encode_json(&port))
        .map_err(|error| error.to_string())?;
    same("JSON", &port, &json)?;
    let message = api_types::decode_protobuf(&api_types::encode_protobuf(&port))
        .map_err(|error| error.to_string())?;
    same("protobuf", &port, &message)?;
    Ok(Verdict::Accepted)
}
