//! This server's Lease in kube-system: name from the host name, renewed every ten seconds, valid for an hour.
//! Upstream: pkg/controlplane/apiserver (identity lease), apiserver/pkg/... lease controller.

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use apimachinery::status::StatusError;

use crate::config::Config;
use crate::loopback::Loopback;
use crate::server::ApiServer;

/// Servers have names.
pub(crate) const FEATURE: &str = "APIServerIdentity";
pub(super) const GARBAGE_HOOK: &str = "start-kube-apiserver-identity-lease-garbage-collector";
/// Says of a Lease that it is an API server's.
pub(crate) const LABEL: &str = "apiserver.kubernetes.io/identity";
pub(crate) const KUBE_APISERVER: &str = "kube-apiserver";
pub(crate) const NAMESPACE: &str = "kube-system";
/// Where peers reach the server.
const PEER_ADDRESS: &str = "kubernetes.io/peer-advertise-address";

const DURATION_SECONDS: i32 = 3600;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What metrics call this server: its name, or nothing where servers have none.
pub(crate) fn id(config: &Config) -> String {
    if config.features.enabled(FEATURE) {
        name(&config.hostname)
    } else {
        String::new()
    }
}

/// `apiserver-` and 26 letters of base32.
pub(crate) fn name(hostname: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [hostname, KUBE_APISERVER] {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        context.update(&length.to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let (mut text, mut bits, mut have) = (String::from("apiserver-"), 0u32, 0u32);
    for byte in &digest.as_ref()[..16] {
        bits = bits << 8 | u32::from(*byte);
        have += 8;
        while have >= 5 {
            have -= 5;
            text.push(ALPHABET[(bits >> have & 31) as usize] as char);
        }
    }
    if have > 0 {
        text.push(ALPHABET[(bits << (5 - have) & 31) as usize] as char);
    }
    text
}

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let name = name(&server.config.hostname);
    let holder = format!("{name}_{}", server.instance);
    match client.get::<Lease>(NAMESPACE, &name).await? {
        None => {
            let mut lease = Lease::default();
            lease.metadata.name = name;
            NAMESPACE.clone_into(&mut lease.metadata.namespace);
            set(server, &mut lease, holder);
            client.ensure(lease).await
        }
        Some(mut lease) => {
            set(server, &mut lease, holder);
            client.update(lease).await.map(drop)
        }
    }
}

/// Removes the Leases of servers that are gone. Upstream: pkg/controlplane/controller/apiserverleasegc.
pub(super) async fn collect_garbage(client: &Loopback) -> Result<(), StatusError> {
    for lease in client.list::<Lease>(NAMESPACE).await? {
        let label = lease.metadata.labels.get(LABEL);
        if label.is_none_or(|label| label != KUBE_APISERVER) || !is_expired(&lease) {
            continue;
        }
        // The cache may be behind.
        let name = &lease.metadata.name;
        let now = client.get::<Lease>(NAMESPACE, name).await?;
        if now.is_some_and(|lease| is_expired(&lease)) {
            client.delete::<Lease>(NAMESPACE, name).await?;
        }
    }
    Ok(())
}

/// One without a time is none of a server's and has expired, too.
fn is_expired(lease: &Lease) -> bool {
    let (Some(renewed), Some(seconds)) =
        (&lease.spec.renew_time, lease.spec.lease_duration_seconds)
    else {
        return true;
    };
    let age = jiff::Timestamp::now().duration_since(renewed.timestamp());
    age > jiff::SignedDuration::from_secs(i64::from(seconds))
}

fn set(server: &ApiServer, lease: &mut Lease, holder: String) {
    let labels = [
        (LABEL, KUBE_APISERVER),
        ("kubernetes.io/hostname", &server.config.hostname),
    ];
    lease
        .metadata
        .labels
        .extend(labels.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if let Some(peers) = &server.peers {
        let annotations = &mut lease.metadata.annotations;
        annotations.insert(PEER_ADDRESS.to_owned(), peers.address());
    }
    lease.spec.holder_identity = Some(holder);
    lease.spec.lease_duration_seconds = Some(DURATION_SECONDS);
    lease.spec.renew_time = Some(MicroTime::now());
}

#[cfg(test)]
mod tests {
    use super::name;

    /// As upstream names servers of the same hosts: the Lease is the same one after a change to the other.
    #[test]
    fn names_are_upstreams() {
        assert_eq!(name("first"), "apiserver-tu5knrgyaxadxoyqlgxn3n56hq");
        assert_eq!(name("second"), "apiserver-dkfznya22mietn46gjlcl6mbui");
    }
}
