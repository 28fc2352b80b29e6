//! The HTTP side of documents: media types, entity tags, dates.

use std::time::SystemTime;

/// A media type that is served.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Asked for as `application/<this>`.
    subtype: &'static str,
    /// `Content-Type` of the answer.
    pub(super) answered: &'static str,
    pub(super) protobuf: bool,
}

/// Forms of the second document. The spelling with `@` is the older one.
pub(super) const V2_ACCEPTED: &[Accepted] = &[
    Accepted {
        subtype: "json",
        answered: "application/json",
        protobuf: false,
    },
    Accepted {
        subtype: "com.github.proto-openapi.spec.v2@v1.0+protobuf",
        answered: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        protobuf: true,
    },
    Accepted {
        subtype: "com.github.proto-openapi.spec.v2.v1.0+protobuf",
        answered: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        protobuf: true,
    },
];

/// Forms of the third documents.
pub(super) const V3_ACCEPTED: &[Accepted] = &[
    Accepted {
        subtype: "json",
        answered: "application/json",
        protobuf: false,
    },
    Accepted {
        subtype: "com.github.proto-openapi.spec.v3@v1.0+protobuf",
        answered: "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        protobuf: true,
    },
    Accepted {
        subtype: "com.github.proto-openapi.spec.v3.v1.0+protobuf",
        answered: "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
        protobuf: true,
    },
];

/// The form that an `Accept` header asks for: the best clause decides, then the table's order.
pub(super) fn choose(accept: &str, table: &'static [Accepted]) -> Option<&'static Accepted> {
    let accept = if accept.trim().is_empty() {
        "*/*"
    } else {
        accept
    };
    let mut clauses: Vec<(f32, &str, &str)> = accept
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let (ty, subtype) = parts.next()?.split_once('/')?;
            let quality = parts
                .filter_map(|part| part.strip_prefix("q="))
                .find_map(|value| value.parse().ok())
                .unwrap_or(1.0);
            Some((quality, ty, subtype))
        })
        .collect();
    let wildcards =
        |clause: &(f32, &str, &str)| u8::from(clause.1 == "*") + u8::from(clause.2 == "*");
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0).then(wildcards(a).cmp(&wildcards(b))));
    clauses.iter().find_map(|(_, ty, subtype)| {
        table.iter().find(|row| {
            matches!(*ty, "application" | "*") && (*subtype == row.subtype || *subtype == "*")
        })
    })
}

/// The `hash` parameter, when it has a value.
pub(super) fn hash_of(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("hash="))
        .filter(|hash| !hash.is_empty())
}

/// Whether an `If-None-Match` header names the tag.
pub(super) fn matches(if_none_match: &str, etag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether an `Accept-Encoding` header allows gzip.
pub(super) fn takes_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        matches!(parts.next(), Some("gzip"))
            && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// A date as HTTP headers have it.
pub(super) fn date(time: SystemTime, zone: &str) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days: years of 400 form one cycle, counted from March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} {zone}",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_best_clause_decides() {
        const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        for (accept, answered) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("application/json", Some("application/json")),
            (
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
                Some(PROTOBUF),
            ),
            (
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                Some(PROTOBUF),
            ),
            (
                "*/*;q=0.5, application/com.github.proto-openapi.spec.v2@v1.0+protobuf;q=0.9",
                Some(PROTOBUF),
            ),
            (
                "text/html, application/json;q=0.1",
                Some("application/json"),
            ),
            ("text/html", None),
        ] {
            let chosen = choose(accept, V2_ACCEPTED).map(|row| row.answered);
            assert_eq!(chosen, answered, "{accept}");
        }
    }

    #[test]
    fn dates_are_civil() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_106_472, "Thu, 19 Nov 2026 16:41:12 GMT"),
        ] {
            assert_eq!(
                date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), "GMT"),
                text
            );
        }
    }
}
