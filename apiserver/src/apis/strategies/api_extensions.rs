//! CustomResourceDefinitions. Upstream: apiextensions-apiserver/pkg/registry/customresourcedefinition.
//!
//! DELETE is in `custom_resources::deletion`.

use api_types::apiextensions::v1::CustomResourceDefinition;
use apimachinery::quote::quote;
use structural_schema::unrecognized_formats;

use super::{Generation, Kind, Row, Status, row};
use crate::apis::gates;
use crate::apis::validation::api_extensions as checks;

const EXTENSIONS: &str = "apiextensions.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(EXTENSIONS, "CustomResourceDefinition", "", &CRD),
    row(
        EXTENSIONS,
        "CustomResourceDefinition",
        "status",
        &CRD_STATUS,
    ),
];

static CRD: Kind<CustomResourceDefinition> = Kind {
    prepare: |_, crd| {
        add_stored_version(crd);
        drop_disabled_fields(crd, None);
    },
    prepare_update: |_, crd, old| {
        add_stored_version(crd);
        drop_disabled_fields(crd, Some(old));
    },
    warn: |_, crd| warnings(&formats(crd), &[]),
    warn_update: |_, crd, old| warnings(&formats(crd), &formats(old)),
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, crd| checks::validate_crd(crd),
        |_, crd, old| checks::validate_crd_update(crd, old),
    )
};

static CRD_STATUS: Status<CustomResourceDefinition> = Status {
    unconditional_update: false,
    ..Status::new(|_, crd, old| checks::validate_crd_status_update(crd, old))
};

/// Objects may be stored in the storage version from now on.
fn add_stored_version(crd: &mut CustomResourceDefinition) {
    let storage = crd.spec.versions.iter().find(|version| version.storage);
    if let Some(version) = storage
        && !crd.status.stored_versions.contains(&version.name)
    {
        crd.status.stored_versions.push(version.name.clone());
    }
}

fn drop_disabled_fields(
    crd: &mut CustomResourceDefinition,
    old: Option<&CustomResourceDefinition>,
) {
    let status = &mut crd.status;
    let in_use = old.is_some_and(|old| {
        let mut conditions = old.status.conditions.iter();
        old.status.observed_generation != 0 || conditions.any(|it| it.observed_generation != 0)
    });
    if !gates::enabled("CRDObservedGenerationTracking") && !in_use {
        status.observed_generation = 0;
        for condition in &mut status.conditions {
            condition.observed_generation = 0;
        }
    }
}

/// Formats that mean nothing: what all versions share counts once, as in the internal type.
fn formats(crd: &CustomResourceDefinition) -> Vec<String> {
    let versions = &crd.spec.versions;
    let schemas = versions.iter().map(|version| {
        let schema = version.schema.as_ref();
        schema.and_then(|schema| schema.open_api_v3_schema.as_deref())
    });
    let shared = versions
        .windows(2)
        .all(|two| two[0].schema == two[1].schema);
    let schemas = schemas.take(if shared { 1 } else { usize::MAX });
    schemas.flatten().flat_map(unrecognized_formats).collect()
}

fn warnings(new: &[String], old: &[String]) -> Vec<String> {
    let introduced = new.iter().filter(|format| !old.contains(format));
    introduced
        .map(|format| format!("unrecognized format {}", quote(format)))
        .collect()
}
