//! CustomResourceDefinitions. Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation and pkg/apihelpers.
//!
//! Upstream validates its internal type, where what all versions have in common is in the spec: a CRD with one version has
//! its schema at `spec.validation`. [`Shared`] is that view of an object in v1. What the schemas themselves may be is
//! `structural_schema`'s.

use std::collections::{HashMap, HashSet};

use api_types::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceValidation,
    JSONSchemaProps, ServiceReference,
};
use api_types::meta::v1::ObjectMeta;
use apimachinery::quote::{is_print, quote};
use client::config::root_certificates;
use structural_schema::{Options as SchemaOptions, Structural};

use super::admission_registration::{WebhookService, webhook_service, webhook_url};
use super::*;
use crate::custom_resources::conditions::{self, Approval};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const MAX_SELECTABLE_FIELDS: usize = 8;

/// What an update does not complain about since the object had it before.
struct Options {
    schema: SchemaOptions,
    known_review_version: bool,
    immutable_names: bool,
    all_versions_have_schemas: bool,
    invalid_ca_bundle: bool,
    /// Whose schema did not change; its rules may cost what they cost before.
    unchanged_schemas: HashSet<String>,
    /// Which versions may keep too many selectable fields; empty for all versions at once.
    too_many_selectable_fields: HashSet<String>,
}

impl Options {
    fn for_create() -> Options {
        Options {
            schema: SchemaOptions::default(),
            known_review_version: true,
            immutable_names: false,
            all_versions_have_schemas: true,
            // It is checked once the CRD is established.
            invalid_ca_bundle: true,
            unchanged_schemas: HashSet::new(),
            too_many_selectable_fields: HashSet::new(),
        }
    }

    fn for_update(new: &CustomResourceDefinition, old: &CustomResourceDefinition) -> Options {
        let established = conditions::is_true(old, conditions::ESTABLISHED);
        let review_versions = review_versions(old.spec.conversion.as_deref());
        let preserve = new.spec.preserve_unknown_fields;
        Options {
            schema: SchemaOptions::for_update(schemas(&old.spec), schemas(&new.spec), preserve),
            known_review_version: review_versions.is_empty()
                || review_versions.iter().any(|version| is_known(version)),
            immutable_names: established,
            all_versions_have_schemas: old.spec.versions.iter().all(|it| schema(it).is_some()),
            invalid_ca_bundle: !established || has_invalid_ca_bundle(&old.spec),
            unchanged_schemas: unchanged_schemas(&new.spec, &old.spec),
            too_many_selectable_fields: too_many_selectable_fields(&new.spec, &old.spec),
        }
    }
}

fn schema(version: &CustomResourceDefinitionVersion) -> Option<&JSONSchemaProps> {
    version.schema.as_ref()?.open_api_v3_schema.as_deref()
}

/// The schemas of all versions.
fn schemas(
    spec: &CustomResourceDefinitionSpec,
) -> impl Iterator<Item = &JSONSchemaProps> + Clone + '_ {
    spec.versions.iter().filter_map(schema)
}

fn review_versions(conversion: Option<&CustomResourceConversion>) -> &[String] {
    conversion
        .and_then(|conversion| conversion.webhook.as_deref())
        .map_or(&[], |webhook| &webhook.conversion_review_versions)
}

fn is_known(review_version: &str) -> bool {
    REVIEW_VERSIONS.contains(&review_version)
}

/// Whether the CRD has a bundle for its conversion webhook that cannot be used.
pub(crate) fn has_invalid_ca_bundle(spec: &CustomResourceDefinitionSpec) -> bool {
    let conversion = spec.conversion.as_ref();
    let webhook = conversion.and_then(|conversion| conversion.webhook.as_ref());
    let config = webhook.and_then(|webhook| webhook.client_config.as_ref());
    config.is_some_and(|config| {
        let bundle = &config.ca_bundle.0;
        !bundle.is_empty() && root_certificates(bundle).is_err()
    })
}

/// The schemas of the versions. The first one counts where a name is there twice.
fn schemas_by_name(
    spec: &CustomResourceDefinitionSpec,
) -> HashMap<&String, Option<&CustomResourceValidation>> {
    let versions = spec.versions.iter().rev();
    versions
        .map(|version| (&version.name, version.schema.as_deref()))
        .collect()
}

fn unchanged_schemas(
    new: &CustomResourceDefinitionSpec,
    old: &CustomResourceDefinitionSpec,
) -> HashSet<String> {
    let shared = Shared::new(old);
    let (before, after) = (schemas_by_name(old), schemas_by_name(new));
    let mut unchanged = HashSet::new();
    for (name, schema) in after {
        // A schema that all versions have is also that of a version which was not there.
        let before = if shared.has_shared_schema {
            Some(shared.schema)
        } else {
            before.get(name).copied()
        };
        if before == Some(schema) {
            unchanged.insert(name.clone());
        }
    }
    unchanged
}

fn too_many_selectable_fields(
    new: &CustomResourceDefinitionSpec,
    old: &CustomResourceDefinitionSpec,
) -> HashSet<String> {
    let mut allowed = HashSet::new();
    let too_many = |version: &CustomResourceDefinitionVersion| {
        version.selectable_fields.len() > MAX_SELECTABLE_FIELDS
    };
    let (new_shared, old_shared) = (Shared::new(new), Shared::new(old));
    if new_shared.has_shared_fields && old_shared.has_shared_fields {
        let first = (new.versions.first(), old.versions.first());
        if let (Some(new), Some(old)) = first
            && too_many(old)
            && new.selectable_fields == old.selectable_fields
        {
            allowed.insert(String::new());
        }
        return allowed;
    }
    if new_shared.has_shared_fields || old_shared.has_shared_fields {
        return allowed;
    }
    let before: HashMap<&String, &CustomResourceDefinitionVersion> =
        old.versions.iter().map(|old| (&old.name, old)).collect();
    for version in &new.versions {
        let before = before.get(&version.name).copied();
        if before.is_some_and(|before| {
            too_many(before) && before.selectable_fields == version.selectable_fields
        }) {
            allowed.insert(version.name.clone());
        }
    }
    allowed
}

/// What the internal type has in its spec because all versions have it.
struct Shared<'a> {
    schema: Option<&'a CustomResourceValidation>,
    has_shared_schema: bool,
    has_shared_subresources: bool,
    has_shared_columns: bool,
    has_shared_fields: bool,
}

impl<'a> Shared<'a> {
    fn new(spec: &'a CustomResourceDefinitionSpec) -> Shared<'a> {
        let Some((first, rest)) = spec.versions.split_first() else {
            return Shared {
                schema: None,
                has_shared_schema: false,
                has_shared_subresources: false,
                has_shared_columns: false,
                has_shared_fields: false,
            };
        };
        let all = |same: fn(
            &CustomResourceDefinitionVersion,
            &CustomResourceDefinitionVersion,
        ) -> bool| { rest.iter().all(|version| same(version, first)) };
        let has_shared_schema = all(|a, b| a.schema == b.schema);
        Shared {
            schema: first.schema.as_deref().filter(|_| has_shared_schema),
            has_shared_schema,
            has_shared_subresources: all(|a, b| a.subresources == b.subresources),
            has_shared_columns: all(|a, b| {
                a.additional_printer_columns == b.additional_printer_columns
            }),
            has_shared_fields: all(|a, b| a.selectable_fields == b.selectable_fields),
        }
    }
}

pub(crate) fn validate_crd(crd: &CustomResourceDefinition) -> ErrorList {
    let required_name = format!("{}.{}", crd.spec.names.plural, crd.spec.group);
    let name_problems = |name: &str, prefix: bool| {
        let mut problems = rules::name_is_dns_subdomain(name, prefix);
        if name != required_name {
            problems.push("must be spec.names.plural+\".\"+spec.group".to_owned());
        }
        problems
    };
    let mut errors =
        rules::validate_object_meta(&crd.metadata, false, name_problems, &Path::new("metadata"));
    errors.extend(spec(&crd.spec, &Options::for_create()));
    errors.extend(status(crd));
    errors.extend(stored_versions(crd));
    errors.extend(approval(crd, None));
    errors.extend(preserve_unknown_fields(crd, None));
    errors
}

pub(crate) fn validate_crd_update(
    crd: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
) -> ErrorList {
    let options = Options::for_update(crd, old);
    let mut errors = plain_object_meta_update(&crd.metadata, &old.metadata);
    errors.extend(spec(&crd.spec, &options));
    errors.extend(immutable_parts(&crd.spec, &old.spec, &options));
    errors.extend(status(crd));
    errors.extend(stored_versions(crd));
    errors.extend(approval(crd, Some(&old.metadata)));
    errors.extend(preserve_unknown_fields(crd, Some(old)));
    errors
}

pub(crate) fn validate_crd_status_update(
    crd: &CustomResourceDefinition,
    old: &CustomResourceDefinition,
) -> ErrorList {
    let mut errors = plain_object_meta_update(&crd.metadata, &old.metadata);
    errors.extend(status(crd));
    errors
}

fn status(crd: &CustomResourceDefinition) -> ErrorList {
    names(
        &crd.status.accepted_names,
        &path(&["status", "acceptedNames"]),
    )
}

/// What a version needs as long as objects may be stored in it.
fn stored_versions(crd: &CustomResourceDefinition) -> ErrorList {
    let path = path(&["status", "storedVersions"]);
    let stored = &crd.status.stored_versions;
    if stored.is_empty() {
        // Go's nil slice.
        let none = BadValue::Text("null".to_owned());
        return field::invalid(&path, none, "must have at least one stored version").into();
    }
    let versions = &crd.spec.versions;
    let mut errors = ErrorList::new();
    let last: HashMap<&String, usize> = stored.iter().zip(0..).collect();
    let mut names = HashSet::new();
    for version in versions {
        // Upstream crosses out each name that it finds, and so misses one that is there twice.
        let found = names.insert(&version.name) && last.contains_key(&version.name);
        if version.storage && !found {
            let detail = format!("must have the storage version {}", version.name);
            let value = field::Lazily(|| BadValue::from(stored));
            errors.push(field::invalid(&path, value, detail));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        let again = last[name] > index;
        if !again && !names.contains(name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until \
                 a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.push(field::invalid(&path.index(index), name, detail));
        }
    }
    errors
}

fn immutable_parts(
    new: &CustomResourceDefinitionSpec,
    old: &CustomResourceDefinitionSpec,
    options: &Options,
) -> ErrorList {
    let path = Path::new("spec");
    let names = path.child("names");
    let mut errors = ErrorList::new();
    if options.immutable_names {
        let scope = path.child("scope");
        errors.extend(rules::validate_immutable_field(
            &*new.scope,
            &old.scope,
            &scope,
        ));
        let kind = names.child("kind");
        let (new, old) = (&*new.names.kind, &*old.names.kind);
        errors.extend(rules::validate_immutable_field(new, old, &kind));
    }
    let group = path.child("group");
    errors.extend(rules::validate_immutable_field(
        &*new.group,
        &old.group,
        &group,
    ));
    let plural = names.child("plural");
    let (new, old) = (&*new.names.plural, &*old.names.plural);
    errors.extend(rules::validate_immutable_field(new, old, &plural));
    errors
}

fn approval(crd: &CustomResourceDefinition, old: Option<&ObjectMeta>) -> ErrorList {
    if !conditions::is_protected_group(&crd.spec.group) {
        return ErrorList::new();
    }
    let (state, reason) = conditions::approval(&crd.metadata);
    if old.is_some_and(|old| conditions::approval(old).0 == state) {
        return ErrorList::new();
    }
    let path = path(&["metadata", "annotations"]).key(conditions::API_APPROVED);
    match state {
        Approval::Approved | Approval::Bypassed => ErrorList::new(),
        Approval::Missing => field::required(&path, reason).into(),
        Approval::Invalid => {
            let annotation = crd.metadata.annotations.get(conditions::API_APPROVED);
            let annotation = annotation.map_or("", String::as_str);
            field::invalid(&path, annotation, reason).into()
        }
    }
}

fn preserve_unknown_fields(
    crd: &CustomResourceDefinition,
    old: Option<&CustomResourceDefinition>,
) -> ErrorList {
    let had = old.is_some_and(|old| old.spec.preserve_unknown_fields);
    if had || !crd.spec.preserve_unknown_fields {
        return ErrorList::new();
    }
    let path = path(&["spec", "preserveUnknownFields"]);
    let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    field::invalid(&path, true, detail).into()
}

fn spec(spec: &CustomResourceDefinitionSpec, options: &Options) -> ErrorList {
    let path = Path::new("spec");
    let shared = Shared::new(spec);
    let mut errors = ErrorList::new();

    let group = path.child("group");
    if spec.group.is_empty() {
        errors.push(field::required(&group, ""));
    } else {
        let problems = rules::is_dns1123_subdomain(&spec.group);
        if !problems.is_empty() {
            errors.push(field::invalid(&group, &spec.group, problems.join(",")));
        } else if !spec.group.contains('.') {
            let detail = "should be a domain with at least one dot";
            errors.push(field::invalid(&group, &spec.group, detail));
        }
    }
    errors.extend(required_one_of(
        &spec.scope,
        &["Cluster", "Namespaced"],
        &path.child("scope"),
    ));
    errors.extend(missing_schemas(spec, options, &path));
    if spec.preserve_unknown_fields && schemas(spec).any(structural_schema::has_defaults) {
        errors.push(field::invalid(
            &path.child("preserveUnknownFields"),
            true,
            "must be false in order to use defaults in the schema",
        ));
    }

    for (index, version) in spec.versions.iter().enumerate() {
        let path = path.child("versions").index(index);
        errors.extend(label(&version.name, &path.child("name"), ""));
        errors.extend(self::version(version, &shared, options, &path));
    }
    errors.extend(versions_together(spec, &shared, &path));

    let names_path = path.child("names");
    for (value, name) in [
        (&spec.names.plural, "plural"),
        (&spec.names.singular, "singular"),
        (&spec.names.kind, "kind"),
        (&spec.names.list_kind, "listKind"),
    ] {
        if value.is_empty() {
            errors.push(field::required(&names_path.child(name), ""));
        }
    }
    errors.extend(names(&spec.names, &names_path));
    errors.extend(shared_parts(spec, &shared, options, &path));
    errors.extend(conversion(spec, options, &path.child("conversion")));
    errors
}

fn missing_schemas(
    spec: &CustomResourceDefinitionSpec,
    options: &Options,
    path: &Path,
) -> ErrorList {
    let missing = |served_only: bool, detail: &'static str| {
        let versions = spec.versions.iter().enumerate();
        versions
            .filter(|(_, it)| schema(it).is_none() && (it.served || !served_only))
            .map(|(index, _)| {
                let path = path.child("versions").index(index);
                field::required(&path.child("schema").child("openAPIV3Schema"), detail)
            })
            .collect()
    };
    if options.all_versions_have_schemas {
        missing(false, "")
    } else if !spec.preserve_unknown_fields {
        missing(true, "because otherwise all fields are pruned")
    } else {
        ErrorList::new()
    }
}

/// One version, as far as it differs from the others.
fn version(
    version: &CustomResourceDefinitionVersion,
    shared: &Shared<'_>,
    options: &Options,
    path: &Path,
) -> ErrorList {
    let mut errors = deprecation_warning(version, &path.child("deprecationWarning"));
    let schema_path = path.child("schema");
    if !shared.has_shared_schema
        && let Some(schema) = schema(version)
    {
        errors.extend(structural_schema::validate_custom_resource_validation(
            schema,
            has_status(version),
            &schema_options(options, &version.name),
            &schema_path,
        ));
    }
    if !shared.has_shared_subresources
        && let Some(subresources) = &version.subresources
    {
        let path = path.child("subresources");
        errors.extend(structural_schema::validate_subresources(
            subresources,
            &path,
        ));
    }
    if !shared.has_shared_columns {
        errors.extend(columns(version, path));
    }
    if shared.has_shared_fields || version.selectable_fields.is_empty() {
        return errors;
    }
    let fields_path = path.child("selectableFields");
    let schema = (!shared.has_shared_schema)
        .then(|| schema(version))
        .flatten();
    match schema {
        None => errors.push(field::invalid(
            &fields_path,
            "",
            "may only be set when `version.schema.openAPIV3Schema` is not included",
        )),
        Some(schema) => errors.extend(selectable_fields(
            version,
            schema,
            &version.name,
            options,
            path,
        )),
    }
    errors
}

fn schema_options(options: &Options, version: &str) -> SchemaOptions {
    SchemaOptions {
        rule_cost: !options.unchanged_schemas.contains(version),
        ..options.schema
    }
}

fn has_status(version: &CustomResourceDefinitionVersion) -> bool {
    let subresources = version.subresources.as_ref();
    subresources.is_some_and(|subresources| subresources.status.is_some())
}

fn columns(version: &CustomResourceDefinitionVersion, path: &Path) -> ErrorList {
    let path = path.child("additionalPrinterColumns");
    let columns = version.additional_printer_columns.iter().enumerate();
    columns
        .flat_map(|(index, column)| {
            structural_schema::validate_printer_column(column, &path.index(index))
        })
        .collect()
}

fn selectable_fields(
    version: &CustomResourceDefinitionVersion,
    schema: &JSONSchemaProps,
    allowed_for: &str,
    options: &Options,
    path: &Path,
) -> ErrorList {
    let structural = match Structural::new(schema) {
        Ok(structural) => structural,
        Err(error) => {
            let path = path.child("schema.openAPIV3Schema");
            return field::invalid(&path, "", error.to_string()).into();
        }
    };
    structural_schema::validate_selectable_fields(
        &version.selectable_fields,
        &structural,
        &path.child("selectableFields"),
        options.too_many_selectable_fields.contains(allowed_for),
    )
}

fn deprecation_warning(version: &CustomResourceDefinitionVersion, path: &Path) -> ErrorList {
    let Some(warning) = &version.deprecation_warning else {
        return ErrorList::new();
    };
    if !version.deprecated {
        let detail = "can only be set for deprecated versions";
        return field::invalid(path, warning, detail).into();
    }
    let mut problems = Vec::new();
    if warning.len() > 256 {
        problems.push("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        problems.push("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| !is_print(*c)) {
        problems.push(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
    invalids(path, warning, problems)
}

fn versions_together(
    spec: &CustomResourceDefinitionSpec,
    shared: &Shared<'_>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = &spec.versions;
    let versions_path = path.child("versions");
    let mut names = HashSet::new();
    if !versions.iter().all(|version| names.insert(&version.name)) {
        let detail = "must contain unique version names";
        errors.push(field::invalid(
            &versions_path,
            internal_versions(spec, shared),
            detail,
        ));
    }
    if versions.iter().filter(|version| version.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(field::invalid(
            &versions_path,
            internal_versions(spec, shared),
            detail,
        ));
    }
    // The internal type repeats the first version's name.
    if let Some(first) = versions.first()
        && !first.name.is_empty()
    {
        errors.extend(label(&first.name, &path.child("version"), ""));
    }
    errors
}

/// A name that is a DNS label, with all that is wrong in one error.
fn label(name: &str, path: &Path, before: &str) -> ErrorList {
    let problems = rules::is_dns1035_label(name);
    if problems.is_empty() {
        return ErrorList::new();
    }
    field::invalid(path, name, format!("{before}{}", problems.join(","))).into()
}

fn names(names: &CustomResourceDefinitionNames, path: &Path) -> ErrorList {
    const MIXED_CASE: &str = "may have mixed case, but should otherwise match: ";
    let mut errors = ErrorList::new();
    for (name, child) in [(&names.plural, "plural"), (&names.singular, "singular")] {
        if !name.is_empty() {
            errors.extend(label(name, &path.child(child), ""));
        }
    }
    let list_kind = path.child("listKind");
    for (name, path) in [
        (&names.kind, path.child("kind")),
        (&names.list_kind, list_kind.clone()),
    ] {
        let problems = rules::is_dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !problems.is_empty() {
            let detail = format!("{MIXED_CASE}{}", problems.join(","));
            errors.push(field::invalid(&path, name, detail));
        }
    }
    for (index, name) in names.short_names.iter().enumerate() {
        errors.extend(label(name, &path.child("shortNames").index(index), ""));
    }
    if !names.kind.is_empty() && names.kind == names.list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(field::invalid(&list_kind, &names.list_kind, detail));
    }
    for (index, name) in names.categories.iter().enumerate() {
        errors.extend(label(name, &path.child("categories").index(index), ""));
    }
    errors
}

/// What all versions have.
fn shared_parts(
    spec: &CustomResourceDefinitionSpec,
    shared: &Shared<'_>,
    options: &Options,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(first) = spec.versions.first() else {
        return errors;
    };
    let schema = shared
        .schema
        .and_then(|schema| schema.open_api_v3_schema.as_deref());
    if let Some(schema) = schema {
        errors.extend(structural_schema::validate_custom_resource_validation(
            schema,
            spec.versions.iter().any(has_status),
            &schema_options(options, &first.name),
            &path.child("validation"),
        ));
    }
    if shared.has_shared_subresources
        && let Some(subresources) = &first.subresources
    {
        let path = path.child("subresources");
        errors.extend(structural_schema::validate_subresources(
            subresources,
            &path,
        ));
    }
    if shared.has_shared_columns {
        errors.extend(columns(first, path));
    }
    if shared.has_shared_fields && !first.selectable_fields.is_empty() {
        match (shared.schema, schema) {
            // Also where every version has a schema of its own.
            (None, _) => errors.push(field::invalid(
                &path.child("selectableFields"),
                "",
                "may only be set when validations.schema is included",
            )),
            (Some(_), Some(schema)) => {
                errors.extend(selectable_fields(first, schema, "", options, path));
            }
            // That the schema is missing is said already.
            (Some(_), None) => {}
        }
    }
    errors
}

fn conversion(spec: &CustomResourceDefinitionSpec, options: &Options, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(conversion) = &spec.conversion else {
        return errors;
    };
    let strategy = path.child("strategy");
    if conversion.strategy != "None" && spec.preserve_unknown_fields {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(field::invalid(&strategy, &conversion.strategy, detail));
    }
    errors.extend(required_one_of(
        &conversion.strategy,
        &["None", "Webhook"],
        &strategy,
    ));
    let webhook = conversion.webhook.as_deref();
    let config = webhook.and_then(|webhook| webhook.client_config.as_deref());
    let config_path = path.child("webhookClientConfig");
    let versions = review_versions(Some(conversion));
    let versions_path = path.child("conversionReviewVersions");
    if conversion.strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(field::forbidden(&config_path, detail));
        }
        if !versions.is_empty() {
            errors.push(field::forbidden(&versions_path, detail));
        }
        return errors;
    }
    match config {
        None => errors.push(field::required(
            &config_path,
            "required when strategy is set to Webhook",
        )),
        Some(config) => {
            match (&config.url, &config.service) {
                (Some(url), None) => errors.extend(webhook_url(url, &config_path.child("url"))),
                (None, Some(service)) => errors.extend(webhook_service(
                    &service_of(service),
                    &config_path.child("service"),
                )),
                _ => errors.push(field::required(
                    &config_path,
                    "exactly one of url or service is required",
                )),
            }
            let bundle = &config.ca_bundle;
            if !bundle.0.is_empty()
                && !options.invalid_ca_bundle
                && let Err(problem) = root_certificates(&bundle.0)
            {
                let path = config_path.child("caBundle");
                errors.push(field::invalid(&path, go_value::bad_list(bundle), problem));
            }
        }
    }
    errors.extend(conversion_review_versions(
        versions,
        options.known_review_version,
        &versions_path,
    ));
    errors
}

fn service_of(service: &ServiceReference) -> WebhookService<'_> {
    WebhookService {
        namespace: &service.namespace,
        name: &service.name,
        path: service.path.as_deref(),
        port: service.port,
    }
}

fn conversion_review_versions(versions: &[String], known: bool, path: &Path) -> ErrorList {
    if versions.is_empty() {
        return field::required(path, "").into();
    }
    let mut errors = ErrorList::new();
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(version) {
            errors.push(field::invalid(&path, version, "duplicate version"));
        } else {
            errors.extend(invalids(&path, version, rules::is_dns1035_label(version)));
        }
    }
    if known && !versions.iter().any(|version| is_known(version)) {
        let detail = format!(
            "must include at least one of {}",
            REVIEW_VERSIONS.join(", ")
        );
        errors.push(field::invalid(path, versions, detail));
    }
    errors
}

/// The versions as the internal type prints them.
fn internal_versions(spec: &CustomResourceDefinitionSpec, shared: &Shared<'_>) -> BadValue {
    let text = |value: BadValue| match value {
        BadValue::Text(text) => text,
        BadValue::String(text) => quote(&text),
        BadValue::Omitted => String::new(),
    };
    let null = || "null".to_owned();
    let versions: Vec<String> = spec
        .versions
        .iter()
        .map(|version| {
            let schema = match &version.schema {
                Some(schema) if !shared.has_shared_schema => {
                    let schema = schema.open_api_v3_schema.as_deref();
                    let schema = schema.map_or_else(null, |it| text(structural_schema::bad_value(it)));
                    format!("{{\"OpenAPIV3Schema\":{schema}}}")
                }
                _ => null(),
            };
            let own = |shared: bool, value: &dyn api_types::Value| match shared {
                true => null(),
                false => text(go_value::bad_list(value)),
            };
            format!(
                "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{schema},\
                 \"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
                text(BadValue::json(&serde_json::Value::from(&*version.name))),
                version.served,
                version.storage,
                version.deprecated,
                text(BadValue::json(&serde_json::Value::from(
                    version.deprecation_warning.clone()
                ))),
                own(shared.has_shared_subresources, &version.subresources),
                own(shared.has_shared_columns, &version.additional_printer_columns),
                own(shared.has_shared_fields, &version.selectable_fields),
            )
        })
        .collect();
    if versions.is_empty() {
        return BadValue::Text(null());
    }
    BadValue::Text(format!("[{}]", versions.join(",")))
}

#[cfg(test)]
mod tests;
