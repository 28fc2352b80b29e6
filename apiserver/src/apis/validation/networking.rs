//! Network policies, ingresses and their classes, IP addresses and service CIDRs. Upstream: pkg/apis/networking/validation.

use api_types::IntOrString;
use api_types::core::v1::TypedLocalObjectReference;
use api_types::networking::v1::*;

use super::*;

// === NetworkPolicy ===

pub fn validate_network_policy(policy: &NetworkPolicy) -> ErrorList {
    let mut errors = object_meta(&policy.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(policy_spec(&policy.spec, false, &Known::new()));
    errors
}

pub fn validate_network_policy_update(new: &NetworkPolicy, old: &NetworkPolicy) -> ErrorList {
    let keep_invalid = !label_selector(Some(&old.spec.pod_selector), &Path::nil()).is_empty();
    let from = old.spec.ingress.iter().flat_map(|rule| &rule.from);
    let to = old.spec.egress.iter().flat_map(|rule| &rule.to);
    let blocks = from.chain(to).filter_map(|peer| peer.ip_block.as_ref());
    let known: Known<'_> = blocks
        .flat_map(|block| std::iter::once(&block.cidr).chain(&block.except))
        .map(String::as_str)
        .collect();
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(policy_spec(&new.spec, keep_invalid, &known));
    errors
}

fn policy_spec(spec: &NetworkPolicySpec, keep_invalid: bool, known: &Known<'_>) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = label_selector_allowing(
        Some(&spec.pod_selector),
        keep_invalid,
        &path.child("podSelector"),
    );
    let mut rule = |ports: &[NetworkPolicyPort], peers: &[NetworkPolicyPeer], child, path: Path| {
        for (i, port) in ports.iter().enumerate() {
            errors.extend(policy_port(port, &path.child("ports").index(i)));
        }
        for (i, peer) in peers.iter().enumerate() {
            errors.extend(policy_peer(
                peer,
                keep_invalid,
                known,
                &path.child(child).index(i),
            ));
        }
    };
    for (i, ingress) in spec.ingress.iter().enumerate() {
        rule(
            &ingress.ports,
            &ingress.from,
            "from",
            path.child("ingress").index(i),
        );
    }
    for (i, egress) in spec.egress.iter().enumerate() {
        rule(
            &egress.ports,
            &egress.to,
            "to",
            path.child("egress").index(i),
        );
    }
    let types_path = path.child("policyTypes");
    if spec.policy_types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(field::invalid(&types_path, &spec.policy_types, detail));
        return errors;
    }
    for (i, ty) in spec.policy_types.iter().enumerate() {
        errors.extend(one_of(ty, &["Ingress", "Egress"], &types_path.index(i)));
    }
    errors
}

fn policy_port(port: &NetworkPolicyPort, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(protocol) = &port.protocol {
        errors.extend(one_of(
            protocol,
            &["TCP", "UDP", "SCTP"],
            &path.child("protocol"),
        ));
    }
    let (port_path, end_path) = (path.child("port"), path.child("endPort"));
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(number)), end) => {
            errors.extend(port_number(*number, &port_path));
            if let Some(end) = end {
                if end < *number {
                    let detail = "must be greater than or equal to `port`";
                    errors.push(field::invalid(&end_path, *number, detail));
                }
                errors.extend(port_number(end, &end_path));
            }
        }
        (Some(IntOrString::String(name)), end) => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(field::invalid(&end_path, end, detail));
            }
            errors.extend(invalids(&port_path, name, rules::is_valid_port_name(name)));
        }
        (None, Some(end)) => {
            let detail = "may not be specified when `port` is not specified";
            errors.push(field::invalid(&end_path, end, detail));
        }
        (None, None) => {}
    }
    errors
}

fn policy_peer(
    peer: &NetworkPolicyPeer,
    keep_invalid: bool,
    known: &Known<'_>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut count = 0;
    for (selector, child) in [
        (&peer.pod_selector, "podSelector"),
        (&peer.namespace_selector, "namespaceSelector"),
    ] {
        if let Some(selector) = selector {
            count += 1;
            errors.extend(label_selector_allowing(
                Some(selector),
                keep_invalid,
                &path.child(child),
            ));
        }
    }
    if let Some(block) = &peer.ip_block {
        errors.extend(ip_block(block, known, &path.child("ipBlock")));
        if count > 0 {
            let detail = "may not specify both ipBlock and another peer";
            errors.push(field::forbidden(path, detail));
        }
    } else if count == 0 {
        errors.push(field::required(path, "must specify a peer"));
    }
    errors
}

fn ip_block(block: &IPBlock, known: &Known<'_>, path: &Path) -> ErrorList {
    if block.cidr.is_empty() {
        return field::required(&path.child("cidr"), "").into();
    }
    let mut errors = legacy_cidr(&path.child("cidr"), &block.cidr, known);
    let Some(cidr) = rules::parse_cidr_sloppy(&block.cidr) else {
        return errors;
    };
    for (i, text) in block.except.iter().enumerate() {
        let path = path.child("except").index(i);
        errors.extend(legacy_cidr(&path, text, known));
        let Some(except) = rules::parse_cidr_sloppy(text) else {
            continue;
        };
        let inside = except.prefix_len > cidr.prefix_len
            && ipnet::IpNet::new(cidr.network, cidr.prefix_len)
                .is_ok_and(|network| network.contains(&except.network));
        if !inside {
            errors.push(field::invalid(
                &path,
                text,
                "must be a strict subset of `cidr`",
            ));
        }
    }
    errors
}

// === Ingress ===

#[derive(Clone, Copy)]
struct IngressOptions {
    any_secret_name: bool,
    any_wildcard_rule: bool,
    relaxed_service_name: bool,
}

pub fn validate_ingress(ingress: &Ingress) -> ErrorList {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let options = IngressOptions {
        any_secret_name: false,
        any_wildcard_rule: false,
        relaxed_service_name: gates::enabled("RelaxedServiceNameValidation"),
    };
    let mut errors = object_meta(&ingress.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(ingress_spec(&ingress.spec, options));
    if let (Some(annotation), Some(class)) = (
        ingress.metadata.annotations.get(CLASS),
        &ingress.spec.ingress_class_name,
    ) && annotation != class
    {
        let detail = "must match `ingressClassName` when both are specified";
        errors.push(field::invalid(
            &path(&["annotations", CLASS]),
            annotation,
            detail,
        ));
    }
    errors
}

pub fn validate_ingress_update(new: &Ingress, old: &Ingress) -> ErrorList {
    let strict = IngressOptions {
        any_secret_name: false,
        any_wildcard_rule: false,
        relaxed_service_name: false,
    };
    let http = |rule: &IngressRule| rule.ingress_rule_value.http.clone();
    let backends = old
        .spec
        .rules
        .iter()
        .filter_map(http)
        .flat_map(|http| http.paths)
        .map(|path| path.backend);
    let mut services = backends
        .chain(old.spec.default_backend.as_deref().cloned())
        .filter_map(|backend| backend.service);
    let options = IngressOptions {
        any_secret_name: old.spec.tls.iter().any(|tls| {
            !tls.secret_name.is_empty() && !rules::is_dns1123_subdomain(&tls.secret_name).is_empty()
        }),
        any_wildcard_rule: old.spec.rules.iter().any(|rule| {
            rule.host.contains('*')
                && !rule_value(&rule.ingress_rule_value, strict, &Path::nil()).is_empty()
        }),
        relaxed_service_name: gates::enabled("RelaxedServiceNameValidation")
            || services.any(|service| {
                rules::is_dns1123_label(&service.name).is_empty()
                    && !rules::is_dns1035_label(&service.name).is_empty()
            }),
    };
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(object_meta(
        &new.metadata,
        true,
        rules::name_is_dns_subdomain,
    ));
    errors.extend(ingress_spec(&new.spec, options));
    errors
}

fn host_name(host: &str, path: &Path) -> ErrorList {
    if host.contains('*') {
        invalids(path, host, rules::is_wildcard_dns1123_subdomain(host))
    } else {
        dns_subdomain(host, path)
    }
}

fn ingress_spec(spec: &IngressSpec, options: IngressOptions) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(field::invalid(
            &path,
            go_value::bad_list(&spec.rules),
            detail,
        ));
    }
    if let Some(backend) = &spec.default_backend {
        errors.extend(ingress_backend(
            backend,
            options,
            &path.child("defaultBackend"),
        ));
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let path = path.child("rules").index(i);
        if !rule.host.is_empty() {
            let path = path.child("host");
            if rules::parse_ip_sloppy(&rule.host).is_some() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(field::invalid(&path, &rule.host, detail));
            }
            errors.extend(host_name(&rule.host, &path));
        }
        if !rule.host.contains('*') || !options.any_wildcard_rule {
            errors.extend(rule_value(&rule.ingress_rule_value, options, &path));
        }
    }
    for (i, tls) in spec.tls.iter().enumerate() {
        let path = path.child("tls").index(i);
        for (j, host) in tls.hosts.iter().enumerate() {
            errors.extend(host_name(host, &path.child("hosts").index(j)));
        }
        if !options.any_secret_name && !tls.secret_name.is_empty() {
            errors.extend(dns_subdomain(&tls.secret_name, &path.child("secretName")));
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        errors.extend(dns_subdomain(class, &path.child("ingressClassName")));
    }
    errors
}

fn rule_value(value: &IngressRuleValue, options: IngressOptions, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(http) = &value.http else {
        return errors;
    };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.push(field::required(&path, ""));
    }
    for (i, target) in http.paths.iter().enumerate() {
        errors.extend(ingress_path(target, options, &path.index(i)));
    }
    errors
}

fn ingress_path(target: &HTTPIngressPath, options: IngressOptions, path: &Path) -> ErrorList {
    let type_path = path.child("pathType");
    let Some(ty) = &target.path_type else {
        return field::required(&type_path, "pathType must be specified").into();
    };
    let mut errors = ErrorList::new();
    let text = target.path.as_str();
    let mut wrong = |detail: String| errors.push(field::invalid(&path.child("path"), text, detail));
    match ty.as_str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                wrong("must be an absolute path".to_owned());
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    wrong(format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    wrong(format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                wrong("must be an absolute path".to_owned());
            }
        }
        other => errors.extend(one_of(
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
            &type_path,
        )),
    }
    errors.extend(ingress_backend(
        &target.backend,
        options,
        &path.child("backend"),
    ));
    errors
}

fn ingress_backend(backend: &IngressBackend, options: IngressOptions, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let service = match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            return field::invalid(path, "", "cannot set both resource and service backends")
                .into();
        }
        (Some(resource), None) => return resource_reference(resource, &path.child("resource")),
        (None, None) => {
            return field::invalid(path, "", "resource or service backend is required").into();
        }
        (None, Some(service)) => service,
    };
    let service_path = path.child("service");
    let name_path = service_path.child("name");
    if service.name.is_empty() {
        errors.push(field::required(&name_path, ""));
    } else if options.relaxed_service_name {
        errors.extend(dns_label(&service.name, &name_path));
    } else {
        errors.extend(invalids(
            &name_path,
            &service.name,
            rules::is_dns1035_label(&service.name),
        ));
    }
    let (name, number) = (service.port.name.as_str(), service.port.number);
    let port_path = service_path.child("port");
    match (!name.is_empty(), number != 0) {
        (true, true) => errors.push(field::invalid(
            path,
            "",
            "cannot set both port name & port number",
        )),
        (true, false) => {
            errors.extend(invalids(
                &port_path.child("name"),
                name,
                rules::is_valid_port_name(name),
            ));
        }
        (false, true) => errors.extend(port_number(number, &port_path.child("number"))),
        (false, false) => errors.push(field::required(path, "port name or number is required")),
    }
    errors
}

/// A text that is needed and stands in a URL's path.
pub(super) fn path_segment(value: &str, path: &Path) -> ErrorList {
    if value.is_empty() {
        field::required(path, "").into()
    } else {
        invalids(path, value, rules::is_path_segment_name(value))
    }
}

fn resource_reference(reference: &TypedLocalObjectReference, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(group) = &reference.api_group {
        errors.extend(dns_subdomain(group, &path.child("apiGroup")));
    }
    errors.extend(path_segment(&reference.kind, &path.child("kind")));
    errors.extend(path_segment(&reference.name, &path.child("name")));
    errors
}

pub fn validate_ingress_status_update(new: &Ingress, old: &Ingress) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let known = old
        .status
        .load_balancer
        .ingress
        .iter()
        .map(|ingress| ingress.ip.as_str());
    let known: Known<'_> = known.filter(|ip| !ip.is_empty()).collect();
    for (i, ingress) in new.status.load_balancer.ingress.iter().enumerate() {
        let path = path(&["status", "loadBalancer", "ingress"]).index(i);
        if !ingress.ip.is_empty() {
            errors.extend(legacy_ip(&path.child("ip"), &ingress.ip, &known));
        }
        if !ingress.hostname.is_empty() {
            let path = path.child("hostname");
            errors.extend(dns_subdomain(&ingress.hostname, &path));
            if rules::parse_ip_sloppy(&ingress.hostname).is_some() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(field::invalid(&path, &ingress.hostname, detail));
            }
        }
    }
    errors
}

// === IngressClass ===

pub fn validate_ingress_class(class: &IngressClass) -> ErrorList {
    let mut errors = object_meta(&class.metadata, false, rules::name_is_dns_subdomain);
    let path = Path::new("spec");
    let controller_path = path.child("controller");
    if class.spec.controller.len() > 250 {
        errors.push(field::too_long(&controller_path, 250));
    }
    errors.extend(rules::is_domain_prefixed_path(
        &controller_path,
        &class.spec.controller,
    ));
    if let Some(parameters) = &class.spec.parameters {
        errors.extend(class_parameters(parameters, &path.child("parameters")));
    }
    errors
}

pub fn validate_ingress_class_update(new: &IngressClass, old: &IngressClass) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = path(&["spec", "controller"]);
    errors.extend(rules::validate_immutable_field(
        &new.spec.controller,
        &old.spec.controller,
        &path,
    ));
    errors.extend(validate_ingress_class(new));
    errors
}

fn class_parameters(parameters: &IngressClassParametersReference, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(group) = &parameters.api_group {
        errors.extend(dns_subdomain(group, &path.child("apiGroup")));
    }
    errors.extend(path_segment(&parameters.kind, &path.child("kind")));
    errors.extend(path_segment(&parameters.name, &path.child("name")));
    let namespace_path = path.child("namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.push(field::required(&path.child("scope"), "")),
        (Some("Namespace"), None) => {
            errors.push(field::required(
                &namespace_path,
                "`parameters.scope` is set to 'Namespace'",
            ));
        }
        (Some("Namespace"), Some(namespace)) => {
            errors.extend(dns_label(namespace, &namespace_path))
        }
        (Some("Cluster"), Some(_)) => {
            errors.push(field::forbidden(
                &namespace_path,
                "`parameters.scope` is set to 'Cluster'",
            ));
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.extend(one_of(
            other,
            &["Cluster", "Namespace"],
            &path.child("scope"),
        )),
    }
    errors
}

// === IPAddress and ServiceCIDR ===

fn ip_name(name: &str, _: bool) -> Vec<String> {
    let problems = rules::is_valid_ip(&Path::nil(), name);
    problems.into_iter().map(|error| error.detail).collect()
}

pub fn validate_ip_address(address: &IPAddress) -> ErrorList {
    let mut errors = object_meta(&address.metadata, false, ip_name);
    let path = path(&["spec", "parentRef"]);
    let Some(parent) = &address.spec.parent_ref else {
        errors.push(field::required(&path, ""));
        return errors;
    };
    if !parent.group.is_empty() {
        errors.extend(dns_subdomain(&parent.group, &path.child("group")));
    }
    errors.extend(path_segment(&parent.resource, &path.child("resource")));
    errors.extend(path_segment(&parent.name, &path.child("name")));
    if !parent.namespace.is_empty() {
        errors.extend(path_segment(&parent.namespace, &path.child("namespace")));
    }
    errors
}

pub fn validate_ip_address_update(new: &IPAddress, old: &IPAddress) -> ErrorList {
    let mut errors = validate_ip_address(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    let (parent, before) = (&new.spec.parent_ref, &old.spec.parent_ref);
    errors.extend(immutable(
        parent,
        before,
        &path(&["spec", "parentRef"]),
        || go_value::bad_option(parent.as_deref()),
    ));
    errors
}

pub fn validate_service_cidr(cidr: &ServiceCIDR) -> ErrorList {
    let mut errors = object_meta(&cidr.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(cidrs(&cidr.spec));
    errors
}

fn cidrs(spec: &ServiceCIDRSpec) -> ErrorList {
    let path = path(&["spec", "cidrs"]);
    if spec.cidrs.is_empty() {
        return field::required(&path, "at least one CIDR required").into();
    }
    if spec.cidrs.len() > 2 {
        let value = go_value::bad_value(spec);
        return field::invalid(&path, value, "may only hold up to 2 values").into();
    }
    let mut errors = ErrorList::new();
    for (i, cidr) in spec.cidrs.iter().enumerate() {
        errors.extend(rules::is_valid_cidr(&path.index(i), cidr));
    }
    let families: Vec<Option<bool>> = spec
        .cidrs
        .iter()
        .map(|cidr| rules::parse_cidr_sloppy(cidr).map(|cidr| cidr.network.is_ipv6()))
        .collect();
    if let [Some(first), Some(second)] = families[..]
        && first == second
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(field::invalid(&path, &spec.cidrs, detail));
    }
    errors
}

pub fn validate_service_cidr_update(new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = path(&["spec", "cidrs"]);
    let (list, before) = (&new.spec.cidrs, &old.spec.cidrs);
    match (before.len(), list.len()) {
        (a, b) if a == b => {
            for (i, (cidr, before)) in list.iter().zip(before).enumerate() {
                errors.extend(rules::validate_immutable_field(
                    cidr,
                    before,
                    &path.index(i),
                ));
            }
        }
        (1, 2) => {
            errors.extend(rules::validate_immutable_field(
                &list[0],
                &before[0],
                &path.index(0),
            ));
            errors.extend(cidrs(&new.spec));
        }
        _ => errors.push(field::invalid(&path, go_value::bad_list(list), IMMUTABLE)),
    }
    errors
}

pub fn validate_service_cidr_status_update(new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
    object_meta_update(&new.metadata, &old.metadata)
}
