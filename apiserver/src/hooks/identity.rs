//! This server's Lease in kube-system: name from the host name, renewed every ten seconds, valid for an hour.
//! Upstream: pkg/controlplane/apiserver (identity lease), apiserver/pkg/... lease controller.

use api_types::MicroTime;
use api_types::coordination::v1::Lease;
use apimachinery::status::StatusError;

use crate::loopback::Loopback;
use crate::server::ApiServer;

const DURATION_SECONDS: i32 = 3600;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `apiserver-` and 26 letters of base32.
pub(crate) fn name(hostname: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(hostname.as_bytes());
    context.update(b"kube-apiserver");
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
    match client.get::<Lease>("kube-system", &name).await? {
        None => {
            let mut lease = Lease::default();
            lease.metadata.name = name;
            "kube-system".clone_into(&mut lease.metadata.namespace);
            lease.metadata.labels.insert(
                "apiserver.kubernetes.io/identity".to_owned(),
                "kube-apiserver".to_owned(),
            );
            lease.metadata.labels.insert(
                "kubernetes.io/hostname".to_owned(),
                server.config.hostname.clone(),
            );
            lease.spec.holder_identity = Some(holder);
            lease.spec.lease_duration_seconds = Some(DURATION_SECONDS);
            lease.spec.renew_time = Some(MicroTime::now());
            client.ensure(lease).await
        }
        Some(mut lease) => {
            lease.spec.holder_identity = Some(holder);
            lease.spec.lease_duration_seconds = Some(DURATION_SECONDS);
            lease.spec.renew_time = Some(MicroTime::now());
            client.update(lease).await.map(drop)
        }
    }
}
