//! Hints for `spec.trafficDistribution` (KEP-4444, KEP-3015): endpoints serve their own zone, or node. Upstream:
//! k8s.io/endpointslice/trafficdist.

use std::sync::Arc;

use api_types::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone};

use super::plan::Plan;

/// The distribution a Service asks for, if it is one that we know.
pub(super) fn requested(distribution: Option<&str>) -> Option<&str> {
    distribution
        .filter(|wanted| matches!(*wanted, "PreferClose" | "PreferSameZone" | "PreferSameNode"))
}

pub(super) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.ready == Some(true)
}

/// Gives every ready endpoint the hints of a known distribution.
pub(super) fn add_hints(distribution: &str, plan: &mut Plan) {
    let nodes = distribution == "PreferSameNode";
    let unchanged = std::mem::take(&mut plan.unchanged);
    let (stale, right): (Vec<Arc<EndpointSlice>>, Vec<_>) =
        unchanged.into_iter().partition(|slice| {
            let wrong = |endpoint: &Endpoint| {
                is_ready(endpoint)
                    && hints(endpoint) != without_empty(wanted(endpoint, nodes).as_ref())
            };
            slice.endpoints.iter().any(wrong)
        });
    plan.unchanged = right;
    plan.update
        .extend(stale.iter().map(|slice| (**slice).clone()));
    for slice in plan.create.iter_mut().chain(&mut plan.update) {
        for endpoint in slice
            .endpoints
            .iter_mut()
            .filter(|endpoint| is_ready(endpoint))
        {
            endpoint.hints = wanted(endpoint, nodes).map(Box::new);
        }
    }
}

fn wanted(endpoint: &Endpoint, nodes: bool) -> Option<EndpointHints> {
    let zone = endpoint.zone.clone();
    let node = endpoint.node_name.clone().filter(|_| nodes);
    if zone.is_none() && node.is_none() {
        return None;
    }
    Some(EndpointHints {
        for_zones: zone.into_iter().map(|name| ForZone { name }).collect(),
        for_nodes: node.into_iter().map(|name| ForNode { name }).collect(),
    })
}

/// Empty hints are as good as none.
fn without_empty(hints: Option<&EndpointHints>) -> Option<&EndpointHints> {
    hints.filter(|hints| !(hints.for_zones.is_empty() && hints.for_nodes.is_empty()))
}

fn hints(endpoint: &Endpoint) -> Option<&EndpointHints> {
    without_empty(endpoint.hints.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(zone: Option<&str>, node: Option<&str>, ready: bool) -> Endpoint {
        let mut endpoint = Endpoint {
            zone: zone.map(Into::into),
            node_name: node.map(Into::into),
            ..Default::default()
        };
        endpoint.conditions.ready = Some(ready);
        endpoint
    }

    fn text(endpoint: &Endpoint) -> String {
        endpoint.hints.as_ref().map_or("-".to_owned(), |hints| {
            let zones: Vec<_> = hints
                .for_zones
                .iter()
                .map(|zone| zone.name.as_str())
                .collect();
            let nodes: Vec<_> = hints
                .for_nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect();
            format!("{}/{}", zones.join(","), nodes.join(","))
        })
    }

    #[track_caller]
    fn check(distribution: &str, expected: &[&str]) {
        let slice = EndpointSlice {
            endpoints: vec![
                endpoint(Some("a"), Some("n1"), true),
                endpoint(None, Some("n2"), true),
                endpoint(Some("a"), Some("n3"), false),
                endpoint(None, None, true),
            ],
            ..Default::default()
        };
        let mut plan = Plan {
            unchanged: vec![Arc::new(slice)],
            ..Default::default()
        };
        add_hints(distribution, &mut plan);
        assert_eq!(
            plan.update[0]
                .endpoints
                .iter()
                .map(text)
                .collect::<Vec<_>>(),
            expected
        );
        // Right hints stay.
        let mut again = Plan {
            unchanged: plan.update.drain(..).map(Arc::new).collect(),
            ..Default::default()
        };
        add_hints(distribution, &mut again);
        assert_eq!((again.update.len(), again.unchanged.len()), (0, 1));
        // Hints of another distribution do not.
        let other = if distribution == "PreferSameNode" {
            "PreferClose"
        } else {
            "PreferSameNode"
        };
        add_hints(other, &mut again);
        assert_eq!(again.update.len(), 1);
    }

    #[test]
    fn ready_endpoints_get_hints() {
        check("PreferClose", &["a/", "-", "-", "-"]);
        check("PreferSameZone", &["a/", "-", "-", "-"]);
        check("PreferSameNode", &["a/n1", "/n2", "-", "-"]);
        assert_eq!(requested(Some("Something")), None);
        assert_eq!(requested(None), None);
    }
}
