//! Who owns whom, over all resources. Upstream: graph.go and `processGraphChanges` in pkg/controller/garbagecollector.
//!
//! A node is an object, or what an owner reference says of an owner that no informer has shown yet: then it is virtual, and its
//! coordinates may be wrong. Every change gives the list of what has to be looked at next; nothing here does IO.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use api_types::meta::v1::{ObjectMeta, OwnerReference};

/// The finalizer of an object that waits for its dependents to be deleted.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that waits for its dependents to be orphaned.
pub(super) const ORPHAN: &str = "orphan";

/// Which object. Two references to one uid with different coordinates are different: one of them is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Kind.
    pub kind: String,
    /// Group and version.
    pub api_version: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[{}/{}, namespace: {}, name: {}, uid: {}]",
            self.api_version, self.kind, self.namespace, self.name, self.uid
        )
    }
}

impl Identity {
    /// What a reference from an object in `namespace` points to.
    pub(super) fn of_owner(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            kind: owner.kind.clone(),
            api_version: owner.api_version.clone(),
            namespace: namespace.to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }

    /// The object with this metadata.
    pub(super) fn of_object(api_version: &str, kind: &str, metadata: &ObjectMeta) -> Self {
        Self {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        }
    }

    /// Namespace aside, the reference names this object.
    fn is_named_by(&self, owner: &OwnerReference) -> bool {
        self.uid == owner.uid
            && self.name == owner.name
            && self.kind == owner.kind
            && self.api_version == owner.api_version
    }
}

/// What follows from a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Look whether the object can go.
    Delete(Identity),
    /// The same, after a while.
    DeleteLater(Identity),
    /// Take the object off its dependents.
    Orphan(Identity),
    /// There is no such object.
    Absent(Identity),
    /// The object names an owner of another namespace.
    InvalidNamespace {
        /// The object.
        item: Identity,
        /// The owner as the object names it.
        owner: Identity,
    },
}

#[derive(Clone, Debug)]
struct Node {
    identity: Identity,
    dependents: BTreeSet<String>,
    owners: Vec<OwnerReference>,
    deleting_dependents: bool,
    being_deleted: bool,
    is_virtual: bool,
}

/// What is known of one object, to act on.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// No informer has shown it.
    pub is_virtual: bool,
    /// It has a deletion timestamp.
    pub being_deleted: bool,
    /// It waits for its dependents to be deleted.
    pub deleting_dependents: bool,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// What it owns.
    pub dependents: Vec<Dependent>,
}

/// One of the objects that an object owns.
#[derive(Clone, Debug)]
pub(super) struct Dependent {
    /// Which.
    pub identity: Identity,
    /// It waits for its own dependents.
    pub deleting_dependents: bool,
    /// The owner may not go before it.
    pub blocking: bool,
}

/// The graph.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
}

pub(super) fn has_finalizer(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().any(|has| has == finalizer)
}

/// The object started to wait with this finalizer.
fn starts_waiting(old: Option<&ObjectMeta>, new: &ObjectMeta, finalizer: &str) -> bool {
    let waits = |metadata: &ObjectMeta| {
        metadata.deletion_timestamp.is_some() && has_finalizer(metadata, finalizer)
    };
    waits(new) && !old.is_some_and(waits)
}

fn blocks(owner: &OwnerReference) -> bool {
    owner.block_owner_deletion == Some(true)
}

impl Graph {
    /// The object as a worker should see it: `None` when there is nothing to do for it.
    pub(super) fn snapshot(&self, identity: &Identity) -> Option<Snapshot> {
        let node = self.nodes.get(&identity.uid)?;
        if node.identity != *identity && !node.is_virtual {
            return None;
        }
        let dependent = |uid: &String| {
            let dependent = self.nodes.get(uid)?;
            Some(Dependent {
                identity: dependent.identity.clone(),
                deleting_dependents: dependent.deleting_dependents,
                blocking: dependent
                    .owners
                    .iter()
                    .any(|owner| owner.uid == identity.uid && blocks(owner)),
            })
        };
        Some(Snapshot {
            is_virtual: node.is_virtual,
            being_deleted: node.being_deleted,
            deleting_dependents: node.deleting_dependents,
            owners: node.owners.clone(),
            dependents: node.dependents.iter().filter_map(dependent).collect(),
        })
    }

    /// An informer showed an object: new, or changed from `old`.
    pub(super) fn observe(
        &mut self,
        identity: Identity,
        old: Option<&ObjectMeta>,
        new: &ObjectMeta,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.make_real(&identity, &mut effects);
        let uid = identity.uid.clone();
        match self.nodes.get_mut(&uid) {
            None => {
                let being_deleted = new.deletion_timestamp.is_some();
                let node = Node {
                    identity: identity.clone(),
                    dependents: BTreeSet::new(),
                    owners: new.owner_references.clone(),
                    deleting_dependents: being_deleted && has_finalizer(new, FOREGROUND),
                    being_deleted,
                    is_virtual: false,
                };
                self.nodes.insert(uid.clone(), node);
                self.add_to_owners(&uid, &new.owner_references, &mut effects);
            }
            Some(node) => {
                let before = std::mem::replace(&mut node.owners, new.owner_references.clone());
                node.being_deleted |= new.deletion_timestamp.is_some();
                if before != new.owner_references {
                    self.change_owners(&uid, &before, &new.owner_references, &mut effects);
                }
            }
        }
        if starts_waiting(old, new, ORPHAN) {
            effects.push(Effect::Orphan(self.nodes[&uid].identity.clone()));
        } else if starts_waiting(old, new, FOREGROUND)
            && let Some(node) = self.nodes.get_mut(&uid)
        {
            node.deleting_dependents = true;
            let node = node.clone();
            effects.extend(self.identities(&node.dependents).map(Effect::Delete));
            effects.push(Effect::Delete(node.identity));
        }
        effects
    }

    /// An informer showed that an object is gone.
    pub(super) fn forget(&mut self, identity: &Identity) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.make_real(identity, &mut effects);
        self.remove(identity, &mut effects);
        effects
    }

    /// The server has no object with these coordinates and uid.
    pub(super) fn forget_absent(&mut self, absent: &Identity) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(node) = self.nodes.get(&absent.uid).cloned() else {
            return effects;
        };
        let (matching, other) = self.partition(&node, absent);
        if node.is_virtual && !other.is_empty() {
            // Some dependents name other coordinates for this uid: those may be right.
            self.absent_for(absent, &matching, &mut effects);
            if node.identity == *absent
                && let Some(alternate) = self.alternate(&other, absent)
            {
                if let Some(node) = self.nodes.get_mut(&absent.uid) {
                    node.identity = alternate.clone();
                }
                effects.push(Effect::DeleteLater(alternate));
            }
        } else if !node.is_virtual && node.identity != *absent {
            // The object exists under other coordinates.
            self.absent_for(absent, &matching, &mut effects);
        } else {
            self.remove(absent, &mut effects);
        }
        effects
    }

    fn absent_for(&self, absent: &Identity, dependents: &[String], effects: &mut Vec<Effect>) {
        if !dependents.is_empty() {
            effects.push(Effect::Absent(absent.clone()));
            effects.extend(self.identities(dependents).map(Effect::Delete));
        }
    }

    fn identities<'a>(
        &'a self,
        uids: impl IntoIterator<Item = &'a String> + 'a,
    ) -> impl Iterator<Item = Identity> + 'a {
        uids.into_iter()
            .filter_map(|uid| self.nodes.get(uid).map(|node| node.identity.clone()))
    }

    /// A virtual node turns out to be the object `observed`. Dependents that named it wrongly are looked at.
    fn make_real(&mut self, observed: &Identity, effects: &mut Vec<Effect>) {
        let Some(node) = self
            .nodes
            .get(&observed.uid)
            .filter(|node| node.is_virtual)
            .cloned()
        else {
            return;
        };
        if node.identity != *observed {
            let (_, wrong) = self.partition(&node, observed);
            for uid in &wrong {
                let dependent = &self.nodes[uid];
                if !observed.namespace.is_empty()
                    && dependent.identity.namespace != observed.namespace
                {
                    effects.extend(invalid_namespace(dependent, &observed.uid));
                }
                effects.push(Effect::Delete(dependent.identity.clone()));
            }
        }
        if let Some(node) = self.nodes.get_mut(&observed.uid) {
            node.identity = observed.clone();
            node.is_virtual = false;
        }
    }

    fn remove(&mut self, identity: &Identity, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.remove(&identity.uid) else {
            return;
        };
        for owner in &node.owners {
            if let Some(owner) = self.nodes.get_mut(&owner.uid) {
                owner.dependents.remove(&identity.uid);
            }
        }
        if !node.dependents.is_empty() {
            effects.push(Effect::Absent(identity.clone()));
        }
        effects.extend(self.identities(&node.dependents).map(Effect::Delete));
        let waiting = node
            .owners
            .iter()
            .filter_map(|owner| self.nodes.get(&owner.uid));
        effects.extend(
            waiting
                .filter(|owner| owner.deleting_dependents)
                .map(|owner| Effect::Delete(owner.identity.clone())),
        );
    }

    fn change_owners(
        &mut self,
        uid: &str,
        before: &[OwnerReference],
        after: &[OwnerReference],
        effects: &mut Vec<Effect>,
    ) {
        let find = |list: &[OwnerReference], uid: &str| {
            list.iter().rfind(|owner| owner.uid == uid).cloned()
        };
        let mut unblocked: Vec<&str> = Vec::new();
        for old in before {
            match find(after, &old.uid) {
                None => {
                    if let Some(owner) = self.nodes.get_mut(&old.uid) {
                        owner.dependents.remove(uid);
                    }
                    if blocks(old) {
                        unblocked.push(&old.uid);
                    }
                }
                Some(new) if blocks(old) && !blocks(&new) => unblocked.push(&old.uid),
                Some(_) => {}
            }
        }
        for owner in unblocked {
            if let Some(owner) = self.nodes.get(owner) {
                effects.push(Effect::Delete(owner.identity.clone()));
            }
        }
        let added: Vec<OwnerReference> = after
            .iter()
            .filter(|new| find(before, &new.uid).is_none())
            .cloned()
            .collect();
        self.add_to_owners(uid, &added, effects);
    }

    /// Makes the object a dependent of its owners. An owner that is not known becomes a virtual node and is looked for. A reference
    /// that does not fit the owner's coordinates has the object looked at.
    fn add_to_owners(&mut self, uid: &str, owners: &[OwnerReference], effects: &mut Vec<Effect>) {
        let Some(item) = self.nodes.get(uid).cloned() else {
            return;
        };
        let namespace = &item.identity.namespace;
        let mut doubtful = false;
        for reference in owners {
            let Some(owner) = self.nodes.get_mut(&reference.uid) else {
                let identity = Identity::of_owner(reference, namespace);
                let node = Node {
                    identity: identity.clone(),
                    dependents: BTreeSet::from([uid.to_owned()]),
                    owners: Vec::new(),
                    deleting_dependents: false,
                    being_deleted: false,
                    is_virtual: true,
                };
                self.nodes.insert(reference.uid.clone(), node);
                effects.push(Effect::Delete(identity));
                continue;
            };
            owner.dependents.insert(uid.to_owned());
            if doubtful {
                continue;
            }
            let elsewhere = owner.identity.namespace != *namespace;
            if !owner.identity.namespace.is_empty() && elsewhere {
                if !owner.is_virtual {
                    effects.extend(invalid_namespace(&item, &reference.uid));
                }
                doubtful = true;
            } else if !owner.identity.is_named_by(reference)
                || (owner.identity.namespace.is_empty() && elsewhere && owner.is_virtual)
            {
                doubtful = true;
            }
        }
        if doubtful {
            effects.push(Effect::Delete(item.identity));
        }
    }

    /// The dependents of a node that name `owner` by its coordinates, and those that name something else with its uid.
    fn partition(&self, node: &Node, owner: &Identity) -> (Vec<String>, Vec<String>) {
        let (mut matching, mut other) = (Vec::new(), Vec::new());
        for uid in &node.dependents {
            let Some(dependent) = self.nodes.get(uid) else {
                continue;
            };
            let (mut right, mut wrong) = (false, false);
            if !owner.namespace.is_empty() && owner.namespace != dependent.identity.namespace {
                wrong = true;
            } else {
                for reference in dependent
                    .owners
                    .iter()
                    .filter(|reference| reference.uid == owner.uid)
                {
                    if owner.is_named_by(reference) {
                        right = true;
                    } else {
                        wrong = true;
                    }
                }
            }
            if right {
                matching.push(uid.clone());
            }
            if wrong {
                other.push(uid.clone());
            }
        }
        (matching, other)
    }

    /// The coordinates to try next for the uid of `absent`: the first after it in order, else the first.
    fn alternate(&self, dependents: &[String], absent: &Identity) -> Option<Identity> {
        let cluster_scoped = absent.namespace.is_empty();
        let mut candidates: BTreeSet<Identity> = BTreeSet::new();
        for dependent in dependents.iter().filter_map(|uid| self.nodes.get(uid)) {
            for reference in dependent
                .owners
                .iter()
                .filter(|reference| reference.uid == absent.uid)
            {
                let namespace = &dependent.identity.namespace;
                if absent.is_named_by(reference)
                    && (cluster_scoped || absent.namespace == *namespace)
                {
                    continue;
                }
                let mut candidate = Identity::of_owner(reference, namespace);
                // What is cluster-scoped once is so for every dependent.
                if cluster_scoped
                    && candidate.api_version == absent.api_version
                    && candidate.kind == absent.kind
                {
                    candidate.namespace = String::new();
                }
                if candidate != *absent {
                    candidates.insert(candidate);
                }
            }
        }
        let following = candidates.iter().find(|candidate| *candidate > absent);
        following.or(candidates.first()).cloned()
    }

    /// Uids in the graph, for tests.
    #[cfg(test)]
    fn uids(&self) -> std::collections::HashSet<String> {
        self.nodes.keys().cloned().collect()
    }
}

fn invalid_namespace(item: &Node, owner: &str) -> Option<Effect> {
    let reference = item
        .owners
        .iter()
        .find(|reference| reference.uid == owner)?;
    Some(Effect::InvalidNamespace {
        item: item.identity.clone(),
        owner: Identity::of_owner(reference, &item.identity.namespace),
    })
}

/// The last few hundred objects that were found not to exist.
pub(super) struct AbsentOwners {
    capacity: usize,
    clock: u64,
    used: HashMap<Identity, u64>,
}

impl AbsentOwners {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            clock: 0,
            used: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, identity: Identity) {
        self.clock += 1;
        self.used.insert(identity, self.clock);
        if self.used.len() > self.capacity
            && let Some(oldest) = self
                .used
                .iter()
                .min_by_key(|(_, used)| **used)
                .map(|(key, _)| key.clone())
        {
            self.used.remove(&oldest);
        }
    }

    pub(super) fn has(&mut self, identity: &Identity) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.used
            .get_mut(identity)
            .map(|used| *used = clock)
            .is_some()
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
