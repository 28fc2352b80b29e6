//! Flow schemas and priority levels. Upstream: pkg/registry/flowcontrol.

use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};

use super::{Generation, Kind, Row, Status, row};
use crate::apis::validation::flowcontrol as checks;

const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const LEVEL: &str = "PriorityLevelConfiguration";

pub(super) static ROWS: &[Row] = &[
    row(FLOW_CONTROL, "FlowSchema", "", &FLOW_SCHEMA),
    row(FLOW_CONTROL, "FlowSchema", "status", &FLOW_SCHEMA_STATUS),
    row(FLOW_CONTROL, LEVEL, "", &PRIORITY_LEVEL),
    row(FLOW_CONTROL, LEVEL, "status", &PRIORITY_LEVEL_STATUS),
];

static FLOW_SCHEMA: Kind<FlowSchema> = Kind {
    generation: Generation::Spec,
    ..Kind::new(
        |_, schema| checks::validate_flow_schema(schema),
        |_, schema, _| checks::validate_flow_schema(schema),
    )
};

static FLOW_SCHEMA_STATUS: Status<FlowSchema> = Status {
    keeps_metadata: true,
    ..Status::new(|_, schema, _| checks::validate_flow_schema_status(schema))
};

static PRIORITY_LEVEL: Kind<PriorityLevelConfiguration> = Kind {
    generation: Generation::Spec,
    ..Kind::new(
        |_, level| checks::validate_priority_level(level),
        |_, level, _| checks::validate_priority_level(level),
    )
};

static PRIORITY_LEVEL_STATUS: Status<PriorityLevelConfiguration> = Status {
    keeps_metadata: true,
    ..Status::new(|_, level, _| checks::validate_priority_level_status(level))
};
