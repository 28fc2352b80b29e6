//! `--tracing-config-file`. Upstream: apiserver/pkg/server/options/tracing.go and component-base/tracing/api/v1.

use std::path::Path as FilePath;

use apimachinery::field::{self, ErrorList, Path};
use apimachinery::os_error;
use apimachinery::quote::quote;
use serde::Deserialize;

use crate::admission::configuration::strict;
use crate::egress::Dialer;

const KINDS: [(&str, &str); 3] = [
    ("apiserver.config.k8s.io/v1", "TracingConfiguration"),
    ("apiserver.k8s.io/v1beta1", "TracingConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "TracingConfiguration"),
];
const MILLION: i32 = 1_000_000;

/// Which spans there are, and who is told of them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct TracingConfiguration {
    pub endpoint: Option<String>,
    /// Of requests that have no parent, that many in a million. None of them, without.
    pub sampling_rate_per_million: Option<i32>,
}

/// The configuration of a file, or what is wrong with it.
pub fn read(file: &FilePath) -> Result<TracingConfiguration, String> {
    let unread = |why: String| format!("failed to read tracing config: {why}");
    let text = std::fs::read(file).map_err(|error| {
        let why = os_error::on_reading(file, &error);
        let file = quote(&file.to_string_lossy());
        unread(format!(
            "unable to read tracing configuration from {file}: {why}"
        ))
    })?;
    let known = |path: &str, name: &str| {
        path.is_empty() && ["endpoint", "samplingRatePerMillion"].contains(&name)
    };
    let configuration: TracingConfiguration = strict(&text, &KINDS, &known).map_err(|why| {
        unread(format!(
            "unable to decode tracing configuration data: {why}"
        ))
    })?;
    match validate(&configuration).aggregate() {
        None => Ok(configuration),
        Some(problems) => Err(format!(
            "failed to validate tracing configuration: {problems}"
        )),
    }
}

fn validate(configuration: &TracingConfiguration) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(rate) = configuration.sampling_rate_per_million {
        let path = Path::new("samplingRatePerMillion");
        if rate < 0 {
            errors.push(field::invalid(
                &path,
                rate,
                "sampling rate must be positive",
            ));
        }
        if rate > MILLION {
            let why = "sampling rate per million must be less than or equal to one million";
            errors.push(field::invalid(&path, rate, why));
        }
    }
    if let Some(endpoint) = &configuration.endpoint {
        let path = Path::new("endpoint");
        // As upstream, which tells of the endpoint with its scheme.
        let url = if endpoint.contains("//") {
            endpoint.clone()
        } else {
            format!("dns://{endpoint}")
        };
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let valid = !scheme.is_empty()
            && scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
        if !valid {
            let why = format!(
                "parse {}: first path segment in URL cannot contain colon",
                quote(&url)
            );
            errors.push(field::invalid(&path, &url, why));
        } else if !["dns", "unix", "unix-abstract"].contains(&&*scheme.to_ascii_lowercase()) {
            let why = format!(
                "unsupported scheme: {}.  Options are none, dns, unix, or unix-abstract.  See https://github.com/grpc/grpc/blob/master/doc/naming.md",
                scheme.to_ascii_lowercase()
            );
            errors.push(field::invalid(&path, &url, why));
        }
    }
    errors
}

/// Where the collector is.
#[derive(Clone, Debug)]
pub(super) enum Collector {
    Tcp {
        via: Dialer,
        host: String,
        port: u16,
    },
    /// A socket; one in the kernel's abstract namespace starts with a zero byte.
    Unix(std::path::PathBuf),
}

impl Collector {
    /// By gRPC's names: <https://github.com/grpc/grpc/blob/master/doc/naming.md>. OTLP's own port is 4317.
    pub(super) fn of(endpoint: Option<&str>, via: &Dialer) -> Result<Collector, String> {
        let endpoint = endpoint.unwrap_or("localhost:4317");
        let path = |rest: &str| rest.trim_start_matches("//").to_owned();
        if let Some(rest) = endpoint.strip_prefix("unix-abstract:") {
            return Ok(Collector::Unix(format!("\0{}", path(rest)).into()));
        }
        if let Some(rest) = endpoint.strip_prefix("unix:") {
            return Ok(Collector::Unix(path(rest).into()));
        }
        let address = match endpoint.strip_prefix("dns:") {
            Some(rest) => rest.rsplit('/').next().unwrap_or_default(),
            None => endpoint,
        };
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "443"));
        let port = port.parse();
        let port = port.map_err(|_| format!("address {address}: invalid port"))?;
        Ok(Collector::Tcp {
            via: via.clone(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Result<TracingConfiguration, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tracing.yaml");
        std::fs::write(&file, text).expect("a file");
        read(&file)
    }

    fn with(version: &str, more: &str) -> String {
        format!("apiVersion: {version}\nkind: TracingConfiguration\n{more}")
    }

    #[test]
    fn files() {
        for version in [
            "apiserver.config.k8s.io/v1",
            "apiserver.k8s.io/v1beta1",
            "apiserver.k8s.io/v1alpha1",
        ] {
            let text = "endpoint: localhost:4317\nsamplingRatePerMillion: 12378\n";
            let wanted = TracingConfiguration {
                endpoint: Some("localhost:4317".to_owned()),
                sampling_rate_per_million: Some(12378),
            };
            assert_eq!(outcome(&with(version, text)), Ok(wanted));
        }
        for endpoint in [
            "dns://google.com:4317",
            "unix://path/to/socket",
            "unix-abstract:x",
        ] {
            let text = with(
                "apiserver.k8s.io/v1beta1",
                &format!("endpoint: {endpoint}\n"),
            );
            assert!(outcome(&text).is_ok(), "{endpoint}");
        }
        let unread = "failed to read tracing config: unable to decode tracing configuration data: ";
        for text in [
            "",
            "a: b",
            &with("apiserver.k8s.io/v2", ""),
            &with("apiserver.k8s.io/v1beta1", "rate: 1\n"),
        ] {
            let why = outcome(text).expect_err("an error");
            assert!(why.starts_with(unread), "{why}");
        }
        let missing = read(FilePath::new("/nowhere")).expect_err("an error");
        assert_eq!(
            missing,
            "failed to read tracing config: unable to read tracing configuration from \"/nowhere\": open /nowhere: no such file or directory"
        );
    }

    #[test]
    fn rates_and_endpoints() {
        for (text, why) in [
            (
                "samplingRatePerMillion: -1",
                "samplingRatePerMillion: Invalid value: -1: sampling rate must be positive",
            ),
            (
                "samplingRatePerMillion: 1000001",
                "samplingRatePerMillion: Invalid value: 1000001: sampling rate per million must be less than or equal to one million",
            ),
            (
                "endpoint: http://localhost:4317",
                "endpoint: Invalid value: \"http://localhost:4317\": unsupported scheme: http.  Options are none, dns, unix, or unix-abstract.  See https://github.com/grpc/grpc/blob/master/doc/naming.md",
            ),
            (
                "endpoint: dn%2s://localhost:4317",
                "endpoint: Invalid value: \"dn%2s://localhost:4317\": parse \"dn%2s://localhost:4317\": first path segment in URL cannot contain colon",
            ),
        ] {
            let text = with("apiserver.config.k8s.io/v1", text);
            let want = format!("failed to validate tracing configuration: {why}");
            assert_eq!(outcome(&text), Err(want));
        }
    }

    #[test]
    fn names_of_collectors() {
        let of = |endpoint| format!("{:?}", Collector::of(endpoint, &Dialer::default()));
        let tcp =
            |host: &str, port| format!("Ok(Tcp {{ via: Direct, host: {host:?}, port: {port} }})");
        assert_eq!(of(None), tcp("localhost", 4317));
        assert_eq!(of(Some("collector:1")), tcp("collector", 1));
        assert_eq!(of(Some("dns:///[::1]:2")), tcp("::1", 2));
        assert_eq!(of(Some("unix:///run/x")), "Ok(Unix(\"/run/x\"))");
        assert_eq!(of(Some("unix-abstract:x")), "Ok(Unix(\"\\0x\"))");
        assert!(Collector::of(Some("a:b"), &Dialer::default()).is_err());
    }
}
