//! Which authorizers there are: `--authorization-config`, or the other `--authorization-*` flags, which are turned into the
//! configuration that says the same. Upstream: pkg/kubeapiserver/options/authorization.go, pkg/kubeapiserver/authorizer/config.go
//! and apiserver/pkg/apis/apiserver.

mod validation;

use std::path::{Path, PathBuf};

use api_types::Duration;
use api_types::apiserver_config::v1::{
    AuthorizationConfiguration, AuthorizerConfiguration, WebhookConfiguration,
    WebhookConnectionInfo,
};
use apimachinery::os_error;
use apimachinery::quote::{quote, quote_list};
use component_base::config::Document;
use component_base::flags::{Flags, rows};

use crate::config::flags::FLAGS;
use crate::webhook::review;

const WEBHOOK: &str = "Webhook";
/// All types of authorizers, in alphabetical order.
const TYPES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", WEBHOOK];
/// What the webhook of the flags is called.
const DEFAULT_WEBHOOK: &str = "default";

/// What flags and file say.
#[derive(Clone, Debug)]
pub struct AuthorizationSettings {
    pub configuration: AuthorizationConfiguration,
    /// The file and what was in it, when there is one.
    pub file: Option<(PathBuf, Vec<u8>)>,
    /// Policies of ABAC.
    pub policy_file: Option<PathBuf>,
}

impl AuthorizationSettings {
    /// Reads the flags and the file they name. All problems with the flags are told.
    pub fn from_flags(flags: &Flags) -> Result<Self, Vec<String>> {
        let policy_file = flags
            .non_empty("authorization-policy-file")
            .map(PathBuf::from);
        let Some(path) = flags.non_empty("authorization-config").map(PathBuf::from) else {
            return Ok(Self {
                configuration: of_flags(flags)?,
                file: None,
                policy_file,
            });
        };
        let instead =
            |name: &str| name == "authorization-mode" || name.starts_with("authorization-webhook-");
        if rows(FLAGS).any(|row| instead(row.name) && flags.changed(row.name)) {
            return Err(vec!["--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined".to_owned()]);
        }
        let text =
            std::fs::read(&path).map_err(|error| vec![os_error::on_reading(&path, &error)])?;
        let configuration = load(&text, &[]).map_err(|error| vec![error])?;
        Ok(Self {
            configuration,
            file: Some((path, text)),
            policy_file,
        })
    }

    pub fn has(&self, kind: &str) -> bool {
        has(&self.configuration, kind)
    }
}

fn has(configuration: &AuthorizationConfiguration, kind: &str) -> bool {
    let mut authorizers = configuration.authorizers.iter();
    authorizers.any(|authorizer| authorizer.type_ == kind)
}

/// The types that must stay in the file while the server runs: all but webhooks.
pub fn required_types(configuration: &AuthorizationConfiguration) -> Vec<String> {
    let types = TYPES.iter().filter(|kind| **kind != WEBHOOK);
    let present = types.filter(|kind| has(configuration, kind));
    present.map(|kind| (*kind).to_owned()).collect()
}

/// Reads and validates a file's text, in any of its versions, which have the same fields.
pub fn load(text: &[u8], required: &[String]) -> Result<AuthorizationConfiguration, String> {
    let mut configuration = parse(text)
        .map_err(|why| format!("failed to load AuthorizationConfiguration from file: {why}"))?;
    for authorizer in &mut configuration.authorizers {
        if let Some(webhook) = &mut authorizer.webhook {
            set_defaults(webhook);
        }
    }
    if let Some(problems) = validation::validate(&configuration).aggregate() {
        return Err(problems);
    }
    let mut problems = Vec::new();
    for authorizer in &configuration.authorizers {
        let name = authorizer.type_.to_lowercase();
        if authorizer.type_ != WEBHOOK && authorizer.name != name {
            problems.push(format!(
                "expected name {name} for authorizer {} instead of {}",
                authorizer.type_, authorizer.name
            ));
        }
    }
    let missing: Vec<&str> = required
        .iter()
        .map(String::as_str)
        .filter(|kind| !has(&configuration, kind))
        .collect();
    if !missing.is_empty() {
        problems.push(format!("missing required types: [{}]", missing.join(" ")));
    }
    if problems.is_empty() {
        Ok(configuration)
    } else {
        Err(component_base::aggregate(&problems))
    }
}

fn parse(text: &[u8]) -> Result<AuthorizationConfiguration, String> {
    // Others that a file could be of.
    const OTHERS: [&str; 5] = [
        "AdmissionConfiguration",
        "AuthenticationConfiguration",
        "EgressSelectorConfiguration",
        "EncryptionConfiguration",
        "TracingConfiguration",
    ];
    if text.is_empty() {
        return Ok(AuthorizationConfiguration::default());
    }
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let version = document
        .api_version
        .strip_prefix("apiserver.config.k8s.io/");
    match (version, document.kind.as_str()) {
        (Some("v1" | "v1beta1" | "v1alpha1"), "AuthorizationConfiguration") => {
            document.decode_fields().map_err(|error| error.to_string())
        }
        (Some("v1"), other) if OTHERS.contains(&other) => Err(format!(
            "expected AuthorizationConfiguration, got *apiserver.{other}"
        )),
        _ => Err(format!(
            "{} in scheme \"k8s.io/apiserver/pkg/apis/apiserver/load/load.go:32\"",
            document.unknown()
        )),
    }
}

fn set_defaults(webhook: &mut WebhookConfiguration) {
    for (ttl, default) in [
        (&mut webhook.authorized_ttl, 300),
        (&mut webhook.unauthorized_ttl, 30),
    ] {
        if ttl.0 == 0 {
            *ttl = Duration::from_secs(default);
        }
    }
    webhook.cache_authorized_requests.get_or_insert(true);
    webhook.cache_unauthorized_requests.get_or_insert(true);
}

/// The configuration that the flags stand for.
fn of_flags(flags: &Flags) -> Result<AuthorizationConfiguration, Vec<String>> {
    let mut modes = flags.strings("authorization-mode").to_vec();
    if modes.is_empty() {
        modes.push("AlwaysAllow".to_owned());
    }
    let problems = flag_problems(flags, &modes);
    if !problems.is_empty() {
        return Err(problems);
    }
    let authorizers = modes.iter().map(|mode| AuthorizerConfiguration {
        type_: mode.clone(),
        name: if mode == WEBHOOK {
            DEFAULT_WEBHOOK.to_owned()
        } else {
            mode.to_lowercase()
        },
        webhook: (mode == WEBHOOK).then(|| Box::new(webhook_of_flags(flags))),
    });
    Ok(AuthorizationConfiguration {
        authorizers: authorizers.collect(),
        ..AuthorizationConfiguration::default()
    })
}

fn webhook_of_flags(flags: &Flags) -> WebhookConfiguration {
    let ttl = |name: &str| Duration(flags.duration_nanos(name));
    let authorized_ttl = ttl("authorization-webhook-cache-authorized-ttl");
    let unauthorized_ttl = ttl("authorization-webhook-cache-unauthorized-ttl");
    let timeout = i64::try_from(review::TIMEOUT.as_secs()).unwrap_or(i64::MAX);
    WebhookConfiguration {
        cache_authorized_requests: Some(authorized_ttl.0 != 0),
        authorized_ttl,
        cache_unauthorized_requests: Some(unauthorized_ttl.0 != 0),
        unauthorized_ttl,
        timeout: Duration::from_secs(timeout),
        failure_policy: "NoOpinion".to_owned(),
        subject_access_review_version: flags.string("authorization-webhook-version").to_owned(),
        connection_info: WebhookConnectionInfo {
            type_: "KubeConfigFile".to_owned(),
            kube_config_file: Some(flags.string("authorization-webhook-config-file").to_owned()),
        },
        ..WebhookConfiguration::default()
    }
}

/// What is wrong with the flags, in upstream's order.
fn flag_problems(flags: &Flags, modes: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut problem = |text: &str| problems.push(text.to_owned());
    let policy = flags.non_empty("authorization-policy-file").is_some();
    let webhook = flags
        .non_empty("authorization-webhook-config-file")
        .is_some();
    for mode in modes {
        if !TYPES.contains(&mode.as_str()) {
            problem(&format!(
                "authorization-mode {} is not a valid mode",
                quote(mode)
            ));
        }
        if mode == "ABAC" && !policy {
            problem("authorization-mode ABAC's authorization policy file not passed");
        }
        if mode == WEBHOOK && !webhook {
            problem("authorization-mode Webhook's authorization config file not passed");
        }
    }
    let has = |wanted: &str| modes.iter().any(|mode| mode == wanted);
    if policy && !has("ABAC") {
        problem("cannot specify --authorization-policy-file without mode ABAC");
    }
    if webhook && !has(WEBHOOK) {
        problem("cannot specify --authorization-webhook-config-file without mode Webhook");
    }
    if (1..modes.len()).any(|i| modes[..i].contains(&modes[i])) {
        problem(&format!(
            "authorization-mode {} has mode specified more than once",
            quote_list(modes)
        ));
    }
    problems
}

/// Whether a file can be read as Go's Stat sees it.
fn file_problem(path: &str) -> Option<String> {
    match std::fs::metadata(path) {
        Err(error) => Some(format!(
            "error loading file: {}",
            os_error::on_path("stat", Path::new(path), &error)
        )),
        Ok(found) if !found.is_file() => Some("must be a regular file".to_owned()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests;
