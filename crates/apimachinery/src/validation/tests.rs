use std::collections::BTreeMap;

use api_types::meta::v1::*;

use super::*;
use crate::field::{ErrorList, Path};

#[track_caller]
fn check(rule: fn(&str) -> Vec<String>, good: &[&str], bad: &[&str]) {
    for value in good {
        assert_eq!(rule(value), Vec::<String>::new(), "{value:?} is fine");
    }
    for value in bad {
        assert!(!rule(value).is_empty(), "{value:?} is wrong");
    }
}

#[test]
fn dns_labels() {
    let (a63, a64) = ("a".repeat(63), "a".repeat(64));
    let good = [
        "a",
        "ab",
        "abc",
        "a1",
        "a-1",
        "a--1--2--b",
        "0",
        "01",
        "012",
        "1a",
        "1-a",
        "1--a--b--2",
        &a63,
    ];
    let bad = [
        "", "A", "ABC", "aBc", "A1", "-", "a-", "-a", "1-", "_", "a_", "_a", "a_b", "1_2", ".",
        "a.", ".a", "a.b", "1.2", " ", "a ", " a", "a b", &a64,
    ];
    check(is_dns1123_label, &good, &bad);
    check(
        is_dns1035_label,
        &["a", "ab", "a1", "a-1", "a--1--2--b", &a63],
        &["", "0", "1a", "A", "a.b", "a-", &a64],
    );
    assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        is_dns1123_label(&a64),
        ["must be no more than 63 characters"]
    );
    assert_eq!(
        content::is_dns1123_label(&a64),
        ["must be no more than 63 bytes"]
    );
    assert_eq!(
        is_dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
          with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
}

#[test]
fn dns_subdomains() {
    let (a253, a254) = ("a".repeat(253), "a".repeat(254));
    let good = [
        "a",
        "a.b",
        "a.b.c",
        "0",
        "0.1.2",
        "a-1.b--2",
        "a.1",
        "1.2.3.a.b",
        &a253,
    ];
    let bad = [
        "", "A", "-", "a-", "-a", "a..b", ".a", "a.", "a.-b", "a.b-", "a_b", "a b", "a.B", &a254,
    ];
    check(is_dns1123_subdomain, &good, &bad);
    check(
        content::is_dns1123_subdomain_caseless,
        &["a", "A.b", "Example.COM"],
        &["", "a_b", "-A"],
    );
    check(
        is_dns1123_subdomain_with_underscore,
        &["a", "_a", "_a._b.c", "a_b"],
        &["", "_", "__a", "a_", "A"],
    );
    check(
        is_wildcard_dns1123_subdomain,
        &["*.a", "*.a.b"],
        &["*", "a", "*.*.a", "*a.b", "a.*.b", "*.A"],
    );
    assert_eq!(
        is_dns1123_subdomain("Bad_"),
        [
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
          and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
}

#[test]
fn qualified_names() {
    let long = format!("{}/{}", "a".repeat(253), "b".repeat(63));
    let good = [
        "simple",
        "now-with-dashes",
        "1-starts-with-num",
        "1234",
        "simple/simple",
        "now-with-dashes/simple",
        "1.2.3.4/5678",
        "1.2.3.4/example",
        "Uppercase_Is_OK_123",
        "example.com/Uppercase_Is_OK_123",
        "requests.storage-foo",
        &long,
    ];
    let (n64, p254) = ("a".repeat(64), format!("{}/x", "a".repeat(254)));
    let bad = [
        "nospecialchars%^=@",
        "cantendwithadash-",
        "-cantstartwithadash-",
        "only/one/slash",
        "Example.com/abc",
        "example_com/abc",
        "example.com/",
        "/simple",
        "",
        "a/",
        &n64,
        &p254,
    ];
    check(is_qualified_name, &good, &bad);
    assert_eq!(is_qualified_name("/x"), ["prefix part must be non-empty"]);
    assert_eq!(
        is_qualified_name(&n64),
        ["name part must be no more than 63 bytes"]
    );
    assert_eq!(is_qualified_name("a/b/c").len(), 1);
    assert!(
        is_qualified_name("a/b/c")[0].ends_with(
            " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    );
    assert_eq!(is_qualified_name("").len(), 2);
    check(
        is_label_value,
        &["", "a", "A.b_c-d", "1"],
        &["-a", "a-", "a b", "a/b", &n64],
    );
}

#[test]
fn other_names() {
    check(
        is_c_identifier,
        &["a", "_", "A_1"],
        &["", "1", "a-b", "a.b"],
    );
    check(
        is_valid_port_name,
        &["telnet", "re-mail-ck", "pop3", "a", "a-1", "1a"],
        &[
            "longerthan15characters",
            "",
            "111",
            "-x",
            "x-",
            "a--b",
            "1-2",
            "A",
            "a_b",
        ],
    );
    check(
        is_valid_percent,
        &["0%", "00000%", "1%", "100%"],
        &["", "0", "%", "1.0%", "-1%", "1%%"],
    );
    check(
        is_http_header_name,
        &["X-Requested-With", "a"],
        &["", "Host:", "X Y", "X_Y"],
    );
    check(
        is_env_var_name,
        &["a", "FOO", ".foo", "-foo", "foo_BAR.1"],
        &["", "1a", "a=b", ".", "..", "..a", "a b"],
    );
    check(
        is_relaxed_env_var_name,
        &["a", "1a", "-_&()+-@", "..", " a b"],
        &["", "a=b", "é", "\t"],
    );
    check(
        is_config_map_key,
        &[
            "a",
            "good",
            "good-good",
            "still.good",
            "this.is.also.good",
            ".so.is.this",
            "THIS_IS_GOOD",
        ],
        &["", ".", "..", "..bad", "b*d", "bad!&bad", &"a".repeat(254)],
    );
    check(
        is_decimal_integer,
        &["0", "1", "-1", "123"],
        &["", "-", "-0", "00", "01", "+1", "1.0", " 1", "0x1"],
    );
    check(
        is_path_segment_name,
        &["a", "", "a:b", "...", "A b"],
        &[".", "..", "a/b", "a%b"],
    );
    assert_eq!(
        is_path_segment_name("a/%"),
        ["may not contain '/'", "may not contain '%'"]
    );
    assert_eq!(
        is_valid_port_num(0),
        ["must be between 1 and 65535, inclusive"]
    );
    assert!(is_valid_port_num(65535).is_empty());
    assert_eq!(
        is_valid_user_id(-1),
        ["must be between 0 and 2147483647, inclusive"]
    );
}

#[test]
fn qualified_domains() {
    let path = Path::new("f");
    let text = |errors: ErrorList| errors.aggregate().unwrap_or_default();
    assert_eq!(text(is_fully_qualified_name(&path, "a.b.c")), "");
    assert_eq!(
        text(is_fully_qualified_name(&path, "a.b")),
        "f: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"
    );
    assert_eq!(text(is_fully_qualified_domain_name(&path, "a.b.")), "");
    assert_eq!(
        text(is_fully_qualified_domain_name(&path, "")),
        "f: Required value"
    );
    assert_eq!(is_domain_prefixed_path(&path, "acme.io/foo?").len(), 1);
    assert_eq!(text(is_domain_prefixed_path(&path, "acme.io/foo")), "");
    assert_eq!(
        text(is_domain_prefixed_path(&path, "acme.io")),
        "f: Invalid value: \"acme.io\": must be a domain-prefixed path (such as \"acme.io/foo\")"
    );
    assert_eq!(text(is_domain_prefixed_key(&path, "acme.io/foo")), "");
    assert!(!is_domain_prefixed_key(&path, "foo").is_empty());
}

#[test]
fn generated_names_may_end_in_a_dash() {
    assert!(name_is_dns_label("web-", true).is_empty());
    assert!(!name_is_dns_label("web-", false).is_empty());
    assert!(!name_is_dns_label("-", true).is_empty());
    // Upstream's mask also hides what stands before the dash.
    assert!(name_is_dns_subdomain("a.-", true).is_empty());
}

#[test]
fn addresses() {
    let path = Path::new("ip");
    let text = |value: &str| is_valid_ip(&path, value).aggregate().unwrap_or_default();
    for value in [
        "1.2.3.4",
        "0.0.0.0",
        "::1",
        "2001:db8::1",
        "::",
        "fe80::abc",
        "1:2:3:4:5:6:7:8",
    ] {
        assert_eq!(text(value), "", "{value}");
    }
    let must_be_valid = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    for value in [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "a",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7:8:9",
        "fe80::1%eth0",
        "::1.2.3",
        "1.2.3.4:80",
        "[::1]",
        " 1.2.3.4",
        "1:2:3:4:5:6:7:8::",
    ] {
        assert_eq!(
            text(value),
            format!(
                "ip: Invalid value: {}: {must_be_valid}",
                crate::quote::quote(value)
            )
        );
    }
    assert_eq!(
        text("010.2.3.4"),
        "ip: Invalid value: \"010.2.3.4\": must not have leading 0s"
    );
    assert_eq!(
        text("::ffff:1.2.3.4"),
        "ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"
    );
    assert_eq!(
        text("FE80::1"),
        "ip: Invalid value: \"FE80::1\": must be in canonical form (\"fe80::1\")"
    );
    assert!(is_valid_ip_for_legacy_field(&path, "010.2.3.4", false, &[]).is_empty());
    assert!(!is_valid_ip_for_legacy_field(&path, "010.2.3.4", true, &[]).is_empty());
    assert!(
        is_valid_ip_for_legacy_field(&path, "010.2.3.4", true, &["010.2.3.4".to_owned()])
            .is_empty()
    );
    assert_eq!(get_warnings_for_ip(&path, "1.2.3.4"), Vec::<String>::new());
    assert_eq!(
        get_warnings_for_ip(&path, "010.2.3.4"),
        ["ip: non-standard IP address \"010.2.3.4\" is invalid: use \"10.2.3.4\""]
    );
    assert_eq!(
        get_warnings_for_ip(&path, "FE80::1"),
        ["ip: IPv6 address \"FE80::1\" should be in RFC 5952 canonical format (\"fe80::1\")"]
    );
    assert_eq!(
        get_warnings_for_ip(&path, "::ffff:1.2.3.4"),
        ["ip: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\""]
    );
}

#[test]
fn blocks() {
    let path = Path::new("c");
    let text = |value: &str| is_valid_cidr(&path, value).aggregate().unwrap_or_default();
    for value in [
        "1.0.0.0/8",
        "0.0.0.0/0",
        "1.2.3.4/32",
        "::/0",
        "2001:db8::/64",
        "::1/128",
    ] {
        assert_eq!(text(value), "", "{value}");
    }
    for value in [
        "",
        "1.2.3.4",
        "1.2.3.4/33",
        "::/129",
        "1.2.3.4/-1",
        "1.2.3.4/a",
        "1.2.3.4/",
        "/8",
    ] {
        let want = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        assert_eq!(
            text(value),
            format!("c: Invalid value: \"{value}\": {want}")
        );
    }
    let strict = [
        (
            "010.0.0.0/8",
            "must not have leading 0s in IP or prefix length",
        ),
        (
            "10.0.0.0/08",
            "must not have leading 0s in IP or prefix length",
        ),
        (
            "::ffff:1.2.3.0/120",
            "must not have an IPv4-mapped IPv6 address",
        ),
        (
            "10.1.0.0/8",
            "must not have bits set beyond the prefix length",
        ),
        ("FE80::/64", "must be in canonical form (\"fe80::/64\")"),
    ];
    for (value, want) in strict {
        assert_eq!(
            text(value),
            format!("c: Invalid value: \"{value}\": {want}")
        );
    }
    assert_eq!(
        get_warnings_for_cidr(&path, "10.1.0.0/8"),
        [
            "c: CIDR value \"10.1.0.0/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.0.0/32\"?)"
        ]
    );
    assert_eq!(
        get_warnings_for_cidr(&path, "010.0.0.0/8"),
        ["c: non-standard CIDR value \"010.0.0.0/8\" is invalid: use \"10.0.0.0/8\""]
    );
    assert!(is_valid_interface_address(&path, "192.168.1.5/24").is_empty());
    assert_eq!(
        is_valid_interface_address(&path, "::ffff:192.168.0.1/120")
            .aggregate()
            .as_deref(),
        Some(
            "c: Invalid value: \"::ffff:192.168.0.1/120\": must be in canonical form (\"192.168.0.1/24\")"
        )
    );
}

fn meta() -> ObjectMeta {
    ObjectMeta {
        name: "a".to_owned(),
        namespace: "b".to_owned(),
        resource_version: "1".to_owned(),
        ..Default::default()
    }
}

#[track_caller]
fn check_meta(change: impl FnOnce(&mut ObjectMeta), want: &str) {
    let mut meta = meta();
    change(&mut meta);
    let errors = validate_object_meta(&meta, true, name_is_dns_subdomain, &Path::new("metadata"));
    assert_eq!(errors.aggregate().unwrap_or_default(), want);
}

#[test]
fn metadata_on_create() {
    check_meta(|_| {}, "");
    check_meta(
        |m| m.name.clear(),
        "metadata.name: Required value: name or generateName is required",
    );
    check_meta(
        |m| m.namespace.clear(),
        "metadata.namespace: Required value",
    );
    check_meta(
        |m| m.generation = -1,
        "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
    );
    check_meta(
        |m| m.finalizers = vec!["orphan".to_owned(), "foregroundDeletion".to_owned()],
        "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion \
         cannot be both set",
    );
    check_meta(
        |m| {
            m.annotations
                .insert("a".to_owned(), "x".repeat(TOTAL_ANNOTATION_SIZE_LIMIT));
        },
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    );
    check_meta(
        |m| {
            m.annotations.insert(
                "Example.COM/a".to_owned(),
                "x".repeat(TOTAL_ANNOTATION_SIZE_LIMIT - 13),
            );
        },
        "",
    );
    let cluster = validate_object_meta(
        &meta(),
        false,
        name_is_dns_subdomain,
        &Path::new("metadata"),
    );
    assert_eq!(
        cluster.aggregate().as_deref(),
        Some("metadata.namespace: Forbidden: not allowed on this type")
    );
    check_meta(
        |m| {
            m.managed_fields = vec![ManagedFieldsEntry {
                manager: "a\u{1}".to_owned(),
                operation: "Apply".to_owned(),
                fields_type: "FieldsV2".to_owned(),
                ..Default::default()
            }];
        },
        "[metadata.managedFields[0].fieldsType: Invalid value: \"FieldsV2\": must be `FieldsV1`, \
         metadata.managedFields[0].manager: Invalid value: \"a\\x01\": invalid character U+0001 (at position 1)]",
    );
}

#[test]
fn owners_on_create() {
    let owner = |kind: &str, name: &str| OwnerReference {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: "1".to_owned(),
        controller: Some(true),
        ..Default::default()
    };
    check_meta(|m| m.owner_references = vec![owner("Pod", "p")], "");
    check_meta(
        |m| m.owner_references = vec![owner("Pod", "p"), owner("Node", "n")],
        "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"1\",\
         \"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"name\":\"n\",\"uid\":\"1\",\"controller\":true}]: \
         Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Node/n",
    );
    check_meta(
        |m| m.owner_references = vec![owner("Event", "e")],
        "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"1\",\
         \"controller\":true}: /v1, Kind=Event is disallowed from being an owner",
    );
    check_meta(
        |m| m.owner_references = vec![OwnerReference::default()],
        "[metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty, \
         metadata.ownerReferences.kind: Invalid value: \"\": must not be empty, \
         metadata.ownerReferences.name: Invalid value: \"\": must not be empty, \
         metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]",
    );
}

#[track_caller]
fn check_update(old: impl FnOnce(&mut ObjectMeta), new: impl FnOnce(&mut ObjectMeta), want: &str) {
    let (mut old_meta, mut new_meta) = (meta(), meta());
    old(&mut old_meta);
    new(&mut new_meta);
    let errors = validate_object_meta_update(&new_meta, &old_meta, &Path::new("metadata"));
    assert_eq!(errors.aggregate().unwrap_or_default(), want);
}

#[test]
fn metadata_on_update() {
    let time = api_types::Time::parse("2020-01-02T03:04:05Z").expect("time");
    check_update(|_| {}, |_| {}, "");
    check_update(
        |_| {},
        |m| m.resource_version.clear(),
        "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
    );
    check_update(
        |m| m.generation = 2,
        |m| m.generation = 1,
        "metadata.generation: Invalid value: 1: must not be decremented",
    );
    check_update(
        |m| m.uid = "1".to_owned(),
        |_| {},
        "metadata.uid: Invalid value: \"\": field is immutable",
    );
    check_update(
        |_| {},
        |m| m.name = "x".to_owned(),
        "metadata.name: Invalid value: \"x\": field is immutable",
    );
    check_update(
        |_| {},
        |m| m.deletion_timestamp = Some(time),
        "metadata.deletionTimestamp: Invalid value: \"2020-01-02T03:04:05Z\": field is immutable",
    );
    check_update(
        |m| m.deletion_timestamp = Some(time),
        |_| {},
        "metadata.deletionTimestamp: Invalid value: null: field is immutable",
    );
    check_update(
        |m| m.creation_timestamp = time,
        |_| {},
        "metadata.creationTimestamp: Invalid value: null: field is immutable",
    );
    check_update(
        |m| m.deletion_grace_period_seconds = Some(5),
        |_| {},
        "metadata.deletionGracePeriodSeconds: Invalid value: null: field is immutable",
    );
    check_update(
        |m| m.deletion_timestamp = Some(time),
        |m| {
            m.deletion_timestamp = Some(time);
            m.finalizers = vec!["x/b".to_owned(), "x/a".to_owned()];
        },
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
         finalizers []string{\"x/a\", \"x/b\"}",
    );
}

#[test]
fn request_options() {
    let text = |errors: ErrorList| errors.aggregate().unwrap_or_default();
    let patch = PatchOptions {
        force: Some(true),
        ..Default::default()
    };
    assert_eq!(
        text(validate_patch_options(&patch, false)),
        "force: Forbidden: may not be specified for non-apply patch"
    );
    assert_eq!(
        text(validate_patch_options(&patch, true)),
        "fieldManager: Required value: is required for apply patch"
    );
    let create = CreateOptions {
        dry_run: vec!["Some".to_owned()],
        field_validation: "Maybe".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        text(validate_create_options(&create)),
        "[dryRun: Unsupported value: [\"Some\"]: supported values: \"All\", fieldValidation: Unsupported value: \"Maybe\": \
         supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]"
    );
    let delete = DeleteOptions {
        propagation_policy: Some("Orphan".to_owned()),
        orphan_dependents: Some(true),
        ..Default::default()
    };
    assert_eq!(
        text(validate_delete_options(&delete)),
        "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set"
    );
    let delete = DeleteOptions {
        propagation_policy: Some("Now".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        text(validate_delete_options(&delete)),
        "propagationPolicy: Unsupported value: \"Now\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
    );
    let long = "x".repeat(129);
    assert_eq!(
        text(validate_field_manager(&long, &Path::new("fieldManager"))),
        "fieldManager: Too long: may not be more than 128 bytes"
    );
    // An error for each character that cannot be printed, each with the whole name; but no more than can be told.
    let manager = |len: usize| validate_field_manager(&"\0".repeat(len), &Path::new("manager"));
    assert_eq!(manager(128).to_causes().len(), 128);
    let errors = manager(100_000);
    let causes = errors.to_causes();
    assert!((2..200).contains(&causes.len()), "{}", causes.len());
    let (untold, told) = causes.split_last().unwrap();
    assert_eq!(untold.field, "<omitted>");
    assert_eq!(
        untold.message,
        "Invalid value: there are more errors than can be told"
    );
    assert!(told.iter().all(|cause| cause.field == "manager"));
    assert!(text(errors).len() < 64 << 20);
    // As soon as they are gone others are told.
    assert_eq!(manager(128).to_causes().len(), 128);
}

#[test]
fn label_selectors() {
    let path = Path::new("selector");
    let requirement = |operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: "k".to_owned(),
        operator: operator.to_owned(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let check = |requirement: LabelSelectorRequirement, want: &str| {
        let selector = LabelSelector {
            match_expressions: vec![requirement],
            match_labels: BTreeMap::new(),
        };
        let errors = validate_label_selector(
            Some(&selector),
            LabelSelectorValidationOptions::default(),
            &path,
        );
        assert_eq!(errors.aggregate().unwrap_or_default(), want);
    };
    check(requirement("In", &["a"]), "");
    check(
        requirement("In", &[]),
        "selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    );
    check(
        requirement("Exists", &["a"]),
        "selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    );
    check(
        requirement("Near", &[]),
        "selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
    );
    assert!(
        validate_label_selector(None, LabelSelectorValidationOptions::default(), &path).is_empty()
    );
}

#[test]
fn conditions() {
    let time = api_types::Time::parse("2020-01-02T03:04:05Z").expect("time");
    let good = Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "Fine".to_owned(),
        last_transition_time: time,
        ..Default::default()
    };
    let path = Path::new("c");
    assert!(validate_conditions(std::slice::from_ref(&good), &path).is_empty());
    let errors = validate_conditions(&[good.clone(), good.clone()], &path);
    assert_eq!(
        errors.aggregate().as_deref(),
        Some("c[1].type: Duplicate value: \"Ready\"")
    );
    let bad = Condition {
        status: "Yes".to_owned(),
        reason: String::new(),
        observed_generation: -1,
        ..good
    };
    assert_eq!(
        validate_condition(&bad, &path).aggregate().as_deref(),
        Some(
            "[c.status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\", \
             c.observedGeneration: Invalid value: -1: must be greater than or equal to zero, c.reason: Required value]"
        )
    );
}
