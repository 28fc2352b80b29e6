//! IP addresses and CIDR blocks in API fields. Upstream: apimachinery/pkg/util/validation ip.go.
//!
//! Old fields accept spellings that newer parsers refuse (`010.2.3.4`, `::ffff:1.2.3.4`), so there are two parsers: the
//! sloppy one is Go's of 1.16, which upstream keeps a copy of, the strict one is the standard library's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::{self, ErrorList, Path};
use crate::quote::quote;

/// Parses an address, allowing leading zeros. An IPv4-mapped IPv6 address comes out as IPv4, as in Go.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    let first = text.bytes().find(|b| matches!(b, b'.' | b':'))?;
    if first == b'.' {
        return parse_v4(text).map(IpAddr::V4);
    }
    let v6 = parse_v6(text)?;
    Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
}

/// Whether an address is one host's that others can reach. Upstream: Go's net.IP.IsGlobalUnicast, to which an IPv4-mapped IPv6 address
/// is the IPv4 address, and private ones count.
pub fn is_global_unicast(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let local = link_local || address.is_loopback() || address.is_unspecified();
    !local && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// A CIDR block in the form that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address, with its host bits.
    pub address: IpAddr,
    /// The address with host bits cleared.
    pub network: IpAddr,
    /// Prefix length, of the network's family except for IPv4-mapped IPv6 addresses.
    pub prefix_len: u8,
}

impl Cidr {
    /// Canonical text of the block: `10.0.0.0/8`.
    pub fn network_text(&self) -> String {
        format!("{}/{}", self.network, self.prefix_len)
    }
}

/// Parses a CIDR block, allowing leading zeros and host bits.
pub fn parse_cidr_sloppy(text: &str) -> Option<Cidr> {
    let (address_text, prefix_text) = text.split_once('/')?;
    let is_v4 = address_text.bytes().find(|b| matches!(b, b'.' | b':'))? == b'.';
    let prefix = parse_digits(prefix_text, 10)?;
    let address = parse_ip_sloppy(address_text)?;
    let max = if is_v4 { 32 } else { 128 };
    if prefix > max {
        return None;
    }
    // Go masks a mapped address as 16 bytes and shows what is left as IPv4 if it still is mapped.
    let network = match address {
        IpAddr::V4(v4) if is_v4 => IpAddr::V4(mask_v4(v4, prefix)),
        address => {
            let v6 = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let masked = mask_v6(v6, prefix);
            masked
                .to_ipv4_mapped()
                .map_or(IpAddr::V6(masked), IpAddr::V4)
        }
    };
    let prefix_len = if network.is_ipv4() && !is_v4 && prefix >= 96 {
        prefix - 96
    } else {
        prefix
    };
    Some(Cidr {
        address,
        network,
        prefix_len: prefix_len as u8,
    })
}

fn mask_v4(address: Ipv4Addr, prefix: u32) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

fn mask_v6(address: Ipv6Addr, prefix: u32) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    Ipv6Addr::from(u128::from(address) & mask)
}

/// Digits only, any number of leading zeros, and less than 0xFFFFFF as Go's parser wants.
fn parse_digits(text: &str, radix: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for c in text.chars() {
        value = value * radix + c.to_digit(radix)?;
        if value >= 0xff_ffff {
            return None;
        }
    }
    Some(value)
}

fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parse_digits(parts.next()?, 10)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    // Groups before and after the ellipsis; the last group of all may be an IPv4 address.
    let groups = |text: &str, last: bool| -> Option<Vec<u16>> {
        let mut out = Vec::new();
        if text.is_empty() {
            return Some(out);
        }
        let parts: Vec<&str> = text.split(':').collect();
        for (i, part) in parts.iter().enumerate() {
            if last && i + 1 == parts.len() && part.contains('.') {
                let [a, b, c, d] = parse_v4(part)?.octets();
                out.push(u16::from_be_bytes([a, b]));
                out.push(u16::from_be_bytes([c, d]));
            } else {
                out.push(u16::try_from(parse_digits(part, 16)?).ok()?);
            }
        }
        Some(out)
    };
    let all = match text.split_once("::") {
        None => groups(text, true)?,
        Some((_, after)) if after.contains("::") => return None,
        Some((before, after)) => {
            let mut all = groups(before, false)?;
            let after = groups(after, true)?;
            // The ellipsis stands for at least one group.
            let missing = 8usize
                .checked_sub(all.len() + after.len())
                .filter(|n| *n > 0)?;
            all.resize(all.len() + missing, 0);
            all.extend(after);
            all
        }
    };
    Some(Ipv6Addr::from(<[u16; 8]>::try_from(all).ok()?))
}

fn is_mapped(text: &str) -> bool {
    text.parse::<Ipv6Addr>()
        .is_ok_and(|address| address.to_ipv4_mapped().is_some())
}

fn parse_ip(path: &Path, value: &str, strict: bool) -> Result<IpAddr, ErrorList> {
    let Some(ip) = parse_ip_sloppy(value) else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Err(field::invalid(path, value, detail).into());
    };
    if strict {
        if value.parse::<IpAddr>().is_err() {
            return Err(field::invalid(path, value, "must not have leading 0s").into());
        }
        if is_mapped(value) {
            return Err(
                field::invalid(path, value, "must not be an IPv4-mapped IPv6 address").into(),
            );
        }
    }
    Ok(ip)
}

/// An address in a field that is older than strict rules. Values in `valid_old` pass as they are.
pub fn is_valid_ip_for_legacy_field(
    path: &Path,
    value: &str,
    strict: bool,
    valid_old: &[String],
) -> ErrorList {
    match parse_ip(path, value, strict) {
        Err(errors) if !valid_old.iter().any(|old| old == value) => errors,
        _ => ErrorList::new(),
    }
}

/// An address in its canonical form.
pub fn is_valid_ip(path: &Path, value: &str) -> ErrorList {
    match parse_ip(path, value, true) {
        Err(errors) => errors,
        Ok(ip) if ip.to_string() != value => {
            let detail = format!("must be in canonical form ({})", quote(&ip.to_string()));
            field::invalid(path, value, detail).into()
        }
        Ok(_) => ErrorList::new(),
    }
}

/// What to tell a client about an address that is accepted and not canonical.
pub fn get_warnings_for_ip(path: &Path, value: &str) -> Vec<String> {
    let Some(ip) = parse_ip_sloppy(value) else {
        return Vec::new();
    };
    match value.parse::<IpAddr>() {
        Ok(address) if !is_mapped(value) => {
            if address.is_ipv6() && address.to_string() != value {
                let canonical = quote(&address.to_string());
                return vec![format!(
                    "{path}: IPv6 address {} should be in RFC 5952 canonical format ({canonical})",
                    quote(value)
                )];
            }
            Vec::new()
        }
        _ => vec![format!(
            "{path}: non-standard IP address {} is invalid: use {}",
            quote(value),
            quote(&ip.to_string())
        )],
    }
}

/// The strict reading of a CIDR block: no leading zeros anywhere.
fn parse_prefix_strict(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if prefix.len() > 1 && prefix.starts_with('0') {
        return None;
    }
    Some((address, parse_digits(prefix, 10)?))
}

fn parse_cidr(path: &Path, value: &str, strict: bool) -> Result<Cidr, ErrorList> {
    let Some(cidr) = parse_cidr_sloppy(value) else {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        return Err(field::invalid(path, value, detail).into());
    };
    if strict {
        let problem = match parse_prefix_strict(value) {
            None => Some("must not have leading 0s in IP or prefix length"),
            Some((IpAddr::V6(v6), _)) if v6.to_ipv4_mapped().is_some() => {
                Some("must not have an IPv4-mapped IPv6 address")
            }
            Some(_) if cidr.address != cidr.network => {
                Some("must not have bits set beyond the prefix length")
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(field::invalid(path, value, problem).into());
        }
    }
    Ok(cidr)
}

/// A CIDR block in a field that is older than strict rules. Values in `valid_old` pass as they are.
pub fn is_valid_cidr_for_legacy_field(
    path: &Path,
    value: &str,
    strict: bool,
    valid_old: &[String],
) -> ErrorList {
    match parse_cidr(path, value, strict) {
        Err(errors) if !valid_old.iter().any(|old| old == value) => errors,
        _ => ErrorList::new(),
    }
}

/// A CIDR block in its canonical form, without host bits.
pub fn is_valid_cidr(path: &Path, value: &str) -> ErrorList {
    match parse_cidr(path, value, true) {
        Err(errors) => errors,
        Ok(cidr) if cidr.network_text() != value => {
            let detail = format!(
                "must be in canonical form ({})",
                quote(&cidr.network_text())
            );
            field::invalid(path, value, detail).into()
        }
        Ok(_) => ErrorList::new(),
    }
}

/// What to tell a client about a CIDR block that is accepted and not canonical.
pub fn get_warnings_for_cidr(path: &Path, value: &str) -> Vec<String> {
    let Some(cidr) = parse_cidr_sloppy(value) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if cidr.address != cidr.network {
        // The size of the mask is that of the text's family, also for mapped addresses.
        let bits = if value.contains(':') { 128 } else { 32 };
        warnings.push(format!(
            "{path}: CIDR value {} is ambiguous in this context (should be {} or {}?)",
            quote(value),
            quote(&cidr.network_text()),
            quote(&format!("{}/{bits}", cidr.address))
        ));
    }
    match parse_prefix_strict(value) {
        Some((IpAddr::V6(v6), _)) if v6.to_ipv4_mapped().is_some() => {
            warnings.push(non_standard_cidr(path, value, &cidr))
        }
        None => warnings.push(non_standard_cidr(path, value, &cidr)),
        Some((address @ IpAddr::V6(_), prefix)) if warnings.is_empty() => {
            let canonical = format!("{address}/{prefix}");
            if canonical != value {
                warnings.push(format!(
                    "{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})",
                    quote(value),
                    quote(&canonical)
                ));
            }
        }
        Some(_) => {}
    }
    warnings
}

fn non_standard_cidr(path: &Path, value: &str, cidr: &Cidr) -> String {
    format!(
        "{path}: non-standard CIDR value {} is invalid: use {}",
        quote(value),
        quote(&cidr.network_text())
    )
}

/// An address with the length of its subnet's prefix, in canonical form: `192.168.1.5/24`.
pub fn is_valid_interface_address(path: &Path, value: &str) -> ErrorList {
    let Some(cidr) = parse_cidr_sloppy(value) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return field::invalid(path, value, detail).into();
    };
    // A mapped address is shown as IPv4, so its prefix length must be IPv4's too.
    let written = value
        .split_once('/')
        .and_then(|(_, prefix)| parse_digits(prefix, 10))
        .unwrap_or_default();
    let prefix = if cidr.address.is_ipv4() && written > 32 {
        written.saturating_sub(96)
    } else {
        written
    };
    let canonical = format!("{}/{prefix}", cidr.address);
    if canonical == value {
        return ErrorList::new();
    }
    field::invalid(
        path,
        value,
        format!("must be in canonical form ({})", quote(&canonical)),
    )
    .into()
}
