//! IP addresses. Upstream: apiserver/pkg/cel/library/ip.go; read as by Go's net/netip.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use apimachinery::quote::quote;

use super::{opaque, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Opaque, Value};

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::opaque("net.IP");
    let test = |name, id, implementation: Implementation| {
        Function::new(name).member(id, &[of()], Type::Bool, implementation)
    };
    vec![
        Function::new("ip").global("string_to_ip", &[Type::String], of(), |args| {
            Ok(Opaque::Ip(parse(text(args, 0)?)?).into())
        }),
        Function::new("isIP").global("is_ip", &[Type::String], Type::Bool, |args| {
            Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
        }),
        Function::new("ip.isCanonical").global(
            "ip_is_canonical",
            &[Type::String],
            Type::Bool,
            |args| {
                let text = text(args, 0)?;
                Ok(Value::Bool(parse(text)?.to_string() == text))
            },
        ),
        Function::new("family").member("ip_family", &[of()], Type::Int, |args| {
            Ok(Value::Int(if opaque!(args, 0, Ip)?.is_ipv4() {
                4
            } else {
                6
            }))
        }),
        test("isUnspecified", "ip_is_unspecified", |args| {
            Ok(opaque!(args, 0, Ip)?.is_unspecified().into())
        }),
        test("isLoopback", "ip_is_loopback", |args| {
            Ok(opaque!(args, 0, Ip)?.is_loopback().into())
        }),
        test(
            "isLinkLocalMulticast",
            "ip_is_link_local_multicast",
            |args| {
                Ok(Value::Bool(match opaque!(args, 0, Ip)? {
                    IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
                    IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
                }))
            },
        ),
        test("isLinkLocalUnicast", "ip_is_link_local_unicast", |args| {
            Ok(is_link_local_unicast(opaque!(args, 0, Ip)?).into())
        }),
        test("isGlobalUnicast", "ip_is_global_unicast", |args| {
            let ip = opaque!(args, 0, Ip)?;
            let other = ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || is_link_local_unicast(ip);
            Ok(Value::Bool(
                !other && *ip != IpAddr::V4(Ipv4Addr::BROADCAST),
            ))
        }),
        Function::new("string").global("ip_to_string", &[of()], Type::String, |args| {
            Ok(Value::from(opaque!(args, 0, Ip)?.to_string()))
        }),
    ]
}

fn is_link_local_unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The address, without zone and not an IPv4 address written as IPv6.
fn parse(raw: &str) -> Result<IpAddr, EvalError> {
    let quoted = quote(raw);
    let (ip, has_zone) = parse_address(raw).map_err(|error| {
        EvalError::new(format!(
            "IP Address {quoted} parse error during conversion from string: {error}"
        ))
    })?;
    if has_zone {
        return Err(EvalError::new(format!(
            "IP address {quoted} with zone value is not allowed"
        )));
    }
    if is_mapped(&ip) {
        return Err(EvalError::new(format!(
            "IPv4-mapped IPv6 address {quoted} is not allowed"
        )));
    }
    Ok(ip)
}

/// Whether this is an IPv4 address written as IPv6.
pub(super) fn is_mapped(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// Reads an address as Go's `netip.ParseAddr`; true when it has a zone.
pub(super) fn parse_address(text: &str) -> Result<(IpAddr, bool), String> {
    let refuse = |message: &str, at: &str| {
        let place = if at.is_empty() {
            String::new()
        } else {
            format!(" (at {})", quote(at))
        };
        Err(format!("ParseAddr({}): {message}{place}", quote(text)))
    };
    match text.bytes().find(|byte| matches!(byte, b'.' | b':' | b'%')) {
        Some(b'.') => match parse_v4(text) {
            Ok(octets) => Ok((IpAddr::V4(octets.into()), false)),
            Err((message, at)) => refuse(message, at),
        },
        Some(b':') => match parse_v6(text) {
            Ok((ip, has_zone)) => Ok((IpAddr::V6(ip), has_zone)),
            Err((message, at)) => refuse(message, at),
        },
        Some(_) => refuse("missing IPv6 address", ""),
        None => refuse("unable to parse IP", ""),
    }
}

type Refusal<'t> = (&'static str, &'t str);

fn parse_v4(text: &str) -> Result<[u8; 4], Refusal<'_>> {
    let bytes = text.as_bytes();
    let mut octets = [0; 4];
    let (mut value, mut position, mut digits) = (0u32, 0, 0);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            b'.' => {
                if index == 0 || index == bytes.len() - 1 || bytes[index - 1] == b'.' {
                    return Err(("IPv4 field must have at least one digit", &text[index..]));
                }
                if position == 3 {
                    return Err(("IPv4 address too long", ""));
                }
                octets[position] = value as u8;
                position += 1;
                (value, digits) = (0, 0);
            }
            _ => return Err(("unexpected character", text.get(index..).unwrap_or(""))),
        }
    }
    if position < 3 {
        return Err(("IPv4 address too short", ""));
    }
    octets[3] = value as u8;
    Ok(octets)
}

fn parse_v6(text: &str) -> Result<(Ipv6Addr, bool), Refusal<'_>> {
    let (mut rest, zone) = text
        .split_once('%')
        .map_or((text, None), |(address, zone)| (address, Some(zone)));
    if zone == Some("") {
        return Err(("zone must be a non-empty string", ""));
    }
    let mut octets = [0u8; 16];
    let mut ellipsis = None;
    if let Some(after) = rest.strip_prefix("::") {
        ellipsis = Some(0);
        rest = after;
    }
    let mut filled = 0;
    while filled < 16 && !(rest.is_empty() && ellipsis == Some(filled)) {
        let mut digits = 0;
        let mut value = 0u32;
        for byte in rest.bytes() {
            let Some(digit) = char::from(byte).to_digit(16) else {
                break;
            };
            if digits > 3 {
                return Err(("each group must have 4 or less digits", rest));
            }
            value = (value << 4) + digit;
            digits += 1;
        }
        if digits == 0 {
            return Err((
                "each colon-separated field must have at least one digit",
                rest,
            ));
        }
        if rest[digits..].starts_with('.') {
            if ellipsis.is_none() && filled != 12 {
                return Err((
                    "embedded IPv4 address must replace the final 2 fields of the address",
                    rest,
                ));
            }
            if filled + 4 > 16 {
                return Err((
                    "too many hex fields to fit an embedded IPv4 at the end of the address",
                    rest,
                ));
            }
            octets[filled..filled + 4].copy_from_slice(&parse_v4(rest)?);
            filled += 4;
            rest = "";
            break;
        }
        octets[filled..filled + 2].copy_from_slice(&(value as u16).to_be_bytes());
        filled += 2;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        match rest.strip_prefix(':') {
            None => return Err(("unexpected character, want colon", rest)),
            Some("") => return Err(("colon must be followed by more characters", rest)),
            Some(after) => rest = after,
        }
        if let Some(after) = rest.strip_prefix(':') {
            if ellipsis.is_some() {
                return Err(("multiple :: in address", rest));
            }
            ellipsis = Some(filled);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Err(("trailing garbage after address", rest));
    }
    match ellipsis {
        None if filled < 16 => return Err(("address string too short", "")),
        Some(_) if filled == 16 => {
            return Err(("the :: must expand to at least one field of zeros", ""));
        }
        Some(at) => {
            octets.copy_within(at..filled, 16 - (filled - at));
            octets[at..16 - (filled - at)].fill(0);
        }
        None => {}
    }
    Ok((octets.into(), zone.is_some()))
}
