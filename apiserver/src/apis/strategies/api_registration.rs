//! API services. Upstream: kube-aggregator/pkg/registry/apiservice.

use api_types::Time;
use api_types::apiregistration::v1::{APIService, APIServiceCondition};

use super::{Kind, Row, Status, row};
use crate::apis::validation::api_registration as checks;

const REGISTRATION: &str = "apiregistration.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(REGISTRATION, "APIService", "", &API_SERVICE),
    row(REGISTRATION, "APIService", "status", &API_SERVICE_STATUS),
];

static API_SERVICE: Kind<APIService> = Kind {
    prepare: |_, service| {
        // What this server answers itself is available from the start.
        if service.spec.service.is_none() {
            service.status.conditions.push(local_is_available());
        }
    },
    unconditional_update: false,
    ..Kind::new(
        |_, service| checks::validate_api_service(service),
        |_, service, old| checks::validate_api_service_update(service, old),
    )
};

static API_SERVICE_STATUS: Status<APIService> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, service, old| checks::validate_api_service_status_update(service, old))
};

/// The condition of a service that this server answers itself.
pub(crate) fn local_is_available() -> APIServiceCondition {
    APIServiceCondition {
        type_: "Available".to_owned(),
        status: "True".to_owned(),
        reason: "Local".to_owned(),
        message: "Local APIServices are always available".to_owned(),
        last_transition_time: Time::now(),
    }
}
