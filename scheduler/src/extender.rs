//! Asks HTTP services about nodes. Upstream: pkg/scheduler/extender.go, kube-scheduler/extender/v1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod};
use api_types::kube_scheduler_config::v1::Extender as Config;
use bytes::Bytes;
use client::{Client, ClientConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::framework::node_info::NodeInfo;

/// When the configuration names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Extenders score up to this.
const MAX_EXTENDER_PRIORITY: i64 = 10;
const MAX_NODE_SCORE: i64 = crate::framework::plugin::MAX_NODE_SCORE;

/// Why an extender gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExtenderError {
    #[error("{0}")]
    Config(String),
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Code {
        verb: String,
        url: String,
        code: u16,
    },
    #[error("asking extender at URL {url}: {source}")]
    Send {
        url: String,
        #[source]
        source: client::Error,
    },
    #[error("reading the answer of extender at URL {url}: {source}")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    /// What the extender itself says.
    #[error("{0}")]
    Refused(String),
    #[error(
        "extender \"{url}\" claims a filtered node \"{node}\" which is not found in the input node list"
    )]
    UnknownNode { url: String, node: String },
}

/// A configured extender.
pub struct Extender {
    config: Config,
    client: Client,
    /// Path of the URL prefix, without the slash at its end.
    prefix_path: String,
    managed: BTreeSet<String>,
}

/// What is left after a filter, and why the others are not.
#[derive(Debug, Default)]
pub struct Filtered {
    pub nodes: Vec<Arc<NodeInfo>>,
    pub failed: BTreeMap<String, String>,
    pub failed_and_unresolvable: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FilterResult {
    nodes: Option<Value>,
    node_names: Option<Vec<String>>,
    failed_nodes: Option<BTreeMap<String, String>>,
    failed_and_unresolvable_nodes: Option<BTreeMap<String, String>>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPriority {
    host: String,
    score: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BindingResult {
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PreemptionResult {
    node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MetaVictims {
    pods: Option<Vec<MetaPod>>,
    #[serde(rename = "NumPDBViolations")]
    num_pdb_violations: i64,
}

#[derive(Deserialize)]
struct MetaPod {
    #[serde(rename = "UID")]
    uid: String,
}

fn as_value(object: &dyn api_types::Struct) -> Value {
    serde_json::from_slice(&api_types::encode_json(object)).unwrap_or(Value::Null)
}

impl Extender {
    /// Prepares the connection.
    pub fn new(config: &Config) -> Result<Self, ExtenderError> {
        let invalid = |error: String| {
            ExtenderError::Config(format!("extender {}: {error}", config.url_prefix))
        };
        let url = &config.url_prefix;
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("urlPrefix must be an absolute URL".into()))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let timeout = match config.http_timeout.0 {
            0 => DEFAULT_TIMEOUT,
            _ => config.http_timeout.as_std(),
        };
        // A kubeconfig says all that a TLS configuration of an extender can.
        let tls = config.tls_config.as_deref().cloned().unwrap_or_default();
        let mut cluster = json!({"server": format!("{scheme}://{host}")});
        let mut user = json!({});
        if tls.insecure || config.enable_https && tls.ca_file.is_empty() && tls.ca_data.0.is_empty()
        {
            // As upstream: HTTPS without an authority is not verified.
            cluster["insecure-skip-tls-verify"] = true.into();
        }
        if !tls.server_name.is_empty() {
            cluster["tls-server-name"] = tls.server_name.clone().into();
        }
        let fill = |into: &mut Value, name: &str, file: &String, bytes: &api_types::ByteString| {
            if !bytes.0.is_empty() {
                into[format!("{name}-data")] = base64_text(&bytes.0).into();
            } else if !file.is_empty() {
                into[name] = file.clone().into();
            }
        };
        fill(
            &mut cluster,
            "certificate-authority",
            &tls.ca_file,
            &tls.ca_data,
        );
        fill(
            &mut user,
            "client-certificate",
            &tls.cert_file,
            &tls.cert_data,
        );
        fill(&mut user, "client-key", &tls.key_file, &tls.key_data);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "extender",
            "clusters": [{"name": "extender", "cluster": cluster}],
            "users": [{"name": "extender", "user": user}],
            "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "extender"}}],
        });
        let client_config = ClientConfig::from_kubeconfig_text(&kubeconfig.to_string())
            .map_err(|error| invalid(error.to_string()))?
            .with_qps(-1.0)
            .with_timeout(timeout);
        let client = Client::new(client_config).map_err(|error| invalid(error.to_string()))?;
        let path = path.trim_end_matches('/');
        Ok(Self {
            client,
            prefix_path: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
            managed: config
                .managed_resources
                .iter()
                .map(|resource| resource.name.clone())
                .collect(),
            config: config.clone(),
        })
    }

    /// Its URL.
    pub fn name(&self) -> &str {
        &self.config.url_prefix
    }

    /// Whether its failures are skipped.
    pub fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    /// Whether it filters.
    pub fn is_filter(&self) -> bool {
        !self.config.filter_verb.is_empty()
    }

    /// Whether it scores.
    pub fn is_prioritizer(&self) -> bool {
        !self.config.prioritize_verb.is_empty()
    }

    /// Whether it binds.
    pub fn is_binder(&self) -> bool {
        !self.config.bind_verb.is_empty()
    }

    /// Whether it has a say in preemption.
    pub fn supports_preemption(&self) -> bool {
        !self.config.preempt_verb.is_empty()
    }

    /// Whether the pod uses a resource that it manages, or it manages all pods.
    pub fn is_interested(&self, pod: &Pod) -> bool {
        let uses = |container: &Container| {
            let resources = &container.resources;
            resources
                .requests
                .keys()
                .chain(resources.limits.keys())
                .any(|name| self.managed.contains(name))
        };
        self.managed.is_empty()
            || pod.spec.containers.iter().any(uses)
            || pod.spec.init_containers.iter().any(uses)
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        args: &Value,
    ) -> Result<T, ExtenderError> {
        let url = format!("{}/{verb}", self.config.url_prefix.trim_end_matches('/'));
        let request = http::Request::post(format!("{}/{verb}", self.prefix_path))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(args.to_string()))
            .map_err(|error| ExtenderError::Config(format!("extender {url}: {error}")))?;
        let response = self
            .client
            .raw(request)
            .await
            .map_err(|source| ExtenderError::Send {
                url: url.clone(),
                source,
            })?;
        if response.status() != http::StatusCode::OK {
            return Err(ExtenderError::Code {
                verb: verb.to_owned(),
                url,
                code: response.status().as_u16(),
            });
        }
        serde_json::from_slice(response.body())
            .map_err(|source| ExtenderError::Answer { url, source })
    }

    fn args(&self, pod: &Pod, nodes: &[Arc<NodeInfo>]) -> Value {
        let mut args = json!({"Pod": as_value(pod), "Nodes": null, "NodeNames": null});
        if self.config.node_cache_capable {
            let names: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
            args["NodeNames"] = names.into();
        } else {
            let items: Vec<Value> = nodes.iter().map(|node| as_value(node.node())).collect();
            args["Nodes"] = json!({"metadata": {}, "items": items});
        }
        args
    }

    /// Which of the nodes will do.
    pub async fn filter(
        &self,
        pod: &Pod,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Filtered, ExtenderError> {
        if !self.is_filter() {
            return Ok(Filtered {
                nodes: nodes.to_vec(),
                ..Filtered::default()
            });
        }
        let args = self.args(pod, nodes);
        let result: FilterResult = self.send(&self.config.filter_verb, &args).await?;
        if !result.error.is_empty() {
            return Err(ExtenderError::Refused(result.error));
        }
        let names = if self.config.node_cache_capable && result.node_names.is_some() {
            result.node_names.unwrap_or_default()
        } else {
            let items = result
                .nodes
                .as_ref()
                .and_then(|nodes| nodes["items"].as_array());
            items
                .into_iter()
                .flatten()
                .filter_map(|node| node["metadata"]["name"].as_str())
                .map(str::to_owned)
                .collect()
        };
        let nodes = names
            .into_iter()
            .map(|name| {
                let known = nodes.iter().find(|node| node.name() == name).cloned();
                known.ok_or_else(|| ExtenderError::UnknownNode {
                    url: self.name().to_owned(),
                    node: name,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Filtered {
            nodes,
            failed: result.failed_nodes.unwrap_or_default(),
            failed_and_unresolvable: result.failed_and_unresolvable_nodes.unwrap_or_default(),
        })
    }

    /// Points by node, weighted and on the scale of plugins.
    pub async fn prioritize(
        &self,
        pod: &Pod,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<BTreeMap<String, i64>, ExtenderError> {
        if !self.is_prioritizer() {
            return Ok(BTreeMap::new());
        }
        let args = self.args(pod, nodes);
        let scores: Vec<HostPriority> = self.send(&self.config.prioritize_verb, &args).await?;
        let scale = self.config.weight * (MAX_NODE_SCORE / MAX_EXTENDER_PRIORITY);
        let mut sums = BTreeMap::new();
        for HostPriority { host, score } in scores {
            *sums.entry(host).or_default() += score * scale;
        }
        Ok(sums)
    }

    /// Has the pod bound.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), ExtenderError> {
        let meta = &pod.metadata;
        let args = json!({"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": node});
        let result: BindingResult = self.send(&self.config.bind_verb, &args).await?;
        if result.error.is_empty() {
            return Ok(());
        }
        Err(ExtenderError::Refused(result.error))
    }

    /// Which candidates it agrees to: node, UIDs of victims, violated budgets.
    pub async fn process_preemption(
        &self,
        pod: &Pod,
        victims: &[(String, Vec<Arc<Pod>>, i64)],
    ) -> Result<Vec<(String, Vec<String>, i64)>, ExtenderError> {
        let by_node = |pods: &dyn Fn(&[Arc<Pod>]) -> Value| -> Value {
            victims
                .iter()
                .map(|(node, victims, violations)| {
                    (
                        node.clone(),
                        json!({"Pods": pods(victims), "NumPDBViolations": violations}),
                    )
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let mut args =
            json!({"Pod": as_value(pod), "NodeNameToVictims": null, "NodeNameToMetaVictims": null});
        if self.config.node_cache_capable {
            args["NodeNameToMetaVictims"] = by_node(&|pods| {
                pods.iter()
                    .map(|pod| json!({"UID": pod.metadata.uid}))
                    .collect()
            });
        } else {
            args["NodeNameToVictims"] =
                by_node(&|pods| pods.iter().map(|pod| as_value(&**pod)).collect());
        }
        let result: PreemptionResult = self.send(&self.config.preempt_verb, &args).await?;
        Ok(result
            .node_name_to_meta_victims
            .unwrap_or_default()
            .into_iter()
            .map(|(node, victims)| {
                let uids = victims.pods.unwrap_or_default();
                (
                    node,
                    uids.into_iter().map(|pod| pod.uid).collect(),
                    victims.num_pdb_violations,
                )
            })
            .collect())
    }
}

fn base64_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
