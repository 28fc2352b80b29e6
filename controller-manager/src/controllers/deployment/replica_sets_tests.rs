//! Behaviours from upstream's deployment_util_test.go and sync_test.go.

use api_types::IntOrString;
use api_types::Time;
use api_types::apps::v1::RollingUpdateDeployment;
use jiff::Timestamp;

use super::*;

fn deployment(replicas: i32, surge: i32, unavailable: i32) -> Deployment {
    let mut d = Deployment::default();
    d.metadata.name = "d".into();
    d.spec.replicas = Some(replicas);
    d.spec.strategy.type_ = ROLLING_UPDATE.into();
    d.spec.strategy.rolling_update = Some(Box::new(RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(surge)),
        max_unavailable: Some(IntOrString::Int(unavailable)),
    }));
    d
}

/// A ReplicaSet of this size, created at this second, scaled when the Deployment had at most `before` pods.
fn rs(name: &str, replicas: i32, created: i64, before: Option<i32>) -> Arc<ReplicaSet> {
    let mut rs = ReplicaSet::default();
    rs.metadata.name = name.into();
    rs.metadata.creation_timestamp = Time::from_timestamp(Timestamp::from_second(created).unwrap());
    rs.spec.replicas = Some(replicas);
    if let Some(before) = before {
        rs.metadata
            .annotations
            .insert(MAX_REPLICAS.into(), before.to_string());
    }
    Arc::new(rs)
}

#[track_caller]
fn check_sizes(d: &Deployment, sets: Vec<Arc<ReplicaSet>>, expected: &[(&str, i32)]) {
    let mut sizes: Vec<_> = proportional_sizes(d, sets)
        .into_iter()
        .map(|(rs, size)| (rs.metadata.name.clone(), size))
        .collect();
    sizes.sort();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(name, size)| ((*name).to_owned(), *size))
        .collect();
    expected.sort();
    assert_eq!(sizes, expected);
}

#[test]
fn scaling_in_the_middle_of_an_update_is_proportional() {
    let two = |a, b, before| vec![rs("old", a, 1, Some(before)), rs("new", b, 2, Some(before))];
    // 10 -> 12 without surge; equal sets: the newer gets the larger part.
    check_sizes(
        &deployment(12, 0, 1),
        two(5, 5, 10),
        &[("old", 6), ("new", 6)],
    );
    // 10 -> 5: the older shrinks first, and the remainder goes to it.
    check_sizes(
        &deployment(5, 0, 1),
        two(5, 5, 10),
        &[("old", 2), ("new", 3)],
    );
    // 10 -> 20, 8 and 2.
    check_sizes(
        &deployment(20, 0, 1),
        two(8, 2, 10),
        &[("old", 16), ("new", 4)],
    );
    // Surge counts on both sides: 10+2 -> 20+2.
    check_sizes(
        &deployment(20, 2, 1),
        two(8, 4, 12),
        &[("old", 15), ("new", 7)],
    );
    // Down to zero.
    check_sizes(
        &deployment(0, 2, 1),
        two(8, 4, 12),
        &[("old", 0), ("new", 0)],
    );
    // Nothing to add: sizes stay.
    check_sizes(
        &deployment(10, 2, 1),
        two(8, 4, 12),
        &[("old", 8), ("new", 4)],
    );
}

#[test]
fn a_missing_annotation_falls_back_to_the_status() {
    let mut d = deployment(20, 0, 1);
    d.status.replicas = 10;
    check_sizes(
        &d,
        vec![rs("old", 8, 1, None), rs("new", 2, 2, None)],
        &[("old", 16), ("new", 4)],
    );
    d.status.replicas = 0;
    check_sizes(
        &d,
        vec![rs("old", 8, 1, None), rs("new", 2, 2, None)],
        &[("old", 18), ("new", 2)],
    );
}

#[test]
fn the_new_set_grows_within_the_surge() {
    for (replicas, surge, old, new, expected) in [
        (1, 1, 0, 0, 1),
        (10, 2, 10, 0, 2),
        (10, 2, 10, 2, 2),
        (10, 2, 5, 2, 7),
        (10, 0, 0, 9, 10),
        (3, 5, 0, 0, 3),
    ] {
        let sets = [rs("old", old, 1, None), rs("new", new, 2, None)];
        assert_eq!(
            new_size(&deployment(replicas, surge, 1), &sets, new).unwrap(),
            expected,
            "{replicas} {surge} {old} {new}"
        );
    }
    let mut recreate = deployment(7, 0, 0);
    recreate.spec.strategy.type_ = RECREATE.into();
    assert_eq!(new_size(&recreate, &[], 0).unwrap(), 7);
    recreate.spec.strategy.type_ = "x".into();
    assert_eq!(
        new_size(&recreate, &[], 0).unwrap_err().to_string(),
        "deployment type x isn't supported"
    );
}

#[test]
fn templates_are_equal_without_their_hash() {
    let mut a = PodTemplateSpec::default();
    a.metadata.labels.insert("a".into(), "b".into());
    let mut b = a.clone();
    b.metadata.labels.insert(HASH_LABEL.into(), "123".into());
    assert!(same_template(&a, &b) && same_template(&b, &a) && same_template(&b, &b));
    b.metadata.labels.insert("c".into(), "d".into());
    assert!(!same_template(&a, &b));
    let mut c = a.clone();
    c.spec.node_name = "n".into();
    assert!(!same_template(&a, &c));
}

#[test]
fn the_oldest_set_with_the_template_is_the_new_one() {
    let d = deployment(1, 1, 1);
    let mut other = (*rs("other", 1, 0, None)).clone();
    other.spec.template.spec.node_name = "n".into();
    let (new, old) = split(
        &d,
        vec![rs("b", 1, 2, None), Arc::new(other), rs("a", 0, 1, None)],
    );
    assert_eq!(new.unwrap().metadata.name, "a");
    assert_eq!(
        old.iter()
            .map(|rs| rs.metadata.name.as_str())
            .collect::<Vec<_>>(),
        ["other", "b"]
    );
}

#[test]
fn active_or_latest_needs_one_active_set() {
    let name = |found: Option<Arc<ReplicaSet>>| found.map(|rs| rs.metadata.name.clone());
    let (new, old1, old2) = (
        rs("new", 0, 3, None),
        rs("old1", 0, 1, None),
        rs("old2", 0, 2, None),
    );
    assert_eq!(name(active_or_latest(None, &[])), None);
    assert_eq!(
        name(active_or_latest(Some(&new), std::slice::from_ref(&old1))).as_deref(),
        Some("new")
    );
    assert_eq!(
        name(active_or_latest(None, &[old2.clone(), old1.clone()])).as_deref(),
        Some("old2")
    );
    assert_eq!(
        name(active_or_latest(Some(&new), &[rs("busy", 2, 1, None)])).as_deref(),
        Some("busy")
    );
    assert_eq!(
        name(active_or_latest(
            Some(&rs("new", 1, 3, None)),
            &[rs("busy", 2, 1, None)]
        )),
        None
    );
}

#[test]
fn annotations_of_a_new_set() {
    let mut d = deployment(3, 2, 1);
    d.metadata.annotations.insert("note".into(), "x".into());
    d.metadata
        .annotations
        .insert(LAST_APPLIED.into(), "secret".into());
    d.metadata.annotations.insert(REVISION.into(), "77".into());
    let mut rs = ReplicaSet::default();
    assert!(set_new_annotations(&d, &mut rs, 4, false));
    let pairs = |rs: &ReplicaSet| {
        rs.metadata
            .annotations
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        pairs(&rs),
        [
            "deployment.kubernetes.io/desired-replicas=3",
            "deployment.kubernetes.io/max-replicas=5",
            "deployment.kubernetes.io/revision=4",
            "note=x"
        ]
    );
    assert!(!set_new_annotations(&d, &mut rs, 4, true), "nothing new");
    assert!(
        !set_new_annotations(&d, &mut rs, 3, true),
        "a lower revision is ignored"
    );
    assert!(set_new_annotations(&d, &mut rs, 6, true));
    assert!(set_new_annotations(&d, &mut rs, 9, true));
    assert_eq!(rs.metadata.annotations[REVISION_HISTORY], "4,6");
    rs.metadata
        .annotations
        .insert(REVISION.into(), "mine".into());
    assert!(!set_new_annotations(&d, &mut rs, 10, true));
}

#[test]
fn the_history_is_cut_at_the_front() {
    let mut rs = ReplicaSet::default();
    let long = (1..=600)
        .map(|n: i32| n.to_string())
        .collect::<Vec<_>>()
        .join(",");
    rs.metadata
        .annotations
        .insert(REVISION.into(), "601".into());
    rs.metadata
        .annotations
        .insert(REVISION_HISTORY.into(), long);
    assert!(set_new_annotations(
        &deployment(1, 1, 1),
        &mut rs,
        602,
        true
    ));
    let history = &rs.metadata.annotations[REVISION_HISTORY];
    assert!(
        history.len() <= MAX_HISTORY_CHARS && history.ends_with(",600,601"),
        "{} {history}",
        history.len()
    );
    assert!(
        history.len() > MAX_HISTORY_CHARS - 5,
        "only as much as needed is cut"
    );
}

#[test]
fn revisions() {
    let with = |revision: &str| {
        let mut rs = ReplicaSet::default();
        rs.metadata
            .annotations
            .insert(REVISION.into(), revision.into());
        Arc::new(rs)
    };
    let sets = [
        with("3"),
        with("x"),
        with("10"),
        Arc::new(ReplicaSet::default()),
    ];
    assert_eq!((max_revision(&sets), last_revision(&sets)), (10, 3));
    assert_eq!((max_revision(&[]), last_revision(&[with("10")])), (0, 0));
    assert_eq!(last_revision(&[with("10"), with("10")]), 10);
}

#[test]
fn fenceposts_of_a_deployment() {
    let d = deployment(10, 2, 20);
    assert_eq!(
        (max_surge(&d), max_unavailable(&d)),
        (2, 10),
        "no more can be unavailable than there are"
    );
    assert_eq!(max_unavailable(&deployment(0, 2, 2)), 0);
    assert_eq!(max_unavailable(&deployment(5, 0, 0)), 1);
    let mut recreate = deployment(5, 2, 2);
    recreate.spec.strategy.type_ = RECREATE.into();
    assert_eq!((max_surge(&recreate), max_unavailable(&recreate)), (0, 0));
}

#[test]
fn terminating_pods_are_unknown_when_one_set_is_silent() {
    let with = |generation, terminating| {
        let mut rs = ReplicaSet::default();
        rs.status.observed_generation = generation;
        rs.status.terminating_replicas = terminating;
        Arc::new(rs)
    };
    assert_eq!(
        total_terminating(&[with(1, Some(2)), with(3, Some(1)), with(0, None)]),
        Some(3)
    );
    assert_eq!(total_terminating(&[with(1, Some(2)), with(1, None)]), None);
    assert_eq!(total_terminating(&[]), Some(0));
}

#[test]
fn names_leave_room_for_the_hash() {
    assert_eq!(replica_set_name("web", "abc"), "web-abc");
    assert_eq!(replica_set_name(&"x".repeat(253), "abcde").len(), 253);
}

#[test]
fn a_rollback_restores_template_and_annotations() {
    let mut d = deployment(1, 1, 1);
    d.metadata
        .annotations
        .insert("change".into(), "edit".into());
    d.metadata.annotations.insert(REVISION.into(), "2".into());
    let mut rs = ReplicaSet::default();
    rs.metadata
        .annotations
        .insert("change".into(), "create".into());
    rs.metadata.annotations.insert(REVISION.into(), "1".into());
    rs.spec
        .template
        .metadata
        .labels
        .insert(HASH_LABEL.into(), "h".into());
    rs.spec.template.spec.node_name = "n".into();
    restore(&mut d, &rs);
    assert_eq!(d.spec.template.spec.node_name, "n");
    assert!(d.spec.template.metadata.labels.is_empty());
    assert_eq!(
        (
            d.metadata.annotations["change"].as_str(),
            d.metadata.annotations[REVISION].as_str()
        ),
        ("create", "2")
    );
}
