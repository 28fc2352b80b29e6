//! Puts the CA of the apiserver into ConfigMap kube-root-ca.crt of every namespace. Upstream:
//! pkg/controller/certificates/rootcacertpublisher.

use std::collections::BTreeMap;
use std::time::Instant;

use api_types::core::v1::{ConfigMap, Namespace, namespace_phase};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::ObjectMeta;
use client::config::CertificateSource;
use client::{Client, Lister, ObjectKey};
use component_base::metrics::{CounterVec, HistogramVec, Opts, exponential_buckets};

use super::pod_control::is_namespace_terminating;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const CONFIG_MAP: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION_ANNOTATION: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// The root-ca-certificate-publisher-controller. Its keys are names of namespaces.
pub struct RootCaCertPublisher {
    client: Client,
    config_maps: Lister<ConfigMap>,
    ca: String,
    synced: CounterVec,
    latency: HistogramVec,
}

impl Controller for RootCaCertPublisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";
    const ALIASES: &'static [&'static str] = &["root-ca-cert-publisher"];
    const SERVICE_ACCOUNT: &'static str = "root-ca-cert-publisher";
    const QUEUE: &'static str = "root_ca_cert_publisher";
    type Key = String;

    async fn build(setup: &Setup, queue: &Queue<String>) -> Result<Option<Self>, BuildError> {
        let ca = root_ca(setup)?;
        let config_maps = setup.informer::<ConfigMap>();
        let to = queue.clone();
        on_change(&config_maps, move |change| match change {
            Change::Updated(_, map) | Change::Deleted(map) if map.metadata.name == CONFIG_MAP => {
                to.add(map.metadata.namespace.clone())
            }
            _ => {}
        });
        let to = queue.clone();
        on_change(&setup.informer::<Namespace>(), move |change| match change {
            Change::Added(namespace, _) => to.add(namespace.metadata.name.clone()),
            Change::Updated(_, namespace) if namespace.status.phase == namespace_phase::ACTIVE => {
                to.add(namespace.metadata.name.clone())
            }
            _ => {}
        });
        let help = "Number of namespace syncs happened in root ca cert publisher.";
        let latency = Opts::new("root_ca_cert_publisher_sync_duration_seconds", help)
            .buckets(exponential_buckets(0.001, 2.0, 15));
        Ok(Some(Self {
            client: setup.client.clone(),
            config_maps: config_maps.lister(),
            ca: String::from_utf8_lossy(&ca).into_owned(),
            synced: setup.metrics().counter_vec(
                Opts::new("root_ca_cert_publisher_sync_total", help),
                &["code"],
            ),
            latency: setup.metrics().histogram_vec(latency, &["code"]),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &String) -> Result<Next, SyncError> {
        let start = Instant::now();
        let result = self.publish(key).await;
        let code = match &result {
            Ok(()) => "200".to_owned(),
            Err(error) => match error.status() {
                Some(status) if status.code != 0 => status.code.to_string(),
                _ => "500".to_owned(),
            },
        };
        self.latency
            .with_label_values(&[&code])
            .observe(start.elapsed().as_secs_f64());
        self.synced.with_label_values(&[&code]).inc();
        result?;
        Ok(Next::Done)
    }
}

/// The certificates to publish: `--root-ca-file`, else those the daemon's kubeconfig carries.
pub(super) fn root_ca(setup: &Setup) -> Result<Vec<u8>, BuildError> {
    let path = &setup.config().sa_controller.root_ca_file;
    if path.is_empty() {
        return Ok(match &setup.client.config().tls.ca {
            Some(CertificateSource::Data(pem)) => pem.clone(),
            _ => Vec::new(),
        });
    }
    let failed = |error: String| {
        BuildError::Config(format!("error parsing root-ca-file at {path}: {error}"))
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates = pem::parse_many(&pem)
        .map_err(|error| failed(error.to_string()))?
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE");
    let mut found = false;
    for block in certificates {
        x509_parser::parse_x509_certificate(block.contents())
            .map_err(|error| failed(error.to_string()))?;
        found = true;
    }
    if found {
        Ok(pem)
    } else {
        Err(failed(
            "data does not contain any valid RSA or ECDSA certificates".to_owned(),
        ))
    }
}

impl RootCaCertPublisher {
    async fn publish(&self, namespace: &str) -> Result<(), client::Error> {
        let api = self.client.namespaced::<ConfigMap>(namespace);
        let Some(present) = self.config_maps.get(&ObjectKey::new(namespace, CONFIG_MAP)) else {
            let mut map = ConfigMap {
                metadata: ObjectMeta {
                    name: CONFIG_MAP.to_owned(),
                    namespace: namespace.to_owned(),
                    ..Default::default()
                },
                ..Default::default()
            };
            fill(&mut map, &self.ca);
            return match api.create(&map).await {
                Err(error) if error.is_not_found() || is_namespace_terminating(&error) => Ok(()),
                result => result.map(drop),
            };
        };
        if is_published(&present, &self.ca) {
            return Ok(());
        }
        let mut map = (*present).clone();
        fill(&mut map, &self.ca);
        api.update(&map).await.map(drop)
    }
}

fn fill(map: &mut ConfigMap, ca: &str) {
    map.data = BTreeMap::from([(CA_KEY.to_owned(), ca.to_owned())]);
    map.metadata
        .annotations
        .insert(DESCRIPTION_ANNOTATION.to_owned(), DESCRIPTION.to_owned());
}

/// The map holds the CA and nothing else, and somebody described it.
fn is_published(map: &ConfigMap, ca: &str) -> bool {
    map.data.len() == 1
        && map.data.get(CA_KEY).is_some_and(|data| data == ca)
        && map
            .metadata
            .annotations
            .get(DESCRIPTION_ANNOTATION)
            .is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_put_right() {
        let mut map = ConfigMap::default();
        assert!(!is_published(&map, "ca"));
        fill(&mut map, "ca");
        assert!(is_published(&map, "ca"));
        assert!(!is_published(&map, "newer ca"));
        map.data.insert("extra".into(), "x".into());
        assert!(!is_published(&map, "ca"), "further keys are removed");
        fill(&mut map, "ca");
        assert_eq!(map.data.len(), 1);
        map.metadata
            .annotations
            .insert(DESCRIPTION_ANNOTATION.into(), "my words".into());
        assert!(is_published(&map, "ca"), "another description is kept");
        map.metadata.annotations.clear();
        assert!(!is_published(&map, "ca"));
    }
}
