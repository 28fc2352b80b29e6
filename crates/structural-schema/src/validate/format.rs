//! `format`. Upstream: kube-openapi/pkg/validation/strfmt and apiserver/validation/formats.go.
//!
//! Formats that are not known here are ignored, as upstream ignores those it does not know. It does not where it checks
//! defaults: there, what has any format at all is taken for a string with that format.

use std::sync::LazyLock;

use apimachinery::validation::{parse_cidr_sloppy, parse_ip_sloppy};
use regex::Regex;

use crate::node::Kind;

/// A known format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Not known, or not for values of the type. Only where defaults are checked this matters at all.
    Ignored,
    Int32,
    Int64,
    Float,
    Double,
    BsonObjectId,
    Byte,
    Cidr,
    CreditCard,
    Date,
    DateTime,
    Duration,
    Email,
    HexColor,
    Hostname,
    Ipv4,
    Ipv6,
    Isbn,
    Isbn10,
    Isbn13,
    LongName,
    Mac,
    Password,
    RgbColor,
    ShortName,
    Ssn,
    Uri,
    Uuid,
    Uuid3,
    Uuid4,
    Uuid5,
}

/// Formats of strings, by their names without dashes.
const TEXT_FORMATS: [(&str, Format); 26] = [
    ("bsonobjectid", Format::BsonObjectId),
    ("byte", Format::Byte),
    ("cidr", Format::Cidr),
    ("creditcard", Format::CreditCard),
    ("date", Format::Date),
    ("datetime", Format::DateTime),
    ("duration", Format::Duration),
    ("email", Format::Email),
    ("hexcolor", Format::HexColor),
    ("hostname", Format::Hostname),
    ("ipv4", Format::Ipv4),
    ("ipv6", Format::Ipv6),
    ("isbn", Format::Isbn),
    ("isbn10", Format::Isbn10),
    ("isbn13", Format::Isbn13),
    ("k8slongname", Format::LongName),
    ("k8sshortname", Format::ShortName),
    ("mac", Format::Mac),
    ("password", Format::Password),
    ("rgbcolor", Format::RgbColor),
    ("ssn", Format::Ssn),
    ("uri", Format::Uri),
    ("uuid", Format::Uuid),
    ("uuid3", Format::Uuid3),
    ("uuid4", Format::Uuid4),
    ("uuid5", Format::Uuid5),
];

impl Format {
    /// The format of that name, if values of that type can have it.
    pub(crate) fn for_kind(kind: Kind, name: &str) -> Option<Self> {
        match kind {
            Kind::Integer => match name {
                "int32" => Some(Self::Int32),
                "int64" => Some(Self::Int64),
                _ => None,
            },
            Kind::Number => match name {
                "float" => Some(Self::Float),
                "double" => Some(Self::Double),
                _ => None,
            },
            Kind::Any | Kind::String => {
                let name = name.replace('-', "");
                let found = TEXT_FORMATS.iter().find(|(known, _)| *known == name);
                found.map(|(_, format)| *format)
            }
            _ => None,
        }
    }

    pub(crate) fn is_text(self) -> bool {
        !matches!(
            self,
            Self::Ignored | Self::Int32 | Self::Int64 | Self::Float | Self::Double
        )
    }

    /// Whether a string has the format.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Ignored
            | Self::Int32
            | Self::Int64
            | Self::Float
            | Self::Double
            | Self::Password => true,
            Self::BsonObjectId => text.len() == 24 && is_hex(text),
            Self::Byte => is_base64(text),
            Self::Cidr => parse_cidr_sloppy(text).is_some(),
            Self::CreditCard => is_credit_card(text),
            Self::Date => is_date(text),
            Self::DateTime => is_date_time(text),
            Self::Duration => is_duration(text),
            Self::Email => email::is_address(text),
            Self::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hex(digits)
            }
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.contains('.') && parse_ip_sloppy(text).is_some(),
            Self::Ipv6 => text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_ok(),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::LongName => text.len() <= 253 && text.split('.').all(is_name_segment),
            Self::ShortName => text.len() <= 63 && is_name_segment(text),
            Self::Mac => is_mac(text),
            Self::RgbColor => is_rgb_color(text),
            Self::Ssn => is_ssn(text),
            Self::Uri => is_request_uri(text),
            Self::Uuid => is_uuid(text, None, false),
            Self::Uuid3 => is_uuid(text, Some(b'3'), false),
            Self::Uuid4 => is_uuid(text, Some(b'4'), true),
            Self::Uuid5 => is_uuid(text, Some(b'5'), true),
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// At least one group of four, with padding.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn is_credit_card(text: &str) -> bool {
    static CARD: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|\
             3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
        )
        .ok()
    });
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CARD.as_ref().is_some_and(|card| card.is_match(&digits)) {
        return false;
    }
    // Luhn's sum.
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0');
            match index % 2 {
                0 => digit,
                _ if digit < 5 => digit * 2,
                _ => digit * 2 - 9,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' || !text.is_ascii() {
        return false;
    }
    let (year, month, day) = (&text[..4], &text[5..7], &text[8..]);
    if ![year, month, day].into_iter().all(is_digits) {
        return false;
    }
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(year), number(month), number(day));
    let days = match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// A date, a `T`, a time, a zone. Hours and so on may be anything up to 23, 59 and 59; what follows a second `t` does not
/// count.
fn is_date_time(text: &str) -> bool {
    static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$").ok()
    });
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    if text.len() < 4 || !is_date(date) {
        return false;
    }
    let Some(groups) = TIME.as_ref().and_then(|regex| regex.captures(time)) else {
        return false;
    };
    &groups[1] <= "23" && &groups[2] <= "59" && &groups[3] <= "59"
}

/// Go's durations, and numbers with the names of units anywhere in the text.
fn is_duration(text: &str) -> bool {
    static PART: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("([0-9]+)[\\t\\n\\f\\r ]*([A-Za-z\u{b5}]+)").ok());
    if apimachinery::duration::parse(text).is_ok() {
        return true;
    }
    const EXACT: [&str; 11] = [
        "ns", "us", "\u{b5}s", "ms", "s", "m", "h", "hr", "d", "w", "wk",
    ];
    const PREFIXES: [&str; 8] = [
        "nano", "micro", "milli", "sec", "min", "hour", "day", "week",
    ];
    let Some(part) = PART.as_ref() else {
        return false;
    };
    let mut found = false;
    for groups in part.captures_iter(text) {
        if groups[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = groups[2].to_lowercase();
        // Lower case of the micro sign is itself; some keyboards type a Greek mu, which is none here.
        found |= EXACT.contains(&&*unit) || PREFIXES.iter().any(|prefix| unit.starts_with(prefix));
    }
    found
}

fn is_hostname(text: &str) -> bool {
    static HOSTNAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
        )
        .ok()
    });
    HOSTNAME.as_ref().is_some_and(|host| host.is_match(text))
        && text.len() <= 255
        && text.split('.').all(|label| label.len() <= 63)
}

/// What is left of an ISBN without dashes and white space.
fn isbn_digits(text: &str) -> Vec<u8> {
    let kept = text
        .bytes()
        .filter(|byte| !matches!(byte, b'-' | b' ' | b'\t' | b'\n' | b'\x0c' | b'\r'));
    kept.collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    let [first @ .., last] = &*digits else {
        return false;
    };
    if first.len() != 9 || !first.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let check = match last {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit - b'0'),
        _ => return false,
    };
    let sum: u32 = (1..)
        .zip(first)
        .map(|(n, digit)| n * u32::from(digit - b'0'))
        .sum();
    (sum + 10 * check).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(index, digit)| u32::from(digit - b'0') * if index % 2 == 0 { 1 } else { 3 })
        .sum();
    sum.is_multiple_of(10)
}

/// A part of a Kubernetes name.
fn is_name_segment(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    inner(*first) && inner(*last) && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// 6, 8 or 20 bytes, with colons or dashes between single bytes, dots between pairs, or nothing.
fn is_mac(text: &str) -> bool {
    let (separator, width) = match text.as_bytes() {
        [_, _, b':', ..] => (':', 2),
        [_, _, b'-', ..] => ('-', 2),
        [_, _, _, _, b'.', ..] => ('.', 4),
        bytes => return matches!(bytes.len(), 12 | 16 | 40) && is_hex(text),
    };
    let parts: Vec<&str> = text.split(separator).collect();
    let bytes = parts.len() * width / 2;
    matches!(bytes, 6 | 8 | 20) && parts.iter().all(|part| part.len() == width && is_hex(part))
}

fn is_rgb_color(text: &str) -> bool {
    let inner = text
        .strip_prefix("rgb(")
        .and_then(|text| text.strip_suffix(')'));
    let Some(inner) = inner else {
        return false;
    };
    let is_space = |c| matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r');
    let parts: Vec<&str> = inner
        .split(',')
        .map(|part| part.trim_matches(is_space))
        .collect();
    parts.len() == 3
        && parts.iter().all(|part| {
            !part.is_empty()
                && is_digits(part)
                && (part.len() == 1 || !part.starts_with('0'))
                && part.len() <= 3
                && part.parse::<u16>().is_ok_and(|value| value <= 255)
        })
}

/// With both separators: without, it would be too short.
fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    let separator = |byte: u8| matches!(byte, b'-' | b' ');
    bytes.len() == 11
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            3 | 6 => separator(*byte),
            _ => byte.is_ascii_digit(),
        })
}

/// Hexadecimal groups of 8, 4, 4, 4 and 12, with dashes or without each.
fn is_uuid(text: &str, version: Option<u8>, variant: bool) -> bool {
    let mut rest = text.as_bytes();
    for (group, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        let Some((digits, after)) = rest.split_at_checked(length) else {
            return false;
        };
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return false;
        }
        if group == 2 && version.is_some_and(|version| digits[0] != version) {
            return false;
        }
        if group == 3 && variant && !matches!(digits[0], b'8' | b'9' | b'a' | b'b' | b'A' | b'B') {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// What Go takes as the target of a request: an absolute path, or a URI with a scheme.
fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let (scheme, rest) = match text.find(':') {
        Some(0) => return false,
        Some(colon) => {
            let scheme = &text[..colon];
            let well_formed = scheme.bytes().enumerate().all(|(index, byte)| {
                byte.is_ascii_alphabetic()
                    || (index > 0 && (byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')))
            });
            if well_formed {
                (Some(scheme), &text[colon + 1..])
            } else if scheme.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
                // Go stops at a digit in front; anything else means that there is no scheme.
                return false;
            } else {
                (None, text)
            }
        }
        None => (None, text),
    };
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !rest.starts_with('/') {
        // With a scheme the rest is opaque.
        return scheme.is_some();
    }
    let path = match rest.strip_prefix("//") {
        Some(authority) if scheme.is_some() || !rest.starts_with("///") => {
            let end = authority.find('/').unwrap_or(authority.len());
            if !is_authority(&authority[..end]) {
                return false;
            }
            &authority[end..]
        }
        _ => rest,
    };
    has_valid_escapes(path)
}

/// Every percent sign is followed by two digits.
fn has_valid_escapes(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    parts.all(|part| {
        part.as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_authority(text: &str) -> bool {
    let host = match text.rsplit_once('@') {
        Some((user, host)) => {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
            if !user.bytes().all(allowed) || !has_valid_escapes(user) {
                return false;
            }
            host
        }
        None => text,
    };
    let is_port = |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
    if host.starts_with('[') {
        return match host.rfind(']') {
            Some(end) => is_port(&host[end + 1..]) && is_bracketed_address(&host[1..end]),
            None => false,
        };
    }
    let name = match host.rfind(':') {
        Some(colon) if is_port(&host[colon..]) => &host[..colon],
        Some(_) => return false,
        None => host,
    };
    let allowed = |byte: u8| {
        byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte)
    };
    // In hosts only what is no ASCII may be escaped.
    let escapes_are_high = name.split('%').skip(1).all(|part| {
        part.starts_with([
            '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'A', 'B', 'C', 'D', 'E', 'F',
        ])
    });
    name.bytes().all(allowed) && has_valid_escapes(name) && escapes_are_high
}

/// An IPv6 address, perhaps with a zone.
fn is_bracketed_address(text: &str) -> bool {
    let (address, zone) = match text.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<std::net::Ipv6Addr>().is_ok()
        && zone.is_none_or(|zone| !zone.is_empty() && has_valid_escapes(zone))
}

mod email {
    //! Addresses as Go's net/mail reads one: `name@host`, `Name <name@host>`, with quoted strings and comments.

    /// Whether the whole text is one address, or a group of one.
    pub(super) fn is_address(text: &str) -> bool {
        let mut reader = Reader(text);
        reader.addresses(true) == Some(1) && reader.skip_comments() && reader.0.is_empty()
    }

    struct Reader<'a>(&'a str);

    impl<'a> Reader<'a> {
        fn take(&mut self, c: char) -> bool {
            match self.0.strip_prefix(c) {
                Some(rest) => {
                    self.0 = rest;
                    true
                }
                None => false,
            }
        }

        fn skip_space(&mut self) {
            self.0 = self.0.trim_start_matches([' ', '\t']);
        }

        /// Skips white space and comments; false if a comment does not end.
        fn skip_comments(&mut self) -> bool {
            loop {
                self.skip_space();
                if !self.0.starts_with('(') {
                    return true;
                }
                let mut depth = 0;
                let mut chars = self.0.char_indices();
                let end = loop {
                    match chars.next() {
                        None => return false,
                        Some((_, '\\')) => {
                            chars.next();
                        }
                        Some((_, '(')) => depth += 1,
                        Some((at, ')')) => {
                            depth -= 1;
                            if depth == 0 {
                                break at + 1;
                            }
                        }
                        Some(_) => {}
                    }
                };
                self.0 = &self.0[end..];
            }
        }

        /// One address, or a group of any number; how many there are.
        fn addresses(&mut self, with_groups: bool) -> Option<usize> {
            let start = self.0;
            if self.bare_address() {
                self.skip_space();
                let fine = !self.0.starts_with('(') || self.skip_comments();
                return fine.then_some(1);
            }
            self.0 = start;
            self.skip_space();
            if !self.0.starts_with('<') && !self.phrase() {
                return None;
            }
            self.skip_space();
            if with_groups && self.take(':') {
                return self.group();
            }
            let fine = self.take('<') && self.bare_address() && self.take('>');
            fine.then_some(1)
        }

        /// What is between the colon and the semicolon of a group.
        fn group(&mut self) -> Option<usize> {
            let mut count = 0;
            self.skip_space();
            if self.take(';') {
                return self.skip_comments().then_some(count);
            }
            loop {
                count += self.addresses(false)?;
                if !self.skip_comments() {
                    return None;
                }
                if self.take(';') {
                    return self.skip_comments().then_some(count);
                }
                if !self.take(',') {
                    return None;
                }
            }
        }

        /// `name@host`.
        fn bare_address(&mut self) -> bool {
            self.skip_space();
            let named = if self.0.starts_with('"') {
                self.quoted().is_some_and(|text| !text.is_empty())
            } else {
                self.atom(true, false)
            };
            if !named || !self.take('@') {
                return false;
            }
            self.skip_space();
            if self.0.starts_with('[') {
                return self.domain_literal();
            }
            self.atom(true, false)
        }

        fn domain_literal(&mut self) -> bool {
            let Some(end) = self.0.find(']') else {
                return false;
            };
            let inner = &self.0[1..end];
            self.0 = &self.0[end + 1..];
            inner.parse::<std::net::IpAddr>().is_ok()
        }

        /// The text between quotes.
        fn quoted(&mut self) -> Option<String> {
            let mut out = String::new();
            let mut chars = self.0.char_indices().skip(1);
            loop {
                match chars.next()? {
                    (at, '"') => {
                        self.0 = &self.0[at + 1..];
                        return Some(out);
                    }
                    (_, '\\') => match chars.next()?.1 {
                        c if is_visible(c) || matches!(c, ' ' | '\t') => out.push(c),
                        _ => return None,
                    },
                    (_, c) if is_visible(c) || matches!(c, ' ' | '\t') => out.push(c),
                    _ => return None,
                }
            }
        }

        /// One atom, with dots in it or without. `permissive` dots may be anywhere.
        fn atom(&mut self, dots: bool, permissive: bool) -> bool {
            let end = self
                .0
                .find(|c| !is_atom_char(c, dots))
                .unwrap_or(self.0.len());
            let atom = &self.0[..end];
            if atom.is_empty() {
                return false;
            }
            if !permissive && (atom.starts_with('.') || atom.ends_with('.') || atom.contains(".."))
            {
                return false;
            }
            self.0 = &self.0[end..];
            true
        }

        /// Words of a display name.
        fn phrase(&mut self) -> bool {
            let mut words = 0;
            loop {
                if words > 0 && !self.skip_comments() {
                    return false;
                }
                self.skip_space();
                let is_word = if self.0.starts_with('"') {
                    self.quoted().is_some()
                } else {
                    self.atom(true, true)
                };
                if !is_word {
                    return words > 0;
                }
                words += 1;
            }
        }
    }

    fn is_visible(c: char) -> bool {
        c.is_ascii_graphic() || !c.is_ascii()
    }

    fn is_atom_char(c: char, dots: bool) -> bool {
        match c {
            '.' => dots,
            '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"' => false,
            c => is_visible(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, good: &[&str], bad: &[&str]) {
        let format = Format::for_kind(Kind::String, name).expect("a known format");
        for text in good {
            assert!(format.accepts(text), "{name} {text:?}");
        }
        for text in bad {
            assert!(!format.accepts(text), "{name} {text:?}");
        }
    }

    #[test]
    fn texts_have_formats() {
        check(
            "bsonobjectid",
            &["0123456789abcdefABCDEF01"],
            &["", "0123", "0123456789abcdefABCDEF0g"],
        );
        check(
            "byte",
            &["AAAA", "AA==", "AAA=", "+/+/"],
            &["", "A", "AAA", "A===", "AA=A", "-_-_"],
        );
        check(
            "cidr",
            &["10.0.0.0/8", "010.0.0.0/8", "::/0"],
            &["10.0.0.0", "10.0.0.0/33"],
        );
        check(
            "creditcard",
            &["4111 1111 1111 1111", "5500-0000-0000-0004"],
            &["4111111111111112", ""],
        );
        check(
            "date",
            &["2024-02-29", "0000-01-01"],
            &["2023-02-29", "2024-13-01", "2024-1-01", "24-01-01"],
        );
        check(
            "date-time",
            &["2024-02-29T23:59:59Z", "2024-02-29t00:00:00.123+01:00"],
            &[
                "2024-02-29",
                "2024-02-29T24:00:00Z",
                "2024-02-29 10:00:00Z",
                "2024-02-30T10:00:00Z",
                "2024-02-29T10:00:60Z",
            ],
        );
        check(
            "duration",
            &[
                "1h", "1h30m", "22 ns", "3 weeks", "5 Hours", "x 1 day", "-1s", "1.5h",
            ],
            &["", "1", "h", "1 year"],
        );
        check(
            "email",
            &[
                "a@b",
                "a.b@c.d",
                "Some One <a@b.c>",
                "\"a b\"@c",
                "a@[127.0.0.1]",
                "g:a@b;",
            ],
            &[
                "",
                "a",
                "a@",
                "@b",
                "a b@c",
                "a..b@c",
                "a@b c",
                "a@b,c@d",
                "a@b>",
                "(c)a@b",
                "g:;",
                "g:a@b,c@d;",
            ],
        );
        check("hexcolor", &["#fff", "FFFFFF"], &["", "#ffff", "#ggg"]);
        check(
            "hostname",
            &["a", "a-b.com", "1.example.org", "localhost"],
            &["", "-a", "a_b", "a.b", "a..bc"],
        );
        check(
            "ipv4",
            &["10.0.0.1", "010.0.0.1", "::ffff:1.2.3.4"],
            &["10.0.0", "::1", "10.0.0.256"],
        );
        check(
            "ipv6",
            &["::1", "::ffff:1.2.3.4"],
            &["1.2.3.4", "::g", "fe80::1%eth0"],
        );
        check(
            "isbn10",
            &["0321751043", "0-321-75104-3"],
            &["0321751044", "032175104"],
        );
        check("isbn13", &["978-0321751041"], &["978-0321751042"]);
        check("isbn", &["978-0321751041", "0321751043"], &["1"]);
        check(
            "mac",
            &[
                "01:23:45:67:89:ab",
                "01-23-45-67-89-ab-cd-ef",
                "0123.4567.89ab",
            ],
            &["01:23:45:67:89", "01:23-45:67:89:ab", "0123456789a"],
        );
        check("password", &["", "x"], &[]);
        check(
            "rgbcolor",
            &["rgb(0,1,255)", "rgb( 10 , 20 ,30 )"],
            &["rgb(256,0,0)", "rgb(00,0,0)", "rgb(1,2)", "rgb(1,2,3) "],
        );
        check(
            "ssn",
            &["123-45-6789", "123 45 6789"],
            &["123456789", "123-456789", "12-345-6789"],
        );
        check(
            "uri",
            &[
                "http://a.b/c?d",
                "/a",
                "a:b",
                "//h/p",
                "*",
                "http://[::1]:80/",
            ],
            &[
                "",
                "a",
                "a/b",
                "?x",
                ":a",
                "http://a b",
                "/%zz",
                "http://[::1",
                "http://h:x/",
            ],
        );
        check(
            "uuid",
            &[
                "01234567-89ab-cdef-0123-456789ABCDEF",
                "0123456789abcdef0123456789abcdef",
            ],
            &["", "0123", "01234567-89ab-cdef-0123-456789abcdefa"],
        );
        check(
            "uuid3",
            &["01234567-89ab-3def-0123-456789abcdef"],
            &["01234567-89ab-4def-0123-456789abcdef"],
        );
        check(
            "uuid4",
            &["01234567-89ab-4def-8123-456789abcdef"],
            &["01234567-89ab-4def-c123-456789abcdef"],
        );
        check(
            "uuid5",
            &["01234567-89ab-5def-b123-456789abcdef"],
            &["01234567-89ab-5def-0123-456789abcdef"],
        );
        check("k8s-short-name", &["a", "a-b"], &["", "A", "a.b", "-a"]);
        check("k8s-long-name", &["a.b-c.d"], &["a..b", "a.B", "."]);
    }

    #[test]
    fn formats_belong_to_types() {
        assert_eq!(
            Format::for_kind(Kind::Integer, "int32"),
            Some(Format::Int32)
        );
        assert_eq!(Format::for_kind(Kind::String, "int32"), None);
        assert_eq!(
            Format::for_kind(Kind::Number, "double"),
            Some(Format::Double)
        );
        assert_eq!(Format::for_kind(Kind::Object, "date"), None);
        assert_eq!(Format::for_kind(Kind::Any, "u-u-i-d"), Some(Format::Uuid));
        assert_eq!(Format::for_kind(Kind::String, "quantity"), None);
    }
}
