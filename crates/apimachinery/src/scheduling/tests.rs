use api_types::core::v1::{self, *};

use super::NodeSelector;
use super::*;
use crate::field::Path;

fn taint(key: &str, value: &str, effect: &str) -> Taint {
    Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
        ..Default::default()
    }
}

fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
    Toleration {
        key: key.to_owned(),
        operator: operator.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
        ..Default::default()
    }
}

#[test]
fn tolerations() {
    let foo = taint("foo", "bar", "NoSchedule");
    let check = |toleration: Toleration, taint: &Taint, want: bool| {
        assert_eq!(
            tolerates_taint(&toleration, taint, true),
            want,
            "{toleration:?} {taint:?}"
        );
    };
    check(toleration("foo", "Exists", "", "NoSchedule"), &foo, true);
    check(toleration("foo", "Exists", "", ""), &foo, true);
    check(toleration("", "Exists", "", ""), &foo, true);
    check(toleration("foo", "Equal", "bar", "NoSchedule"), &foo, true);
    check(toleration("foo", "", "bar", "NoSchedule"), &foo, true);
    check(
        toleration("foo", "Equal", "other", "NoSchedule"),
        &foo,
        false,
    );
    check(toleration("foo", "Exists", "", "NoExecute"), &foo, false);
    check(toleration("other", "Exists", "", "NoSchedule"), &foo, false);
    check(toleration("foo", "Near", "bar", ""), &foo, false);
    let number = taint("n", "100", "NoSchedule");
    check(toleration("n", "Gt", "50", ""), &number, true);
    check(toleration("n", "Gt", "100", ""), &number, false);
    check(toleration("n", "Lt", "150", ""), &number, true);
    check(toleration("n", "Lt", "0150", ""), &number, false);
    check(toleration("n", "Lt", "abc", ""), &number, false);
    check(toleration("foo", "Lt", "150", ""), &foo, false);
    assert!(!tolerates_taint(
        &toleration("n", "Gt", "50", ""),
        &number,
        false
    ));
}

#[test]
fn untolerated_taints() {
    let taints = [
        taint("a", "", "PreferNoSchedule"),
        taint("b", "", "NoSchedule"),
    ];
    let tolerations = [toleration("a", "Exists", "", "")];
    let found = find_matching_untolerated_taint(&taints, &tolerations, is_scheduling_taint, false);
    assert_eq!(found, Some(&taints[1]));
    assert_eq!(
        find_matching_untolerated_taint(&taints, &[], is_scheduling_taint, false),
        Some(&taints[1])
    );
    assert_eq!(
        find_matching_untolerated_taint(&taints, &[], |_| true, false),
        Some(&taints[0])
    );
    assert_eq!(matching_tolerations(&taints, &tolerations, false), None);
    assert_eq!(
        matching_tolerations(&taints[..1], &tolerations, false),
        Some(vec![&tolerations[0]])
    );
    assert_eq!(matching_tolerations(&[], &[], false), Some(vec![]));
}

#[test]
fn lists_of_taints() {
    let mut list = vec![taint("a", "1", "NoSchedule")];
    assert!(!add_or_update_taint(
        &mut list,
        &taint("a", "1", "NoSchedule")
    ));
    assert!(add_or_update_taint(
        &mut list,
        &taint("a", "2", "NoSchedule")
    ));
    assert!(add_or_update_taint(
        &mut list,
        &taint("a", "2", "NoExecute")
    ));
    let texts: Vec<String> = list.iter().map(taint_text).collect();
    assert_eq!(texts, ["a=2:NoSchedule", "a=2:NoExecute"]);
    assert!(taint_key_exists(&list, "a") && !taint_key_exists(&list, "b"));
    assert!(remove_taint(&mut list, &taint("a", "", "NoExecute")));
    assert!(!remove_taint(&mut list, &taint("a", "", "NoExecute")));
    let new = [taint("a", "", "NoSchedule"), taint("b", "", "NoSchedule")];
    let (added, removed) = taint_set_diff(&new, &list);
    assert_eq!((added, removed), (vec![&new[1]], vec![]));
    assert_eq!(taint_text(&taint("k", "", "")), "k");
    assert_eq!(taint_text(&taint("k", "v", "")), "k=v:");
    assert_eq!(taint_text(&taint("k", "", "NoExecute")), "k:NoExecute");
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    }
}

fn term(
    labels: Vec<NodeSelectorRequirement>,
    fields: Vec<NodeSelectorRequirement>,
) -> NodeSelectorTerm {
    NodeSelectorTerm {
        match_expressions: labels,
        match_fields: fields,
    }
}

fn node(name: &str, labels: &[(&str, &str)]) -> Node {
    let mut node = Node::default();
    node.metadata.name = name.to_owned();
    node.metadata.labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    node
}

#[test]
fn node_selectors() {
    let n1 = node("n1", &[("zone", "a"), ("cores", "8")]);
    let check = |terms: Vec<NodeSelectorTerm>, want: Result<bool, &str>| {
        let selector = v1::NodeSelector {
            node_selector_terms: terms,
        };
        let got = NodeSelector::lazy(&selector, &Path::nil()).matches(&n1);
        assert_eq!(
            got.map_err(|errors| errors.to_string()),
            want.map_err(str::to_owned)
        );
    };
    check(vec![], Ok(false));
    check(vec![term(vec![], vec![])], Ok(false));
    check(
        vec![term(vec![requirement("zone", "In", &["a", "b"])], vec![])],
        Ok(true),
    );
    check(
        vec![term(vec![requirement("cores", "Gt", &["4"])], vec![])],
        Ok(true),
    );
    check(
        vec![term(vec![requirement("cores", "Lt", &["4"])], vec![])],
        Ok(false),
    );
    check(
        vec![term(
            vec![],
            vec![requirement("metadata.name", "In", &["n1"])],
        )],
        Ok(true),
    );
    check(
        vec![term(
            vec![],
            vec![requirement("metadata.name", "NotIn", &["n1"])],
        )],
        Ok(false),
    );
    check(
        vec![term(
            vec![requirement("zone", "In", &["a"])],
            vec![requirement("metadata.name", "In", &["n2"])],
        )],
        Ok(false),
    );
    // An invalid term shows only when nothing else matches.
    let bad = term(
        vec![requirement("zone", "Near", &["a"])],
        vec![requirement("metadata.name", "Exists", &[])],
    );
    check(
        vec![
            bad.clone(),
            term(vec![requirement("zone", "Exists", &[])], vec![]),
        ],
        Ok(true),
    );
    check(
        vec![bad],
        Err(
            "[nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: \"Near\": supported values: \"In\", \
             \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\", nodeSelectorTerms[0].matchFields[0].operator: \
             Unsupported value: \"Exists\": supported values: \"In\", \"NotIn\"]",
        ),
    );
    check(
        vec![term(
            vec![requirement("zone", "In", &["a b"])],
            vec![requirement("metadata.name", "In", &[])],
        )],
        Err(
            "[nodeSelectorTerms[0].matchExpressions[0].values[0][zone]: Invalid value: \"a b\": a valid label must be an \
             empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'), nodeSelectorTerms[0].matchFields[0].values: Invalid value: \
             []: must have one element]",
        ),
    );
}

#[test]
fn required_affinity() {
    let mut pod = Pod::default();
    let here = node("n1", &[("zone", "a")]);
    assert!(RequiredNodeAffinity::new(&pod).is_empty());
    assert_eq!(RequiredNodeAffinity::new(&pod).matches(&here), Ok(true));
    pod.spec
        .node_selector
        .insert("zone".to_owned(), "a".to_owned());
    assert_eq!(RequiredNodeAffinity::new(&pod).matches(&here), Ok(true));
    pod.spec.affinity = Some(Box::new(Affinity {
        node_affinity: Some(Box::new(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(Box::new(v1::NodeSelector {
                node_selector_terms: vec![term(vec![requirement("zone", "NotIn", &["a"])], vec![])],
            })),
            ..Default::default()
        })),
        ..Default::default()
    }));
    assert_eq!(RequiredNodeAffinity::new(&pod).matches(&here), Ok(false));
    pod.spec.node_selector.clear();
    assert_eq!(
        RequiredNodeAffinity::new(&pod).matches(&node("n2", &[])),
        Ok(true)
    );
}

#[test]
fn preferences() {
    let prefer = |weight, preference| PreferredSchedulingTerm { weight, preference };
    let terms = [
        prefer(5, term(vec![requirement("zone", "In", &["a"])], vec![])),
        prefer(7, term(vec![requirement("zone", "Exists", &[])], vec![])),
        prefer(0, term(vec![requirement("zone", "Bad", &[])], vec![])),
        prefer(9, term(vec![], vec![])),
    ];
    let parsed = PreferredSchedulingTerms::new(&terms, &Path::nil()).expect("terms are fine");
    assert_eq!(parsed.score(&node("n", &[("zone", "a")])), 12);
    assert_eq!(parsed.score(&node("n", &[("zone", "b")])), 7);
    assert_eq!(parsed.score(&node("n", &[])), 0);
    let bad = [prefer(
        1,
        term(vec![requirement("zone", "Bad", &[])], vec![]),
    )];
    let error = PreferredSchedulingTerms::new(&bad, &Path::nil())
        .expect_err("operator")
        .to_string();
    assert!(
        error.starts_with("[0].matchExpressions[0].operator: Unsupported value: \"Bad\""),
        "{error}"
    );
}

#[test]
fn topology_terms() {
    let labels = node("n", &[("zone", "a")]).metadata.labels;
    let topology = |values: &[&str]| TopologySelectorTerm {
        match_label_expressions: vec![TopologySelectorLabelRequirement {
            key: "zone".to_owned(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }],
    };
    assert!(match_topology_selector_terms(&[], &labels));
    assert!(!match_topology_selector_terms(
        &[TopologySelectorTerm::default()],
        &labels
    ));
    assert!(match_topology_selector_terms(
        &[topology(&["b"]), topology(&["a"])],
        &labels
    ));
    assert!(!match_topology_selector_terms(&[topology(&[])], &labels));
}
