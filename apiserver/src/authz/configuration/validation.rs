//! What an AuthorizationConfiguration may be. Upstream: ValidateAuthorizationConfiguration of
//! apiserver/pkg/apis/apiserver/validation.

use std::collections::BTreeSet;

use api_types::Duration;
use api_types::apiserver_config::v1::{
    AuthorizationConfiguration, AuthorizerConfiguration, WebhookConfiguration,
    WebhookConnectionInfo, WebhookMatchCondition,
};
use apimachinery::duration;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::validation::is_dns1123_subdomain;

use super::{TYPES, WEBHOOK, file_problem};
use crate::apis::validation::go_value::bad_value;
use crate::authz::webhook::conditions;

const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_CONDITIONS: usize = 64;

/// All that is wrong with a configuration whose defaults are set.
pub(super) fn validate(configuration: &AuthorizationConfiguration) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("authorizers");
    if configuration.authorizers.is_empty() {
        errors.push(field::required(
            &path,
            "at least one authorization mode must be defined",
        ));
    }
    let mut seen = Seen::default();
    for (i, authorizer) in configuration.authorizers.iter().enumerate() {
        validate_authorizer(authorizer, &path.index(i), &mut seen, &mut errors);
    }
    errors
}

#[derive(Default)]
struct Seen<'a> {
    types: BTreeSet<&'a str>,
    names: BTreeSet<&'a str>,
}

fn validate_authorizer<'a>(
    authorizer: &'a AuthorizerConfiguration,
    path: &Path,
    seen: &mut Seen<'a>,
    errors: &mut ErrorList,
) {
    let (kind, name) = (authorizer.type_.as_str(), authorizer.name.as_str());
    let type_path = path.child("type");
    if kind.is_empty() {
        return errors.push(field::required(&type_path, ""));
    }
    if !TYPES.contains(&kind) {
        return errors.push(field::not_supported(&type_path, kind, &TYPES));
    }
    if !seen.types.insert(kind) && kind != WEBHOOK {
        return errors.push(field::duplicate(&type_path, kind));
    }
    let name_path = path.child("name");
    if name.is_empty() {
        errors.push(field::required(&name_path, ""));
    } else if seen.names.contains(name) {
        errors.push(field::duplicate(&name_path, name));
    } else {
        let problems = is_dns1123_subdomain(name);
        if !problems.is_empty() {
            let detail = format!("authorizer name is invalid: {}", problems.join(", "));
            errors.push(field::invalid(&name_path, name, detail));
        }
    }
    seen.names.insert(name);
    let webhook_path = path.child("webhook");
    match (&authorizer.webhook, kind == WEBHOOK) {
        (None, true) => {
            errors.push(field::required(&webhook_path, "required when type=Webhook"));
        }
        // As upstream, the path is that of the authorizer.
        (Some(webhook), true) => validate_webhook(webhook, path, errors),
        (Some(_), false) => errors.push(field::invalid(
            &webhook_path,
            "non-null",
            "may only be specified when type=Webhook",
        )),
        (None, false) => {}
    }
}

fn validate_webhook(webhook: &WebhookConfiguration, path: &Path, errors: &mut ErrorList) {
    let mut time = |name: &'static str, value: Duration, most: Option<Duration>, wanted: &str| {
        let path = path.child(name);
        if value.0 == 0 {
            errors.push(field::required(&path, ""));
        } else if value.0 < 0 || most.is_some_and(|most| value.0 > most.0) {
            errors.push(field::invalid(&path, duration::format(value.0), wanted));
        }
    };
    time(
        "timeout",
        webhook.timeout,
        Some(LONGEST_TIMEOUT),
        "must be > 0s and <= 30s",
    );
    time(
        "authorizedTTL",
        webhook.authorized_ttl,
        None,
        "must be > 0s",
    );
    time(
        "unauthorizedTTL",
        webhook.unauthorized_ttl,
        None,
        "must be > 0s",
    );
    let mut one_of = |name: &'static str, value: &str, known: &[&str], missing: Option<&str>| {
        let path = path.child(name);
        match (value, missing) {
            ("", Some(detail)) => errors.push(field::required(&path, detail)),
            ("", None) => {}
            (value, _) if known.contains(&value) => {}
            (value, _) => errors.push(field::not_supported(&path, value, known)),
        }
    };
    one_of(
        "subjectAccessReviewVersion",
        &webhook.subject_access_review_version,
        &["v1", "v1beta1"],
        Some(""),
    );
    one_of(
        "matchConditionSubjectAccessReviewVersion",
        &webhook.match_condition_subject_access_review_version,
        &["v1"],
        (!webhook.match_conditions.is_empty())
            .then_some("required if match conditions are specified"),
    );
    one_of(
        "failurePolicy",
        &webhook.failure_policy,
        &["NoOpinion", "Deny"],
        Some(""),
    );
    let connection = path.child("connectionInfo");
    validate_connection(&webhook.connection_info, &connection, errors);
    let conditions = path.child("matchConditions");
    validate_conditions(&webhook.match_conditions, &conditions, errors);
}

fn validate_connection(info: &WebhookConnectionInfo, path: &Path, errors: &mut ErrorList) {
    let file = info.kube_config_file.as_deref();
    let (type_path, file_path) = (path.child("type"), path.child("kubeConfigFile"));
    match (info.type_.as_str(), file) {
        ("", _) => errors.push(field::required(&type_path, "")),
        ("InClusterConfig", None) => {}
        ("InClusterConfig", Some(file)) => errors.push(field::invalid(
            &file_path,
            file,
            "can only be set when type=KubeConfigFile",
        )),
        ("KubeConfigFile", None | Some("")) => errors.push(field::required(&file_path, "")),
        ("KubeConfigFile", Some(file)) if !file.starts_with('/') => {
            errors.push(field::invalid(&file_path, file, "must be an absolute path"));
        }
        ("KubeConfigFile", Some(file)) => {
            if let Some(problem) = file_problem(file) {
                errors.push(field::invalid(&file_path, file, problem));
            }
        }
        _ => errors.push(field::not_supported(
            &type_path,
            bad_value(info),
            &["InClusterConfig", "KubeConfigFile"],
        )),
    }
}

fn validate_conditions(conditions: &[WebhookMatchCondition], path: &Path, errors: &mut ErrorList) {
    if conditions.len() > MOST_CONDITIONS {
        return errors.push(field::too_many(
            path,
            Some(conditions.len()),
            MOST_CONDITIONS,
        ));
    }
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i).child("expression");
        let expression = condition.expression.as_str();
        if expression.trim().is_empty() {
            errors.push(field::required(&path, ""));
        } else if !seen.insert(expression) {
            errors.push(field::duplicate(&path, expression));
        } else if let Err(detail) = conditions::compile(expression) {
            errors.push(field::invalid(&path, expression, detail));
        }
    }
}
