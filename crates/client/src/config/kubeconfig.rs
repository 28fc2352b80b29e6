//! The kubeconfig file (`v1`, kind `Config`). Upstream: `client-go/tools/clientcmd`.
//!
//! Read leniently, as upstream does: unknown fields and extensions are ignored. All problems of the chosen context are
//! reported together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apimachinery::os_error;
use apimachinery::yaml::{self, DuplicateKeyPolicy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::exec::{ExecCluster, ExecConfig};
use super::tls::CertificateSource;
use super::{Auth, ClientConfig, ConfigError, Impersonation};

/// What upstream says of a configuration without a server.
pub(super) const NOTHING_PROVIDED: &str =
    "no configuration has been provided, try setting KUBERNETES_MASTER environment variable";

/// And when that is not all.
const NO_SERVER: &str = "cluster has no server defined";

/// A parsed kubeconfig.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Kubeconfig {
    #[serde(rename = "apiVersion", deserialize_with = "null_as_default")]
    api_version: String,
    #[serde(deserialize_with = "null_as_default")]
    kind: String,
    #[serde(deserialize_with = "null_as_default")]
    clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "null_as_default")]
    users: Vec<NamedUser>,
    #[serde(deserialize_with = "null_as_default")]
    contexts: Vec<NamedContext>,
    /// The context used when none is named.
    #[serde(rename = "current-context", deserialize_with = "null_as_default")]
    pub current_context: String,
    /// Where relative file names count from.
    #[serde(skip)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    #[serde(deserialize_with = "null_as_default")]
    name: String,
    #[serde(deserialize_with = "null_as_default")]
    cluster: Cluster,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    #[serde(deserialize_with = "null_as_default")]
    server: String,
    #[serde(deserialize_with = "null_as_default")]
    tls_server_name: String,
    insecure_skip_tls_verify: bool,
    #[serde(deserialize_with = "null_as_default")]
    certificate_authority: String,
    certificate_authority_data: Bytes64,
    #[serde(deserialize_with = "null_as_default")]
    proxy_url: String,
    disable_compression: bool,
    extensions: Vec<NamedExtension>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedExtension {
    #[serde(deserialize_with = "null_as_default")]
    name: String,
    extension: serde_json::Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    #[serde(deserialize_with = "null_as_default")]
    name: String,
    #[serde(deserialize_with = "null_as_default")]
    user: User,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    #[serde(deserialize_with = "null_as_default")]
    client_certificate: String,
    client_certificate_data: Bytes64,
    #[serde(deserialize_with = "null_as_default")]
    client_key: String,
    client_key_data: Bytes64,
    #[serde(deserialize_with = "null_as_default")]
    token: String,
    #[serde(rename = "tokenFile", deserialize_with = "null_as_default")]
    token_file: String,
    #[serde(rename = "as", deserialize_with = "null_as_default")]
    impersonate: String,
    #[serde(deserialize_with = "null_as_default")]
    as_uid: String,
    #[serde(deserialize_with = "null_as_default")]
    as_groups: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    as_user_extra: BTreeMap<String, Vec<String>>,
    #[serde(deserialize_with = "null_as_default")]
    username: String,
    #[serde(deserialize_with = "null_as_default")]
    password: String,
    auth_provider: Option<AuthProvider>,
    exec: Option<ExecConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AuthProvider {
    #[serde(deserialize_with = "null_as_default")]
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    #[serde(deserialize_with = "null_as_default")]
    name: String,
    #[serde(deserialize_with = "null_as_default")]
    context: Context,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    #[serde(deserialize_with = "null_as_default")]
    cluster: String,
    #[serde(deserialize_with = "null_as_default")]
    user: String,
    #[serde(deserialize_with = "null_as_default")]
    namespace: String,
}

/// Bytes written as base64 text, possibly broken into lines.
#[derive(Clone, Debug, Default)]
struct Bytes64(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let packed: String = text.split_ascii_whitespace().collect();
        STANDARD
            .decode(packed)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("illegal base64 data: {error}")))
    }
}

/// An explicit `null` is the same as nothing, as in Go.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Kubeconfig {
    /// Reads a file. Relative names in it will count from its folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing {
                path: path.to_owned(),
                error,
            },
            _ => ConfigError::Parse {
                origin: origin.clone(),
                reason: os_error::on_reading(path, &error),
            },
        })?;
        let mut parsed = Self::parse(&text, &origin)?;
        parsed.folder = path.parent().map(Path::to_owned);
        Ok(parsed)
    }

    /// Parses YAML or JSON. `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let bad = |reason: String| ConfigError::Parse {
            origin: origin.to_owned(),
            reason,
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // Straight into the types: a scalar becomes text where text is wanted, so a password may look like a number.
        let parsed: Self = yaml::from_str(text, DuplicateKeyPolicy::LastWins)
            .map_err(|error| bad(yaml::error_text(&error)))?;
        if !matches!(parsed.api_version.as_str(), "" | "v1")
            || !matches!(parsed.kind.as_str(), "" | "Config")
        {
            return Err(bad(format!(
                "no kind {:?} is registered for version {:?}: want kind \"Config\" of version \"v1\"",
                parsed.kind, parsed.api_version
            )));
        }
        Ok(parsed)
    }

    /// The names of all contexts, in the file's order.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.iter().map(|context| context.name.as_str())
    }

    /// The configuration of a context (`None`: the current one).
    pub fn client_config(&self, context: Option<&str>) -> Result<ClientConfig, ConfigError> {
        self.client_config_for(context, "")
    }

    /// The same with the server replaced, unless `master` is empty.
    pub fn client_config_for(
        &self,
        context: Option<&str>,
        master: &str,
    ) -> Result<ClientConfig, ConfigError> {
        let name = context.unwrap_or(&self.current_context);
        let mut contexts = self.contexts.iter();
        let context = contexts.find(|context| context.name == name);
        let mut problems = Vec::new();
        if context.is_none() && !name.is_empty() {
            problems.push(format!(
                "context was not found for specified context: {name}"
            ));
        }
        let context = context.map(|context| context.context.clone());
        let context = context.unwrap_or_default();
        // A user that is not there is one without credentials, and what is wrong with it is told first.
        let mut users = self.users.iter();
        let user = users.find(|user| user.name == context.user);
        let user = user.map(|user| user.user.clone()).unwrap_or_default();
        let mut clusters = self.clusters.iter();
        let found = clusters.find(|cluster| cluster.name == context.cluster);
        let cluster = found.map(|found| found.cluster.clone()).unwrap_or_default();

        let server = if master.is_empty() {
            cluster.server.clone()
        } else {
            master.to_owned()
        };
        let mut of_cluster = Vec::new();
        if server.is_empty() {
            of_cluster.push(match found {
                None => NO_SERVER.to_owned(),
                Some(_) if context.cluster.is_empty() => {
                    "default cluster has no server defined".to_owned()
                }
                Some(_) => format!("no server found for cluster {:?}", context.cluster),
            });
        }
        let mut config = ClientConfig::bare(server);
        config.disable_compression = cluster.disable_compression;
        config.default_namespace =
            (!context.namespace.is_empty()).then(|| context.namespace.clone());
        self.apply_cluster(&cluster, &context.cluster, &mut config, &mut of_cluster);
        self.apply_user(&user, &context.user, &cluster, &mut config, &mut problems);
        problems.append(&mut of_cluster);
        if problems == [NO_SERVER] {
            problems = vec![NOTHING_PROVIDED.to_owned()];
        }
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        if config.tls.insecure && config.tls.ca.is_some() {
            return Err(ConfigError::Unsupported(
                "specifying a root certificates file with the insecure flag is not allowed".into(),
            ));
        }
        if let Auth::TokenFile(path, token @ None) = &mut config.auth {
            let text = std::fs::read_to_string(&*path).map_err(|error| ConfigError::Read {
                path: path.clone(),
                error,
            })?;
            *token = Some(text.trim().to_owned());
        }
        if !cluster.proxy_url.is_empty() {
            return Err(ConfigError::Unsupported(format!(
                "cluster {:?} sets proxy-url {:?}: connecting through a proxy is not supported, remove it or use an address that is reachable directly",
                context.cluster, cluster.proxy_url
            )));
        }
        config.base_url()?;
        Ok(config)
    }

    /// The user of the current context.
    pub fn current_user(&self) -> Option<&str> {
        let mut contexts = self.contexts.iter();
        let current = contexts.find(|context| context.name == self.current_context)?;
        Some(current.context.user.as_str()).filter(|user| !user.is_empty())
    }

    /// What proves who a user is, without a server. `None` when there is no such user.
    pub fn user(&self, name: &str) -> Option<Result<ClientConfig, ConfigError>> {
        let found = self.users.iter().find(|found| found.name == name)?;
        let mut config = ClientConfig::bare(String::new());
        let mut problems = Vec::new();
        let cluster = Cluster::default();
        self.apply_user(&found.user, name, &cluster, &mut config, &mut problems);
        Some(if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(problems))
        })
    }

    fn apply_cluster(
        &self,
        cluster: &Cluster,
        name: &str,
        config: &mut ClientConfig,
        problems: &mut Vec<String>,
    ) {
        config.tls.server_name =
            (!cluster.tls_server_name.is_empty()).then(|| cluster.tls_server_name.clone());
        config.tls.insecure = cluster.insecure_skip_tls_verify;
        if !cluster.certificate_authority.is_empty()
            && !cluster.certificate_authority_data.0.is_empty()
        {
            problems.push(format!(
                "certificate-authority-data and certificate-authority are both specified for {name}. certificate-authority-data will override."
            ));
        }
        config.tls.ca = self.source(
            &cluster.certificate_authority,
            &cluster.certificate_authority_data,
        );
        self.check_readable("certificate-authority", &config.tls.ca, name, problems);
    }

    fn apply_user(
        &self,
        user: &User,
        name: &str,
        cluster: &Cluster,
        config: &mut ClientConfig,
        problems: &mut Vec<String>,
    ) {
        let has_certificate =
            !user.client_certificate.is_empty() || !user.client_certificate_data.0.is_empty();
        if has_certificate {
            if !user.client_certificate.is_empty() && !user.client_certificate_data.0.is_empty() {
                problems.push(format!("client-cert-data and client-cert are both specified for {name}. client-cert-data will override."));
            }
            if !user.client_key.is_empty() && !user.client_key_data.0.is_empty() {
                problems.push(format!("client-key-data and client-key are both specified for {name}; client-key-data will override"));
            }
            if user.client_key.is_empty() && user.client_key_data.0.is_empty() {
                problems.push(format!("client-key-data or client-key must be specified for {name} to use the clientCert authentication method."));
            }
            config.tls.client_certificate =
                self.source(&user.client_certificate, &user.client_certificate_data);
            config.tls.client_key = self.source(&user.client_key, &user.client_key_data);
            self.check_readable(
                "client-cert",
                &config.tls.client_certificate,
                name,
                problems,
            );
            self.check_readable("client-key", &config.tls.client_key, name, problems);
        }
        let mut methods = Vec::new();
        if !user.token.is_empty() || !user.token_file.is_empty() {
            methods.push("token");
        }
        if !user.username.is_empty() || !user.password.is_empty() {
            methods.push("basicAuth");
        }
        if methods.len() > 1 {
            problems.push(format!("more than one authentication method found for {name}; found [{}], only one is allowed", methods.join(" ")));
        }
        // With both a token and a token file the file is used and the token covers the time it cannot be read.
        config.auth = if !user.token_file.is_empty() {
            Auth::TokenFile(
                self.resolve(&user.token_file),
                (!user.token.is_empty()).then(|| user.token.clone()),
            )
        } else if !user.token.is_empty() {
            Auth::Token(user.token.clone())
        } else if !user.username.is_empty() || !user.password.is_empty() {
            Auth::Basic {
                username: user.username.clone(),
                password: user.password.clone(),
            }
        } else {
            Auth::None
        };
        if let Some(exec) = &user.exec {
            problems.extend(exec.problems(name));
            if config.auth == Auth::None && !has_certificate {
                let mut exec = exec.clone();
                // Upstream: a name with a slash counts from the kubeconfig's folder, a bare one is looked up in PATH.
                if exec.command.contains('/') {
                    exec.command = self.resolve(&exec.command).to_string_lossy().into_owned();
                }
                if exec.provide_cluster_info {
                    let extension = cluster
                        .extensions
                        .iter()
                        .find(|extension| extension.name == "client.authentication.k8s.io/exec");
                    exec.cluster = Some(ExecCluster {
                        server: config.server.clone(),
                        tls_server_name: cluster.tls_server_name.clone(),
                        insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
                        certificate_authority: config.tls.ca.clone(),
                        disable_compression: cluster.disable_compression,
                        config: extension.map(|extension| extension.extension.clone()),
                    });
                }
                config.auth = Auth::Exec(Box::new(exec));
            }
        }
        if let Some(provider) = &user.auth_provider {
            problems.push(format!(
                "no Auth Provider found for name {:?}",
                provider.name
            ));
        }
        let impersonates =
            !user.as_uid.is_empty() || !user.as_groups.is_empty() || !user.as_user_extra.is_empty();
        if impersonates && user.impersonate.is_empty() {
            problems.push(
                "requesting uid, groups or user-extra for user without impersonating a user".into(),
            );
        }
        config.impersonation = Impersonation {
            user: user.impersonate.clone(),
            uid: user.as_uid.clone(),
            groups: user.as_groups.clone(),
            extra: user.as_user_extra.clone().into_iter().collect(),
        };
    }

    fn source(&self, file: &str, data: &Bytes64) -> Option<CertificateSource> {
        if !data.0.is_empty() {
            Some(CertificateSource::Data(data.0.clone()))
        } else if !file.is_empty() {
            Some(CertificateSource::File(self.resolve(file)))
        } else {
            None
        }
    }

    fn check_readable(
        &self,
        what: &str,
        source: &Option<CertificateSource>,
        name: &str,
        problems: &mut Vec<String>,
    ) {
        if let Some(CertificateSource::File(path)) = source
            && let Err(error) = std::fs::File::open(path)
        {
            problems.push(format!(
                "unable to read {what} {} for {name} due to {}",
                path.display(),
                os_error::on_path("open", path, &error)
            ));
        }
    }

    fn resolve(&self, file: &str) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(file),
            None => PathBuf::from(file),
        }
    }
}

#[cfg(test)]
mod tests;
