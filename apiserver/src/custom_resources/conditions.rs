//! Conditions of CustomResourceDefinitions and what else about them several parts ask. Upstream: pkg/apihelpers.

use api_types::Time;
use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionCondition};
use api_types::meta::v1::ObjectMeta;
use apimachinery::quote::quote;

pub(crate) const NAMES_ACCEPTED: &str = "NamesAccepted";
pub(crate) const ESTABLISHED: &str = "Established";
pub(crate) const TERMINATING: &str = "Terminating";
pub(crate) const NON_STRUCTURAL_SCHEMA: &str = "NonStructuralSchema";
pub(crate) const API_APPROVAL: &str = "KubernetesAPIApprovalPolicyConformant";

/// The annotation that says who approved an API in one of Kubernetes' own groups.
pub(crate) const API_APPROVED: &str = "api-approved.kubernetes.io";

/// The finalizer that keeps a CRD until its objects are gone.
pub(crate) const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A condition of the given type.
pub(crate) fn find<'a>(
    crd: &'a CustomResourceDefinition,
    kind: &str,
) -> Option<&'a CustomResourceDefinitionCondition> {
    crd.status.conditions.iter().find(|it| it.type_ == kind)
}

/// Whether the condition is there and True.
pub(crate) fn is_true(crd: &CustomResourceDefinition, kind: &str) -> bool {
    find(crd, kind).is_some_and(|it| it.status == "True")
}

/// A condition that has just come true, or not.
pub(crate) fn condition(
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
) -> CustomResourceDefinitionCondition {
    CustomResourceDefinitionCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        ..CustomResourceDefinitionCondition::default()
    }
}

/// Whether two conditions say the same, whenever that was.
pub(crate) fn equivalent(
    left: Option<&CustomResourceDefinitionCondition>,
    right: Option<&CustomResourceDefinitionCondition>,
) -> bool {
    let says = |it: &CustomResourceDefinitionCondition| {
        let texts = [&it.type_, &it.status, &it.reason, &it.message];
        texts.map(String::clone)
    };
    left.map(says) == right.map(says)
}

/// Sets a condition, in place of one of its type. The time changes with the status.
pub(crate) fn set(crd: &mut CustomResourceDefinition, new: CustomResourceDefinitionCondition) {
    let now = Time::now();
    let conditions = &mut crd.status.conditions;
    let Some(existing) = conditions.iter_mut().find(|it| it.type_ == new.type_) else {
        conditions.push(CustomResourceDefinitionCondition {
            last_transition_time: now,
            ..new
        });
        return;
    };
    if existing.status != new.status || existing.last_transition_time == Time::default() {
        existing.last_transition_time = now;
    }
    existing.status = new.status;
    existing.reason = new.reason;
    existing.message = new.message;
}

/// Takes a condition away.
pub(crate) fn remove(crd: &mut CustomResourceDefinition, kind: &str) {
    crd.status.conditions.retain(|it| it.type_ != kind);
}

/// Whether a group is Kubernetes' own, in which an API needs approval.
pub(crate) fn is_protected_group(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        let before = group.strip_suffix(domain);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// What the annotation about approval says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Approval {
    /// Neither an address nor "unapproved".
    Invalid,
    /// The address of an approval.
    Approved,
    /// "unapproved", and perhaps why.
    Bypassed,
    Missing,
}

/// The state of approval, and why it is that.
pub(crate) fn approval(metadata: &ObjectMeta) -> (Approval, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let needed = format!(
        "protected groups must have approval annotation {}",
        quote(API_APPROVED)
    );
    let annotation = metadata.annotations.get(API_APPROVED);
    let annotation = annotation.map_or("", String::as_str);
    if annotation.is_empty() {
        (Approval::Missing, format!("{needed}, {SEE}"))
    } else if annotation.starts_with("unapproved") {
        (
            Approval::Bypassed,
            format!("not approved: {}", quote(annotation)),
        )
    } else if is_absolute_url(annotation) {
        (Approval::Approved, format!("approved in {annotation}"))
    } else {
        let either = "with either a URL or a reason starting with \"unapproved\"";
        (Approval::Invalid, format!("{needed} {either}, {SEE}"))
    }
}

/// Whether a text is an address with scheme and host. Upstream: url.ParseRequestURI.
fn is_absolute_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let mut letters = scheme.chars();
    let scheme_is_fine = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let port_is_fine = host.ends_with(']')
        || port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let not_in_hosts = |c: char| " \"<>\\^`{}|".contains(c);
    scheme_is_fine
        && !host.is_empty()
        && port_is_fine
        && !host.contains(not_in_hosts)
        && are_escapes(host)
        && are_escapes(path)
        && !text.contains(|c: char| c.is_ascii_control())
}

/// Whether each percent sign is followed by a byte in hexadecimal.
fn are_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let mut after = after.bytes();
        let mut digit = || after.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_is_an_address_or_refused() {
        let check = |text: &str, want: Approval| {
            let mut metadata = ObjectMeta::default();
            metadata
                .annotations
                .insert(API_APPROVED.to_owned(), text.to_owned());
            assert_eq!(approval(&metadata).0, want, "{text}");
        };
        check("", Approval::Missing);
        check("unapproved, testing-only", Approval::Bypassed);
        check(
            "https://github.com/kubernetes/kubernetes/pull/1",
            Approval::Approved,
        );
        check("http://host:80", Approval::Approved);
        check("https:///path", Approval::Invalid);
        check("https://host:port/", Approval::Invalid);
        check("https://host/%2f?%zz", Approval::Approved);
        check("https://host/%2z", Approval::Invalid);
        check("/path", Approval::Invalid);
        check("nonsense", Approval::Invalid);
    }

    #[test]
    fn protected_groups_are_kubernetes_own() {
        for (group, protected) in [
            ("k8s.io", true),
            ("a.k8s.io", true),
            ("sigs.kubernetes.io", true),
            ("ak8s.io", false),
            ("example.com", false),
        ] {
            assert_eq!(is_protected_group(group), protected, "{group}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_is_the_same() {
        let mut crd = CustomResourceDefinition::default();
        set(&mut crd, condition(ESTABLISHED, false, "Installing", "m"));
        let old =
            Time::from_timestamp(jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(5));
        crd.status.conditions[0].last_transition_time = old;
        set(&mut crd, condition(ESTABLISHED, false, "Other", "m"));
        assert_eq!(crd.status.conditions[0].last_transition_time, old);
        set(&mut crd, condition(ESTABLISHED, true, "Other", "m"));
        assert_ne!(crd.status.conditions[0].last_transition_time, old);
        assert!(is_true(&crd, ESTABLISHED));
        remove(&mut crd, ESTABLISHED);
        assert!(find(&crd, ESTABLISHED).is_none());
    }
}
