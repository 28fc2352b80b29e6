//! Cases from the tests of github.com/robfig/cron/v3.

use super::*;

#[track_caller]
fn check(schedule: &str, zone: &str, after: &str, expected: &str) {
    let zone = location(zone).unwrap();
    let time = |text: &str| {
        text.parse::<DateTime>()
            .unwrap()
            .to_zoned(zone.clone())
            .unwrap()
            .timestamp()
    };
    let schedule = Schedule::parse_in(schedule, zone.clone()).unwrap();
    let next = schedule
        .next(time(after))
        .map(|next| zone.to_datetime(next).to_string());
    assert_eq!(next.as_deref(), (!expected.is_empty()).then_some(expected));
}

#[test]
fn the_next_time() {
    let utc = |schedule, after, expected| check(schedule, "UTC", after, expected);
    utc("0/15 * * * *", "2012-07-09T14:45:00", "2012-07-09T15:00:00");
    utc("0/15 * * * *", "2012-07-09T14:59:00", "2012-07-09T15:00:00");
    utc("0/15 * * * *", "2012-07-09T14:59:59", "2012-07-09T15:00:00");
    utc(
        "20-35/15 * * * *",
        "2012-07-09T15:45:00",
        "2012-07-09T16:20:00",
    );
    utc("*/15 * * * *", "2012-07-09T23:46:00", "2012-07-10T00:00:00");
    utc(
        "20-35/15 10 * * *",
        "2012-07-09T23:45:00",
        "2012-07-10T10:20:00",
    );
    utc(
        "20-35/15 1/2 9/2 * *",
        "2012-07-09T23:35:51",
        "2012-07-11T01:20:00",
    );
    utc(
        "20-35/15 10-12 9/2 * *",
        "2012-07-09T23:35:51",
        "2012-07-11T10:20:00",
    );
    utc(
        "20-35/15 * 9-20 Jul *",
        "2012-07-09T23:35:51",
        "2012-07-10T00:20:00",
    );
    utc(
        "0 0 9 Apr-Oct ?",
        "2012-07-09T23:35:00",
        "2012-08-09T00:00:00",
    );
    utc(
        "0 0 */5 Apr,Aug,Oct Mon",
        "2012-07-09T23:35:00",
        "2012-08-01T00:00:00",
    );
    utc(
        "0 0 */5 Oct Mon",
        "2012-07-09T23:35:00",
        "2012-10-01T00:00:00",
    );
    utc(
        "0 0 * Feb Mon",
        "2012-07-09T23:35:00",
        "2013-02-04T00:00:00",
    );
    utc(
        "0 0 * Feb Mon/2",
        "2012-07-09T23:35:00",
        "2013-02-01T00:00:00",
    );
    utc(
        "59 23 31 12 *",
        "2012-12-31T23:59:45",
        "2013-12-31T23:59:00",
    );
    utc("0 0 29 Feb ?", "2012-07-09T23:35:00", "2016-02-29T00:00:00");
    utc("@hourly", "2012-07-09T14:00:00", "2012-07-09T15:00:00");
    utc("@weekly", "2012-07-09T14:00:00", "2012-07-15T00:00:00");
    utc("@yearly", "2012-07-09T14:00:00", "2013-01-01T00:00:00");
    utc("@monthly", "2012-12-09T14:00:00", "2013-01-01T00:00:00");
    utc("@every 1h30m", "2012-07-09T14:00:20", "2012-07-09T15:30:20");
    utc("@every 10ms", "2012-07-09T14:00:20", "2012-07-09T14:00:21");
}

#[test]
fn impossible_days_have_no_next_time() {
    check("0 0 30 Feb ?", "UTC", "2012-07-09T23:35:00", "");
    check("0 0 31 Apr ?", "UTC", "2012-07-09T23:35:00", "");
    check("59 23 31 2 *", "UTC", "2012-07-09T23:35:00", "");
}

#[test]
fn clock_changes() {
    let ny = |schedule, after, expected| check(schedule, "America/New_York", after, expected);
    // Spring: 02:00 becomes 03:00 on 2012-03-11.
    ny(
        "30 2 11 Mar ?",
        "2012-03-11T00:00:00",
        "2013-03-11T02:30:00",
    );
    ny("0 * * * ?", "2012-03-11T01:00:00", "2012-03-11T03:00:00");
    ny("0 1 * * ?", "2012-03-11T00:00:00", "2012-03-11T01:00:00");
    ny("0 2 * * ?", "2012-03-11T00:00:00", "2012-03-12T02:00:00");
    // Autumn: 02:00 becomes 01:00 on 2012-11-04.
    ny(
        "30 2 04 Nov ?",
        "2012-11-04T00:00:00",
        "2012-11-04T02:30:00",
    );
    ny("0 3 * * ?", "2012-11-04T00:00:00", "2012-11-04T03:00:00");
    // Midnight does not exist on 2013-10-20 in São Paulo.
    check(
        "0 9 10-25 10 ?",
        "America/Sao_Paulo",
        "2013-10-19T09:00:00",
        "2013-10-20T09:00:00",
    );
    check(
        "0 * 20 10 *",
        "America/Sao_Paulo",
        "2013-10-19T23:30:00",
        "2013-10-20T01:00:00",
    );
}

#[test]
fn both_day_fields_widen_each_other() {
    for (schedule, date, expected) in [
        ("* * * * Mon", "2012-07-09", true),
        ("* * 1,15 * Sun", "2012-07-15", true),
        ("* * 1,15 * Sun", "2012-06-15", true),
        ("* * 1,15 * Sun", "2012-08-01", true),
        ("* * 1,15 * Sun", "2012-08-02", false),
        ("* * 1,15 * *", "2012-07-09", false),
        ("* * 1,15 * *", "2012-07-15", true),
        ("* * */10 * Sun", "2012-07-15", true),
        ("* * */2 * Sun", "2012-07-15", true),
        ("* * * * Mon", "2012-07-15", false),
    ] {
        let Schedule::Fields(fields) = Schedule::parse_in(schedule, TimeZone::UTC).unwrap() else {
            unreachable!("no @every here")
        };
        assert_eq!(
            fields.day_matches(date.parse().unwrap()),
            expected,
            "{schedule} {date}"
        );
    }
}

#[test]
fn zones_of_schedules() {
    let schedule = Schedule::parse_in("TZ=Asia/Tokyo 0 9 * * *", TimeZone::UTC).unwrap();
    let next = schedule
        .next("2024-05-01T00:00:00Z".parse().unwrap())
        .unwrap();
    assert_eq!(next.to_string(), "2024-05-02T00:00:00Z");
    assert!(Schedule::parse_in("CRON_TZ=UTC @daily", TimeZone::UTC).is_ok());
    assert_eq!(
        location("Europe/Nowhere").unwrap_err(),
        "unknown time zone Europe/Nowhere"
    );
    assert!(
        location("europe/paris").is_err()
            && location("Europe/Paris").is_ok()
            && location("").is_ok()
    );
}

#[test]
fn texts_that_are_refused() {
    for (text, expected) in [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        (
            "* * * * * *",
            "expected exactly 5 fields, found 6: [* * * * * *]",
        ),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("0-60 * * * *", "end of range (60) above maximum (59): 0-60"),
        (
            "5-1 * * * *",
            "beginning of range (5) beyond end of range (1): 5-1",
        ),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        (
            "*/0 * * * *",
            "step of range should be a positive number: */0",
        ),
        (
            "x * * * *",
            "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("@never", "unrecognized descriptor: @never"),
        (
            "TZ=Nowhere/X * * * * *",
            "provided bad location Nowhere/X: unknown time zone Nowhere/X",
        ),
    ] {
        assert_eq!(
            Schedule::parse_in(text, TimeZone::UTC).unwrap_err(),
            expected
        );
    }
    assert!(
        Schedule::parse_in("@every x", TimeZone::UTC).is_err()
            && Schedule::parse_in("TZ=UTC", TimeZone::UTC).is_err()
    );
}
