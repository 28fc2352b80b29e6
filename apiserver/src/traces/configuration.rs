//! `--tracing-config-file`. Upstream: apiserver/pkg/server/options/tracing.go and component-base/tracing/api/v1.

use std::path::Path as FilePath;

use apimachinery::field::{self, ErrorList, Path};
use apimachinery::os_error;
use apimachinery::quote::quote;
use serde_json::Value;

use crate::admission::configuration::{strict, unversioned};
use crate::egress::Dialer;
use crate::go_json::cannot_unmarshal;

const KINDS: [(&str, &str); 3] = [
    ("apiserver.config.k8s.io/v1", "TracingConfiguration"),
    ("apiserver.config.k8s.io/v1beta1", "TracingConfiguration"),
    ("apiserver.config.k8s.io/v1alpha1", "TracingConfiguration"),
];
/// What upstream calls the kinds that it knows here.
const SCHEME: &str = "k8s.io/apiserver/pkg/server/options/tracing.go:49";
const MILLION: i32 = 1_000_000;

/// Which spans there are, and who is told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    let configuration = decode(&text).map_err(|why| {
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

/// A text that does not say what it is is a configuration, too; one without anything is one without endpoint and rate.
fn decode(text: &[u8]) -> Result<TracingConfiguration, String> {
    if text.trim_ascii().is_empty() {
        return Ok(TracingConfiguration::default());
    }
    let known = |path: &str, name: &str| {
        path.is_empty() && ["endpoint", "samplingRatePerMillion"].contains(&name)
    };
    let read = |text: &[u8]| strict::<Value>(text, &KINDS, &known);
    let document = match read(text) {
        Err(why) if why.starts_with("Object 'Kind' is missing") => {
            let mut members = unversioned(text)?;
            let (version, kind) = KINDS[0];
            members.insert("apiVersion".to_owned(), version.into());
            members.insert("kind".to_owned(), kind.into());
            read(Value::Object(members).to_string().as_bytes())
        }
        outcome => outcome,
    };
    let document = document.map_err(|why| {
        if why.starts_with("no kind ") {
            format!("{why} in scheme {}", quote(SCHEME))
        } else {
            why
        }
    })?;
    let target = |name: &str, of: &str| {
        format!("struct field TracingConfiguration.TracingConfiguration.{name} of type {of}")
    };
    let endpoint = match &document["endpoint"] {
        Value::Null => None,
        Value::String(endpoint) => Some(endpoint.clone()),
        other => return Err(cannot_unmarshal(other, &target("endpoint", "string"))),
    };
    let name = "samplingRatePerMillion";
    let rate = &document[name];
    let sampling_rate_per_million = match (rate, rate.as_i64().map(i32::try_from)) {
        (Value::Null, _) => None,
        (_, Some(Ok(rate))) => Some(rate),
        (Value::Number(number), _) => {
            let target = target(name, "int32");
            return Err(format!(
                "json: cannot unmarshal number {number} into Go {target}"
            ));
        }
        _ => return Err(cannot_unmarshal(rate, &target(name, "int32"))),
    };
    Ok(TracingConfiguration {
        endpoint,
        sampling_rate_per_million,
    })
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
            "apiserver.config.k8s.io/v1beta1",
            "apiserver.config.k8s.io/v1alpha1",
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
                "apiserver.config.k8s.io/v1beta1",
                &format!("endpoint: {endpoint}\n"),
            );
            assert!(outcome(&text).is_ok(), "{endpoint}");
        }
        assert_eq!(outcome("\n"), Ok(TracingConfiguration::default()));
        let unversioned = outcome("samplingRatePerMillion: 1");
        assert_eq!(
            unversioned.map(|read| read.sampling_rate_per_million),
            Ok(Some(1))
        );
        let field = "Go struct field TracingConfiguration.TracingConfiguration";
        for (text, why) in [
            ("a: b", "strict decoding error: unknown field \"a\"".to_owned()),
            (
                &with("apiserver.k8s.io/v1beta1", ""),
                "no kind \"TracingConfiguration\" is registered for version \"apiserver.k8s.io/v1beta1\" in scheme \"k8s.io/apiserver/pkg/server/options/tracing.go:49\"".to_owned(),
            ),
            (
                &with("apiserver.config.k8s.io/v1beta1", "rate: 1\n"),
                "strict decoding error: unknown field \"rate\"".to_owned(),
            ),
            (
                &with("apiserver.config.k8s.io/v1", "samplingRatePerMillion: x\n"),
                format!("json: cannot unmarshal string into {field}.samplingRatePerMillion of type int32"),
            ),
            (
                &with("apiserver.config.k8s.io/v1", "samplingRatePerMillion: 1.5\n"),
                format!("json: cannot unmarshal number 1.5 into {field}.samplingRatePerMillion of type int32"),
            ),
            (
                &with("apiserver.config.k8s.io/v1", "endpoint: 5\n"),
                format!("json: cannot unmarshal number into {field}.endpoint of type string"),
            ),
        ] {
            let unread = "failed to read tracing config: unable to decode tracing configuration data";
            assert_eq!(outcome(text), Err(format!("{unread}: {why}")));
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
