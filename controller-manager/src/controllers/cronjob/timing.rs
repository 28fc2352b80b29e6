//! Which scheduled time of a CronJob is due, and when to look again. Pure. Upstream: pkg/controller/cronjob/utils.go.

use std::time::Duration;

use api_types::batch::v1::CronJob;
use jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;

/// Added to the time until the next run, so that a clock that is a little behind does not wake us too early.
const NEXT_SCHEDULE_DELTA: SignedDuration = SignedDuration::from_millis(100);

/// How many scheduled times have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    None,
    Few,
    /// More than a hundred: likely a wrong clock.
    Many,
}

/// What has become due since the last run.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    /// Where the search began.
    pub earliest: Timestamp,
    /// The latest scheduled time that is not after now.
    pub latest: Option<Timestamp>,
    pub missed: Missed,
}

/// `respect_deadline`: times before the starting deadline do not count any more.
pub(super) fn due(
    cron_job: &CronJob,
    now: Timestamp,
    schedule: &Schedule,
    respect_deadline: bool,
) -> Result<Due, String> {
    let mut earliest = cron_job
        .status
        .last_schedule_time
        .unwrap_or(cron_job.metadata.creation_timestamp)
        .timestamp();
    if let Some(seconds) = cron_job
        .spec
        .starting_deadline_seconds
        .filter(|_| respect_deadline)
    {
        earliest = earliest.max(
            now.saturating_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN),
        );
    }
    // A schedule like the 31st of February is never due.
    let never = || "time difference between two schedules is less than 1 second".to_owned();
    let first = schedule.next(earliest).ok_or_else(never)?;
    if now < first {
        return Ok(Due {
            earliest,
            latest: None,
            missed: Missed::None,
        });
    }
    let second = schedule.next(first);
    if let Some(second) = second
        && now < second
    {
        return Ok(Due {
            earliest,
            latest: Some(first),
            missed: Missed::None,
        });
    }
    let interval = second.ok_or_else(never)?.duration_since(first).as_secs();
    if interval < 1 {
        return Err(never());
    }
    // The count is a guess from the first interval. The search goes on from one interval before the guessed time, so that it is
    // short, keeps the phase of "@every", and is right for schedules with uneven intervals.
    let count = now.duration_since(first).as_secs() / interval + 1;
    let start = first
        .saturating_add(SignedDuration::from_secs(
            interval.saturating_mul(count - 2),
        ))
        .unwrap_or(Timestamp::MAX);
    let mut latest = None;
    let mut candidate = schedule.next(start);
    while let Some(time) = candidate.filter(|time| *time <= now) {
        latest = Some(time);
        candidate = schedule.next(time);
    }
    let missed = if count > 100 {
        Missed::Many
    } else {
        Missed::Few
    };
    Ok(Due {
        earliest,
        latest,
        missed,
    })
}

/// The time until the CronJob is looked at again.
pub(super) fn until_next(
    cron_job: &CronJob,
    now: Timestamp,
    schedule: &Schedule,
) -> Option<Duration> {
    let from = match due(cron_job, now, schedule, false) {
        Ok(Due {
            latest: Some(latest),
            ..
        }) => latest,
        Ok(Due {
            earliest,
            missed: Missed::None,
            ..
        }) => earliest,
        Ok(_) | Err(_) => now,
    };
    let left = schedule.next(from)?.duration_since(now) + NEXT_SCHEDULE_DELTA;
    Some(if left.is_negative() {
        Duration::ZERO
    } else {
        left.unsigned_abs()
    })
}

/// The name of the Job for a scheduled time: the minute since the epoch makes it the same for all who try.
pub(super) fn job_name(cron_job: &CronJob, scheduled: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name, scheduled.as_second() / 60)
}

#[cfg(test)]
mod tests {
    use api_types::Time;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2024-05-19T{text}Z").parse().unwrap()
    }

    fn cron_job(created: &str, last: Option<&str>, deadline: Option<i64>) -> CronJob {
        let mut job = CronJob::default();
        job.metadata.name = "c".into();
        job.metadata.creation_timestamp = Time::from_timestamp(at(created));
        job.status.last_schedule_time = last.map(|last| Time::from_timestamp(at(last)));
        job.spec.starting_deadline_seconds = deadline;
        job
    }

    #[track_caller]
    fn check(schedule: &str, job: &CronJob, now: &str, latest: Option<&str>, missed: Missed) {
        let schedule = Schedule::parse(&format!("TZ=UTC {schedule}")).unwrap();
        let found = due(job, at(now), &schedule, true).unwrap();
        assert_eq!((found.latest, found.missed), (latest.map(at), missed));
    }

    #[test]
    fn the_latest_due_time() {
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, None),
            "08:50:00",
            None,
            Missed::None,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, None),
            "09:05:00",
            Some("09:00:00"),
            Missed::None,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", Some("09:00:00"), None),
            "09:05:00",
            None,
            Missed::None,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", Some("09:00:00"), None),
            "10:00:00",
            Some("10:00:00"),
            Missed::None,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, None),
            "12:10:00",
            Some("12:00:00"),
            Missed::Few,
        );
        check(
            "* * * * *",
            &cron_job("01:00:00", None, None),
            "12:10:30",
            Some("12:10:00"),
            Missed::Many,
        );
        check(
            "* * * * *",
            &cron_job("01:00:00", None, Some(200)),
            "12:10:30",
            Some("12:10:00"),
            Missed::Few,
        );
        check(
            "@every 1h",
            &cron_job("08:30:20", None, None),
            "12:10:00",
            Some("11:30:20"),
            Missed::Few,
        );
        // As upstream: the guess from the first interval is past the last time of the day, so nothing is found.
        check(
            "30 6-16/4 * * *",
            &cron_job("00:00:00", None, None),
            "20:00:00",
            None,
            Missed::Few,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, Some(60)),
            "09:05:00",
            None,
            Missed::None,
        );
    }

    #[test]
    fn a_schedule_that_is_never_due_is_an_error() {
        let schedule = Schedule::parse("59 23 31 2 *").unwrap();
        assert_eq!(
            due(
                &cron_job("08:30:00", None, None),
                at("10:00:00"),
                &schedule,
                true
            )
            .unwrap_err(),
            "time difference between two schedules is less than 1 second"
        );
        assert_eq!(
            until_next(&cron_job("08:30:00", None, None), at("10:00:00"), &schedule),
            None
        );
    }

    #[test]
    fn the_next_look_is_a_little_after_the_next_time() {
        let check = |schedule: &str, job: &CronJob, now, millis| {
            let schedule = Schedule::parse(&format!("TZ=UTC {schedule}")).unwrap();
            assert_eq!(
                until_next(job, at(now), &schedule),
                Some(Duration::from_millis(millis))
            );
        };
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, None),
            "08:59:00",
            60_100,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", None, None),
            "09:00:10",
            3_590_100,
        );
        check(
            "0 * * * *",
            &cron_job("08:30:00", Some("09:00:00"), None),
            "09:00:10",
            3_590_100,
        );
        check(
            "@every 1h",
            &cron_job("08:30:20", Some("09:30:20"), None),
            "09:30:30",
            3_590_100,
        );
    }

    #[test]
    fn names_are_those_of_the_minute() {
        assert_eq!(
            job_name(
                &cron_job("00:00:00", None, None),
                Timestamp::from_second(1_716_109_260).unwrap()
            ),
            "c-28601821"
        );
    }
}
