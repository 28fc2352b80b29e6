//! What an EncryptionConfiguration may say. Upstream: apis/apiserver/validation/validation_encryption.go.

use std::collections::HashSet;

use api_types::apiserver_config::v1::{
    AESConfiguration, EncryptionConfiguration, KMSConfiguration, Key, ProviderConfiguration,
    SecretboxConfiguration,
};
use apimachinery::field::{self, BadValue, ErrorList, Path};
use apimachinery::gvk::GroupResource;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const AES_KEYS: &[usize] = &[16, 24, 32];
const SECRETBOX_KEYS: &[usize] = &[32];

/// Checks a configuration after defaulting. `reload`: the file is followed.
pub(super) fn validate(config: &EncryptionConfiguration, reload: bool) -> ErrorList {
    let root = Path::new("resources");
    let mut errors = ErrorList::default();
    if config.resources.is_empty() {
        errors.0.push(field::required(&root, at_least_one(&root)));
        return errors;
    }
    let mut names: HashSet<&str> = HashSet::new();
    for (index, entry) in config.resources.iter().enumerate() {
        let resources = root.index(index).child("resources");
        let providers = root.index(index).child("providers");
        if entry.resources.is_empty() {
            errors
                .0
                .push(field::required(&resources, at_least_one(&resources)));
        }
        overlap(&entry.resources, &resources, &mut errors.0);
        for (index, name) in entry.resources.iter().enumerate() {
            if let Some(problem) = resource_name(name) {
                let path = resources.index(index);
                errors.0.push(field::invalid(&path, name, problem));
            }
        }
        if entry.providers.is_empty() {
            errors
                .0
                .push(field::required(&providers, at_least_one(&providers)));
        }
        for (index, provider) in entry.providers.iter().enumerate() {
            let path = providers.index(index);
            one_provider(provider, &path, &mut errors.0);
            if let Some(kms) = &provider.kms {
                kms_provider(kms, &path.child("kms"), &names, reload, &mut errors.0);
                names.insert(&kms.name);
            } else if let Some(aes) = &provider.aesgcm {
                let path = path.child("aesgcm").child("keys");
                keys(&aes.keys, &path, AES_KEYS, &mut errors.0);
            } else if let Some(aes) = &provider.aescbc {
                let path = path.child("aescbc").child("keys");
                keys(&aes.keys, &path, AES_KEYS, &mut errors.0);
            } else if let Some(secretbox) = &provider.secretbox {
                let path = path.child("secretbox").child("keys");
                keys(&secretbox.keys, &path, SECRETBOX_KEYS, &mut errors.0);
            }
        }
    }
    errors
}

fn at_least_one(what: &Path) -> String {
    format!("at least one {what} is required")
}

/// `resource.group`, as Go's ParseGroupResource reads it.
pub(super) fn parse_resource(text: &str) -> GroupResource {
    match text.split_once('.') {
        Some((resource, group)) => GroupResource::new(group, resource),
        None => GroupResource::new("", text),
    }
}

/// One list must not name a resource twice, nor hide one of its names behind another.
fn overlap(resources: &[String], path: &Path, errors: &mut Vec<field::Error>) {
    let parsed: Vec<_> = resources.iter().map(|name| parse_resource(name)).collect();
    let (mut overlaps, mut repeated) = (false, false);
    for (i, one) in parsed.iter().enumerate() {
        for other in parsed
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .map(|(_, other)| other)
        {
            if one == other && !repeated {
                repeated = true;
                continue;
            }
            let any = one.group == "*" && one.resource == "*";
            let wildcard = one.resource == "*" || other.resource == "*";
            overlaps |= any || (one.group == other.group && wildcard);
        }
    }
    if repeated {
        let detail = "the same resource cannot be specified multiple times";
        errors.push(field::invalid(path, resources, detail));
    }
    if overlaps {
        let detail = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        errors.push(field::invalid(path, resources, detail));
    }
}

fn resource_name(name: &str) -> Option<&'static str> {
    let parsed = parse_resource(name);
    if name.to_lowercase() != name {
        Some("resource name should not contain capital letters")
    } else if name == "*" {
        Some(
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        )
    } else if matches!(
        name,
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations"
    ) {
        Some("resources which do not have REST API/s cannot be encrypted")
    } else if parsed.group == "events.k8s.io" {
        Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        )
    } else if parsed.group == "extensions" {
        Some("'extensions' group has been removed and cannot be used for encryption")
    } else if parsed.group == "*" && parsed.resource != "*" {
        Some("encrypting the same resource across groups is not supported")
    } else {
        None
    }
}

fn one_provider(provider: &ProviderConfiguration, path: &Path, errors: &mut Vec<field::Error>) {
    let found = [
        provider.kms.is_some(),
        provider.aesgcm.is_some(),
        provider.aescbc.is_some(),
        provider.secretbox.is_some(),
        provider.identity.is_some(),
    ];
    let detail = match found.iter().filter(|there| **there).count() {
        0 => {
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        }
        1 => return,
        _ => {
            "more than one provider specified in a single element, should split into different list elements"
        }
    };
    errors.push(field::invalid(path, redacted(provider), detail));
}

/// A provider as upstream's internal type prints. Upstream shows the secrets too, which this does not.
fn redacted(provider: &ProviderConfiguration) -> BadValue {
    fn keys(keys: &[Key]) -> Value {
        let key = |key: &Key| format!(r#"{{"Name":{},"Secret":"REDACTED"}}"#, json!(key.name));
        json!(keys.iter().map(key).collect::<Vec<_>>().join(","))
    }
    let list = |list: &[Key]| {
        let keys = keys(list);
        format!(r#"{{"Keys":[{}]}}"#, keys.as_str().unwrap_or_default())
    };
    let aes = |aes: &Option<Box<AESConfiguration>>| {
        aes.as_ref()
            .map_or("null".to_owned(), |aes| list(&aes.keys))
    };
    let secretbox = |secretbox: &Option<Box<SecretboxConfiguration>>| {
        secretbox
            .as_ref()
            .map_or("null".to_owned(), |secretbox| list(&secretbox.keys))
    };
    let identity = if provider.identity.is_some() {
        "{}"
    } else {
        "null"
    };
    let kms = provider.kms.as_ref().map_or("null".to_owned(), |kms| {
        format!(
            r#"{{"APIVersion":{},"Name":{},"CacheSize":{},"Endpoint":{},"Timeout":{}}}"#,
            json!(kms.api_version),
            json!(kms.name),
            json!(kms.cachesize),
            json!(kms.endpoint),
            json!(kms.timeout.map(|timeout| timeout.to_string())),
        )
    });
    BadValue::Text(format!(
        r#"{{"AESGCM":{},"AESCBC":{},"Secretbox":{},"Identity":{identity},"KMS":{kms}}}"#,
        aes(&provider.aesgcm),
        aes(&provider.aescbc),
        secretbox(&provider.secretbox),
    ))
}

fn keys(keys: &[Key], path: &Path, lengths: &[usize], errors: &mut Vec<field::Error>) {
    if keys.is_empty() {
        errors.push(field::required(path, "at least one keys is required"));
    }
    for (index, key) in keys.iter().enumerate() {
        let path = path.index(index);
        if key.name.is_empty() {
            errors.push(field::required(
                &path.child("name"),
                "name is a mandatory field for a key",
            ));
        }
        let path = path.child("secret");
        if key.secret.is_empty() {
            errors.push(field::required(
                &path,
                "secret is a mandatory field for a key",
            ));
            continue;
        }
        let detail = match decode_secret(&key.secret) {
            None => "secrets must be base64 encoded".to_owned(),
            Some(secret) if lengths.contains(&secret.len()) => continue,
            Some(secret) => {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    secret.len(),
                    lengths.join(" ")
                )
            }
        };
        errors.push(field::invalid(&path, "REDACTED", detail));
    }
}

/// Base64 as Go reads it: line ends do not count.
pub(super) fn decode_secret(text: &str) -> Option<Vec<u8>> {
    if text.contains(['\r', '\n']) {
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        return STANDARD.decode(text).ok();
    }
    STANDARD.decode(text).ok()
}

fn kms_provider(
    kms: &KMSConfiguration,
    path: &Path,
    names: &HashSet<&str>,
    reload: bool,
    errors: &mut Vec<field::Error>,
) {
    let v1 = kms.api_version == "v1";
    let name = path.child("name");
    if kms.name.is_empty() {
        errors.push(field::required(
            &name,
            "name is a mandatory field for a provider",
        ));
    }
    if !v1 && kms.name.contains(':') {
        let detail = format!(
            "invalid KMS provider name {}, must not contain ':'",
            kms.name
        );
        errors.push(field::invalid(&name, &kms.name, detail));
    }
    if (reload || !v1) && names.contains(kms.name.as_str()) {
        let detail = format!(
            "duplicate KMS provider name {}, names must be unique",
            kms.name
        );
        errors.push(field::invalid(&name, &kms.name, detail));
    }
    if let Some(timeout) = kms.timeout.filter(|timeout| timeout.0 <= 0) {
        let detail = "timeout should be a positive value";
        errors.push(field::invalid(
            &path.child("timeout"),
            timeout.to_string(),
            detail,
        ));
    }
    if let Err((value, detail)) = endpoint(&kms.endpoint) {
        errors.push(field::invalid(&path.child("endpoint"), value, detail));
    }
    match kms.cachesize {
        Some(size) if !v1 => {
            errors.push(field::invalid(
                &path.child("cachesize"),
                size,
                "cachesize is not supported in v2",
            ));
        }
        Some(0) => errors.push(field::invalid(
            &path.child("cachesize"),
            0,
            "cachesize should be a positive value, or negative to disable",
        )),
        _ => {}
    }
    if !matches!(kms.api_version.as_str(), "v1" | "v2") {
        let detail =
            "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.push(field::invalid(
            &path.child("apiVersion"),
            &kms.api_version,
            detail,
        ));
    }
}

fn endpoint(endpoint: &str) -> Result<(), (&str, String)> {
    if endpoint.is_empty() {
        return Err(("", "endpoint is a mandatory field for a kms".to_owned()));
    }
    let scheme = endpoint.split_once(':').map(|(scheme, _)| scheme);
    match scheme.filter(|scheme| !scheme.contains('/')) {
        Some("") => Err((
            endpoint,
            format!(
                "invalid endpoint for kms provider, error: parse {}: missing protocol scheme",
                apimachinery::quote::quote(endpoint)
            ),
        )),
        Some(scheme) if scheme.eq_ignore_ascii_case("unix") => Ok(()),
        scheme => Err((
            endpoint,
            format!(
                "unsupported scheme {} for KMS provider, only unix is supported",
                apimachinery::quote::quote(&scheme.unwrap_or_default().to_ascii_lowercase())
            ),
        )),
    }
}
