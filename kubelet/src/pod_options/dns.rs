//! resolv.conf of pods, by their dnsPolicy. Upstream: `pkg/kubelet/network/dns`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::Pod;

use crate::container::pod_desc;
use crate::cri::v1::DnsConfig;
use crate::events::{Kind, Recorder};

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_PATHS: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const MAX_DOMAIN_LENGTH: usize = 253;
/// resolv.conf of the node is read up to this length.
const MAX_RESOLV_CONF: u64 = 10 * 1024 * 1024;

/// Makes the DNS settings of pods.
pub struct DnsConfigurer {
    recorder: Arc<Recorder>,
    node_ips: Vec<IpAddr>,
    cluster_dns: Vec<IpAddr>,
    cluster_domain: String,
    /// `resolvConf`; none for "no file at all".
    resolver_config: Option<PathBuf>,
}

fn without_duplicates(list: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for item in list {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Name servers, search paths and options of a resolv.conf.
fn parse_resolv_conf(text: &str) -> Result<DnsConfig, String> {
    let mut config = DnsConfig::default();
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        match fields.next() {
            Some("nameserver") => match fields.next() {
                Some(server) => config.servers.push(server.to_owned()),
                None => return Err("nameserver list is empty ".to_owned()),
            },
            // The last line counts, as in glibc. A lone dot would be an empty search path.
            Some("search") => {
                config.searches = fields
                    .filter(|path| *path != ".")
                    .map(|path| path.strip_suffix('.').unwrap_or(path).to_owned())
                    .collect();
            }
            Some("options") => {
                for option in fields {
                    let name = option.split(':').next().unwrap_or(option);
                    options.insert(name.to_owned(), option.to_owned());
                }
            }
            _ => {}
        }
    }
    config.options = options.into_values().collect();
    Ok(config)
}

impl DnsConfigurer {
    /// Settings of the node.
    #[must_use]
    pub fn new(
        recorder: Arc<Recorder>,
        node_ips: Vec<IpAddr>,
        cluster_dns: Vec<IpAddr>,
        cluster_domain: &str,
        resolver_config: &str,
    ) -> Self {
        DnsConfigurer {
            recorder,
            node_ips,
            cluster_dns,
            cluster_domain: cluster_domain.to_owned(),
            resolver_config: (!resolver_config.is_empty()).then(|| PathBuf::from(resolver_config)),
        }
    }

    /// `clusterDomain`.
    #[must_use]
    pub fn cluster_domain(&self) -> &str {
        &self.cluster_domain
    }

    fn host_config(&self) -> Result<DnsConfig, String> {
        use std::io::Read as _;
        let Some(path) = &self.resolver_config else {
            return Ok(DnsConfig::default());
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_RESOLV_CONF).read_to_string(&mut text))
            .map_err(|error| format!("open {}: {error}", path.display()))?;
        parse_resolv_conf(&text).map_err(|error| {
            format!("Encountered error while parsing resolv conf file. Error: {error}")
        })
    }

    /// DNS settings of a pod.
    ///
    /// # Errors
    /// When the node's resolv.conf cannot be read.
    pub fn pod_dns(&self, pod: &Pod) -> Result<DnsConfig, String> {
        let mut config = self.host_config()?;
        let (cluster, host) = match pod.spec.dns_policy.as_str() {
            "None" => (false, false),
            "ClusterFirst" => (!pod.spec.host_network, pod.spec.host_network),
            "Default" => (false, true),
            // "ClusterFirstWithHostNet", and anything unknown falls back to the cluster's.
            _ => (true, false),
        };
        let mut use_host = host;
        if cluster {
            if self.cluster_dns.is_empty() {
                let text = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
                            Falling back to \"Default\" policy.";
                self.recorder.node(Kind::Warning, "MissingClusterDNS", text);
                self.recorder.pod(
                    pod,
                    Kind::Warning,
                    "MissingClusterDNS",
                    &format!("pod: {:?}. {text}", pod_desc(pod)),
                );
                use_host = true;
            } else {
                config.servers = self.cluster_dns.iter().map(IpAddr::to_string).collect();
                config.searches = self.cluster_searches(config.searches, &pod.metadata.namespace);
                config.options = vec!["ndots:5".to_owned()];
            }
        } else if !host {
            config = DnsConfig::default();
        }
        if use_host && self.resolver_config.is_none() {
            config.servers = self
                .node_ips
                .iter()
                .map(|ip| if ip.is_ipv6() { "::1" } else { "127.0.0.1" }.to_owned())
                .collect();
            if config.servers.is_empty() {
                config.servers.push("127.0.0.1".to_owned());
            }
            config.searches = vec![".".to_owned()];
        }
        if let Some(own) = pod.spec.dns_config.as_deref() {
            config.servers = without_duplicates(
                config
                    .servers
                    .into_iter()
                    .chain(own.nameservers.iter().cloned()),
            );
            config.searches = without_duplicates(
                config
                    .searches
                    .into_iter()
                    .chain(own.searches.iter().cloned()),
            );
            let mut options: Vec<(String, String)> = config
                .options
                .iter()
                .map(|option| {
                    option
                        .split_once(':')
                        .map_or((option.clone(), String::new()), |(n, v)| {
                            (n.to_owned(), v.to_owned())
                        })
                })
                .collect();
            for option in &own.options {
                let value = option.value.clone().unwrap_or_default();
                match options.iter_mut().find(|(name, _)| *name == option.name) {
                    Some(entry) => entry.1 = value,
                    None => options.push((option.name.clone(), value)),
                }
            }
            config.options = options
                .into_iter()
                .map(|(name, value)| {
                    if value.is_empty() {
                        name
                    } else {
                        format!("{name}:{value}")
                    }
                })
                .collect();
        }
        self.fit_limits(&mut config, pod);
        Ok(config)
    }

    fn cluster_searches(&self, host: Vec<String>, namespace: &str) -> Vec<String> {
        if self.cluster_domain.is_empty() {
            return host;
        }
        let domain = &self.cluster_domain;
        without_duplicates(
            [
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.clone(),
            ]
            .into_iter()
            .chain(host),
        )
    }

    fn fit_limits(&self, config: &mut DnsConfig, pod: &Pod) {
        if config.servers.len() > MAX_NAMESERVERS {
            config.servers.truncate(MAX_NAMESERVERS);
            let text = format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                config.servers.join(" ")
            );
            self.recorder
                .pod(pod, Kind::Warning, "DNSConfigForming", &text);
        }
        let before = config.searches.len();
        config.searches.truncate(MAX_SEARCH_PATHS);
        config
            .searches
            .retain(|path| path.len() <= MAX_DOMAIN_LENGTH);
        while config.searches.join(" ").len() > MAX_SEARCH_CHARS {
            config.searches.pop();
        }
        if config.searches.len() < before {
            let text = format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                config.searches.join(" ")
            );
            self.recorder
                .pod(pod, Kind::Warning, "DNSConfigForming", &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{PodDNSConfig, PodDNSConfigOption};

    use super::*;

    fn configurer(resolv_conf: &str, cluster_dns: &[&str]) -> (DnsConfigurer, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, resolv_conf).expect("write");
        let dns = cluster_dns
            .iter()
            .map(|ip| ip.parse().expect("ip"))
            .collect();
        let recorder = Arc::new(Recorder::in_memory());
        (
            DnsConfigurer::new(
                recorder,
                Vec::new(),
                dns,
                "cluster.local",
                &file.to_string_lossy(),
            ),
            dir,
        )
    }

    fn pod(policy: &str, host_network: bool) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".to_owned();
        pod.spec.dns_policy = policy.to_owned();
        pod.spec.host_network = host_network;
        pod
    }

    #[track_caller]
    fn check(
        policy: &str,
        host_network: bool,
        servers: &[&str],
        searches: &[&str],
        options: &[&str],
    ) {
        let (dns, _dir) = configurer(
            "# c\nnameserver 1.2.3.4\nsearch old\nsearch host.example. .\noptions ndots:1 rotate\n",
            &["10.0.0.10"],
        );
        let got = dns.pod_dns(&pod(policy, host_network)).expect("config");
        assert_eq!(got.servers, servers, "{policy}");
        assert_eq!(got.searches, searches, "{policy}");
        assert_eq!(got.options, options, "{policy}");
    }

    #[test]
    fn policies() {
        let cluster: &[&str] = &[
            "ns.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "host.example",
        ];
        check("ClusterFirst", false, &["10.0.0.10"], cluster, &["ndots:5"]);
        check(
            "ClusterFirst",
            true,
            &["1.2.3.4"],
            &["host.example"],
            &["ndots:1", "rotate"],
        );
        check(
            "ClusterFirstWithHostNet",
            true,
            &["10.0.0.10"],
            cluster,
            &["ndots:5"],
        );
        check(
            "Default",
            false,
            &["1.2.3.4"],
            &["host.example"],
            &["ndots:1", "rotate"],
        );
        check("None", false, &[], &[], &[]);
    }

    #[test]
    fn own_settings_and_limits() {
        let (dns, _dir) = configurer("", &["10.0.0.10"]);
        let mut pod = pod("ClusterFirst", false);
        pod.spec.dns_config = Some(Box::new(PodDNSConfig {
            nameservers: vec![
                "10.0.0.10".into(),
                "1.1.1.1".into(),
                "2.2.2.2".into(),
                "3.3.3.3".into(),
            ],
            searches: (0..40).map(|n| format!("s{n}.example")).collect(),
            options: vec![
                PodDNSConfigOption {
                    name: "ndots".into(),
                    value: Some("2".into()),
                },
                PodDNSConfigOption {
                    name: "debug".into(),
                    value: None,
                },
            ],
        }));
        let got = dns.pod_dns(&pod).expect("config");
        assert_eq!(got.servers, ["10.0.0.10", "1.1.1.1", "2.2.2.2"]);
        assert_eq!(got.searches.len(), 32);
        assert_eq!(got.options, ["ndots:2", "debug"]);
        let events = dns.recorder.taken();
        assert!(
            events[0].starts_with("Warning DNSConfigForming Nameserver limits were exceeded"),
            "{events:?}"
        );
        assert!(
            events[1].starts_with("Warning DNSConfigForming Search Line limits were exceeded"),
            "{events:?}"
        );
    }

    #[test]
    fn without_cluster_dns() {
        let (dns, _dir) = configurer("nameserver 1.2.3.4", &[]);
        assert_eq!(
            dns.pod_dns(&pod("ClusterFirst", false))
                .expect("config")
                .servers,
            ["1.2.3.4"]
        );
        assert_eq!(dns.recorder.taken().len(), 2);
    }
}
