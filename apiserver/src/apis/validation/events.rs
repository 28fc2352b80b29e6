//! Events, of the core group and of events.k8s.io. Upstream: pkg/apis/core/validation/events.go.

use api_types::core::v1::Event;

use super::*;

/// A new event, sent in a version such as `v1` or `events.k8s.io/v1`.
pub fn validate_event(event: &Event, api_version: &str) -> ErrorList {
    let mut errors = common(event, api_version);
    if matches!(api_version, "v1" | "events.k8s.io/v1beta1") {
        return errors;
    }
    errors.extend(object_meta(
        &event.metadata,
        true,
        rules::name_is_dns_subdomain,
    ));
    errors.extend(series(event));
    if event.event_time.is_zero() {
        errors.push(field::required(&Path::new("eventTime"), ""));
    }
    if !matches!(event.type_.as_str(), "Normal" | "Warning") {
        let detail = format!("has invalid value: {}", event.type_);
        errors.push(field::invalid(&Path::new("type"), "", detail));
    }
    for (set, name) in [
        (!event.first_timestamp.is_zero(), "firstTimestamp"),
        (!event.last_timestamp.is_zero(), "lastTimestamp"),
        (event.count != 0, "count"),
        (
            !event.source.component.is_empty() || !event.source.host.is_empty(),
            "source",
        ),
    ] {
        if set {
            errors.push(field::invalid(&Path::new(name), "", "needs to be unset"));
        }
    }
    errors
}

/// A changed event.
pub fn validate_event_update(new: &Event, old: &Event, api_version: &str) -> ErrorList {
    let mut errors = common(new, api_version);
    if matches!(api_version, "v1" | "events.k8s.io/v1beta1") {
        return errors;
    }
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    if new.series != old.series {
        errors.extend(series(new));
    }
    let at = Path::new;
    errors.extend(immutable(
        &new.involved_object,
        &old.involved_object,
        &at("involvedObject"),
        || go_value::bad_value(&new.involved_object),
    ));
    let texts =
        |new: &String, old: &String, name| rules::validate_immutable_field(new, old, &at(name));
    errors.extend(texts(&new.reason, &old.reason, "reason"));
    errors.extend(texts(&new.message, &old.message, "message"));
    errors.extend(immutable(&new.source, &old.source, &at("source"), || {
        go_value::bad_value(&new.source)
    }));
    errors.extend(immutable(
        &new.first_timestamp,
        &old.first_timestamp,
        &at("firstTimestamp"),
        || go_value::bad_list(&new.first_timestamp),
    ));
    errors.extend(immutable(
        &new.last_timestamp,
        &old.last_timestamp,
        &at("lastTimestamp"),
        || go_value::bad_list(&new.last_timestamp),
    ));
    errors.extend(immutable(&new.count, &old.count, &at("count"), || {
        new.count.into()
    }));
    errors.extend(texts(&new.reason, &old.reason, "reason"));
    errors.extend(texts(&new.type_, &old.type_, "type"));
    errors.extend(immutable(
        &new.event_time,
        &old.event_time,
        &at("eventTime"),
        || go_value::bad_list(&new.event_time),
    ));
    errors.extend(texts(&new.action, &old.action, "action"));
    errors.extend(immutable(
        &new.related,
        &old.related,
        &at("related"),
        || go_value::bad_option(new.related.as_deref()),
    ));
    errors.extend(texts(
        &new.reporting_component,
        &old.reporting_component,
        "reportingController",
    ));
    errors.extend(texts(
        &new.reporting_instance,
        &old.reporting_instance,
        "reportingInstance",
    ));
    errors
}

fn series(event: &Event) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(series) = &event.series else {
        return errors;
    };
    if series.count < 2 {
        errors.push(field::invalid(
            &Path::new("series.count"),
            "",
            "should be at least 2",
        ));
    }
    if series.last_observed_time.is_zero() {
        errors.push(field::required(&Path::new("series.lastObservedTime"), ""));
    }
    errors
}

fn common(event: &Event, api_version: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let involved = event.involved_object.namespace.as_str();
    let namespace = event.metadata.namespace.as_str();
    let new_style = !event.event_time.is_zero();
    let mismatch = match (new_style, involved.is_empty()) {
        (false, true) => !matches!(namespace, "" | "default"),
        (false, false) => namespace != involved,
        (true, true) => !matches!(namespace, "default" | "kube-system"),
        (true, false) => false,
    };
    if mismatch {
        let path = path(&["involvedObject", "namespace"]);
        errors.push(field::invalid(
            &path,
            involved,
            "does not match event.namespace",
        ));
    }
    if new_style {
        let controller = if api_version == "v1" {
            "reportingComponent"
        } else {
            "reportingController"
        };
        let controller = Path::new(controller);
        if event.reporting_component.is_empty() {
            errors.push(field::required(&controller, ""));
        }
        errors.extend(qualified_name(&event.reporting_component, &controller));
        for (value, name, limit, needed) in [
            (&event.reporting_instance, "reportingInstance", 128, true),
            (&event.action, "action", 128, true),
            (&event.reason, "reason", 128, true),
            (&event.message, "message", 1024, false),
        ] {
            if needed && value.is_empty() {
                errors.push(field::required(&Path::new(name), ""));
            }
            if value.len() > limit {
                let detail = format!("can have at most {limit} characters");
                errors.push(field::invalid(&Path::new(name), "", detail));
            }
        }
    }
    errors.extend(dns_subdomain(namespace, &Path::new("namespace")));
    errors
}
