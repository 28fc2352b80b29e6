use std::borrow::Cow;

use api_types::FieldsV1;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Set, ParseSetError> {
    Set::parse(&FieldsV1::new(text))
}

#[test]
fn text_is_upstreams() {
    // Fields first, then keys, then values, then indices; "." first of all.
    let canonical = [
        "{}",
        r#"{"f:a":{}}"#,
        r#"{"f:a":{".":{},"f:b":{}},"f:c":{"k:{\"name\":\"x\",\"port\":80}":{".":{},"f:name":{}}}}"#,
        r#"{"f:l":{"k:{\"a\":1}":{},"v:1":{},"v:\"b\"":{},"v:true":{},"i:2":{}}}"#,
        r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"x/y\"":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"1\"}":{}}}}"#,
        r#"{"f:a\"b\\c":{},"f:é<>":{}}"#,
        r#"{"f:x":{"k:{\"name\":\"a\\u003cb\"}":{}}}"#,
    ];
    for text in canonical {
        assert_eq!(super::text(&parse(text).expect(text)), text);
    }
    let odd = [
        (r#"{"f:b":{},"f:a":{}}"#, r#"{"f:a":{},"f:b":{}}"#),
        (
            r#"{"f:a":{"f:b":{}},"f:c":{"f:d":{"f:e":{}}}}"#,
            r#"{"f:a":{"f:b":{}},"f:c":{"f:d":{"f:e":{}}}}"#,
        ),
        (r#"{"x:unknown":{},"f:a":{}}"#, r#"{"f:a":{}}"#),
        (
            r#"{"k:{\"b\":1,\"a\":2}":{}}"#,
            r#"{"k:{\"a\":2,\"b\":1}":{}}"#,
        ),
        (r#"{"v:1.0":{}}"#, r#"{"v:1":{}}"#),
        ("null", "{}"),
    ];
    for (text, want) in odd {
        assert_eq!(super::text(&parse(text).expect(text)), want);
    }
    for text in [
        "[]",
        "{",
        r#"{"a":{}}"#,
        r#"{"v:{":{}}"#,
        r#"{"k:1":{}}"#,
        r#"{"i:x":{}}"#,
    ] {
        parse(text).expect_err(text);
    }
}

#[test]
fn paths_print_as_upstream() {
    let path = Path(vec![
        PathElement::field("spec"),
        PathElement::field("containers"),
        PathElement::key([
            (Cow::Borrowed("port"), json!(80)),
            (Cow::Borrowed("name"), json!("a\"b")),
        ]),
        PathElement::Value(json!("x")),
        PathElement::Value(json!(true)),
        PathElement::Index(3),
    ]);
    assert_eq!(
        path.to_string(),
        r#".spec.containers[name="a\"b",port=80][="x"][=true][3]"#
    );
}

#[test]
fn operations() {
    let a = set(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}, "f:e": {}}));
    let b = set(&json!({"f:a": {}, "f:c": {"f:d": {}, "f:x": {}}, "f:y": {}}));
    assert_eq!(paths(&a), [".a", ".e", ".a.b", ".c.d"]);
    assert_eq!(
        text(&a.union(&b)),
        r#"{"f:a":{".":{},"f:b":{}},"f:c":{"f:d":{},"f:x":{}},"f:e":{},"f:y":{}}"#
    );
    assert_eq!(text(&a.intersection(&b)), r#"{"f:a":{},"f:c":{"f:d":{}}}"#);
    assert_eq!(text(&a.difference(&b)), r#"{"f:a":{"f:b":{}},"f:e":{}}"#);
    assert_eq!(text(&a.recursive_difference(&b)), r#"{"f:e":{}}"#);
    assert_eq!(
        text(&a.leaves()),
        r#"{"f:a":{"f:b":{}},"f:c":{"f:d":{}},"f:e":{}}"#
    );
    assert_eq!(
        (a.len(), a.is_empty(), Set::new().is_empty()),
        (4, false, true)
    );
    assert!(a.has(&Path::of_fields(&["c", "d"])) && !a.has(&Path::of_fields(&["c"])));
    assert!(!a.has(&Path::default()));
}

#[test]
fn filters() {
    let all = set(
        &json!({"f:spec": {".": {}, "f:a": {}}, "f:status": {"f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}}),
    );
    let reset: Set = [Path::of_fields(&["status"])].into_iter().collect();
    assert_eq!(
        text(&Filter::Exclude(reset).apply(all.clone())),
        r#"{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{".":{},"f:a":{}}}"#
    );
    let status = Matcher::prefix([Some(PathElement::field("status"))]);
    assert_eq!(
        text(&Filter::Include(status.clone()).apply(all.clone())),
        r#"{"f:status":{"f:b":{}}}"#
    );
    let labels = Matcher::prefix([None, Some(PathElement::field("labels")), None]);
    // A wildcard hides the patterns beside it.
    let both = Filter::Include(status.or(&labels));
    assert_eq!(
        text(&both.apply(all.clone())),
        r#"{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{}}"#
    );
    assert_eq!(Filter::Include(Matcher::all()).apply(all.clone()), all);
}

pub(super) fn any_set() -> BoxedStrategy<Set> {
    let element = prop_oneof![
        4 => "[a-c]".prop_map(|name| PathElement::Field(Cow::Owned(name))),
        1 => (0i64..3).prop_map(|v| PathElement::Value(json!(v))),
        1 => "[a-b]".prop_map(|v| PathElement::key([(Cow::Borrowed("name"), json!(v))])),
    ];
    prop::collection::vec(prop::collection::vec(element, 1..4), 0..8)
        .prop_map(|paths| paths.into_iter().map(Path).collect())
        .boxed()
}

proptest! {
    #[test]
    fn text_round_trips(a in any_set()) {
        prop_assert_eq!(Set::parse(&a.to_fields_v1()), Ok(a));
    }

    #[test]
    fn sets_obey_the_laws_of_sets(a in any_set(), b in any_set()) {
        let union = a.union(&b);
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(&a.difference(&b).union(&a.intersection(&b)), &a);
        for path in union.paths() {
            prop_assert!(union.has(&path));
            prop_assert_eq!(a.intersection(&b).has(&path), a.has(&path) && b.has(&path));
            prop_assert_eq!(a.difference(&b).has(&path), a.has(&path) && !b.has(&path));
        }
        prop_assert!(a.difference(&a).is_empty());
        prop_assert_eq!(a.paths().len(), a.len());
    }
}
