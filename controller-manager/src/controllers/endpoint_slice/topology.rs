//! Hints for the annotation service.kubernetes.io/topology-mode: Auto (KEP-2433): endpoints are given to zones in proportion to the
//! zones' CPUs. Upstream: k8s.io/endpointslice/topologycache.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api_types::Quantity;
use api_types::core::v1::Node;
use api_types::discovery::v1::{EndpointHints, EndpointSlice, ForZone};
use client::ObjectKey;
use parking_lot::Mutex;

use super::plan::Plan;
use super::traffic_distribution::is_ready;

/// The most load any endpoint may get beyond its share.
const OVERLOAD_THRESHOLD: f64 = 0.2;
const ZONE: &str = "topology.kubernetes.io/zone";
const DISABLED: &str = "TopologyAwareHintsDisabled";

/// Endpoints by zone.
type Counts = BTreeMap<String, usize>;

/// An event to record on the Service: type, reason, message.
pub(super) type Event = (&'static str, &'static str, String);

/// The annotations ask for hints. The older one wins.
pub(super) fn requested(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get("service.kubernetes.io/topology-aware-hints")
        .or_else(|| annotations.get("service.kubernetes.io/topology-mode"))
        .is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// What is known of zones and of the hints given so far.
#[derive(Default)]
pub(super) struct TopologyCache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each zone's share of the CPUs; `None` while hints are not possible.
    ratios: Option<BTreeMap<String, f64>>,
    hints: HashMap<ObjectKey, HashMap<String, Counts>>,
    populated: HashSet<ObjectKey>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Allocation {
    maximum: usize,
    desired: f64,
}

pub(super) fn is_node_ready(node: &Node) -> bool {
    node.status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .is_some_and(|ready| ready.status == "True")
}

/// Each zone's share of the CPUs, unless a node has no zone or no CPU, or there are fewer than two zones.
fn cpu_ratios(nodes: &[Arc<Node>]) -> Option<BTreeMap<String, f64>> {
    let mut by_zone: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut total = Quantity::default();
    for node in nodes {
        let labels = &node.metadata.labels;
        if labels.contains_key("node-role.kubernetes.io/control-plane")
            || labels.contains_key("node-role.kubernetes.io/master")
            || !is_node_ready(node)
        {
            continue;
        }
        let zone = labels.get(ZONE).filter(|zone| !zone.is_empty())?;
        let cpu = node
            .status
            .allocatable
            .get("cpu")
            .filter(|cpu| !cpu.is_zero())?;
        total.add(cpu);
        by_zone.entry(zone.clone()).or_default().add(cpu);
    }
    if total.is_zero() || by_zone.len() < 2 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "shares need no more than 52 bits of milli-CPUs"
    )]
    let share = |cpu: &Quantity| cpu.milli_value() as f64 / total.milli_value() as f64;
    Some(
        by_zone
            .iter()
            .map(|(zone, cpu)| (zone.clone(), share(cpu)))
            .collect(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "numbers of endpoints are small")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ceiling of a small positive number"
)]
fn ceil(value: f64) -> usize {
    value.ceil() as usize
}

fn allocations(
    ratios: Option<&BTreeMap<String, f64>>,
    endpoints: usize,
) -> Result<BTreeMap<String, Allocation>, String> {
    let Some(ratios) = ratios else {
        return Err("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes".to_owned());
    };
    let zones = ratios.len();
    if zones > endpoints {
        return Err(format!(
            "Insufficient number of endpoints ({endpoints} endpoints, {zones} zones)"
        ));
    }
    let minimum = |ratio: f64| ceil(ratio * float(endpoints) * (1.0 / (1.0 + OVERLOAD_THRESHOLD)));
    let total: usize = ratios.values().map(|ratio| minimum(*ratio)).sum();
    if total > endpoints {
        return Err(format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold ({endpoints} endpoints, {zones} zones)"
        ));
    }
    Ok(ratios
        .iter()
        .map(|(zone, ratio)| {
            let minimum = minimum(*ratio);
            let allocation = Allocation {
                maximum: minimum + endpoints - total,
                desired: (ratio * float(endpoints)).max(float(minimum)),
            };
            (zone.clone(), allocation)
        })
        .collect())
}

/// Some zone has fewer endpoints than it needs.
fn is_overloaded(counts: &Counts, ratios: Option<&BTreeMap<String, f64>>) -> bool {
    if counts.is_empty() {
        return false;
    }
    let Some(ratios) = ratios.filter(|ratios| !ratios.is_empty()) else {
        return true;
    };
    let total = float(counts.values().sum());
    ratios.iter().any(|(zone, ratio)| {
        counts
            .get(zone)
            .is_none_or(|count| *count < ceil(total * ratio * (1.0 / (1.0 + OVERLOAD_THRESHOLD))))
    })
}

/// The zones a slice's hints name, or `None` when the slice needs new ones.
fn hints_by_zone(
    slice: &EndpointSlice,
    allocated: &Counts,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<Counts> {
    let mut counts = Counts::new();
    for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
        let hints = endpoint
            .hints
            .as_ref()
            .filter(|hints| !hints.for_zones.is_empty())?;
        for zone in &hints.for_zones {
            allocations.get(&zone.name)?;
            *counts.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = counts.iter().all(|(zone, count)| {
        count + allocated.get(zone).copied().unwrap_or_default() <= allocations[zone].maximum
    });
    fits.then_some(counts)
}

/// How many endpoints zones give and get.
fn giving_and_receiving(
    allocations: &BTreeMap<String, Allocation>,
    allocated: &Counts,
) -> (Counts, Counts) {
    let mut surplus: BTreeMap<&str, f64> = BTreeMap::new();
    let mut lack: BTreeMap<&str, f64> = BTreeMap::new();
    for (zone, allocation) in allocations {
        let difference =
            float(allocated.get(zone).copied().unwrap_or_default()) - allocation.desired;
        if difference > 0.0 {
            surplus.insert(zone, difference);
        } else if difference < 0.0 {
            lack.insert(zone, -difference);
        }
    }
    fn most<'a>(zones: &BTreeMap<&'a str, f64>) -> Option<(&'a str, f64)> {
        zones
            .iter()
            .filter(|(_, count)| **count > 0.0)
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(zone, count)| (*zone, *count))
    }
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    while let (Some((giver, gives)), Some((receiver, needs))) = (most(&surplus), most(&lack)) {
        if (gives < 1.0 && needs < 1.0) || gives < 0.5 || needs < 0.5 {
            break;
        }
        *giving.entry(giver.to_owned()).or_default() += 1;
        *receiving.entry(receiver.to_owned()).or_default() += 1;
        surplus.insert(giver, gives - 1.0);
        lack.insert(receiver, needs - 1.0);
    }
    (giving, receiving)
}

/// Takes hints off every slice.
pub(super) fn remove_hints(plan: &mut Plan) {
    let unchanged = std::mem::take(&mut plan.unchanged);
    for slice in unchanged {
        if slice
            .endpoints
            .iter()
            .any(|endpoint| endpoint.hints.is_some())
        {
            plan.update.push((*slice).clone());
        } else {
            plan.unchanged.push(slice);
        }
    }
    for endpoint in plan
        .create
        .iter_mut()
        .chain(&mut plan.update)
        .flat_map(|slice| &mut slice.endpoints)
    {
        endpoint.hints = None;
    }
}

impl TopologyCache {
    /// Takes note of the nodes.
    pub(super) fn set_nodes(&self, nodes: &[Arc<Node>]) {
        self.state.lock().ratios = cpu_ratios(nodes);
    }

    /// Services that need other hints now.
    pub(super) fn overloaded(&self) -> Vec<ObjectKey> {
        let state = self.state.lock();
        state
            .hints
            .iter()
            .filter(|(_, counts)| {
                counts
                    .values()
                    .any(|counts| is_overloaded(counts, state.ratios.as_ref()))
            })
            .map(|(service, _)| service.clone())
            .collect()
    }

    /// Hints have been given to the Service.
    pub(super) fn has_hints(&self, service: &ObjectKey) -> bool {
        self.state.lock().populated.contains(service)
    }

    /// The Service has no hints in this address family any more.
    pub(super) fn forget(&self, service: &ObjectKey, address_type: &str) {
        let mut state = self.state.lock();
        if let Some(counts) = state.hints.get_mut(service) {
            counts.remove(address_type);
            if counts.is_empty() {
                state.hints.remove(service);
            }
        }
        state.populated.remove(service);
    }

    /// Puts hints on the planned slices, or takes them off when that is not possible.
    pub(super) fn add_hints(
        &self,
        service: &ObjectKey,
        address_type: &str,
        plan: &mut Plan,
    ) -> Vec<Event> {
        let give_up = |plan: &mut Plan, message: String| {
            tracing::info!(%service, address_type, "{message}, removing hints");
            self.forget(service, address_type);
            remove_hints(plan);
            vec![(
                "Warning",
                DISABLED,
                format!("{message}, addressType: {address_type}"),
            )]
        };
        let ready = |slice: &EndpointSlice| {
            slice
                .endpoints
                .iter()
                .filter(|endpoint| is_ready(endpoint))
                .count()
        };
        let total: usize = plan.create.iter().map(ready).sum::<usize>()
            + plan.update.iter().map(ready).sum::<usize>()
            + plan
                .unchanged
                .iter()
                .map(|slice| ready(slice))
                .sum::<usize>();
        // Giving up takes the lock again.
        let allocations = allocations(self.state.lock().ratios.as_ref(), total);
        let allocations = match allocations {
            Ok(allocations) => allocations,
            Err(message) => return give_up(plan, message),
        };
        let mut allocated = Counts::new();
        for slice in std::mem::take(&mut plan.unchanged) {
            match hints_by_zone(&slice, &allocated, &allocations) {
                None => plan.update.push((*slice).clone()),
                Some(counts) => {
                    plan.unchanged.push(slice);
                    for (zone, count) in counts {
                        *allocated.entry(zone).or_default() += count;
                    }
                }
            }
        }
        // Everybody serves the own zone first.
        for endpoint in plan
            .create
            .iter_mut()
            .chain(&mut plan.update)
            .flat_map(|slice| &mut slice.endpoints)
            .filter(|endpoint| is_ready(endpoint))
        {
            let Some(zone) = endpoint.zone.clone().filter(|zone| !zone.is_empty()) else {
                return give_up(
                    plan,
                    "One or more endpoints do not have a zone specified".to_owned(),
                );
            };
            *allocated.entry(zone.clone()).or_default() += 1;
            endpoint.hints = Some(for_zone(zone));
        }
        let (giving, receiving) = giving_and_receiving(&allocations, &allocated);
        redistribute(plan, giving, receiving, &mut allocated);
        if allocated.is_empty() {
            return give_up(plan, "No hints allocated for zones".to_owned());
        }
        let mut state = self.state.lock();
        let counts = state.hints.entry(service.clone()).or_default();
        counts.insert(address_type.to_owned(), allocated);
        if state.populated.insert(service.clone()) {
            let message =
                format!("Topology Aware Hints has been enabled, addressType: {address_type}");
            return vec![("Normal", "TopologyAwareHintsEnabled", message)];
        }
        Vec::new()
    }
}

fn for_zone(name: String) -> Box<EndpointHints> {
    Box::new(EndpointHints {
        for_zones: vec![ForZone { name }],
        ..Default::default()
    })
}

fn redistribute(
    plan: &mut Plan,
    mut giving: Counts,
    mut receiving: Counts,
    allocated: &mut Counts,
) {
    for endpoint in plan
        .create
        .iter_mut()
        .chain(&mut plan.update)
        .flat_map(|slice| &mut slice.endpoints)
        .filter(|endpoint| is_ready(endpoint))
    {
        giving.retain(|_, count| *count > 0);
        receiving.retain(|_, count| *count > 0);
        let Some(zone) = endpoint.zone.clone() else {
            continue;
        };
        let (Some(gives), Some(mut receiver)) = (giving.get_mut(&zone), receiving.first_entry())
        else {
            continue;
        };
        *gives -= 1;
        *receiver.get_mut() -= 1;
        let to = receiver.key().clone();
        *allocated.entry(to.clone()).or_default() += 1;
        if let Some(count) = allocated.get_mut(&zone) {
            *count = count.saturating_sub(1);
        }
        endpoint.hints = Some(for_zone(to));
    }
}

#[cfg(test)]
mod tests {
    use api_types::discovery::v1::Endpoint;

    use super::*;

    fn node(zone: &str, cpu: &str) -> Arc<Node> {
        let mut node = Node::default();
        if !zone.is_empty() {
            node.metadata.labels.insert(ZONE.into(), zone.into());
        }
        if !cpu.is_empty() {
            node.status
                .allocatable
                .insert("cpu".into(), Quantity::parse(cpu).unwrap());
        }
        node.status
            .conditions
            .push(api_types::core::v1::NodeCondition {
                type_: "Ready".into(),
                status: "True".into(),
                ..Default::default()
            });
        Arc::new(node)
    }

    fn plan(zones: &[&str]) -> Plan {
        let endpoints = zones.iter().map(|zone| {
            let mut endpoint = Endpoint {
                zone: Some((*zone).into()).filter(|zone: &String| !zone.is_empty()),
                ..Default::default()
            };
            endpoint.conditions.ready = Some(true);
            endpoint
        });
        Plan {
            create: vec![EndpointSlice {
                endpoints: endpoints.collect(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(nodes: &[Arc<Node>], zones: &[&str], hints: &[&str], event: &str) {
        let cache = TopologyCache::default();
        cache.set_nodes(nodes);
        let mut plan = plan(zones);
        let events = cache.add_hints(&ObjectKey::new("ns", "svc"), "IPv4", &mut plan);
        let found: Vec<&str> = plan.create[0]
            .endpoints
            .iter()
            .map(|endpoint| {
                endpoint
                    .hints
                    .as_ref()
                    .map_or("", |hints| hints.for_zones[0].name.as_str())
            })
            .collect();
        assert_eq!(found, hints);
        assert_eq!(events[0].2, format!("{event}, addressType: IPv4"));
    }

    #[test]
    fn hints_follow_the_zones_cpus() {
        let two = [node("a", "1"), node("b", "1")];
        check(
            &two,
            &["a", "b"],
            &["a", "b"],
            "Topology Aware Hints has been enabled",
        );
        check(
            &two,
            &["a", "a", "a", "b"],
            &["b", "a", "a", "b"],
            "Topology Aware Hints has been enabled",
        );
        check(
            &two,
            &["a"],
            &[""],
            "Insufficient number of endpoints (1 endpoints, 2 zones)",
        );
        check(
            &two,
            &["a", ""],
            &["", ""],
            "One or more endpoints do not have a zone specified",
        );
        let info = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        check(&[node("a", "1")], &["a", "a"], &["", ""], info);
        check(
            &[node("a", "1"), node("", "1")],
            &["a", "a"],
            &["", ""],
            info,
        );
        check(
            &[node("a", "1"), node("b", "")],
            &["a", "a"],
            &["", ""],
            info,
        );
        check(
            &[node("a", "4"), node("b", "1"), node("c", "1")],
            &["a", "b", "c"],
            &["", "", ""],
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (3 endpoints, 3 zones)",
        );
    }

    #[test]
    fn overload() {
        let ratios = BTreeMap::from([("a".to_owned(), 0.5), ("b".to_owned(), 0.5)]);
        let check = |counts: &[(&str, usize)], ratios: Option<&BTreeMap<String, f64>>, expected| {
            let counts: Counts = counts
                .iter()
                .map(|(zone, count)| ((*zone).to_owned(), *count))
                .collect();
            assert_eq!(is_overloaded(&counts, ratios), expected);
        };
        check(&[], Some(&ratios), false);
        check(&[("a", 1)], None, true);
        check(&[("a", 1)], Some(&ratios), true);
        check(&[("a", 5), ("b", 5)], Some(&ratios), false);
        check(&[("a", 6), ("b", 4)], Some(&ratios), true);
        check(&[("a", 11), ("b", 10)], Some(&ratios), false);
    }

    #[test]
    fn annotations() {
        let check = |annotations: &[(&str, &str)], expected| {
            let annotations = annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(requested(&annotations), expected);
        };
        check(&[], false);
        check(&[("service.kubernetes.io/topology-mode", "Auto")], true);
        check(
            &[("service.kubernetes.io/topology-aware-hints", "auto")],
            true,
        );
        check(&[("service.kubernetes.io/topology-mode", "AUTO")], false);
        check(
            &[
                ("service.kubernetes.io/topology-mode", "Auto"),
                ("service.kubernetes.io/topology-aware-hints", "Disabled"),
            ],
            false,
        );
    }
}
