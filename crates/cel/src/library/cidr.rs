//! Networks. Upstream: apiserver/pkg/cel/library/cidr.go.

use std::fmt;
use std::net::IpAddr;

use apimachinery::quote::quote;

use super::{ip, opaque, text};
use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Opaque, Value};

/// A network: an address and how many of its bits count. The other bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// An address in the network.
    pub address: IpAddr,
    /// How many bits are the network's.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The bits of an address that a prefix keeps.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

impl Cidr {
    fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4()
            && network(self.address, self.prefix) == network(ip, self.prefix)
    }

    fn contains_network(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::opaque("net.CIDR");
    let address = || Type::opaque("net.IP");
    vec![
        Function::new("cidr").global("string_to_cidr", &[Type::String], of(), |args| {
            Ok(Opaque::Cidr(converted(text(args, 0)?)?).into())
        }),
        Function::new("isCIDR").global("is_cidr", &[Type::String], Type::Bool, |args| {
            Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
        }),
        Function::new("containsIP")
            .member(
                "cidr_contains_ip_string",
                &[of(), Type::String],
                Type::Bool,
                |args| {
                    let cidr = opaque!(args, 0, Cidr)?;
                    match ip::parse_address(text(args, 1)?) {
                        Ok((ip, false)) if !ip::is_mapped(&ip) => {
                            Ok(Value::Bool(cidr.contains(ip)))
                        }
                        // As upstream, which loses the reason.
                        _ => Err(EvalError::NO_SUCH_OVERLOAD),
                    }
                },
            )
            .member(
                "cidr_contains_ip_ip",
                &[of(), address()],
                Type::Bool,
                |args| {
                    Ok(Value::Bool(
                        opaque!(args, 0, Cidr)?.contains(*opaque!(args, 1, Ip)?),
                    ))
                },
            ),
        Function::new("containsCIDR")
            .member(
                "cidr_contains_cidr_string",
                &[of(), Type::String],
                Type::Bool,
                |args| {
                    Ok(Value::Bool(
                        opaque!(args, 0, Cidr)?.contains_network(&converted(text(args, 1)?)?),
                    ))
                },
            )
            .member("cidr_contains_cidr", &[of(), of()], Type::Bool, |args| {
                Ok(Value::Bool(
                    opaque!(args, 0, Cidr)?.contains_network(opaque!(args, 1, Cidr)?),
                ))
            }),
        Function::new("ip").member("cidr_ip", &[of()], address(), |args| {
            Ok(Opaque::Ip(opaque!(args, 0, Cidr)?.address).into())
        }),
        Function::new("prefixLength").member("cidr_prefix_length", &[of()], Type::Int, |args| {
            Ok(Value::Int(opaque!(args, 0, Cidr)?.prefix.into()))
        }),
        Function::new("masked").member("cidr_masked", &[of()], of(), |args| {
            let cidr = opaque!(args, 0, Cidr)?;
            Ok(Opaque::Cidr(Cidr {
                address: network(cidr.address, cidr.prefix),
                prefix: cidr.prefix,
            })
            .into())
        }),
        Function::new("string").global("cidr_to_string", &[of()], Type::String, |args| {
            Ok(Value::from(opaque!(args, 0, Cidr)?.to_string()))
        }),
    ]
}

const FAILED: &str = "network address parse error during conversion from string";

fn converted(raw: &str) -> Result<Cidr, EvalError> {
    parse(raw).map_err(|error| EvalError::new(format!("{FAILED}: {error}")))
}

fn parse(raw: &str) -> Result<Cidr, String> {
    let cidr = parse_prefix(raw)
        .map_err(|error| format!("{FAILED}: netip.ParsePrefix({}): {error}", quote(raw)))?;
    if ip::is_mapped(&cidr.address) {
        return Err(format!(
            "IPv4-mapped IPv6 address {} is not allowed",
            quote(raw)
        ));
    }
    Ok(cidr)
}

/// Reads a network as Go's `netip.ParsePrefix`.
fn parse_prefix(raw: &str) -> Result<Cidr, String> {
    let (address, bits) = raw.rsplit_once('/').ok_or_else(|| "no '/'".to_owned())?;
    let (address, has_zone) = ip::parse_address(address)?;
    if has_zone {
        return Err("IPv6 zones cannot be present in a prefix".to_owned());
    }
    let is_number = bits.bytes().all(|byte| byte.is_ascii_digit())
        && !(bits.len() > 1 && bits.starts_with('0'));
    let parsed = bits
        .parse::<i64>()
        .ok()
        .filter(|_| is_number || bits.len() == 1);
    let length = parsed.ok_or_else(|| format!("bad bits after slash: {}", quote(bits)))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match u8::try_from(length) {
        Ok(prefix) if prefix <= most => Ok(Cidr { address, prefix }),
        _ => Err("prefix length out of range".to_owned()),
    }
}
