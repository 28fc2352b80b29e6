//! Kinds of resource.k8s.io and others whose `/status` leaves metadata alone. Upstream: pkg/registry/resource, scheduling,
//! apiserverinternal and storagemigration.

use api_types::internal_apiserver::v1alpha1::StorageVersion;
use api_types::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use api_types::resource::v1alpha3::ResourcePoolStatusRequest;
use api_types::resource::v1beta2::DeviceTaintRule;
use api_types::scheduling::v1alpha2::PodGroup;
use api_types::storagemigration::v1beta1::StorageVersionMigration;

use super::{Generation, Kind, Row, Status, row};
use crate::apis::validation::{dra, object_meta_update};

const RESOURCE: &str = "resource.k8s.io";
const STORAGE_VERSION: &str = "StorageVersion";
const MIGRATION: &str = "StorageVersionMigration";

pub(super) static ROWS: &[Row] = &[
    row(RESOURCE, "DeviceClass", "", &DEVICE_CLASS),
    row(RESOURCE, "ResourceClaim", "", &CLAIM),
    row(RESOURCE, "ResourceClaim", "status", &CLAIM_STATUS),
    row(RESOURCE, "ResourceClaimTemplate", "", &CLAIM_TEMPLATE),
    row(RESOURCE, "ResourceSlice", "", &SLICE),
    row(RESOURCE, "DeviceTaintRule", "status", &TAINT_RULE_STATUS),
    row(
        RESOURCE,
        "ResourcePoolStatusRequest",
        "status",
        &POOL_STATUS,
    ),
    row("scheduling.k8s.io", "PodGroup", "status", &POD_GROUP_STATUS),
    row(
        "internal.apiserver.k8s.io",
        STORAGE_VERSION,
        "status",
        &STORAGE_VERSION_STATUS,
    ),
    row(
        "storagemigration.k8s.io",
        MIGRATION,
        "status",
        &MIGRATION_STATUS,
    ),
];

static DEVICE_CLASS: Kind<DeviceClass> = Kind {
    generation: Generation::Spec,
    ..Kind::new(
        |_, class| dra::validate_device_class(class),
        |_, class, old| dra::validate_device_class_update(class, old),
    )
};

static CLAIM: Kind<ResourceClaim> = Kind::new(
    |_, claim| dra::validate_resource_claim(claim),
    |_, claim, old| dra::validate_resource_claim_update(claim, old),
);

static CLAIM_STATUS: Status<ResourceClaim> = Status {
    keeps_metadata: true,
    ..Status::new(|_, claim, old| dra::validate_resource_claim_status_update(claim, old))
};

static CLAIM_TEMPLATE: Kind<ResourceClaimTemplate> = Kind::new(
    |_, template| dra::validate_claim_template(template),
    |_, template, old| dra::validate_claim_template_update(template, old),
);

static SLICE: Kind<ResourceSlice> = Kind {
    generation: Generation::Spec,
    ..Kind::new(
        |_, slice| dra::validate_resource_slice(slice),
        |_, slice, old| dra::validate_resource_slice_update(slice, old),
    )
};

static TAINT_RULE_STATUS: Status<DeviceTaintRule> = Status {
    keeps_metadata: true,
    ..Status::new(|_, rule, old| object_meta_update(&rule.metadata, &old.metadata))
};

static POOL_STATUS: Status<ResourcePoolStatusRequest> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, request, old| object_meta_update(&request.metadata, &old.metadata))
};

static POD_GROUP_STATUS: Status<PodGroup> = Status {
    keeps_metadata: true,
    ..Status::new(|_, group, old| object_meta_update(&group.metadata, &old.metadata))
};

static STORAGE_VERSION_STATUS: Status<StorageVersion> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, version, old| object_meta_update(&version.metadata, &old.metadata))
};

static MIGRATION_STATUS: Status<StorageVersionMigration> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, migration, old| object_meta_update(&migration.metadata, &old.metadata))
};
