//! Which flags contradict each other or cannot be. Upstream: the Validate functions of apiserver/pkg/server/options,
//! pkg/kubeapiserver/options, pkg/controlplane/apiserver/options and cmd/kube-apiserver/app/options.
//!
//! The texts are upstream's, and so is their order: all problems are told in one run. Flags of features that are not built
//! are checked too, where the check needs the flag alone: a mistake in them is one.

use std::net::IpAddr;
use std::path::Path;

use api_types::kinds::KINDS;
use apimachinery::quote::quote;
use component_base::auth::delegated::validate_request_header_flags;
use component_base::auth::x509::CaBundle;
use component_base::features::FeatureGates;
use component_base::flags::{Flags, rows};
use component_base::version;
use ipnet::IpNet;

use super::flags::FLAGS;
use crate::admission::Chain;
use crate::authz::configuration::AuthorizationSettings;

/// Group versions that upstream knows the kinds of and serves nothing of; naming them in `--runtime-config` is no mistake.
const UNSERVED: [(&str, &str); 3] = [
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("extensions", "v1beta1"),
];
/// Keys of `--runtime-config` that stand for many group versions.
const LEVELS: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];

/// All problems, for flags whose service ranges and addresses were understood.
pub(super) fn validate(
    flags: &Flags,
    features: &FeatureGates,
    ranges: &[IpNet],
    advertise_address: IpAddr,
) -> Vec<String> {
    let mut errors = Vec::new();
    generic(flags, &mut errors);
    etcd(flags, &mut errors);
    errors.extend(priority_and_fairness(flags));
    secure_port(flags, &mut errors);
    authentication(flags, features, &mut errors);
    errors.extend(
        AuthorizationSettings::from_flags(flags)
            .err()
            .into_iter()
            .flatten(),
    );
    audit(flags, &mut errors);
    admission(flags, &mut errors);
    errors.extend(api_enablement(flags));
    errors.extend(token_request(flags));
    errors.extend(component_base::metrics::MetricsOptions::from_flags(flags).err());
    peers(flags, features, &mut errors);
    token_signing(flags, &mut errors);
    coordinated_leadership(flags, &mut errors);
    cluster_ips(flags, ranges, &mut errors);
    node_ports(flags, &mut errors);
    errors.extend(families(flags, ranges, advertise_address));
    let count = flags.int("apiserver-count");
    if count <= 0 {
        errors.push(format!(
            "--apiserver-count should be a positive number, but value '{count}' provided"
        ));
    }
    errors
}

fn generic(flags: &Flags, errors: &mut Vec<String>) {
    let mut not_negative = |name: &str, negative: bool, text: &str| {
        if negative {
            errors.push(format!("{name} {text}"));
        }
    };
    let time = |name: &str| flags.duration_nanos(name) < 0;
    let number = |name: &str| flags.int(name) < 0;
    let plain = "can not be negative value";
    not_negative(
        "--livez-grace-period",
        time("livez-grace-period"),
        "can not be a negative value",
    );
    not_negative(
        "--max-requests-inflight",
        number("max-requests-inflight"),
        plain,
    );
    not_negative(
        "--max-mutating-requests-inflight",
        number("max-mutating-requests-inflight"),
        plain,
    );
    not_negative("--request-timeout", time("request-timeout"), plain);
    let chance = flags.float("goaway-chance");
    not_negative(
        "--goaway-chance",
        !(0.0..=0.02).contains(&chance),
        "can not be less than 0 or greater than 0.02",
    );
    not_negative(
        "--min-request-timeout",
        number("min-request-timeout"),
        plain,
    );
    not_negative(
        "--storage-initialization-timeout",
        time("storage-initialization-timeout"),
        plain,
    );
    not_negative(
        "--shutdown-delay-duration",
        time("shutdown-delay-duration"),
        plain,
    );
    not_negative(
        "shutdown-watch-termination-grace-period, if provided,",
        time("shutdown-watch-termination-grace-period"),
        "can not be a negative value",
    );
    for directive in flags.strings("strict-transport-security-directives") {
        if directive.trim().is_empty() {
            errors.push("empty value in strict-transport-security-directives".to_owned());
        } else if !matches!(directive.as_str(), "includeSubDomains" | "preload")
            && !matches!(
                directive.split('=').collect::<Vec<_>>().as_slice(),
                ["max-age", _]
            )
        {
            errors.push("--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload. see https://tools.ietf.org/html/rfc6797#section-6.1 for more information".to_owned());
        }
    }
    let help = || {
        rows(FLAGS)
            .find(|row| row.name == "cors-allowed-origins")
            .map_or("", |row| row.help)
    };
    for origin in flags.strings("cors-allowed-origins") {
        if origin.is_empty() {
            errors.push(format!(
                "empty value in --cors-allowed-origins, help: {}",
                help()
            ));
        } else if let Some(why) = origin_problem(origin) {
            errors.push(format!(
                "--cors-allowed-origins has an invalid regular expression: {why}, help: {}",
                help()
            ));
        }
    }
    errors.extend(version::validate_emulation(flags));
    if flags.strings("emulated-version").is_empty() {
        for (flag, option) in [
            ("emulation-forward-compatible", "EmulationForwardCompatible"),
            (
                "runtime-config-emulation-forward-compatible",
                "RuntimeConfigEmulationForwardCompatible",
            ),
        ] {
            if flags.bool(flag) {
                errors.push(format!("ServerRunOptions.{option} cannot be set to true if the emulation version is the same as the binary version"));
            }
        }
    }
}

/// An expression that fits the middle of a host would let in hosts that only look alike.
fn origin_problem(origin: &str) -> Option<String> {
    if let Err(error) = regex::Regex::new(origin) {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        let why = last.trim_start_matches("error: ");
        return Some(format!("error parsing regexp: {why}: `{origin}`"));
    }
    let pinned = |marks: [&str; 2]| marks.iter().any(|mark| origin.contains(mark));
    (!pinned(["^", "//"]) || !pinned(["$", ":"])).then(|| {
        "regular expression does not pin to start/end of host in the origin header".to_owned()
    })
}

fn etcd(flags: &Flags, errors: &mut Vec<String>) {
    if flags.strings("etcd-servers").is_empty() {
        errors.push("--etcd-servers must be specified".to_owned());
    }
    if !matches!(flags.string("storage-backend"), "" | "etcd3") {
        errors.push("--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'".to_owned());
    }
    let understood = |element: &String| {
        let [resource, servers] = element.split('#').collect::<Vec<_>>()[..] else {
            return false;
        };
        resource.split('/').count() == 2 && servers.split(';').all(|server| !server.is_empty())
    };
    if !flags
        .strings("etcd-servers-overrides")
        .iter()
        .all(understood)
    {
        errors.push("--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated".to_owned());
    }
    if flags.bool("encryption-provider-config-automatic-reload")
        && flags.string("encryption-provider-config").is_empty()
    {
        errors.push("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config".to_owned());
    }
    const MEDIA_TYPES: [&str; 3] = [
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/yaml",
    ];
    let media = flags.string("storage-media-type");
    if !media.is_empty() && !MEDIA_TYPES.contains(&media) {
        errors.push(format!(
            "--storage-media-type {} invalid, allowed values: {}",
            quote(media),
            MEDIA_TYPES.join(", ")
        ));
    }
}

/// Upstream looks for the settings in the flag's text, most exact first.
fn priority_and_fairness(flags: &Flags) -> Option<String> {
    if !flags.bool("enable-priority-and-fairness") {
        return None;
    }
    let settings = flags.map("runtime-config");
    for key in ["flowcontrol.apiserver.k8s.io/v1", "api/ga", "api/all"] {
        match settings.get(key).map(String::as_str) {
            Some("false") => {
                return Some(format!(
                    "--runtime-config={key}=false conflicts with --enable-priority-and-fairness=true"
                ));
            }
            Some("true") => return None,
            _ => {}
        }
    }
    None
}

fn secure_port(flags: &Flags, errors: &mut Vec<String>) {
    let port = flags.int("secure-port");
    if !(1..=65535).contains(&port) {
        errors.push(format!(
            "--secure-port {port} must be between 1 and 65535, inclusive. It cannot be turned off with 0"
        ));
    }
}

fn authentication(flags: &Flags, features: &FeatureGates, errors: &mut Vec<String>) {
    let oidc = rows(FLAGS)
        .filter(|row| row.name.starts_with("oidc-"))
        .any(|row| flags.changed(row.name));
    if flags.string("authentication-config").is_empty() {
        if oidc
            && (flags.string("oidc-issuer-url").is_empty()
                || flags.string("oidc-client-id").is_empty())
        {
            errors.push("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set".to_owned());
        }
    } else if oidc {
        errors
            .push("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
    }
    let issuers = flags.strings("service-account-issuer");
    for (i, issuer) in issuers.iter().enumerate() {
        if issuer.is_empty() {
            errors.push("service-account-issuer should not be an empty string".to_owned());
        } else if issuer.contains(':') && parse_url(issuer).is_none() {
            errors.push(format!(
                "service-account-issuer {} contained a ':' but was not a valid URL",
                quote(issuer)
            ));
        } else if issuers[..i].contains(issuer) {
            errors.push(format!(
                "service-account-issuer {} is already specified",
                quote(issuer)
            ));
        }
    }
    if issuers.is_empty() {
        errors.push("service-account-issuer is a required flag".to_owned());
    }
    if flags.strings("service-account-key-file").is_empty()
        && flags.string("service-account-signing-endpoint").is_empty()
    {
        errors.push("either `--service-account-key-file` or `--service-account-signing-endpoint` must be set".to_owned());
    }
    if let Some(uri) = flags.non_empty("service-account-jwks-uri") {
        match parse_url(uri) {
            None => errors.push(format!(
                "service-account-jwks-uri must be a valid URL: {uri}"
            )),
            Some(scheme) if scheme != "https" => errors.push(format!(
                "service-account-jwks-uri requires https scheme, parsed as: {uri}"
            )),
            Some(_) => {}
        }
    }
    let mut request_header = validate_request_header_flags(flags);
    let uid_headers = "requestheader-uid-headers";
    if !features.enabled("RemoteRequestHeaderUID") && !flags.strings(uid_headers).is_empty() {
        request_header.retain(|problem| !problem.contains(uid_headers));
        request_header.push(format!(
            "--{uid_headers} requires the \"RemoteRequestHeaderUID\" feature to be enabled"
        ));
    }
    errors.extend(request_header);
    if let (Some(clients), Some(front_proxy)) = (
        flags.non_empty("client-ca-file"),
        flags.non_empty("requestheader-client-ca-file"),
    ) && flags.strings("requestheader-allowed-names").is_empty()
        && overlap(Path::new(clients), Path::new(front_proxy))
    {
        errors.push("--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; --requestheader-allowed-names must be specified to ensure regular client certificates cannot set authenticating proxy headers for arbitrary users".to_owned());
    }
}

/// The scheme of a URL in Go's wide sense, empty for one without; `None` for what is no URL.
fn parse_url(text: &str) -> Option<String> {
    match url::Url::parse(text) {
        Ok(url) => Some(url.scheme().to_owned()),
        Err(url::ParseError::RelativeUrlWithoutBase) => Some(String::new()),
        Err(_) => None,
    }
}

/// Whether two bundles have a certificate in common. Files that cannot be read are told of later.
fn overlap(one: &Path, other: &Path) -> bool {
    let certificates = |path: &Path| {
        std::fs::read(path)
            .ok()
            .and_then(|pem| CaBundle::from_pem(&pem).ok())
            .map(|bundle| bundle.certificates())
            .unwrap_or_default()
    };
    let others = certificates(other);
    certificates(one)
        .iter()
        .any(|certificate| others.contains(certificate))
}

fn audit(flags: &Flags, errors: &mut Vec<String>) {
    if flags.non_empty("audit-log-path").is_some() {
        audit_backend(flags, "log", errors);
        const FORMATS: [&str; 2] = ["legacy", "json"];
        let format = flags.string("audit-log-format");
        if !FORMATS.contains(&format) {
            errors.push(format!(
                "invalid audit log format {format}, allowed formats are {}",
                quote(&FORMATS.join(","))
            ));
        }
        for name in [
            "audit-log-maxage",
            "audit-log-maxbackup",
            "audit-log-maxsize",
        ] {
            let value = flags.int(name);
            if value < 0 {
                errors.push(format!("--{name} {value} can't be a negative number"));
            }
        }
    }
    if flags.non_empty("audit-webhook-config-file").is_some() {
        audit_backend(flags, "webhook", errors);
    }
}

fn audit_backend(flags: &Flags, plugin: &str, errors: &mut Vec<String>) {
    const MODES: [&str; 3] = ["batch", "blocking", "blocking-strict"];
    let name = |rest: &str| format!("audit-{plugin}-{rest}");
    let mode = flags.string(&name("mode")).to_owned();
    let positive = |what: &str, value: String, fine: bool| {
        (!fine).then(|| {
            format!("invalid audit batch {plugin} {what} {value}, must be a positive number")
        })
    };
    if !MODES.contains(&mode.as_str()) {
        errors.push(format!(
            "invalid audit {plugin} mode {mode}, allowed modes are {}",
            quote(&MODES.join(","))
        ));
    } else if mode == "batch" {
        let number = |what: &str, rest: &str| {
            let value = flags.int(&name(rest));
            positive(what, value.to_string(), value > 0)
        };
        let throttled = flags.bool(&name("batch-throttle-enable"));
        let qps = flags.float(&name("batch-throttle-qps"));
        errors.extend(
            number("buffer size", "batch-buffer-size")
                .or_else(|| number("max batch size", "batch-max-size"))
                .or_else(|| positive("throttle QPS", qps.to_string(), !throttled || qps > 0.0))
                .or_else(|| {
                    throttled
                        .then(|| number("throttle burst", "batch-throttle-burst"))
                        .flatten()
                }),
        );
    }
    let event = flags.int(&name("truncate-max-event-size"));
    let batch = flags.int(&name("truncate-max-batch-size"));
    if event <= 0 {
        errors.push(format!(
            "invalid audit truncate {plugin} max event size {event}, must be a positive number"
        ));
    } else if batch < event {
        errors.push(format!("invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"));
    }
    if flags.string(&name("version")) != "audit.k8s.io/v1" {
        errors.push("invalid group version, allowed versions are [\"audit.k8s.io/v1\"]".to_owned());
    }
}

fn admission(flags: &Flags, errors: &mut Vec<String>) {
    let (enable, disable) = ("enable-admission-plugins", "disable-admission-plugins");
    if flags.changed("admission-control") && (flags.changed(enable) || flags.changed(disable)) {
        errors.push("admission-control and enable-admission-plugins/disable-admission-plugins flags are mutually exclusive".to_owned());
    }
    for flag in ["admission-control", enable, disable] {
        for name in flags.strings(flag) {
            if !Chain::known().any(|known| known == name) {
                errors.push(format!("{flag} plugin {} is unknown", quote(name)));
            }
        }
    }
    let mut both: Vec<&str> = flags
        .strings(enable)
        .iter()
        .filter(|name| flags.strings(disable).contains(name))
        .map(String::as_str)
        .collect();
    both.sort_unstable();
    both.dedup();
    if !both.is_empty() {
        errors.push(format!(
            "[{}] in enable-admission-plugins and disable-admission-plugins overlapped",
            both.join(" ")
        ));
    }
}

/// The group version that a key of `--runtime-config` names; `None` for keys that stand for many.
fn group_version(key: &str) -> Option<Result<(&str, &str), String>> {
    if LEVELS.contains(&key) || key == "api/legacy" {
        return None;
    }
    // The core group has more than one name.
    let core = ["v1", "api/v1", "/v1"];
    if core.iter().any(|name| {
        key == *name
            || key
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('/'))
    }) {
        return Some(Ok(("", "v1")));
    }
    let tokens: Vec<&str> = key.split('/').collect();
    Some(match tokens.as_slice() {
        [group, version] | [group, version, _] => Ok((group, version)),
        _ => Err(format!("runtime-config invalid key {key}")),
    })
}

fn has_group(group: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group)
        || UNSERVED.iter().any(|(known, _)| *known == group)
}

fn has_version(group: &str, version: &str) -> bool {
    KINDS
        .iter()
        .any(|kind| kind.group == group && kind.version == version)
        || UNSERVED.contains(&(group, version))
}

fn api_enablement(flags: &Flags) -> Option<String> {
    let settings = flags.map("runtime-config");
    if settings.len() == 1
        && settings
            .get("api/all")
            .is_some_and(|value| value == "false")
    {
        return Some("invalid runtime-config with only api/all=false".to_owned());
    }
    let mut unknown = Vec::new();
    for key in settings.keys() {
        match group_version(key) {
            Some(Ok((group, version))) if !has_group(group) => {
                unknown.push(format!("{group}/{version}"));
            }
            Some(Err(problem)) => return Some(problem),
            _ => {}
        }
    }
    (!unknown.is_empty()).then(|| format!("unknown api groups {}", unknown.join(",")))
}

/// What upstream finds when it applies `--runtime-config`, after all else was found to be in order.
pub(super) fn runtime_config(flags: &Flags) -> Result<(), String> {
    let settings = flags.map("runtime-config");
    for level in LEVELS {
        if let Some(value) = settings.get(level)
            && !matches!(value.as_str(), "true" | "false")
        {
            return Err(format!("invalid value {level}={value}"));
        }
    }
    for (key, value) in settings {
        let Some(Ok((group, version))) = group_version(key) else {
            continue;
        };
        if !has_version(group, version) {
            let name = if group.is_empty() {
                version.to_owned()
            } else {
                format!("{group}/{version}")
            };
            return Err(format!("group version {name} that has not been registered"));
        }
        if !value.is_empty() && parse_bool(value).is_none() {
            return Err(format!(
                "invalid value of {key}: {value}, err: strconv.ParseBool: parsing {}: invalid syntax",
                quote(value)
            ));
        }
    }
    Ok(())
}

/// Go's strconv.ParseBool.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn token_request(flags: &Flags) -> Option<String> {
    let key = !flags.string("service-account-signing-key-file").is_empty()
        || !flags.string("service-account-signing-endpoint").is_empty();
    let issuer = flags
        .strings("service-account-issuer")
        .first()
        .is_some_and(|issuer| !issuer.is_empty());
    let attempted = !flags.string("service-account-signing-key-file").is_empty()
        || issuer
        || !flags.strings("api-audiences").is_empty();
    if !attempted {
        Some(
            "--service-account-signing-key-file and --service-account-issuer are required flags"
                .to_owned(),
        )
    } else if !(key && issuer) {
        Some("--service-account-signing-key-file, --service-account-issuer, and --api-audiences should be specified together".to_owned())
    } else {
        None
    }
}

fn peers(flags: &Flags, features: &FeatureGates, errors: &mut Vec<String>) {
    if features.enabled("UnknownVersionInteroperabilityProxy") {
        return;
    }
    for name in ["peer-ca-file", "peer-advertise-ip", "peer-advertise-port"] {
        if flags.non_empty(name).is_some() {
            errors.push(format!(
                "--{name} requires UnknownVersionInteroperabilityProxy feature to be turned on"
            ));
        }
    }
}

fn token_signing(flags: &Flags, errors: &mut Vec<String>) {
    let Some(endpoint) = flags.non_empty("service-account-signing-endpoint") else {
        return;
    };
    if flags
        .non_empty("service-account-signing-key-file")
        .is_some()
        || !flags.strings("service-account-key-file").is_empty()
    {
        errors.push("can't set `--service-account-signing-key-file` and/or `--service-account-key-file` with `--service-account-signing-endpoint` (They are mutually exclusive)".to_owned());
    }
    if let Some(name) = endpoint.strip_prefix('@') {
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        if !name.split('.').all(plain) {
            errors.push(format!("invalid value {} passed for `--service-account-signing-endpoint`, when prefixed with @ must be a valid abstract socket name", quote(endpoint)));
        }
    }
}

fn coordinated_leadership(flags: &Flags, errors: &mut Vec<String>) {
    let names = ["lease-duration", "renew-deadline", "retry-period"];
    for pair in names.windows(2) {
        let [longer, shorter] = [0, 1].map(|i| format!("coordinated-leadership-{}", pair[i]));
        if flags.duration_nanos(&longer) <= flags.duration_nanos(&shorter) {
            errors.push(format!("--{longer} must be greater than --{shorter}"));
        }
    }
}

fn cluster_ips(flags: &Flags, ranges: &[IpNet], errors: &mut Vec<String>) {
    if flags.string("service-cluster-ip-range").split(',').count() > 2 {
        errors.push("--service-cluster-ip-range must not contain more than two entries".to_owned());
    }
    if let [first, second, ..] = ranges
        && first.addr().is_ipv4() == second.addr().is_ipv4()
    {
        errors.push("--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family".to_owned());
    }
}

fn node_ports(flags: &Flags, errors: &mut Vec<String>) {
    let port = flags.int("kubernetes-service-node-port");
    if !(0..=65535).contains(&port) {
        errors.push(format!("--kubernetes-service-node-port {port} must be between 0 and 65535, inclusive. If 0, the Kubernetes master service will be of type ClusterIP"));
    }
    let range = flags.port_range("service-node-port-range");
    let contained = u16::try_from(port).is_ok_and(|port| range.contains(port));
    if port > 0 && !contained {
        errors.push(format!(
            "kubernetes service node port range {range} doesn't contain {port}"
        ));
    }
}

/// The Service `kubernetes` and its endpoints must be of one family.
fn families(flags: &Flags, ranges: &[IpNet], advertise_address: IpAddr) -> Option<String> {
    let first = ranges.first()?;
    let differ = first.addr().is_ipv4() != advertise_address.is_ipv4();
    (flags.string("endpoint-reconciler-type") != "none" && differ).then(|| {
        format!(
            "service IP family {} must match public address family {}",
            quote(&first.to_string()),
            quote(&advertise_address.to_string())
        )
    })
}

#[cfg(test)]
mod tests {
    use component_base::flags::Parsed;

    use super::*;
    use crate::config::flags::COMMAND;

    const COMPLETE: [&str; 4] = [
        "--etcd-servers=http://127.0.0.1:2379",
        "--service-account-issuer=https://issuer",
        "--service-account-key-file=/key",
        "--service-account-signing-key-file=/key",
    ];

    fn problems(arguments: &[&str]) -> Vec<String> {
        problems_with(&FeatureGates::default(), arguments)
    }

    fn problems_with(features: &FeatureGates, arguments: &[&str]) -> Vec<String> {
        let all = COMPLETE.iter().chain(arguments);
        match Flags::parse(&COMMAND, all.map(|argument| (*argument).to_owned())) {
            Ok(Parsed::Run(flags)) => validate(
                &flags,
                features,
                &["10.0.0.0/24".parse().expect("a range")],
                "10.0.0.1".parse().expect("an address"),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(argument: &str, want: &str) {
        assert_eq!(problems(&[argument]), [want]);
    }

    #[test]
    fn what_a_server_needs_is_valid() {
        assert_eq!(problems(&[]), Vec::<String>::new());
        let fine = [
            "--runtime-config=v1=true,api/all=true,batch/v1/jobs=false,extensions/v1beta1=true",
            "--authorization-mode=Node,RBAC",
            "--audit-log-path=-",
            "--cors-allowed-origins=^https://example\\.com$",
            "--strict-transport-security-directives=max-age=1,preload",
            "--watch-cache-sizes=pods#10",
        ];
        assert_eq!(problems(&fine), Vec::<String>::new());
    }

    #[test]
    fn headers_with_uids_need_a_feature() {
        let off = [("RemoteRequestHeaderUID".to_owned(), false)].into();
        let off = FeatureGates::default().with(&off).expect("a gate");
        for headers in ["X-Remote-Uid", "X-Other", " "] {
            assert_eq!(
                problems_with(&off, &[&format!("--requestheader-uid-headers={headers}")]),
                [
                    "--requestheader-uid-headers requires the \"RemoteRequestHeaderUID\" feature to be enabled"
                ]
            );
        }
    }

    #[test]
    fn texts() {
        check(
            "--goaway-chance=0.5",
            "--goaway-chance can not be less than 0 or greater than 0.02",
        );
        check(
            "--shutdown-watch-termination-grace-period=-1s",
            "shutdown-watch-termination-grace-period, if provided, can not be a negative value",
        );
        check(
            "--etcd-servers-overrides=/events#",
            "--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated",
        );
        check("--runtime-config=x/y=true", "unknown api groups x/y");
        check(
            "--runtime-config=apps=true",
            "runtime-config invalid key apps",
        );
        check(
            "--authorization-mode=RBAC,RBAC",
            "authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once",
        );
        check(
            "--admission-control=Bar",
            "admission-control plugin \"Bar\" is unknown",
        );
        assert_eq!(
            problems(&["--audit-log-mode=x"]),
            Vec::<String>::new(),
            "nothing is logged"
        );
        assert_eq!(
            problems(&["--audit-log-path=-", "--audit-log-mode=x"]),
            ["invalid audit log mode x, allowed modes are \"batch,blocking,blocking-strict\""]
        );
    }
}
