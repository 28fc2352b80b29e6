//! How many pods match, per node, kept up to date as pods come and go.
//!
//! Affinity and spreading ask "how many pods that match this are on each node?". Upstream answers by walking over all pods in each
//! cycle. Here the first pod that asks pays for one walk; after that each pod that comes or goes changes the counts of the questions
//! that concern its namespace, so a cycle costs the terms of its pod and the nodes that have matches. The same is done the other way round for terms that
//! pods on nodes carry: equal terms (all replicas of a workload) are one entry, matched against the incoming pod once.
//!
//! Invariant: counts equal what a walk over the snapshot's pods gives. `tests::equals_a_walk` checks it on random histories.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use api_types::core::v1::Pod;
use apimachinery::labels::Selector;

use crate::framework::node_info::{NodeInfo, Slot};
use crate::framework::pod_info::{AffinityTerm, PodInfo};

/// Pods per node; nodes without any are left out.
pub type Counts = HashMap<Slot, u32>;

/// Questions kept; the one asked longest ago is dropped for a new one.
const MAX_QUESTIONS: usize = 1024;

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// All must match: namespaces and labels.
    pub terms: Vec<(BTreeSet<String>, Selector)>,
    /// Whether pods that are being deleted count.
    pub count_terminating: bool,
}

impl Question {
    /// Pods that live on and match, in one namespace: what spreading counts.
    pub fn spreading(namespace: &str, selector: Selector) -> Self {
        Self {
            terms: vec![(BTreeSet::from([namespace.to_owned()]), selector)],
            count_terminating: false,
        }
    }

    /// Pods that match all terms: what affinity counts. Namespace selectors must have been turned into names.
    pub fn affinity<'a>(terms: impl IntoIterator<Item = &'a AffinityTerm>) -> Self {
        Self {
            terms: terms
                .into_iter()
                .map(|term| (term.namespaces.clone(), term.selector.clone()))
                .collect(),
            count_terminating: true,
        }
    }

    fn matches(&self, pod: &Pod) -> bool {
        (self.count_terminating || pod.metadata.deletion_timestamp.is_none())
            && self.terms.iter().all(|(namespaces, selector)| {
                namespaces.contains(&pod.metadata.namespace)
                    && selector.matches(&pod.metadata.labels)
            })
    }

    /// Pods elsewhere cannot match.
    fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.terms
            .first()
            .into_iter()
            .flat_map(|(namespaces, _)| namespaces)
    }
}

struct Answer {
    question: Arc<Question>,
    counts: Arc<Counts>,
    last_asked: u64,
}

/// What a term of a pod on a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermKind {
    RequiredAffinity,
    RequiredAntiAffinity,
    /// With its weight.
    PreferredAffinity(i32),
    /// With its weight.
    PreferredAntiAffinity(i32),
}

/// A term that pods on nodes carry.
#[derive(Debug)]
pub struct CarriedTerm {
    pub kind: TermKind,
    pub term: AffinityTerm,
    /// How many pods on each node carry it.
    pub counts: Counts,
}

/// All counts.
#[derive(Default)]
pub struct Counters {
    answers: HashMap<Arc<Question>, Answer>,
    by_namespace: HashMap<String, Vec<Arc<Question>>>,
    carried: HashMap<(TermKind, AffinityTerm), CarriedTerm>,
    clock: u64,
}

impl Counters {
    /// A pod came to a node (`added`) or left it.
    pub fn apply(&mut self, slot: Slot, pod: &PodInfo, added: bool) {
        if let Some(questions) = self.by_namespace.get(&pod.pod.metadata.namespace) {
            for question in questions {
                if question.matches(&pod.pod)
                    && let Some(answer) = self.answers.get_mut(question)
                {
                    change(Arc::make_mut(&mut answer.counts), slot, added);
                }
            }
        }
        let terms = &pod.terms;
        if terms.is_empty() {
            return;
        }
        let required = [
            (TermKind::RequiredAffinity, &terms.required_affinity),
            (
                TermKind::RequiredAntiAffinity,
                &terms.required_anti_affinity,
            ),
        ];
        for (kind, terms) in required {
            for term in terms {
                self.carry(kind, term, slot, added);
            }
        }
        for (term, weight) in &terms.preferred_affinity {
            self.carry(TermKind::PreferredAffinity(*weight), term, slot, added);
        }
        for (term, weight) in &terms.preferred_anti_affinity {
            self.carry(TermKind::PreferredAntiAffinity(*weight), term, slot, added);
        }
    }

    fn carry(&mut self, kind: TermKind, term: &AffinityTerm, slot: Slot, added: bool) {
        let key = (kind, term.clone());
        let carried = self.carried.entry(key).or_insert_with(|| CarriedTerm {
            kind,
            term: term.clone(),
            counts: Counts::new(),
        });
        change(&mut carried.counts, slot, added);
        if carried.counts.is_empty() {
            self.carried.remove(&(kind, term.clone()));
        }
    }

    /// Matching pods per node. `slots` is walked over if this was not asked before.
    pub fn ask(&mut self, question: Question, slots: &[Option<Arc<NodeInfo>>]) -> Arc<Counts> {
        self.clock += 1;
        if let Some(answer) = self.answers.get_mut(&question) {
            answer.last_asked = self.clock;
            return answer.counts.clone();
        }
        if self.answers.len() >= MAX_QUESTIONS {
            self.forget_oldest();
        }
        let mut counts = Counts::new();
        for info in slots.iter().flatten() {
            let matching = info
                .pods
                .iter()
                .filter(|pod| question.matches(&pod.pod))
                .count();
            if matching > 0 {
                counts.insert(info.slot, matching as u32);
            }
        }
        let (question, counts) = (Arc::new(question), Arc::new(counts));
        for namespace in question.namespaces() {
            self.by_namespace
                .entry(namespace.clone())
                .or_default()
                .push(question.clone());
        }
        let answer = Answer {
            question: question.clone(),
            counts: counts.clone(),
            last_asked: self.clock,
        };
        self.answers.insert(question, answer);
        counts
    }

    fn forget_oldest(&mut self) {
        let oldest = self.answers.values().min_by_key(|answer| answer.last_asked);
        let Some(question) = oldest.map(|answer| answer.question.clone()) else {
            return;
        };
        self.answers.remove(&question);
        for namespace in question.namespaces() {
            if let Some(questions) = self.by_namespace.get_mut(namespace) {
                questions.retain(|other| !Arc::ptr_eq(other, &question));
                if questions.is_empty() {
                    self.by_namespace.remove(namespace);
                }
            }
        }
    }

    /// The distinct terms that pods on nodes carry.
    pub fn carried(&self) -> impl Iterator<Item = &CarriedTerm> {
        self.carried.values()
    }
}

fn change(counts: &mut Counts, slot: Slot, added: bool) {
    let count = counts.entry(slot).or_default();
    if added {
        *count += 1;
    } else {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pod(uid: usize, namespace: &str, app: &str, terminating: bool) -> Arc<PodInfo> {
        let mut pod = Pod::default();
        pod.metadata.uid = uid.to_string();
        pod.metadata.namespace = namespace.into();
        pod.metadata.labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        pod.metadata.deletion_timestamp = terminating.then(api_types::Time::now);
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn question(app: &str, count_terminating: bool) -> Question {
        Question {
            count_terminating,
            ..Question::spreading("a", Selector::parse(&format!("app={app}")).unwrap())
        }
    }

    #[test]
    fn equals_a_walk() {
        let mut counters = Counters::default();
        let mut slots: Vec<Option<Arc<NodeInfo>>> = (0..5)
            .map(|slot| Some(Arc::new(NodeInfo::vacant(slot))))
            .collect();
        let mut on: Vec<(usize, Arc<PodInfo>)> = Vec::new();
        for step in 0..2000 {
            if on.is_empty() || rand::random_bool(0.6) {
                let pod = pod(
                    step,
                    ["a", "b"][rand::random_range(0..2)],
                    ["x", "y"][rand::random_range(0..2)],
                    rand::random_bool(0.2),
                );
                let slot = rand::random_range(0..5);
                Arc::make_mut(slots[slot].as_mut().unwrap()).add_pod(pod.clone());
                counters.apply(slot as Slot, &pod, true);
                on.push((slot, pod));
            } else {
                let (slot, pod) = on.swap_remove(rand::random_range(0..on.len()));
                Arc::make_mut(slots[slot].as_mut().unwrap())
                    .remove_pod(pod.uid())
                    .unwrap();
                counters.apply(slot as Slot, &pod, false);
            }
            let app = ["x", "y"][step % 2];
            let question = question(app, step % 3 == 0);
            let walked = Counters::default().ask(question.clone(), &slots);
            assert_eq!(counters.ask(question, &slots), walked, "step {step}");
        }
    }

    #[test]
    fn equal_terms_are_one() {
        let mut pod = Pod::default();
        let term = serde_json::json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
        let json = serde_json::json!({"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
        api_types::decode_json_into(&mut pod, json.to_string().as_bytes()).unwrap();
        let pods: Vec<PodInfo> = (0..3)
            .map(|_| PodInfo::new(Arc::new(pod.clone())))
            .collect();
        let mut counters = Counters::default();
        for (i, pod) in pods.iter().enumerate() {
            counters.apply(i as Slot % 2, pod, true);
        }
        let carried: Vec<_> = counters.carried().collect();
        assert_eq!(carried.len(), 1);
        assert_eq!(carried[0].counts, Counts::from([(0, 2), (1, 1)]));
        for (i, pod) in pods.iter().enumerate() {
            counters.apply(i as Slot % 2, pod, false);
        }
        assert_eq!(counters.carried().count(), 0);
    }

    #[test]
    fn old_questions_go() {
        let mut counters = Counters::default();
        for i in 0..=MAX_QUESTIONS {
            counters.ask(question(&format!("x{i}"), true), &[]);
        }
        assert_eq!(counters.answers.len(), MAX_QUESTIONS);
        assert_eq!(counters.by_namespace["a"].len(), MAX_QUESTIONS);
        assert!(!counters.answers.contains_key(&question("x0", true)));
    }
}
