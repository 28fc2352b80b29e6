//! kube-system/extension-apiserver-authentication: which CAs sign client certificates and which headers a front proxy sets, for
//! servers that delegate to this one. Upstream: pkg/controlplane/controller/clusterauthenticationtrust.
//!
//! What several servers write is united: CAs until they expire, headers and names for good.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_types::core::v1::ConfigMap;
use apimachinery::status::{self, StatusError};
use component_base::file_watch::watch_files;
use pem::{EncodeConfig, LineEnding, Pem};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::apis::gates;
use crate::loopback::Loopback;
use crate::registry::follow::{Change, follow_stored};
use crate::server::ApiServer;

const NAME: &str = "extension-apiserver-authentication";
const NAMESPACE: &str = "kube-system";
const CLIENT_CA: &str = "client-ca-file";
const FRONT_PROXY_CA: &str = "requestheader-client-ca-file";
/// Headers with uids are younger than the other ones and only told when there are any.
const UID_HEADERS: &str = "requestheader-uid-headers";
/// What the configuration says of a front proxy. Headers with uids are a feature.
const LISTS: [&str; 5] = [
    "requestheader-username-headers",
    UID_HEADERS,
    "requestheader-group-headers",
    "requestheader-extra-headers-prefix",
    "requestheader-allowed-names",
];
/// How long after its end a CA is still told of, in seconds.
const EXPIRY_SLACK: i64 = 5 * 60;

/// Ends the hook's wait when the ConfigMap comes or goes, and when the file of a CA changes. Upstream's informer has no handler
/// for updates either: what somebody writes into the ConfigMap is put right by the next round.
pub(super) fn follow(server: &ApiServer, wake: &Arc<Notify>, stop: &CancellationToken) {
    let flags = &server.config.flags;
    let files = [CLIENT_CA, FRONT_PROXY_CA].map(|name| flags.non_empty(name));
    let files: Vec<PathBuf> = files.into_iter().flatten().map(PathBuf::from).collect();
    if !files.is_empty() {
        let wake = wake.clone();
        watch_files(files, stop.clone(), move || wake.notify_one());
    }
    let Some(maps) = server.resources.known("", "configmaps") else {
        return;
    };
    let wake = wake.clone();
    let there = AtomicBool::new(false);
    follow_stored(maps, stop.clone(), move |change| {
        let (namespace, name, exists) = match &change {
            Change::Set(stored) => (stored.namespace(), stored.name(), true),
            Change::Gone { namespace, name } => (&**namespace, &**name, false),
            Change::Synced => return,
        };
        if (namespace, name) == (NAMESPACE, NAME) && there.swap(exists, Ordering::Relaxed) != exists
        {
            wake.notify_one();
        }
    });
}

pub(super) async fn run(server: &ApiServer, client: &Loopback) -> Result<(), StatusError> {
    let flags = &server.config.flags;
    let mut ours = BTreeMap::new();
    for name in [CLIENT_CA, FRONT_PROXY_CA] {
        if let Some(path) = flags.non_empty(name)
            && let Ok(text) = std::fs::read_to_string(path)
        {
            ours.insert(name.to_owned(), text);
        }
    }
    for name in lists() {
        let list = serde_json::to_string(flags.strings(name)).map_err(status::internal)?;
        ours.insert(name.to_owned(), list);
    }
    let existing = client.get::<ConfigMap>(NAMESPACE, NAME).await?;
    let there = existing.is_some();
    let mut map = existing.unwrap_or_default();
    let data =
        united(&map.data, &ours, jiff::Timestamp::now().as_second()).map_err(status::internal)?;
    if there && map.data == data {
        return Ok(());
    }
    map.data = data;
    if there {
        return match client.update(map).await {
            // Too large: what is needed of it comes back with the next attempt, of this or another server.
            Err(error)
                if error.code == 413
                    || (status::is_invalid(&error) && error.message.contains("Too long")) =>
            {
                client.delete::<ConfigMap>(NAMESPACE, NAME).await?;
                Err(error)
            }
            outcome => outcome.map(drop),
        };
    }
    NAME.clone_into(&mut map.metadata.name);
    NAMESPACE.clone_into(&mut map.metadata.namespace);
    client.create(map).await.map(drop)
}

fn lists() -> impl Iterator<Item = &'static str> {
    let uids = gates::enabled("RemoteRequestHeaderUID");
    let lists = LISTS.into_iter();
    lists.filter(move |name| uids || *name != UID_HEADERS)
}

/// The data of both, with nothing else in it. `now` is in seconds since 1970.
fn united(
    theirs: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
    now: i64,
) -> Result<BTreeMap<String, String>, String> {
    let mut data = BTreeMap::new();
    for name in [CLIENT_CA, FRONT_PROXY_CA] {
        let bundle = bundle([theirs.get(name), ours.get(name)], now)
            .map_err(|problem| format!("{NAME}: {name}: {problem}"))?;
        if !bundle.is_empty() {
            data.insert(name.to_owned(), bundle);
        }
    }
    if !data.contains_key(FRONT_PROXY_CA) {
        return Ok(data);
    }
    for name in lists() {
        let mut list: Vec<String> = Vec::new();
        for text in [theirs.get(name), ours.get(name)].into_iter().flatten() {
            if text.is_empty() {
                continue;
            }
            let some: Vec<String> = serde_json::from_str(text)
                .map_err(|problem| format!("{NAME}: {name}: {problem}"))?;
            for value in some {
                if !list.contains(&value) {
                    list.push(value);
                }
            }
        }
        if name != UID_HEADERS || !list.is_empty() {
            let text = serde_json::to_string(&list).map_err(|problem| problem.to_string())?;
            data.insert(name.to_owned(), text);
        }
    }
    Ok(data)
}

/// The certificates of all texts, each once, without what else a file may hold.
fn bundle(texts: [Option<&String>; 2], now: i64) -> Result<String, String> {
    let mut certificates: Vec<Vec<u8>> = Vec::new();
    for text in texts.into_iter().flatten() {
        let blocks = pem::parse_many(text).map_err(|problem| problem.to_string())?;
        let mut found = false;
        for block in blocks {
            if block.tag() != "CERTIFICATE" || block.headers().iter().next().is_some() {
                continue;
            }
            found = true;
            let der = block.into_contents();
            let (_, certificate) =
                x509_parser::parse_x509_certificate(&der).map_err(|problem| problem.to_string())?;
            let end = certificate.validity().not_after.timestamp();
            if end > now - EXPIRY_SLACK && !certificates.contains(&der) {
                certificates.push(der);
            }
        }
        if !found && !text.is_empty() {
            return Err("data does not contain any valid RSA or ECDSA certificates".to_owned());
        }
    }
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Ok(certificates
        .into_iter()
        .map(|der| pem::encode_config(&Pem::new("CERTIFICATE", der), config))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01.
    const NOW: i64 = 1_767_225_600;

    fn certificate(name: &str, last_year: i32) -> String {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem().replace('\r', "")
    }

    fn data(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        of.iter().map(own).collect()
    }

    #[test]
    fn certificates_are_united() {
        let (a, b, old) = (
            certificate("a", 2040),
            certificate("b", 2040),
            certificate("old", 2024),
        );
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let theirs = data(&[(CLIENT_CA, format!("{old}{a}").trim_end())]);
        let ours = data(&[(CLIENT_CA, &format!("a text\n{key}{b}{a}"))]);
        let both = united(&theirs, &ours, NOW).unwrap();
        assert_eq!(both, data(&[(CLIENT_CA, &format!("{a}{b}"))]));
        assert_eq!(united(&both, &ours, NOW).unwrap(), both);
        let bad = data(&[(CLIENT_CA, key)]);
        assert!(united(&bad, &ours, NOW).is_err());
    }

    #[test]
    fn headers_with_uids_are_a_feature() {
        let off = [("RemoteRequestHeaderUID".to_owned(), false)].into();
        let off = component_base::features::FeatureGates::default().with(&off);
        gates::install(off.unwrap());
        let ca = certificate("a", 2040);
        let theirs = data(&[(FRONT_PROXY_CA, &ca), (UID_HEADERS, "{")]);
        let both = united(&theirs, &data(&[]), NOW).unwrap();
        assert!(!both.contains_key(UID_HEADERS));
    }

    #[test]
    fn lists_are_united_where_there_is_a_front_proxy() {
        let ca = certificate("a", 2040);
        let theirs = data(&[
            (FRONT_PROXY_CA, &ca),
            ("requestheader-allowed-names", r#"["x","y"]"#),
            ("requestheader-group-headers", ""),
            ("foreign", "is not kept"),
        ]);
        let ours = data(&[
            ("requestheader-allowed-names", r#"["z","x"]"#),
            (UID_HEADERS, "[]"),
            ("requestheader-group-headers", r#"["G"]"#),
        ]);
        let wanted = data(&[
            (FRONT_PROXY_CA, &ca),
            ("requestheader-allowed-names", r#"["x","y","z"]"#),
            ("requestheader-group-headers", r#"["G"]"#),
            ("requestheader-username-headers", "[]"),
            ("requestheader-extra-headers-prefix", "[]"),
        ]);
        assert_eq!(united(&theirs, &ours, NOW).unwrap(), wanted);
        assert_eq!(united(&BTreeMap::new(), &ours, NOW).unwrap(), data(&[]));
        let broken = data(&[(FRONT_PROXY_CA, &ca), (UID_HEADERS, "{")]);
        assert!(united(&broken, &ours, NOW).is_err());
    }
}
