//! Names of chains and sets, equal to upstream's: a short hash that keeps a cut name unique, then a text a person can read.

use std::net::IpAddr;

use aws_lc_rs::digest;

use crate::tracker::PortName;

/// The kernel's limit for a name is 256; this is what is left of it behind the longest prefix.
const BASE_LENGTH: usize = 256 - 16;

/// `HASH-namespace/service/protocol/port`.
pub(super) fn base(name: &PortName) -> String {
    hash_and_truncate(format!(
        "{}/{}/{}/{}",
        name.namespace, name.service, name.protocol, name.port
    ))
}

/// `HASH-namespace/service/protocol/port__address/port`.
pub(super) fn endpoint_base(name: &PortName, address: IpAddr, port: u16) -> String {
    let address = address.to_string().replace(':', ".");
    hash_and_truncate(format!(
        "{}/{}/{}/{}__{address}/{port}",
        name.namespace, name.service, name.protocol, name.port
    ))
}

fn hash_and_truncate(name: String) -> String {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let mut result = format!("{}-{name}", base32_prefix(hash.as_ref()));
    if result.len() > BASE_LENGTH {
        // Names of the API are ASCII, so that this cuts no character.
        result.truncate(BASE_LENGTH - 3);
        result.push_str("...");
    }
    result
}

/// The first eight characters of the standard base32 encoding: forty bits.
fn base32_prefix(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = bytes
        .iter()
        .take(5)
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..8)
        .rev()
        .map(|group| char::from(ALPHABET[(bits >> (5 * group) & 31) as usize]))
        .collect()
}

/// Whether a chain belongs to a Service: only those have a slash in their name.
pub(super) fn is_service_chain(chain: &str) -> bool {
    chain.contains('/')
}

pub(super) fn is_affinity_set(set: &str) -> bool {
    set.starts_with("affinity-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str) -> PortName {
        PortName {
            namespace: "ns1".into(),
            service: service.into(),
            port: "p80".into(),
            protocol: "tcp",
        }
    }

    #[test]
    fn names_are_upstreams() {
        // The values of upstream's own tests.
        assert_eq!(base(&name("svc1")), "ULMVA6XW-ns1/svc1/tcp/p80");
        assert_eq!(
            endpoint_base(&name("svc1"), IpAddr::from([10, 180, 0, 1]), 80),
            "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"
        );
    }

    #[test]
    fn long_names_are_cut() {
        let long = base(&name(&"x".repeat(300)));
        assert_eq!(long.len(), BASE_LENGTH);
        assert!(long.ends_with("..."));
    }
}
