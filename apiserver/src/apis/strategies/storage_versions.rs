//! Versions that resources are stored in. Upstream: pkg/registry/apiserverinternal and storagemigration.

use api_types::internal_apiserver::v1alpha1::StorageVersion;
use api_types::storagemigration::v1beta1::StorageVersionMigration;
use apimachinery::field::ErrorList;

use super::{Kind, Row, Status, row};
use crate::apis::validation::storage_versions as rules;

const INTERNAL: &str = "internal.apiserver.k8s.io";
const STORAGE_VERSION: &str = "StorageVersion";
const GROUP: &str = "storagemigration.k8s.io";
const MIGRATION: &str = "StorageVersionMigration";

pub(super) static ROWS: &[Row] = &[
    row(INTERNAL, STORAGE_VERSION, "", &VERSION),
    row(INTERNAL, STORAGE_VERSION, "status", &VERSION_STATUS),
    row(GROUP, MIGRATION, "", &STORAGE_MIGRATION),
    row(GROUP, MIGRATION, "status", &MIGRATION_STATUS),
];

static VERSION: Kind<StorageVersion> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, version| rules::validate_storage_version(version),
        |_, _, _| ErrorList::new(),
    )
};

static VERSION_STATUS: Status<StorageVersion> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, version, _| rules::storage_version_status(&version.status))
};

static STORAGE_MIGRATION: Kind<StorageVersionMigration> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, migration| rules::validate_migration(migration),
        |_, migration, old| rules::validate_migration_update(migration, old),
    )
};

static MIGRATION_STATUS: Status<StorageVersionMigration> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, migration, old| rules::validate_migration_status_update(migration, old))
};
