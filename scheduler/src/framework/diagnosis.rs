//! Why a pod fits nowhere, and the sentence about it that users read. Upstream: framework/types.go (`FitError`, `Diagnosis`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::status::{Code, Status};

/// Answers per node, with one answer for all nodes that have none of their own. Upstream: `NodeToStatus`.
#[derive(Clone, Debug)]
pub struct NodeToStatus {
    nodes: HashMap<String, Status>,
    absent: Status,
}

impl Default for NodeToStatus {
    fn default() -> Self {
        Self {
            nodes: HashMap::new(),
            absent: Status::bare(Code::UnschedulableAndUnresolvable),
        }
    }
}

impl NodeToStatus {
    /// Notes an answer.
    pub fn set(&mut self, node: &str, status: Status) {
        self.nodes.insert(node.to_owned(), status);
    }

    /// The answer for nodes without one.
    pub fn set_absent(&mut self, status: Status) {
        self.absent = status;
    }

    /// The answer for a node.
    pub fn get(&self, node: &str) -> &Status {
        self.nodes.get(node).unwrap_or(&self.absent)
    }

    /// How many nodes have an answer of their own.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no node has one.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// What was learned in an attempt that failed.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Answers per node.
    pub nodes: NodeToStatus,
    /// Plugins that turned the pod down: only events that they care about wake it.
    pub unschedulable_plugins: BTreeSet<&'static str>,
    /// Plugins that wait for something outside.
    pub pending_plugins: BTreeSet<&'static str>,
    /// What PreFilter said.
    pub pre_filter_message: String,
    /// What PostFilter said.
    pub post_filter_message: String,
}

impl Diagnosis {
    /// Notes which plugin an answer is from.
    pub fn add_plugin_status(&mut self, status: &Status) {
        if status.plugin.is_empty() {
            return;
        }
        if status.is_rejected() {
            self.unschedulable_plugins.insert(status.plugin);
        }
        if status.code == Code::Pending {
            self.pending_plugins.insert(status.plugin);
        }
    }
}

/// A pod fits on none of the nodes.
#[derive(Clone, Debug)]
pub struct FitError {
    /// How many nodes there are.
    pub num_all_nodes: usize,
    /// Why none.
    pub diagnosis: Diagnosis,
}

impl std::fmt::Display for FitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let diagnosis = &self.diagnosis;
        write!(f, "0/{} nodes are available:", self.num_all_nodes)?;
        if diagnosis.pre_filter_message.is_empty() {
            let reasons = reasons_histogram(&diagnosis.nodes, self.num_all_nodes);
            if !reasons.is_empty() {
                write!(f, " {}.", reasons.join(", "))?;
            }
        } else {
            write!(f, " {}.", diagnosis.pre_filter_message)?;
        }
        if !diagnosis.post_filter_message.is_empty() {
            write!(f, " {}", diagnosis.post_filter_message)?;
        }
        Ok(())
    }
}

/// `<count> <reason>`, sorted as text, as upstream.
fn reasons_histogram(nodes: &NodeToStatus, num_all_nodes: usize) -> Vec<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for status in nodes.nodes.values() {
        for reason in &status.reasons {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if nodes.len() < num_all_nodes {
        for reason in &nodes.absent.reasons {
            *reasons.entry(reason).or_default() += num_all_nodes - nodes.len();
        }
    }
    let mut lines: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sorts_reasons() {
        let mut diagnosis = Diagnosis::default();
        diagnosis
            .nodes
            .set("a", Status::unschedulable("Insufficient cpu"));
        diagnosis
            .nodes
            .set("b", Status::unschedulable("Insufficient cpu"));
        diagnosis
            .nodes
            .set("c", Status::unschedulable("Insufficient memory"));
        let error = FitError {
            num_all_nodes: 3,
            diagnosis: diagnosis.clone(),
        };
        assert_eq!(
            error.to_string(),
            "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu."
        );
        diagnosis
            .nodes
            .set_absent(Status::unresolvable("not looked at"));
        diagnosis.post_filter_message = "preemption: none.".into();
        let error = FitError {
            num_all_nodes: 5,
            diagnosis,
        };
        assert_eq!(
            error.to_string(),
            "0/5 nodes are available: 1 Insufficient memory, 2 Insufficient cpu, 2 not looked at. preemption: none."
        );
    }

    #[test]
    fn pre_filter_speaks_for_all_nodes() {
        let diagnosis = Diagnosis {
            pre_filter_message: "pod affinity terms conflict".into(),
            ..Diagnosis::default()
        };
        let error = FitError {
            num_all_nodes: 2,
            diagnosis,
        };
        assert_eq!(
            error.to_string(),
            "0/2 nodes are available: pod affinity terms conflict."
        );
    }
}
