use api_types::Time;

use super::*;

fn id(kind: &str, namespace: &str, name: &str) -> Identity {
    Identity {
        kind: kind.into(),
        api_version: "v1".into(),
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("{name}uid"),
    }
}

fn owner(of: &Identity, block: bool) -> OwnerReference {
    OwnerReference {
        api_version: of.api_version.clone(),
        kind: of.kind.clone(),
        name: of.name.clone(),
        uid: of.uid.clone(),
        block_owner_deletion: block.then_some(true),
        ..Default::default()
    }
}

fn meta(owners: &[OwnerReference]) -> ObjectMeta {
    ObjectMeta {
        owner_references: owners.to_vec(),
        ..Default::default()
    }
}

fn deleting(mut metadata: ObjectMeta, finalizer: &str) -> ObjectMeta {
    metadata.deletion_timestamp = Some(Time::from_unix(1));
    metadata.finalizers.push(finalizer.into());
    metadata
}

#[test]
fn dependents_are_looked_at_when_their_owner_goes() {
    let mut graph = Graph::default();
    let (parent, child) = (id("P", "ns", "parent"), id("C", "ns", "child"));
    assert_eq!(graph.observe(parent.clone(), None, &meta(&[])), []);
    assert_eq!(
        graph.observe(child.clone(), None, &meta(&[owner(&parent, false)])),
        []
    );
    assert_eq!(
        graph.forget(&parent),
        [
            Effect::Absent(parent.clone()),
            Effect::Delete(child.clone())
        ]
    );
    assert!(graph.snapshot(&parent).is_none());
    assert_eq!(graph.forget(&child), []);
    assert!(graph.uids().is_empty());
}

#[test]
fn unknown_owners_become_virtual_and_are_looked_for() {
    let mut graph = Graph::default();
    let (parent, child) = (id("P", "ns", "parent"), id("C", "ns", "child"));
    assert_eq!(
        graph.observe(child.clone(), None, &meta(&[owner(&parent, false)])),
        [Effect::Delete(parent.clone())]
    );
    assert!(graph.snapshot(&parent).unwrap().is_virtual);
    // It does exist: the node is real from now on.
    assert_eq!(graph.observe(parent.clone(), None, &meta(&[])), []);
    assert!(!graph.snapshot(&parent).unwrap().is_virtual);
    // It did not: the dependent is looked at.
    let mut graph = Graph::default();
    graph.observe(child.clone(), None, &meta(&[owner(&parent, false)]));
    assert_eq!(
        graph.forget_absent(&parent),
        [Effect::Absent(parent.clone()), Effect::Delete(child)]
    );
}

#[test]
fn wrong_coordinates_do_not_hide_the_owner() {
    let mut graph = Graph::default();
    let parent = id("P", "ns1", "parent");
    let wrong_kind = Identity {
        kind: "Wrong".into(),
        ..parent.clone()
    };
    let (bad, good) = (id("C", "ns1", "bad"), id("C", "ns1", "good"));
    graph.observe(bad.clone(), None, &meta(&[owner(&wrong_kind, false)]));
    // The second dependent names the same uid otherwise: both are in doubt.
    assert_eq!(
        graph.observe(good.clone(), None, &meta(&[owner(&parent, false)])),
        [Effect::Delete(good.clone())]
    );
    // The first coordinates do not exist: only who named them is looked at, and the others are tried.
    assert_eq!(
        graph.forget_absent(&wrong_kind),
        [
            Effect::Absent(wrong_kind.clone()),
            Effect::Delete(bad.clone()),
            Effect::DeleteLater(parent.clone())
        ]
    );
    // The real one is seen: who names it wrongly is looked at again.
    assert_eq!(graph.observe(parent.clone(), None, &meta(&[])), []);
    assert!(graph.snapshot(&wrong_kind).is_none());
    assert_eq!(
        graph.forget_absent(&wrong_kind),
        [Effect::Absent(wrong_kind), Effect::Delete(bad)]
    );
    assert!(graph.snapshot(&parent).is_some());
}

#[test]
fn owners_of_other_namespaces_are_reported() {
    let mut graph = Graph::default();
    let (parent, child) = (id("P", "ns1", "parent"), id("C", "ns2", "child"));
    graph.observe(parent.clone(), None, &meta(&[]));
    let claimed = Identity {
        namespace: "ns2".into(),
        ..parent.clone()
    };
    assert_eq!(
        graph.observe(child.clone(), None, &meta(&[owner(&parent, false)])),
        [
            Effect::InvalidNamespace {
                item: child.clone(),
                owner: claimed
            },
            Effect::Delete(child.clone())
        ]
    );
    // The same when the owner is seen later.
    let mut graph = Graph::default();
    graph.observe(child.clone(), None, &meta(&[owner(&parent, false)]));
    let effects = graph.observe(parent.clone(), None, &meta(&[]));
    assert!(matches!(&effects[0], Effect::InvalidNamespace { item, .. } if *item == child));
    assert_eq!(effects[1], Effect::Delete(child));
    // Cluster-scoped owners may be named from anywhere.
    let mut graph = Graph::default();
    let cluster = id("P", "", "cluster");
    graph.observe(cluster.clone(), None, &meta(&[]));
    assert_eq!(
        graph.observe(id("C", "ns2", "c"), None, &meta(&[owner(&cluster, false)])),
        []
    );
}

#[test]
fn finalizers_start_work_once() {
    let mut graph = Graph::default();
    let (parent, child) = (id("P", "ns", "parent"), id("C", "ns", "child"));
    graph.observe(parent.clone(), None, &meta(&[]));
    graph.observe(child.clone(), None, &meta(&[owner(&parent, true)]));
    let foreground = deleting(meta(&[]), FOREGROUND);
    assert_eq!(
        graph.observe(parent.clone(), Some(&meta(&[])), &foreground),
        [
            Effect::Delete(child.clone()),
            Effect::Delete(parent.clone())
        ]
    );
    assert_eq!(
        graph.observe(parent.clone(), Some(&foreground), &foreground),
        []
    );
    let snapshot = graph.snapshot(&parent).unwrap();
    assert!(
        snapshot.deleting_dependents && snapshot.being_deleted && snapshot.dependents[0].blocking
    );
    // The last dependent goes: the owner is looked at.
    assert_eq!(graph.forget(&child), [Effect::Delete(parent.clone())]);

    let orphan = deleting(meta(&[]), ORPHAN);
    let mut graph = Graph::default();
    assert_eq!(
        graph.observe(parent.clone(), None, &orphan),
        [Effect::Orphan(parent)]
    );
}

#[test]
fn references_that_stop_blocking_free_their_owner() {
    let (parent, child) = (id("P", "ns", "parent"), id("C", "ns", "child"));
    let check = |after: &[OwnerReference], expected: &[Effect], dependents: usize| {
        let mut graph = Graph::default();
        graph.observe(parent.clone(), None, &meta(&[]));
        let before = meta(&[owner(&parent, true)]);
        graph.observe(child.clone(), None, &before);
        assert_eq!(
            graph.observe(child.clone(), Some(&before), &meta(after)),
            expected
        );
        assert_eq!(
            graph.snapshot(&parent).unwrap().dependents.len(),
            dependents
        );
    };
    check(&[owner(&parent, true)], &[], 1);
    check(
        &[owner(&parent, false)],
        &[Effect::Delete(parent.clone())],
        1,
    );
    check(&[], &[Effect::Delete(parent.clone())], 0);
    let other = id("P", "ns", "other");
    check(
        &[owner(&parent, true), owner(&other, false)],
        &[Effect::Delete(other.clone())],
        1,
    );
}

#[test]
fn alternates_are_tried_in_order() {
    let absent = id("B", "ns", "x");
    let check = |kinds: &[&str], expected: Option<&str>| {
        let mut graph = Graph::default();
        let mut uids = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let reference = Identity {
                kind: (*kind).into(),
                ..absent.clone()
            };
            let child = id("C", "ns", &format!("c{index}"));
            uids.push(child.uid.clone());
            graph.observe(child, None, &meta(&[owner(&reference, false)]));
        }
        assert_eq!(
            graph
                .alternate(&uids, &absent)
                .map(|found| found.kind)
                .as_deref(),
            expected
        );
    };
    check(&["B"], None);
    check(&["A", "B"], Some("A"));
    check(&["A", "C", "D"], Some("C"));
    check(&["A", "B", "A"], Some("A"));
}

#[test]
fn absent_owners_are_remembered_for_a_while() {
    let mut cache = AbsentOwners::new(2);
    let [a, b, c] = ["a", "b", "c"].map(|name| id("K", "ns", name));
    cache.add(a.clone());
    cache.add(b.clone());
    assert!(cache.has(&a));
    cache.add(c.clone());
    assert!(cache.has(&a) && !cache.has(&b) && cache.has(&c));
}
