//! Names, addresses and the like that validation judges.

use std::net::IpAddr;

use apimachinery::field::Path;
use apimachinery::gvk::{
    GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource,
};
use apimachinery::validation as v;

use crate::target::{Case, Outcome, Target, Verdict, listed, same};

/// Names of everything.
pub const NAMES: Target = Target {
    name: "names/names",
    promise: "a narrower rule takes nothing that a wider one refuses; what is refused has a reason",
    cases: 2000,
    seed: |number| {
        listed(
            &[
                "a",
                "my-name",
                "a.b-c.d",
                "*.example.com",
                "example.com/name",
                "Example.com/Name_1.x",
                "UPPER",
                "under_score",
                "123",
                "1a",
                "system:node:x",
                "http",
                "X-Header",
                "50%",
                "..",
                "a/../b",
                "-",
                "a.b.",
                "xn--a",
                "kubernetes.io/a",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ],
            number,
        )
    },
    tokens: &[
        "a",
        "Z",
        "0",
        "-",
        ".",
        "_",
        "/",
        "*",
        "%",
        ":",
        "é",
        "\u{0}",
        "..",
        "a.",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ],
    check: names,
};

/// IP addresses and networks.
pub const ADDRESSES: Target = Target {
    name: "names/addresses",
    promise: "the strict rule takes nothing that the old one refuses, and both mean the same address",
    cases: 4000,
    seed: |number| {
        listed(
            &[
                "10.0.0.1",
                "010.0.0.1",
                "::1",
                "::ffff:1.2.3.4",
                "fe80::1%eth0",
                "10.0.0.0/8",
                "10.0.0.1/8",
                "fd00::/64",
                "::ffff:0:0/96",
                "1.2.3.4/033",
                "1:2:3:4:5:6:7:8",
                "1::2::3",
                "256.0.0.1",
                "1.2.3",
                "0x1.2.3.4",
                "::1.2.3.4",
            ],
            number,
        )
    },
    tokens: &[
        "0", "1", "255", "256", ".", ":", "::", "/", "/32", "/128", "/-1", "ffff", "%", "00",
        "::ffff:", "é",
    ],
    check: addresses,
};

/// `apiVersion` and the arguments that name kinds and resources.
pub const GROUPS: Target = Target {
    name: "names/groups",
    promise: "its text is read as the same",
    cases: 2000,
    seed: |number| {
        listed(
            &[
                "v1",
                "apps/v1",
                "deployments.v1.apps",
                "Deployment.apps",
                "a/b/c",
                "/",
                "",
                "/v1",
                "a/",
            ],
            number,
        )
    },
    tokens: &["a", "v1", "/", ".", "..", "apps", "é", " "],
    check: groups,
};

/// Fails if the narrow rule is content and the wide one is not.
fn within(
    text: &str,
    narrow: (&str, Vec<String>),
    wide: (&str, Vec<String>),
) -> Result<(), String> {
    if narrow.1.is_empty() && !wide.1.is_empty() {
        return Err(format!(
            "{text:?} is a {} but no {}: {:?}",
            narrow.0, wide.0, wide.1
        ));
    }
    Ok(())
}

fn names(case: &Case) -> Outcome {
    let text = &*case.text();
    let path = Path::new("spec");
    let label = ("DNS label", v::is_dns1123_label(text));
    let subdomain = ("DNS subdomain", v::is_dns1123_subdomain(text));
    within(
        text,
        ("RFC 1035 label", v::is_dns1035_label(text)),
        label.clone(),
    )?;
    within(text, label.clone(), subdomain.clone())?;
    within(
        text,
        label.clone(),
        ("label value", v::is_label_value(text)),
    )?;
    within(
        text,
        subdomain.clone(),
        (
            "caseless subdomain",
            v::content::is_dns1123_subdomain_caseless(text),
        ),
    )?;
    within(
        text,
        subdomain.clone(),
        (
            "subdomain with underscores",
            v::is_dns1123_subdomain_with_underscore(text),
        ),
    )?;
    within(
        text,
        label.clone(),
        ("label key", v::content::is_label_key(text)),
    )?;
    within(
        text,
        subdomain,
        ("path segment", v::content::is_path_segment_name(text)),
    )?;
    within(
        text,
        ("C identifier", v::content::is_c_identifier(text)),
        ("environment variable", v::is_env_var_name(text)),
    )?;
    within(
        text,
        ("environment variable", v::is_env_var_name(text)),
        (
            "relaxed environment variable",
            v::is_relaxed_env_var_name(text),
        ),
    )?;
    within(
        text,
        ("segment", v::content::is_path_segment_name(text)),
        ("segment prefix", v::content::is_path_segment_prefix(text)),
    )?;
    same(
        "qualified name",
        &v::is_qualified_name(text).is_empty(),
        &v::content::is_label_key(text).is_empty(),
    )?;
    same(
        "decimal",
        &v::content::is_decimal_integer(text).is_empty(),
        &go_decimal(text),
    )?;
    let others = [
        v::is_wildcard_dns1123_subdomain(text),
        v::is_valid_port_name(text),
        v::is_valid_percent(text),
        v::is_http_header_name(text),
        v::is_config_map_key(text),
        v::name_is_dns_subdomain(text, true),
        v::name_is_dns_label(text, true),
        v::name_is_dns1035_label(text, true),
        v::validate_namespace_name(text, false),
        v::validate_service_account_name(text, true),
        v::validate_path_segment_name(text, false),
    ];
    if others
        .iter()
        .chain([&label.1])
        .flatten()
        .any(String::is_empty)
    {
        return Err("a reason without text".to_owned());
    }
    let lists = [
        v::is_fully_qualified_name(&path, text),
        v::is_fully_qualified_domain_name(&path, text),
        v::is_domain_prefixed_path(&path, text),
        v::is_domain_prefixed_key(&path, text),
        v::validate_finalizer_name(text, &path),
        v::validate_label_name(text, &path),
        v::validate_field_manager(text, &path),
        v::validate_field_validation(&path, text),
    ];
    if lists
        .iter()
        .flatten()
        .any(|error| error.to_string().is_empty())
    {
        return Err("a reason without text".to_owned());
    }
    let _ = apimachinery::quote::quote(text);
    Ok(if label.1.is_empty() {
        Verdict::Accepted
    } else {
        Verdict::Refused
    })
}

/// Digits without a leading zero, and perhaps a minus sign.
fn go_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" && text == "0" || !digits.starts_with('0'))
}

fn addresses(case: &Case) -> Outcome {
    let text = &*case.text();
    let path = Path::new("spec");
    let sloppy = v::parse_ip_sloppy(text);
    let strict = v::is_valid_ip(&path, text).is_empty();
    if strict {
        let Some(ip) = sloppy else {
            return Err(format!("{text:?} is valid, and no address"));
        };
        same("address", &text.parse::<IpAddr>().ok(), &Some(ip))?;
    }
    let _ = v::get_warnings_for_ip(&path, text);
    let network = v::parse_cidr_sloppy(text);
    let strict_network = v::is_valid_cidr(&path, text).is_empty();
    if strict_network && network.is_none() {
        return Err(format!("{text:?} is valid, and no network"));
    }
    if let Some(network) = &network {
        let written = network.network_text();
        let again =
            v::parse_cidr_sloppy(&written).ok_or_else(|| format!("{written:?} is no network"))?;
        same("network", &again.network_text(), &written)?;
    }
    let _ = v::get_warnings_for_cidr(&path, text);
    let _ = v::is_valid_interface_address(&path, text);
    let _ = v::is_valid_ip_for_legacy_field(&path, text, true, &[]);
    let _ = v::is_valid_cidr_for_legacy_field(&path, text, true, &[]);
    Ok(if sloppy.is_some() || network.is_some() {
        Verdict::Accepted
    } else {
        Verdict::Refused
    })
}

fn groups(case: &Case) -> Outcome {
    let text = &*case.text();
    let _ = (
        GroupVersionKind::parse_arg(text),
        GroupVersionResource::parse_arg(text),
    );
    same(
        "kind",
        &GroupKind::parse(&GroupKind::parse(text).to_string()),
        &GroupKind::parse(text),
    )?;
    same(
        "resource",
        &GroupResource::parse(&GroupResource::parse(text).to_string()),
        &GroupResource::parse(text),
    )?;
    let Ok(version) = GroupVersion::parse(text) else {
        return Ok(Verdict::Refused);
    };
    same(
        "version",
        &GroupVersion::parse(&version.to_string()).map_err(|error| error.to_string())?,
        &version,
    )?;
    Ok(Verdict::Accepted)
}
