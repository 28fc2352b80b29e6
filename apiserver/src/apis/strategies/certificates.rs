//! Certificate signing requests and trust bundles. Upstream: pkg/registry/certificates.

use api_types::Time;
use api_types::certificates::v1::{
    CertificateSigningRequest as Request, CertificateSigningRequestCondition,
};
use api_types::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};

use super::{Kind, Row, Status, row};
use crate::apis::validation::certificates::{self, APPROVED, Allowed, DENIED};
use crate::apis::validation::pod_certificates;
use crate::registry::strategy::Context;

const CERTIFICATES: &str = "certificates.k8s.io";
const REQUEST: &str = "CertificateSigningRequest";
const POD_REQUEST: &str = "PodCertificateRequest";

pub(super) static ROWS: &[Row] = &[
    row(CERTIFICATES, REQUEST, "", &SIGNING_REQUEST),
    row(CERTIFICATES, REQUEST, "status", &SIGNING_REQUEST_STATUS),
    row(CERTIFICATES, REQUEST, "approval", &SIGNING_REQUEST_APPROVAL),
    row(CERTIFICATES, "ClusterTrustBundle", "", &TRUST_BUNDLE),
    row(CERTIFICATES, POD_REQUEST, "", &POD_CERTIFICATE_REQUEST),
    row(
        CERTIFICATES,
        POD_REQUEST,
        "status",
        &POD_CERTIFICATE_REQUEST_STATUS,
    ),
];

static SIGNING_REQUEST: Kind<Request> = Kind {
    prepare: requested_by_the_user,
    reset_fields: &["Spec", "Status"],
    ..Kind::new(
        |_, request| certificates::validate_signing_request(request),
        |_, request, old| {
            certificates::validate_signing_request_update(request, old, Allowed::default())
        },
    )
};

/// Who asks is what the signer decides by, so it is never taken from the body.
fn requested_by_the_user(context: &Context, request: &mut Request) {
    let user = &context.user;
    request.spec.username.clone_from(&user.name);
    request.spec.uid.clone_from(&user.uid);
    request.spec.groups.clone_from(&user.groups);
    request.spec.extra.clone_from(&user.extra);
}

static SIGNING_REQUEST_STATUS: Status<Request> = Status {
    prepare: |_, request, old| {
        for kind in [APPROVED, DENIED] {
            keep_conditions(request, old, kind);
        }
        stamp_conditions(request, old, Time::now());
    },
    ..Status::new(|_, request, old| {
        let allowed = Allowed {
            certificate: true,
            ..Allowed::default()
        };
        certificates::validate_signing_request_update(request, old, allowed)
    })
};

static SIGNING_REQUEST_APPROVAL: Status<Request> = Status {
    prepare: |_, request, old| {
        stamp_conditions(request, old, Time::now());
        request
            .status
            .certificate
            .clone_from(&old.status.certificate);
    },
    ..Status::new(|_, request, old| {
        let allowed = Allowed {
            approval: true,
            ..Allowed::default()
        };
        certificates::validate_signing_request_update(request, old, allowed)
    })
};

static TRUST_BUNDLE: Kind<ClusterTrustBundle> = Kind {
    unconditional_update: false,
    reset_fields: &[],
    ..Kind::new(
        |_, bundle| certificates::validate_cluster_trust_bundle(bundle),
        |_, bundle, old| certificates::validate_cluster_trust_bundle_update(bundle, old),
    )
};

static POD_CERTIFICATE_REQUEST: Kind<PodCertificateRequest> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, request| pod_certificates::validate_create(request),
        |_, request, old| pod_certificates::validate_update(request, old),
    )
};

/// Who may sign is looked at after this ([`crate::registry::signing_rights`]).
static POD_CERTIFICATE_REQUEST_STATUS: Status<PodCertificateRequest> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, request, old| {
        pod_certificates::validate_status_update(request, old, Time::now())
    })
};

/// Gives conditions of a type the values they had, unless some came or went; validation refuses that.
fn keep_conditions(request: &mut Request, old: &Request, kind: &str) {
    let of_kind = |condition: &&CertificateSigningRequestCondition| condition.type_ == kind;
    let before: Vec<_> = old.status.conditions.iter().filter(of_kind).collect();
    let conditions = request.status.conditions.iter_mut();
    let mut conditions: Vec<_> = conditions
        .filter(|condition| condition.type_ == kind)
        .collect();
    if conditions.len() == before.len() {
        for (condition, before) in conditions.iter_mut().zip(before) {
            condition.clone_from(before);
        }
    }
}

/// Fills in the times that the client left out.
fn stamp_conditions(request: &mut Request, old: &Request, now: Time) {
    for condition in &mut request.status.conditions {
        if condition.last_update_time.is_zero() {
            condition.last_update_time = now;
        }
        if condition.last_transition_time.is_zero() {
            let before = old.status.conditions.iter().find(|before| {
                before.type_ == condition.type_
                    && before.status == condition.status
                    && !before.last_transition_time.is_zero()
            });
            condition.last_transition_time = before.map_or(now, |it| it.last_transition_time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str) -> CertificateSigningRequestCondition {
        CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            ..CertificateSigningRequestCondition::default()
        }
    }

    #[test]
    fn a_request_is_its_users() {
        let mut context = Context::default();
        context.user.name = "jane".to_owned();
        context.user.groups = vec!["dev".to_owned()];
        context.user.extra = [("scopes".to_owned(), vec!["a".to_owned()])].into();
        let mut request = Request::default();
        request.spec.username = "system:admin".to_owned();
        request.spec.uid = "1".to_owned();
        requested_by_the_user(&context, &mut request);
        let spec = &request.spec;
        assert_eq!((spec.username.as_str(), spec.uid.as_str()), ("jane", ""));
        assert_eq!(spec.groups, ["dev"]);
        assert_eq!(spec.extra["scopes"], ["a"]);
    }

    #[test]
    fn conditions_get_times_and_keep_those_of_the_same_state() {
        let (then, now) = (Time::parse("2001-01-01T00:00:00Z").unwrap(), Time::now());
        let (mut request, mut old) = (Request::default(), Request::default());
        old.status.conditions = vec![CertificateSigningRequestCondition {
            last_transition_time: then,
            ..condition("A", "True")
        }];
        request.status.conditions = vec![condition("A", "True"), condition("B", "True")];
        stamp_conditions(&mut request, &old, now);
        let times = |index: usize| {
            let condition: &CertificateSigningRequestCondition = &request.status.conditions[index];
            (condition.last_update_time, condition.last_transition_time)
        };
        assert_eq!(times(0), (now, then));
        assert_eq!(times(1), (now, now));
    }

    #[test]
    fn approval_is_kept_by_other_writes() {
        let (mut request, mut old) = (Request::default(), Request::default());
        old.status.conditions = vec![CertificateSigningRequestCondition {
            reason: "Before".to_owned(),
            ..condition(APPROVED, "True")
        }];
        request.status.conditions = vec![condition("A", "True"), condition(APPROVED, "True")];
        keep_conditions(&mut request, &old, APPROVED);
        assert_eq!(request.status.conditions[1].reason, "Before");
        request.status.conditions = vec![condition("A", "True")];
        keep_conditions(&mut request, &old, APPROVED);
        assert_eq!(request.status.conditions.len(), 1);
    }
}
