//! Credentials printed by a program. Upstream: `client-go/plugin/pkg/client/auth/exec`, KEP-541.

use std::io::IsTerminal as _;
use std::process::Stdio;
use std::sync::Arc;

use apimachinery::yaml::{self, DuplicateKeyPolicy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::ConfigError;
use super::tls::CertificateSource;

/// The `exec` entry of a kubeconfig user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExecConfig {
    /// The program; a bare name is looked up in PATH.
    pub command: String,
    /// Its arguments.
    #[serde(deserialize_with = "super::exec::null_as_empty")]
    pub args: Vec<String>,
    /// Environment variables added to ours.
    #[serde(deserialize_with = "super::exec::null_as_empty")]
    pub env: Vec<EnvVar>,
    /// `client.authentication.k8s.io/v1` or `/v1beta1`.
    pub api_version: String,
    /// Shown when the program is missing.
    pub install_hint: String,
    /// Whether the program is told which cluster it is for.
    pub provide_cluster_info: bool,
    /// `Never`, `IfAvailable` or `Always`.
    pub interactive_mode: String,
    /// What it is told; filled in from the kubeconfig's cluster.
    #[serde(skip)]
    pub cluster: Option<ExecCluster>,
}

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The cluster an exec plugin is called for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecCluster {
    /// The server's URL.
    pub server: String,
    /// The name to expect in its certificate.
    pub tls_server_name: String,
    /// Whether its certificate is not checked.
    pub insecure_skip_tls_verify: bool,
    /// Its authorities.
    pub certificate_authority: Option<CertificateSource>,
    /// Whether gzip is off.
    pub disable_compression: bool,
    /// The cluster's extension `client.authentication.k8s.io/exec`.
    pub config: Option<serde_json::Value>,
}

pub(super) fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

impl ExecConfig {
    /// What is wrong with the entry of user `name`.
    pub(super) fn problems(&self, name: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if self.command.is_empty() {
            problems.push(format!(
                "command must be specified for {name} to use exec authentication plugin"
            ));
        }
        if self.api_version.is_empty() {
            problems.push(format!(
                "apiVersion must be specified for {name} to use exec authentication plugin"
            ));
        } else if !VERSIONS.contains(&self.api_version.as_str()) {
            problems.push(format!(
                "exec plugin: invalid apiVersion {:?}",
                self.api_version
            ));
        }
        for variable in &self.env {
            if variable.name.is_empty() {
                problems.push(format!("env variable name must be specified for {name} to use exec authentication plugin"));
            }
        }
        match self.interactive_mode.as_str() {
            // v1beta1 defaults to IfAvailable, v1 wants it said.
            "" if self.api_version == VERSIONS[0] => {
                problems.push(format!(
                    "interactiveMode must be specified for {name} to use exec authentication plugin"
                ));
            }
            "" | "Never" | "IfAvailable" | "Always" => {}
            other => problems.push(format!("invalid interactiveMode for {name}: {other:?}")),
        }
        problems
    }

    fn interactive(&self) -> Result<bool, String> {
        let terminal = std::io::stdin().is_terminal();
        match self.interactive_mode.as_str() {
            "Never" => Ok(false),
            "Always" if !terminal => Err(
                "exec plugin cannot support interactive mode: standard input is not a terminal"
                    .into(),
            ),
            _ => Ok(terminal),
        }
    }

    fn info(&self, interactive: bool) -> serde_json::Value {
        let mut spec = json!({ "interactive": interactive });
        if let (true, Some(cluster)) = (self.provide_cluster_info, &self.cluster) {
            let mut info = json!({ "server": cluster.server });
            if !cluster.tls_server_name.is_empty() {
                info["tls-server-name"] = json!(cluster.tls_server_name);
            }
            if cluster.insecure_skip_tls_verify {
                info["insecure-skip-tls-verify"] = json!(true);
            }
            if let Some(ca) = cluster
                .certificate_authority
                .as_ref()
                .and_then(|source| source.read().ok())
            {
                info["certificate-authority-data"] = json!(STANDARD.encode(ca));
            }
            if cluster.disable_compression {
                info["disable-compression"] = json!(true);
            }
            info["config"] = cluster.config.clone().unwrap_or(serde_json::Value::Null);
            spec["cluster"] = info;
        }
        json!({ "kind": "ExecCredential", "apiVersion": self.api_version, "spec": spec })
    }
}

/// What the program printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExecCredentials {
    pub token: String,
    /// Certificate chain and key, PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    expires: Option<jiff::Timestamp>,
}

impl ExecCredentials {
    /// A token from elsewhere.
    pub(crate) fn of_token(token: String) -> Self {
        Self {
            token,
            ..Self::default()
        }
    }
}

/// Runs the program when there are no credentials, they have expired, or the server refused them.
#[derive(Debug)]
pub(crate) struct ExecAuthenticator {
    config: ExecConfig,
    /// Held while the program runs: it may talk to a person, so it must run once.
    cached: Mutex<Option<Arc<ExecCredentials>>>,
}

impl ExecAuthenticator {
    pub(crate) fn new(config: ExecConfig) -> Self {
        Self {
            config,
            cached: Mutex::new(None),
        }
    }

    pub(crate) async fn credentials(&self) -> Result<Arc<ExecCredentials>, ConfigError> {
        let mut cached = self.cached.lock().await;
        match &*cached {
            Some(credentials)
                if credentials
                    .expires
                    .is_none_or(|expires| jiff::Timestamp::now() <= expires) =>
            {
                Ok(credentials.clone())
            }
            _ => {
                let fresh = Arc::new(self.run().await.map_err(ConfigError::Exec)?);
                *cached = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// The server refused `used`: get new ones for the next request, unless somebody has already.
    pub(crate) async fn refused(&self, used: &Arc<ExecCredentials>) {
        let mut cached = self.cached.lock().await;
        if cached
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, used))
        {
            match self.run().await {
                Ok(fresh) => *cached = Some(Arc::new(fresh)),
                Err(error) => tracing::error!(error, "refreshing credentials"),
            }
        }
    }

    async fn run(&self) -> Result<ExecCredentials, String> {
        let config = &self.config;
        let interactive = config.interactive()?;
        let mut command = tokio::process::Command::new(&config.command);
        command
            .args(&config.args)
            .envs(
                config
                    .env
                    .iter()
                    .map(|variable| (&variable.name, &variable.value)),
            )
            .env("KUBERNETES_EXEC_INFO", config.info(interactive).to_string())
            .stdin(if interactive {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = match command.spawn() {
            Ok(child) => child
                .wait_with_output()
                .await
                .map_err(|error| format!("exec: {error}"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let hint = if config.install_hint.is_empty() {
                    String::new()
                } else {
                    format!("\n\n{}", config.install_hint)
                };
                return Err(format!(
                    "exec: executable {} not found\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.{hint}",
                    config.command
                ));
            }
            Err(error) => return Err(format!("exec: {error}")),
        };
        if !output.status.success() {
            return Err(match output.status.code() {
                Some(code) => format!(
                    "exec: executable {} failed with exit code {code}",
                    config.command
                ),
                None => format!("exec: {}", output.status),
            });
        }
        read_output(&config.api_version, &output.stdout)
    }
}

fn read_output(api_version: &str, stdout: &[u8]) -> Result<ExecCredentials, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Printed {
        #[serde(default)]
        api_version: String,
        #[serde(default)]
        kind: String,
        status: Option<PrintedStatus>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct PrintedStatus {
        expiration_timestamp: Option<String>,
        token: String,
        client_certificate_data: String,
        client_key_data: String,
    }
    let text = std::str::from_utf8(stdout).map_err(|error| format!("decoding stdout: {error}"))?;
    let value: serde_json::Value = yaml::from_str(text, DuplicateKeyPolicy::LastWins)
        .map_err(|error| format!("decoding stdout: {}", yaml::error_text(&error)))?;
    let printed: Printed =
        serde_json::from_value(value).map_err(|error| format!("decoding stdout: {error}"))?;
    if printed.kind != "ExecCredential" {
        return Err(format!(
            "decoding stdout: no kind {:?} is registered for version {:?}",
            printed.kind, printed.api_version
        ));
    }
    if printed.api_version != api_version {
        return Err(format!(
            "exec plugin is configured to use API version {api_version}, plugin returned version {}",
            printed.api_version
        ));
    }
    let status = printed
        .status
        .ok_or("exec plugin didn't return a status field")?;
    let (certificate, key) = (status.client_certificate_data, status.client_key_data);
    if status.token.is_empty() && certificate.is_empty() && key.is_empty() {
        return Err("exec plugin didn't return a token or cert/key pair".into());
    }
    if certificate.is_empty() != key.is_empty() {
        return Err("exec plugin returned only certificate or key, not both".into());
    }
    let expires = status
        .expiration_timestamp
        .map(|text| {
            text.parse()
                .map_err(|error| format!("decoding stdout: {error}"))
        })
        .transpose()?;
    Ok(ExecCredentials {
        token: status.token,
        certificate: (!certificate.is_empty())
            .then(|| (certificate.into_bytes(), key.into_bytes())),
        expires,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn shell(script: &str) -> ExecAuthenticator {
        ExecAuthenticator::new(ExecConfig {
            command: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![EnvVar {
                name: "GREETING".into(),
                value: "hello".into(),
            }],
            api_version: V1.into(),
            interactive_mode: "Never".into(),
            ..ExecConfig::default()
        })
    }

    fn print(status: &str) -> String {
        format!(
            r#"printf '%s' '{{"apiVersion":"{V1}","kind":"ExecCredential","status":{status}}}'"#
        )
    }

    #[tokio::test]
    async fn credentials_are_kept_until_they_expire_or_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("n");
        let script = format!(
            "echo x >> {0}; n=$(wc -l < {0} | tr -d ' '); {1}",
            counter.display(),
            {
                format!(
                    r#"printf '%s' "{{\"apiVersion\":\"{V1}\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"$GREETING-$n\"}}}}""#
                )
            }
        );
        let authenticator = shell(&script);
        let first = authenticator.credentials().await.unwrap();
        assert_eq!(first.token, "hello-1");
        assert_eq!(authenticator.credentials().await.unwrap().token, "hello-1");
        authenticator.refused(&first).await;
        assert_eq!(authenticator.credentials().await.unwrap().token, "hello-2");
        authenticator.refused(&first).await;
        assert_eq!(
            authenticator.credentials().await.unwrap().token,
            "hello-2",
            "old credentials refused again change nothing"
        );

        let expired = shell(&print(
            r#"{"token":"a","expirationTimestamp":"2001-01-01T00:00:00Z"}"#,
        ));
        let one = expired.credentials().await.unwrap();
        assert!(!Arc::ptr_eq(&one, &expired.credentials().await.unwrap()));
    }

    #[tokio::test]
    async fn failures_say_what_is_wrong() {
        for (script, expected) in [
            (
                "exit 3".to_owned(),
                "exec: executable sh failed with exit code 3",
            ),
            (
                print("{}"),
                "exec plugin didn't return a token or cert/key pair",
            ),
            (print("null"), "exec plugin didn't return a status field"),
            (
                print(r#"{"clientKeyData":"k"}"#),
                "exec plugin returned only certificate or key, not both",
            ),
            ("echo nonsense".to_owned(), "decoding stdout"),
        ] {
            let error = shell(&script).credentials().await.unwrap_err().to_string();
            assert!(error.contains(expected), "got {error}, want {expected}");
        }
        let mut missing = shell("").config;
        missing.command = "/nonexistent/plugin".into();
        missing.install_hint = "get it from the shop".into();
        let error = ExecAuthenticator::new(missing)
            .credentials()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("executable /nonexistent/plugin not found")
                && error.contains("from the shop"),
            "{error}"
        );
    }

    #[test]
    fn the_plugin_is_told_about_the_cluster() {
        let config = ExecConfig {
            api_version: V1.into(),
            provide_cluster_info: true,
            cluster: Some(ExecCluster {
                server: "https://h".into(),
                certificate_authority: Some(CertificateSource::Data(b"ABC".to_vec())),
                config: Some(json!({"audience": "x"})),
                ..ExecCluster::default()
            }),
            ..ExecConfig::default()
        };
        assert_eq!(
            config.info(false),
            json!({"kind": "ExecCredential", "apiVersion": V1, "spec": {"interactive": false,
                "cluster": {"server": "https://h", "certificate-authority-data": "QUJD", "config": {"audience": "x"}}}})
        );
    }
}
