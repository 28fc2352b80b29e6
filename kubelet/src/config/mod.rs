//! Flags and KubeletConfiguration. Upstream: `cmd/kubelet/app/options`, `pkg/kubelet/apis/config`.
//!
//! Order of precedence: a flag that was given, a drop-in of `--config-dir`, the file of `--config`, the defaults. After
//! [`Options::load`] nothing asks where a value came from.

mod apply;
pub mod defaults;
pub mod flags;
pub mod validation;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use api_types::kubelet_config::v1beta1::KubeletConfiguration;
use apimachinery::os_error;
use apimachinery::validation::{is_label_value, is_qualified_name};
use component_base::component_config::logging_options;
use component_base::config::Document;
use component_base::features::FeatureGates;
use component_base::flags::Flags;
use component_base::{Chain, logs};

/// Everything the kubelet was told.
#[derive(Debug)]
pub struct Options {
    /// The configuration, complete.
    pub config: KubeletConfiguration,
    /// Feature gates.
    pub features: FeatureGates,
    /// `--kubeconfig`; a kubelet without one stands alone.
    pub kubeconfig: Option<PathBuf>,
    /// `--bootstrap-kubeconfig`.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// `--cert-dir`.
    pub cert_dir: PathBuf,
    /// `--root-dir`.
    pub root_dir: PathBuf,
    /// Name of the node: `--hostname-override` or the host name.
    pub node_name: String,
    /// Host name, in lower case.
    pub hostname: String,
    /// `--node-ip`: one address, or one per family.
    pub node_ips: Vec<IpAddr>,
    /// `--node-labels`.
    pub node_labels: BTreeMap<String, String>,
    /// `--cloud-provider=external`.
    pub external_cloud: bool,
    /// `--minimum-container-ttl-duration`.
    pub min_container_ttl: std::time::Duration,
    /// `--maximum-dead-containers-per-container`.
    pub max_dead_per_container: i32,
    /// `--maximum-dead-containers`.
    pub max_dead: i32,
    /// How to log, by the file and the flags.
    pub logging: logs::Options,
}

/// Why the kubelet cannot start with what it was told. All mistakes at once.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(String);

fn fail(text: impl Into<String>) -> OptionsError {
    OptionsError(text.into())
}

/// Reads the file and its drop-ins. Fields they do not know are logged and left out, as upstream has it.
fn load_file(path: &Path, drop_ins: Option<&Path>) -> Result<KubeletConfiguration, OptionsError> {
    let shown = path.display();
    let failed = |error: &component_base::config::ConfigError| {
        let why = match error {
            component_base::config::ConfigError::Read { .. } => {
                format!("failed to read kubelet config file \"{shown}\", error: {error}")
            }
            component_base::config::ConfigError::Missing { text, .. } if text.is_empty() => {
                format!("kubelet config file \"{shown}\" was empty")
            }
            error => format!("failed to decode: {error}"),
        };
        fail(format!(
            "failed to load kubelet config file, path: {shown}, error: failed to load Kubelet config file {shown}, error {why}"
        ))
    };
    let document = Document::read(path).map_err(|error| failed(&error))?;
    if !document.is::<KubeletConfiguration>() {
        return Err(failed(&document.unknown()));
    }
    let Some(dir) = drop_ins else {
        return document.decode_leniently().map_err(|error| failed(&error));
    };
    let mut merged: serde_json::Value =
        serde_json::from_slice(document.json()).map_err(|error| fail(error.to_string()))?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|error| {
            fail(format!(
                "failed to merge kubelet configs: failed to walk through kubelet dropin directory {:?}: {}",
                dir.display().to_string(),
                os_error::on_path("lstat", dir, &error)
            ))
        })?
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| {
            file.is_file()
                && file
                    .extension()
                    .is_some_and(|extension| extension == "conf")
        })
        .collect();
    files.sort();
    for file in files {
        let failed = |error: String| {
            fail(format!(
                "failed to load kubelet dropin file, path: {}, error: {error}",
                file.display()
            ))
        };
        let document = Document::read(&file).map_err(|error| failed(Chain(&error).to_string()))?;
        if !document.is::<KubeletConfiguration>() {
            return Err(failed(Chain(&document.unknown()).to_string()));
        }
        // Decoded for its own mistakes; the merge works on what it says, not on what it leaves out.
        document
            .decode_leniently::<KubeletConfiguration>()
            .map_err(|error| failed(Chain(&error).to_string()))?;
        let patch =
            serde_json::from_slice(document.json()).map_err(|error| failed(error.to_string()))?;
        merged = apimachinery::patch::merge::apply(merged, patch)
            .map_err(|error| failed(error.to_string()))?;
    }
    let json = serde_json::to_vec(&merged).map_err(|error| fail(error.to_string()))?;
    Document::parse(&json)
        .and_then(|document| document.decode_leniently())
        .map_err(|error| failed(&error))
}

/// The kernel's host name, or another one, as node names are written.
fn hostname(given: &str) -> Result<String, OptionsError> {
    let name = if given.is_empty() {
        component_base::component_config::hostname()
    } else {
        given.to_owned()
    };
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        Err(fail("empty hostname is invalid"))
    } else {
        Ok(name)
    }
}

impl Options {
    /// Reads flags and files.
    ///
    /// # Errors
    /// When something cannot be read or makes no sense.
    pub fn load(flags: &Flags) -> Result<Self, OptionsError> {
        let labels = flags.map("node-labels").clone();
        check_labels(&labels)
            .map_err(|why| fail(format!("failed to validate kubelet flags: {why}")))?;
        if flags.bool("exit-on-lock-contention") && flags.string("lock-file").is_empty() {
            return Err(fail(
                "failed to run Kubelet: cannot exit on lock file contention: no lock file specified",
            ));
        }
        let drop_ins = flags.non_empty("config-dir").map(Path::new);
        let mut config = match flags.non_empty("config") {
            Some(path) => {
                let mut config = load_file(Path::new(path), drop_ins)?;
                defaults::set_defaults(&mut config);
                config
            }
            None if drop_ins.is_some() => {
                return Err(fail("cannot specify --config-dir without --config"));
            }
            None => {
                let mut config = KubeletConfiguration::default();
                defaults::set_defaults(&mut config);
                defaults::set_legacy_defaults(&mut config);
                config
            }
        };
        let problems = apply::apply_flags(&mut config, flags);
        if !problems.is_empty() {
            return Err(fail(format!(
                "failed to parse kubelet flag: {}",
                component_base::aggregate(&problems)
            )));
        }
        defaults::set_eviction_defaults(&mut config);
        let logging = logging_options(&config.logging, flags)
            .map_err(|why| fail(format!("initialize logging: logging.{why}")))?;
        let features = FeatureGates::new(component_base::features::KNOWN)
            .with(&config.feature_gates)
            .map_err(|problems| {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                fail(format!(
                    "failed to set feature gates from initial flags-based config: {}",
                    component_base::aggregate(&texts)
                ))
            })?;
        let problems = validation::validate(&config);
        if !problems.is_empty() {
            return Err(fail(format!(
                "failed to validate kubelet configuration, error: {}",
                component_base::aggregate(&problems)
            )));
        }
        let mut errors = Vec::new();
        let mut node_ips: Vec<IpAddr> = Vec::new();
        for text in flags
            .string("node-ip")
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            match text.parse() {
                Ok(ip) => node_ips.push(ip),
                Err(_) => errors.push(format!(
                    "bad --node-ip {:?}: must be a single IP, or a dual-stack pair of IPs",
                    flags.string("node-ip")
                )),
            }
        }
        if node_ips.len() > 2
            || (node_ips.len() == 2 && node_ips[0].is_ipv4() == node_ips[1].is_ipv4())
        {
            errors.push(format!(
                "bad --node-ip {:?}: must contain either a single IP or a dual-stack pair of IPs",
                flags.string("node-ip")
            ));
        }
        let hostname = hostname(flags.string("hostname-override"))?;
        let path = |name: &str| flags.non_empty(name).map(PathBuf::from);
        if errors.is_empty() {
            Ok(Options {
                config,
                features,
                kubeconfig: path("kubeconfig"),
                bootstrap_kubeconfig: path("bootstrap-kubeconfig"),
                cert_dir: PathBuf::from(flags.string("cert-dir")),
                root_dir: PathBuf::from(flags.string("root-dir")),
                node_name: hostname.clone(),
                hostname,
                node_ips,
                node_labels: labels,
                external_cloud: flags.string("cloud-provider") == "external",
                min_container_ttl: flags.duration("minimum-container-ttl-duration"),
                max_dead_per_container: flags.int32("maximum-dead-containers-per-container"),
                max_dead: flags.int32("maximum-dead-containers"),
                logging,
            })
        } else {
            Err(fail(component_base::aggregate(&errors)))
        }
    }
}

/// Labels of Kubernetes' own prefixes a node may not give itself, and texts that are no labels.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    const ALLOWED: [&str; 11] = [
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    ];
    let unknown: Vec<&str> = labels
        .keys()
        .map(String::as_str)
        .filter(|key| {
            let Some((prefix, _)) = key.split_once('/') else {
                return false;
            };
            let within = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
            (within("kubernetes.io") || within("k8s.io"))
                && !ALLOWED.contains(key)
                && !within("kubelet.kubernetes.io")
                && !within("node.kubernetes.io")
        })
        .collect();
    if !unknown.is_empty() {
        return Err(format!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n--node-labels in the 'kubernetes.io' namespace must begin with an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io) or be in the specifically allowed set ({})",
            unknown.join(" "),
            ALLOWED.join(", ")
        ));
    }
    let mut problems = Vec::new();
    for (key, value) in labels {
        for (text, why) in [
            (key, is_qualified_name(key)),
            (value, is_label_value(value)),
        ] {
            if !why.is_empty() {
                problems.push(format!("'{text}' - {}", why.join(", ")));
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("invalid node labels: {}", problems.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use component_base::flags::Parsed;

    use super::*;

    fn load(arguments: &[&str]) -> Result<Options, String> {
        match Flags::parse(
            &flags::COMMAND,
            arguments.iter().map(|argument| (*argument).to_owned()),
        ) {
            Ok(Parsed::Run(flags)) => Options::load(&flags).map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn file(dir: &Path, name: &str, fields: &str) -> String {
        let path = dir.join(name);
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{fields}"
        );
        std::fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().expect("folder");
        let path = file(
            dir.path(),
            "config.yaml",
            "maxPods: 50\nclusterDomain: cluster.local\nfailCgroupV1: false\n",
        );
        let options = load(&[
            "--config",
            &path,
            "--max-pods=60",
            "--hostname-override=Node1",
            "--node-ip=10.0.0.1",
        ])
        .expect("options");
        assert_eq!(options.config.max_pods, 60);
        assert_eq!(options.config.cluster_domain, "cluster.local");
        assert_eq!(options.config.fail_cgroup_v1, Some(false));
        assert_eq!(options.config.eviction_hard["memory.available"], "100Mi");
        assert_eq!(options.node_name, "node1");
        // With a file the defaults are the file's, not those of the flags.
        assert_eq!(options.config.authentication.anonymous.enabled, Some(false));
        assert_eq!(options.config.read_only_port, 0);
    }

    #[test]
    fn without_a_file_the_old_defaults_apply() {
        let options = load(&["--hostname-override=n"]).expect("options");
        assert_eq!(options.config.authentication.anonymous.enabled, Some(true));
        assert_eq!(options.config.authorization.mode, "AlwaysAllow");
        assert_eq!(options.config.read_only_port, 10255);
        assert!(options.kubeconfig.is_none());
    }

    #[test]
    fn drop_ins_merge_in_order() {
        let dir = tempfile::tempdir().expect("folder");
        let path = file(dir.path(), "config.yaml", "maxPods: 50\nport: 10300\n");
        let sub = dir.path().join("conf.d");
        std::fs::create_dir(&sub).expect("folder");
        file(&sub, "20.conf", "maxPods: 70\n");
        file(&sub, "10.conf", "maxPods: 60\nclusterDomain: x\n");
        file(&sub, "99.txt", "maxPods: 1\n");
        let options = load(&[
            "--config",
            &path,
            "--config-dir",
            &sub.to_string_lossy(),
            "--hostname-override=n",
        ])
        .expect("options");
        assert_eq!((options.config.max_pods, options.config.port), (70, 10300));
        assert_eq!(options.config.cluster_domain, "x");
    }

    #[test]
    fn mistakes_are_named() {
        let error = load(&["--config=/nowhere.yaml"]).expect_err("missing");
        assert!(
            error.starts_with("failed to load kubelet config file, path: /nowhere.yaml, error: "),
            "{error}"
        );
        let dir = tempfile::tempdir().expect("folder");
        let path = file(dir.path(), "config.yaml", "maxPods: -1\nport: 70000\n");
        let error = load(&["--config", &path, "--hostname-override=n"]).expect_err("invalid");
        assert!(
            error.contains("maxPods (--max-pods) -1") && error.contains("port (--port) 70000"),
            "{error}"
        );
        let error = load(&["--hostname-override=n", "--node-ip=x"]).expect_err("invalid");
        assert!(error.starts_with("bad --node-ip \"x\""), "{error}");
        let error = load(&[
            "--hostname-override=n",
            "--node-labels=node-role.kubernetes.io/master=x",
        ])
        .expect_err("invalid");
        assert!(
            error.contains("unknown 'kubernetes.io' or 'k8s.io' labels"),
            "{error}"
        );
    }
}
