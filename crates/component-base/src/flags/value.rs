//! Values of flags: text in, typed value out, and Go's text back. Error texts are pflag's and strconv's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Kind;
use apimachinery::duration;
use apimachinery::quote::quote;

/// A parsed value; which variant a flag has follows from its [`Kind`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    String(String),
    Strings(Vec<String>),
    Int32s(Vec<i32>),
    Ip(Option<IpAddr>),
    Map(BTreeMap<String, String>),
    BoolMap(BTreeMap<String, bool>),
    Multimap(BTreeMap<String, Vec<String>>),
    CertKeys(Vec<NamedCertKey>),
    PortRange(PortRange),
}

/// A certificate and key file, and the server names they are for (empty: the names in the certificate).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedCertKey {
    pub names: Vec<String>,
    pub cert_file: String,
    pub key_file: String,
}

/// Ports `base .. base + size`; size 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    pub base: u16,
    pub size: u32,
}

impl PortRange {
    pub fn contains(&self, port: u16) -> bool {
        u32::from(port) >= u32::from(self.base)
            && u32::from(port) - u32::from(self.base) < self.size
    }

    /// Upstream's text of a port range flag.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let atoi = |part: &str| part.parse::<i64>().map_err(|_| syntax("Atoi", part));
        let (low, high) = match (text.split_once('-'), text.split_once('+')) {
            (None, None) => (atoi(text)?, atoi(text)?),
            (Some((low, high)), None) => (atoi(low)?, atoi(high)?),
            (None, Some((low, offset))) => (atoi(low)?, atoi(low)?.saturating_add(atoi(offset)?)),
            (Some(_), Some(_)) => return Err(format!("unable to parse port range: {text}")),
        };
        if low > 65535 || high > 65535 {
            return Err(format!(
                "the port range cannot be greater than 65535: {text}"
            ));
        }
        if high < low {
            return Err(format!("end port cannot be less than start port: {text}"));
        }
        let base = u16::try_from(low).map_err(|_| format!("unable to parse port range: {text}"))?;
        Ok(Self {
            base,
            size: (high - low + 1) as u32,
        })
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.size {
            0 => Ok(()),
            size => write!(f, "{}-{}", self.base, u32::from(self.base) + size - 1),
        }
    }
}

fn syntax(function: &str, text: &str) -> String {
    format!(
        "strconv.{function}: parsing {}: invalid syntax",
        quote(text)
    )
}

fn range(function: &str, text: &str) -> String {
    format!(
        "strconv.{function}: parsing {}: value out of range",
        quote(text)
    )
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

/// Magnitude of an integer literal with Go's base 0: 0x, 0o, 0b, leading 0, underscores between digits.
fn magnitude(text: &str, base: u32) -> Option<Result<u64, ()>> {
    let (radix, digits, prefixed) = if base != 0 {
        (base, text, false)
    } else {
        let lower = text.get(..2).map(str::to_ascii_lowercase);
        match lower.as_deref() {
            Some("0x") => (16, &text[2..], true),
            Some("0o") => (8, &text[2..], true),
            Some("0b") => (2, &text[2..], true),
            _ if text.len() > 1 && text.starts_with('0') => (8, &text[1..], true),
            _ => (10, text, false),
        }
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: Option<u64> = Some(0);
    let mut after_digit = prefixed;
    for c in digits.chars() {
        if c == '_' && base == 0 && after_digit {
            after_digit = false;
            continue;
        }
        let digit = c.to_digit(radix)?;
        after_digit = true;
        value = value.and_then(|v| {
            v.checked_mul(u64::from(radix))?
                .checked_add(u64::from(digit))
        });
    }
    if !after_digit {
        return None;
    }
    Some(value.ok_or(()))
}

/// `strconv.ParseInt`.
fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    const NAME: &str = "ParseInt";
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = magnitude(digits, 0)
        .ok_or_else(|| syntax(NAME, text))?
        .map_err(|()| range(NAME, text))?;
    let signed = if negative {
        -i128::from(value)
    } else {
        i128::from(value)
    };
    let limit = 1i128 << (bits - 1);
    if signed < -limit || signed >= limit {
        return Err(range(NAME, text));
    }
    Ok(signed as i64)
}

/// `strconv.ParseUint`.
pub(crate) fn parse_uint(text: &str, base: u32, bits: u32) -> Result<u64, String> {
    const NAME: &str = "ParseUint";
    let value = magnitude(text, base)
        .ok_or_else(|| syntax(NAME, text))?
        .map_err(|()| range(NAME, text))?;
    if bits < 64 && value >= 1 << bits {
        return Err(range(NAME, text));
    }
    Ok(value)
}

/// One line of CSV as Go's encoding/csv reads it.
fn parse_csv(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let line = text.split('\n').next().unwrap_or_default();
    let mut fields = Vec::new();
    let mut rest = line;
    let column = |rest: &str| line.len() - rest.len() + 1;
    loop {
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let Some(end) = quoted.find('"') else {
                    return Err(format!(
                        "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                        line.len() + 1
                    ));
                };
                field.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.as_bytes().first() {
                    Some(b'"') => {
                        field.push('"');
                        quoted = &quoted[1..];
                    }
                    Some(b',') | None => break,
                    Some(_) => {
                        return Err(format!(
                            "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                            column(quoted) - 1
                        ));
                    }
                }
            }
            fields.push(field);
            match quoted.strip_prefix(',') {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                return Err(format!(
                    "parse error on line 1, column {}: bare \" in non-quoted-field",
                    column(rest) + at
                ));
            }
            fields.push(rest[..end].to_owned());
            if end == rest.len() {
                return Ok(fields);
            }
            rest = &rest[end + 1..];
        }
    }
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    // Go's sloppy parser takes leading zeros in IPv4 octets, as old configs have them.
    text.parse().ok().or_else(|| {
        let octets: Vec<u8> = text
            .split('.')
            .map(|part| {
                if part.is_empty() || part.len() > 3 {
                    None
                } else {
                    part.parse().ok()
                }
            })
            .collect::<Option<_>>()?;
        let octets: [u8; 4] = octets.try_into().ok()?;
        Some(IpAddr::from(octets))
    })
}

fn check_ip_port(text: &str) -> Result<(), String> {
    if text.is_empty() || parse_ip(text).is_some() {
        return Ok(());
    }
    let wrong = |why: &str| {
        format!(
            "{} is not in a valid format (ip or ip:port): address {text}: {why}",
            quote(text)
        )
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| wrong("missing ']' in address"))?;
        (
            host,
            rest.strip_prefix(':')
                .ok_or_else(|| wrong("missing port in address"))?,
        )
    } else {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("missing port in address"))?;
        if host.contains(':') {
            return Err(wrong("too many colons in address"));
        }
        (host, port)
    };
    if parse_ip(host).is_none() {
        return Err(format!("{} is not a valid IP address", quote(host)));
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{} is not a valid number", quote(port))),
    }
}

fn check_quantity(text: &str) -> Result<(), String> {
    const FORMAT: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = number
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, suffix) = number.split_at(digits);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && e.bytes().all(|b| b.is_ascii_digit())
    });
    let known = matches!(
        suffix,
        "" | "n"
            | "u"
            | "m"
            | "k"
            | "M"
            | "G"
            | "T"
            | "P"
            | "E"
            | "Ki"
            | "Mi"
            | "Gi"
            | "Ti"
            | "Pi"
            | "Ei"
    );
    if text.is_empty() {
        return Err(FORMAT.to_owned());
    }
    if number.parse::<f64>().is_err() || !(known || exponent) {
        return Err(FORMAT.to_owned());
    }
    Ok(())
}

fn check_reserved_memory(text: &str) -> Result<(), String> {
    for reservation in text.split(';') {
        let format = || {
            format!(
                "the reserved memory has incorrect format, expected numaNodeID:type=quantity[,type=quantity...], got {reservation}"
            )
        };
        let (node, limits) = reservation.split_once(':').ok_or_else(format)?;
        if limits.contains(':') {
            return Err(format());
        }
        if node.parse::<i32>().is_err() {
            return Err(format!(
                "failed to convert the NUMA node ID, expected integer, got {node}"
            ));
        }
        for limit in limits.split(',') {
            let (kind, quantity) = match limit.split_once('=') {
                Some((kind, quantity)) if !quantity.contains('=') => (kind, quantity),
                _ => {
                    return Err(format!(
                        "the reserved limit has incorrect value, expected type=quantity, got {limit}"
                    ));
                }
            };
            if kind != "memory" && !kind.starts_with("hugepages-") {
                return Err(format!(
                    "memory type conversion error, unknown type: {}",
                    quote(kind)
                ));
            }
            check_quantity(quantity)
                .map_err(|_| format!("failed to parse the quantity: {quantity}"))?;
        }
    }
    Ok(())
}

fn check_vmodule(text: &str) -> Result<(), String> {
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let level = match item.split_once('=') {
            Some((pattern, level))
                if !pattern.is_empty() && !level.is_empty() && !level.contains('=') =>
            {
                level
            }
            _ => {
                return Err(format!(
                    "{} does not have the pattern=N format",
                    quote(item)
                ));
            }
        };
        parse_uint(level, 10, 31)
            .map_err(|e| format!("parsing verbosity in {}: {e}", quote(item)))?;
    }
    Ok(())
}

fn parse_cert_key(text: &str) -> Result<NamedCertKey, String> {
    let (pair, names) = match text.split_once(':') {
        Some((pair, names)) => {
            let names = names.trim();
            if names.is_empty() {
                return Err("empty names list is not allowed".to_owned());
            }
            (
                pair.trim(),
                names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            )
        }
        None => (text.trim(), Vec::new()),
    };
    let parts: Vec<&str> = pair.split(',').collect();
    let [cert_file, key_file] = parts[..] else {
        return Err("expected comma separated certificate and key file paths".to_owned());
    };
    Ok(NamedCertKey {
        names,
        cert_file: cert_file.trim().to_owned(),
        key_file: key_file.trim().to_owned(),
    })
}

impl Value {
    /// The value of a row's default text.
    pub(super) fn of_default(kind: Kind, text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        Ok(match kind {
            Kind::StringSlice | Kind::StringArray | Kind::ReservedMemory => {
                Self::Strings(parse_csv(inner.unwrap_or(text))?)
            }
            Kind::Int32Slice => Self::Int32s(Vec::new()),
            Kind::NamedCertKey => Self::CertKeys(Vec::new()),
            Kind::StringToString => Self::Map(BTreeMap::new()),
            Kind::Ip if text == "<nil>" || text.is_empty() => Self::Ip(None),
            // Kinds whose empty text is no use of the flag.
            Kind::MapStringStringNoSplit if text.is_empty() => Self::empty(kind),
            Kind::Version => Self::String("false".to_owned()),
            kind => {
                let mut value = Self::empty(kind);
                value.set(kind, text, false)?;
                value
            }
        })
    }

    fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(false),
            Kind::Int | Kind::Int32 => Self::Int(0),
            Kind::Uint | Kind::Uint32 | Kind::Level => Self::Uint(0),
            Kind::Float32 | Kind::Float64 => Self::Float(0.0),
            Kind::Duration => Self::Duration(0),
            Kind::String
            | Kind::IpText
            | Kind::IpPort
            | Kind::Quantity
            | Kind::VModule
            | Kind::Version => Self::String(String::new()),
            Kind::StringSlice | Kind::StringArray | Kind::ReservedMemory => {
                Self::Strings(Vec::new())
            }
            Kind::Int32Slice => Self::Int32s(Vec::new()),
            Kind::Ip => Self::Ip(None),
            Kind::MapStringString
            | Kind::MapStringStringNoSplit
            | Kind::LangleMapStringString
            | Kind::ConfigurationMap
            | Kind::StringToString => Self::Map(BTreeMap::new()),
            Kind::MapStringBool => Self::BoolMap(BTreeMap::new()),
            Kind::ColonMultimap { .. } => Self::Multimap(BTreeMap::new()),
            Kind::NamedCertKey => Self::CertKeys(Vec::new()),
            Kind::PortRange => Self::PortRange(PortRange::default()),
        }
    }

    /// Takes one use of the flag. `changed` tells whether the flag was used before: lists and maps then grow, else the
    /// default goes away.
    pub(super) fn set(&mut self, kind: Kind, text: &str, changed: bool) -> Result<(), String> {
        if !changed {
            *self = Self::empty(kind);
        }
        match (kind, &mut *self) {
            (Kind::Bool, Self::Bool(value)) => *value = parse_bool(text)?,
            (Kind::Int, Self::Int(value)) => *value = parse_int(text, 64)?,
            (Kind::Int32, Self::Int(value)) => *value = parse_int(text, 32)?,
            (Kind::Uint, Self::Uint(value)) => *value = parse_uint(text, 0, 64)?,
            (Kind::Uint32, Self::Uint(value)) => *value = parse_uint(text, 0, 32)?,
            (Kind::Level, Self::Uint(value)) => *value = parse_uint(text, 10, 31)?,
            (Kind::Float32 | Kind::Float64, Self::Float(value)) => {
                *value = text
                    .replace('_', "")
                    .parse()
                    .map_err(|_| syntax("ParseFloat", text))?;
            }
            (Kind::Duration, Self::Duration(value)) => {
                *value = duration::parse(text).map_err(|error| error.to_string())?
            }
            (Kind::String, Self::String(value)) => *value = text.to_owned(),
            (Kind::IpText, Self::String(value)) => {
                if !text.is_empty() && parse_ip(text).is_none() {
                    return Err(format!("{} is not a valid IP address", quote(text)));
                }
                *value = text.to_owned();
            }
            (Kind::IpPort, Self::String(value)) => {
                check_ip_port(text)?;
                *value = text.to_owned();
            }
            (Kind::Quantity, Self::String(value)) => {
                if !text.is_empty() || changed {
                    check_quantity(text)?;
                }
                *value = text.to_owned();
            }
            (Kind::VModule, Self::String(value)) => {
                check_vmodule(text)?;
                if !value.is_empty() && !text.is_empty() {
                    value.push(',');
                }
                value.push_str(text);
            }
            (Kind::Version, Self::String(value)) => {
                if text.starts_with('v') {
                    crate::version::check_reported(text)?;
                } else if text != "raw" {
                    parse_bool(text)?;
                }
                *value = text.to_owned();
            }
            (Kind::StringSlice, Self::Strings(list)) => list.extend(parse_csv(text)?),
            (Kind::StringArray, Self::Strings(list)) => list.push(text.to_owned()),
            (Kind::ReservedMemory, Self::Strings(list)) => {
                if text.is_empty() {
                    list.clear();
                } else {
                    check_reserved_memory(text)?;
                    list.extend(text.split(';').map(str::to_owned));
                }
            }
            (Kind::Int32Slice, Self::Int32s(list)) => {
                for part in text.split(',') {
                    list.push(parse_int(part.trim(), 32)? as i32);
                }
            }
            (Kind::Ip, Self::Ip(value)) => {
                let trimmed = text.trim();
                if !trimmed.is_empty() {
                    *value = Some(
                        parse_ip(trimmed)
                            .ok_or_else(|| format!("failed to parse IP: {}", quote(text)))?,
                    );
                }
            }
            (Kind::MapStringString, Self::Map(map)) => {
                for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                    insert_pair(map, pair, '=')?;
                }
            }
            (Kind::MapStringStringNoSplit, Self::Map(map)) => insert_pair(map, text, '=')?,
            (Kind::LangleMapStringString, Self::Map(map)) => {
                for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                    insert_pair(map, pair, '<')?;
                }
            }
            (Kind::ConfigurationMap, Self::Map(map)) => {
                for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    map.insert(key.trim().to_owned(), value.trim().to_owned());
                }
            }
            (Kind::StringToString, Self::Map(map)) => {
                let pairs = match text.matches('=').count() {
                    0 => return Err(format!("{text} must be formatted as key=value")),
                    1 => vec![text.trim_matches('"').to_owned()],
                    _ => parse_csv(text)?,
                };
                for pair in pairs {
                    let (key, value) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
                    map.insert(key.to_owned(), value.to_owned());
                }
            }
            (Kind::MapStringBool, Self::BoolMap(map)) => {
                for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                    let (key, value) = pair
                        .split_once('=')
                        .ok_or("malformed pair, expect string=bool")?;
                    let (key, value) = (key.trim(), value.trim());
                    let on = parse_bool(value)
                        .map_err(|e| format!("invalid value of {key}: {value}, err: {e}"))?;
                    map.insert(key.to_owned(), on);
                }
            }
            (Kind::ColonMultimap { default_key }, Self::Multimap(map)) => {
                for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                    let (key, value) = match pair.split_once(':') {
                        Some(pair) => pair,
                        None if default_key => ("", pair),
                        None => return Err("malformed pair, expect string:string".to_owned()),
                    };
                    map.entry(key.trim().to_owned())
                        .or_default()
                        .push(value.trim().to_owned());
                }
            }
            (Kind::NamedCertKey, Self::CertKeys(list)) => list.push(parse_cert_key(text)?),
            (Kind::PortRange, Self::PortRange(value)) => *value = PortRange::parse(text)?,
            (kind, value) => unreachable!("a {kind:?} flag holds {value:?}"),
        }
        Ok(())
    }
}

fn insert_pair(
    map: &mut BTreeMap<String, String>,
    pair: &str,
    separator: char,
) -> Result<(), String> {
    let (key, value) = pair
        .split_once(separator)
        .ok_or_else(|| format!("malformed pair, expect string{separator}string"))?;
    map.insert(key.trim().to_owned(), value.trim().to_owned());
    Ok(())
}

/// Go's text of the value, as `/flagz` and the flag dump in the log show it.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joined = |parts: Vec<String>| parts.join(",");
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Duration(value) => f.write_str(&duration::format(*value)),
            Self::String(value) => f.write_str(value),
            Self::Strings(list) => write!(f, "[{}]", joined(list.clone())),
            Self::Int32s(list) => {
                write!(f, "[{}]", joined(list.iter().map(i32::to_string).collect()))
            }
            Self::Ip(Some(ip)) => write!(f, "{ip}"),
            Self::Ip(None) => f.write_str("<nil>"),
            Self::Map(map) => f.write_str(&joined(
                map.iter().map(|(k, v)| format!("{k}={v}")).collect(),
            )),
            Self::BoolMap(map) => f.write_str(&joined(
                map.iter().map(|(k, v)| format!("{k}={v}")).collect(),
            )),
            Self::Multimap(map) => f.write_str(&joined(
                map.iter()
                    .flat_map(|(k, values)| values.iter().map(move |v| format!("{k}:{v}")))
                    .collect(),
            )),
            Self::CertKeys(list) => {
                let texts = list.iter().map(|pair| {
                    let names = if pair.names.is_empty() {
                        String::new()
                    } else {
                        format!(":{}", pair.names.join(","))
                    };
                    format!("{},{}{names}", pair.cert_file, pair.key_file)
                });
                write!(f, "[{}]", texts.collect::<Vec<_>>().join(";"))
            }
            Self::PortRange(range) => write!(f, "{range}"),
        }
    }
}
