//! Environment of containers, from values, fields, resources, ConfigMaps, Secrets, files and Services.
//!
//! Upstream: `makeEnvironmentVariables` in `kubelet_pods.go`, `pkg/kubelet/envvars`, `pkg/fieldpath`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::{ConfigMap, Container, Pod, ResourceFieldSelector, Secret, Service};

use crate::container::{expand_with, find_container_spec};
use crate::objects::{ObjectError, PodObjects};

/// What field references may ask for besides the pod's spec.
pub struct FieldValues<'a> {
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// Addresses of the pod, first family first.
    pub pod_ips: &'a [String],
    /// Allocatable resources of the node, the limit of containers without one.
    pub allocatable: &'a BTreeMap<String, Quantity>,
}

fn variable_name(text: &str) -> String {
    text.replace('-', "_").to_uppercase()
}

/// Variables of the Services a pod sees: those of its namespace if it wants links, and always the API server's.
#[must_use]
pub fn service_variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        if service.spec.cluster_ip.is_empty() || service.spec.cluster_ip == "None" {
            continue;
        }
        let metadata = &service.metadata;
        if metadata.namespace == "default" && metadata.name == "kubernetes" {
            chosen.entry(&metadata.name).or_insert(service);
        } else if links && metadata.namespace == namespace {
            chosen.insert(&metadata.name, service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        let prefix = variable_name(name);
        let ip = &service.spec.cluster_ip;
        let Some(first) = service.spec.ports.first() else {
            continue;
        };
        variables.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
        variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.clone()
        };
        for (index, port) in service.spec.ports.iter().enumerate() {
            if !port.name.is_empty() {
                variables.insert(
                    format!("{prefix}_SERVICE_PORT_{}", variable_name(&port.name)),
                    port.port.to_string(),
                );
            }
            let protocol = if port.protocol.is_empty() {
                "TCP"
            } else {
                &port.protocol
            };
            let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
            if index == 0 {
                variables.insert(format!("{prefix}_PORT"), url.clone());
            }
            let prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
            variables.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
            variables.insert(format!("{prefix}_PORT"), port.port.to_string());
            variables.insert(format!("{prefix}_ADDR"), ip.clone());
            variables.insert(prefix, url);
        }
    }
    variables
}

/// `metadata.labels['key']` → (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, key) = path.strip_suffix("']")?.split_once("['")?;
    (!base.is_empty()).then_some((base, key))
}

/// A map as lines `key="value"`.
#[must_use]
pub fn format_map(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={}", apimachinery::quote::quote(value)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The value of a field reference.
///
/// # Errors
/// When there is no such field.
pub fn field_value(path: &str, pod: &Pod, values: &FieldValues<'_>) -> Result<String, String> {
    let metadata = &pod.metadata;
    if let Some((base, key)) = subscript(path) {
        return match base {
            "metadata.annotations" => {
                Ok(metadata.annotations.get(key).cloned().unwrap_or_default())
            }
            "metadata.labels" => Ok(metadata.labels.get(key).cloned().unwrap_or_default()),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    Ok(match path {
        "metadata.annotations" => format_map(&metadata.annotations),
        "metadata.labels" => format_map(&metadata.labels),
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => pod.spec.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "spec.host" => pod.spec.node_name.clone(),
        "status.hostIP" => values.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => values.host_ips.join(","),
        "status.podIP" => values.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => values.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of a resource reference, in units of its divisor, rounded up.
///
/// # Errors
/// When there is no such container or resource.
pub fn resource_value(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: Option<&Container>,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let other;
    let container = match (selector.container_name.as_str(), container) {
        ("", Some(container)) => container,
        (name, _) => {
            other = find_container_spec(&pod.spec, name)
                .ok_or_else(|| format!("container {name} not found"))?
                .0;
            &other
        }
    };
    let unsupported = || format!("unsupported container resource : {}", selector.resource);
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let quantity = match kind {
        "requests" => container.resources.requests.get(name),
        "limits" => {
            let own = container
                .resources
                .limits
                .get(name)
                .filter(|own| own.value() != 0);
            let pod_limit = pod
                .spec
                .resources
                .as_deref()
                .and_then(|resources| resources.limits.get(name));
            // A container without a limit may use all of the node, huge pages aside.
            own.or_else(|| {
                if name.starts_with("hugepages-") {
                    None
                } else {
                    pod_limit.or_else(|| allocatable.get(name))
                }
            })
        }
        _ => return Err(unsupported()),
    };
    let amount = |quantity: &Quantity| {
        if name == "cpu" {
            quantity.milli_value()
        } else {
            quantity.value()
        }
    };
    let one = if name == "cpu" { 1000 } else { 1 };
    let divisor = match amount(&selector.divisor) {
        0 => one,
        divisor => divisor,
    };
    let value = quantity.map_or(0, amount);
    Ok((value.div_euclid(divisor) + i64::from(value.rem_euclid(divisor) != 0)).to_string())
}

/// The value of a key in a file of `KEY=value` lines.
///
/// # Errors
/// When the file cannot be read or a line is no assignment.
fn file_value(path: &std::path::Path, key: &str) -> Result<Option<String>, String> {
    const MAX: u64 = 64 * 1024;
    let size = std::fs::metadata(path)
        .map_err(|_| "couldn't parse env file".to_owned())?
        .len();
    if size > MAX {
        return Err("couldn't parse env file".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|_| "couldn't parse env file".to_owned())?;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or("couldn't parse env file")?;
        if name.trim() == key {
            let value = value.trim();
            let inner = ['\'', '"']
                .into_iter()
                .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            return Ok(Some(inner.unwrap_or(value).to_owned()));
        }
    }
    Ok(None)
}

/// Where a container's environment comes from.
pub struct EnvSources<'a> {
    /// ConfigMaps and Secrets.
    pub objects: &'a dyn PodObjects,
    /// Variables of Services.
    pub services: &'a BTreeMap<String, String>,
    /// Field values.
    pub fields: FieldValues<'a>,
    /// Folders of the pod's volumes, by name.
    pub volumes: &'a HashMap<String, std::path::PathBuf>,
}

struct Fetched<'a> {
    objects: &'a dyn PodObjects,
    namespace: &'a str,
    config_maps: HashMap<String, Arc<ConfigMap>>,
    secrets: HashMap<String, Arc<Secret>>,
}

impl Fetched<'_> {
    async fn config_map(
        &mut self,
        name: &str,
        optional: bool,
    ) -> Result<Option<Arc<ConfigMap>>, String> {
        if let Some(found) = self.config_maps.get(name) {
            return Ok(Some(found.clone()));
        }
        match self.objects.config_map(self.namespace, name).await {
            Ok(found) => {
                self.config_maps.insert(name.to_owned(), found.clone());
                Ok(Some(found))
            }
            Err(ObjectError::NotFound(_)) if optional => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn secret(&mut self, name: &str, optional: bool) -> Result<Option<Arc<Secret>>, String> {
        if let Some(found) = self.secrets.get(name) {
            return Ok(Some(found.clone()));
        }
        match self.objects.secret(self.namespace, name).await {
            Ok(found) => {
                self.secrets.insert(name.to_owned(), found.clone());
                Ok(Some(found))
            }
            Err(ObjectError::NotFound(_)) if optional => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The environment of a container, sorted by name.
///
/// # Errors
/// With the text of the waiting state when a source is missing.
pub async fn make_environment(
    pod: &Pod,
    container: &Container,
    sources: &EnvSources<'_>,
) -> Result<Vec<(String, String)>, String> {
    if pod.spec.enable_service_links.is_none() {
        return Err(
            "nil pod.spec.enableServiceLinks encountered, cannot construct envvars".to_owned(),
        );
    }
    let namespace = &pod.metadata.namespace;
    let mut fetched = Fetched {
        objects: sources.objects,
        namespace,
        config_maps: HashMap::new(),
        secrets: HashMap::new(),
    };
    let mut variables: BTreeMap<String, String> = BTreeMap::new();

    for from in &container.env_from {
        if let Some(reference) = from.config_map_ref.as_deref() {
            let optional = reference.optional.unwrap_or(false);
            let Some(found) = fetched
                .config_map(&reference.local_object_reference.name, optional)
                .await?
            else {
                continue;
            };
            for (key, value) in &found.data {
                variables.insert(format!("{}{key}", from.prefix), value.clone());
            }
        } else if let Some(reference) = from.secret_ref.as_deref() {
            let optional = reference.optional.unwrap_or(false);
            let Some(found) = fetched
                .secret(&reference.local_object_reference.name, optional)
                .await?
            else {
                continue;
            };
            for (key, value) in &found.data {
                variables.insert(
                    format!("{}{key}", from.prefix),
                    String::from_utf8_lossy(&value.0).into_owned(),
                );
            }
        }
    }

    for variable in &container.env {
        let mut value = String::new();
        if !variable.value.is_empty() {
            value = expand_with(&variable.value, |name| {
                variables
                    .get(name)
                    .or_else(|| sources.services.get(name))
                    .cloned()
            });
        } else if let Some(source) = variable.value_from.as_deref() {
            let found = if let Some(field) = source.field_ref.as_deref() {
                Some(field_value(&field.field_path, pod, &sources.fields)?)
            } else if let Some(resource) = source.resource_field_ref.as_deref() {
                Some(resource_value(
                    resource,
                    pod,
                    Some(container),
                    sources.fields.allocatable,
                )?)
            } else if let Some(key) = source.config_map_key_ref.as_deref() {
                let (name, optional) = (
                    &key.local_object_reference.name,
                    key.optional.unwrap_or(false),
                );
                match fetched.config_map(name, optional).await? {
                    None => None,
                    Some(map) => match map.data.get(&key.key) {
                        Some(value) => Some(value.clone()),
                        None if optional => None,
                        None => {
                            return Err(format!(
                                "couldn't find key {} in ConfigMap {namespace}/{name}",
                                key.key
                            ));
                        }
                    },
                }
            } else if let Some(key) = source.secret_key_ref.as_deref() {
                let (name, optional) = (
                    &key.local_object_reference.name,
                    key.optional.unwrap_or(false),
                );
                match fetched.secret(name, optional).await? {
                    None => None,
                    Some(secret) => match secret.data.get(&key.key) {
                        Some(value) => Some(String::from_utf8_lossy(&value.0).into_owned()),
                        None if optional => None,
                        None => {
                            return Err(format!(
                                "couldn't find key {} in Secret {namespace}/{name}",
                                key.key
                            ));
                        }
                    },
                }
            } else if let Some(key) = source.file_key_ref.as_deref() {
                let folder = sources.volumes.get(&key.volume_name).ok_or_else(|| {
                    format!(
                        "cannot find the volume {:?} referenced by FileKeyRef",
                        key.volume_name
                    )
                })?;
                let file = crate::sys::join_in_root(folder, &key.path)
                    .map_err(|error| error.to_string())?;
                match file_value(&file, &key.key)?.filter(|value| !value.is_empty()) {
                    Some(value) => Some(value),
                    None if key.optional.unwrap_or(false) => None,
                    None => {
                        return Err(format!(
                            "environment variable key {:?} not found in file {:?}",
                            key.key,
                            file.display().to_string()
                        ));
                    }
                }
            } else {
                Some(String::new())
            };
            match found {
                Some(found) => value = found,
                None => continue,
            }
        }
        variables.insert(variable.name.clone(), value);
    }
    for (name, value) in sources.services {
        variables
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    Ok(variables.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{
        ConfigMapEnvSource, ConfigMapKeySelector, EnvFromSource, EnvVar, EnvVarSource,
        LocalObjectReference, ObjectFieldSelector, ServicePort,
    };
    use futures::future::BoxFuture;

    use super::*;
    use crate::pod_resources::tests::{container as container_with, list};

    struct Objects;

    impl PodObjects for Objects {
        fn config_map<'a>(
            &'a self,
            _: &'a str,
            name: &'a str,
        ) -> BoxFuture<'a, Result<Arc<ConfigMap>, ObjectError>> {
            Box::pin(async move {
                if name != "settings" {
                    return Err(ObjectError::NotFound(format!(
                        "configmap {name:?} not found"
                    )));
                }
                let mut map = ConfigMap::default();
                map.data.insert("COLOR".into(), "red".into());
                map.data.insert("SIZE".into(), "$(COLOR)".into());
                Ok(Arc::new(map))
            })
        }

        fn secret<'a>(
            &'a self,
            _: &'a str,
            name: &'a str,
        ) -> BoxFuture<'a, Result<Arc<Secret>, ObjectError>> {
            Box::pin(
                async move { Err(ObjectError::NotFound(format!("secret {name:?} not found"))) },
            )
        }
    }

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        let mut service = Service::default();
        service.metadata.namespace = namespace.into();
        service.metadata.name = name.into();
        service.spec.cluster_ip = ip.into();
        service.spec.ports = vec![ServicePort {
            name: "http".into(),
            port: 80,
            protocol: "TCP".into(),
            ..Default::default()
        }];
        Arc::new(service)
    }

    #[test]
    fn services() {
        let all = [
            service("default", "kubernetes", "10.0.0.1"),
            service("ns", "my-web", "10.0.0.2"),
            service("ns", "headless", "None"),
            service("other", "elsewhere", "10.0.0.3"),
        ];
        let with = service_variables(&all, "ns", true);
        assert_eq!(with["MY_WEB_SERVICE_HOST"], "10.0.0.2");
        assert_eq!(with["MY_WEB_SERVICE_PORT_HTTP"], "80");
        assert_eq!(with["MY_WEB_PORT_80_TCP"], "tcp://10.0.0.2:80");
        assert_eq!(with["MY_WEB_PORT_80_TCP_ADDR"], "10.0.0.2");
        assert_eq!(with["KUBERNETES_SERVICE_HOST"], "10.0.0.1");
        assert!(
            !with
                .keys()
                .any(|name| name.starts_with("HEADLESS") || name.starts_with("ELSEWHERE"))
        );
        let without = service_variables(&all, "ns", false);
        assert!(without.keys().all(|name| name.starts_with("KUBERNETES_")));
    }

    async fn environment(container: &Container) -> Result<BTreeMap<String, String>, String> {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = "pod".into();
        pod.metadata.labels.insert("app".into(), "web".into());
        pod.spec.enable_service_links = Some(true);
        let services = BTreeMap::from([("SERVICE".to_owned(), "svc".to_owned())]);
        let sources = EnvSources {
            objects: &Objects,
            services: &services,
            fields: FieldValues {
                host_ips: &["1.1.1.1".into()],
                pod_ips: &["2.2.2.2".into(), "fd00::2".into()],
                allocatable: &list(&[("cpu", "4")]),
            },
            volumes: &HashMap::new(),
        };
        Ok(make_environment(&pod, container, &sources)
            .await?
            .into_iter()
            .collect())
    }

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar {
            name: name.into(),
            value: value.into(),
            ..Default::default()
        }
    }

    fn field(name: &str, path: &str) -> EnvVar {
        EnvVar {
            name: name.into(),
            value_from: Some(Box::new(EnvVarSource {
                field_ref: Some(Box::new(ObjectFieldSelector {
                    field_path: path.into(),
                    ..Default::default()
                })),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn config_map(name: &str, optional: bool) -> EnvFromSource {
        EnvFromSource {
            prefix: "P_".into(),
            config_map_ref: Some(Box::new(ConfigMapEnvSource {
                local_object_reference: LocalObjectReference { name: name.into() },
                optional: Some(optional),
            })),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn values_references_and_expansion() {
        let container = Container {
            env_from: vec![config_map("settings", false), config_map("missing", true)],
            env: vec![
                var("A", "a"),
                var("B", "$(A)-$(SERVICE)-$(NOPE)-$(P_COLOR)"),
                var("A", "a2"),
                field("NAME", "metadata.name"),
                field("APP", "metadata.labels['app']"),
                field("IPS", "status.podIPs"),
                field("HOST", "status.hostIP"),
            ],
            ..Default::default()
        };
        let got = environment(&container).await.expect("environment");
        // Values of ConfigMaps are not expanded, and the last of two equal names counts.
        for (name, want) in [
            ("P_COLOR", "red"),
            ("P_SIZE", "$(COLOR)"),
            ("A", "a2"),
            ("B", "a-svc-$(NOPE)-red"),
            ("NAME", "pod"),
            ("APP", "web"),
            ("IPS", "2.2.2.2,fd00::2"),
            ("HOST", "1.1.1.1"),
            ("SERVICE", "svc"),
        ] {
            assert_eq!(got[name], want, "{name}");
        }
    }

    #[tokio::test]
    async fn missing_sources() {
        let container = Container {
            env_from: vec![config_map("missing", false)],
            ..Default::default()
        };
        assert_eq!(
            environment(&container).await.expect_err("missing"),
            "configmap \"missing\" not found"
        );
        let key = |key: &str, optional| EnvVar {
            name: "X".into(),
            value_from: Some(Box::new(EnvVarSource {
                config_map_key_ref: Some(Box::new(ConfigMapKeySelector {
                    local_object_reference: LocalObjectReference {
                        name: "settings".into(),
                    },
                    key: key.into(),
                    optional: Some(optional),
                })),
                ..Default::default()
            })),
            ..Default::default()
        };
        let container = Container {
            env: vec![key("NOPE", false)],
            ..Default::default()
        };
        assert_eq!(
            environment(&container).await.expect_err("missing"),
            "couldn't find key NOPE in ConfigMap ns/settings"
        );
        let container = Container {
            env: vec![key("NOPE", true)],
            ..Default::default()
        };
        assert!(
            !environment(&container)
                .await
                .expect("optional")
                .contains_key("X")
        );
    }

    #[test]
    fn resources() {
        let container = container_with(
            "c",
            &[("cpu", "100m"), ("memory", "64Mi")],
            &[("memory", "128Mi")],
        );
        let mut pod = Pod::default();
        pod.spec.containers = vec![container.clone()];
        let allocatable = list(&[("cpu", "4"), ("memory", "8Gi")]);
        for (resource, divisor, want) in [
            ("requests.cpu", "", "1"),
            ("requests.cpu", "1m", "100"),
            ("limits.cpu", "1", "4"),
            ("limits.memory", "1Mi", "128"),
            ("requests.memory", "", "67108864"),
            ("requests.ephemeral-storage", "", "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: if divisor.is_empty() {
                    Quantity::default()
                } else {
                    Quantity::parse(divisor).expect("divisor")
                },
                ..Default::default()
            };
            assert_eq!(
                resource_value(&selector, &pod, Some(&container), &allocatable).as_deref(),
                Ok(want),
                "{resource} {divisor}"
            );
        }
    }
}
