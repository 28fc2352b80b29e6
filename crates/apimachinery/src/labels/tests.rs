use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn good_text_round_trips() {
    for text in [
        "x=a,y=b,z=c",
        "",
        "x!=a,y=b",
        "x=",
        "x= ",
        "x=,z= ",
        "x= ,z= ",
        "!x",
        "x>1",
        "x>1,z<5",
        "x==a",
        "in=a,notin=b",
    ] {
        let selector = Selector::parse(text).expect(text);
        assert_eq!(selector.to_string(), text.replace(' ', ""));
    }
}

#[test]
fn set_text_is_normalised() {
    let cases = [
        (
            "x in (foo,,baz),y,z notin ()",
            "x in (,baz,foo),y,z notin ()",
        ),
        ("x in (b,a,b)", "x in (a,b)"),
        ("b=1,a=2,!c", "a=2,b=1,!c"),
        ("x in (in,notin)", "x in (in,notin)"),
        ("x\tnotin\n( a )", "x notin (a)"),
        ("x in (,)", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x in (,,a)", "x in (,a)"),
        ("x=notin", "x=notin"),
    ];
    for (text, want) in cases {
        assert_eq!(
            Selector::parse(text).expect(text).to_string(),
            want,
            "{text}"
        );
    }
}

#[test]
fn bad_text_is_refused_with_upstreams_words() {
    let key_rule = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                    character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let cases: &[(&str, String)] = &[
        ("x=a>y=b", "found '>', expected: ',' or 'end of string'".into()),
        ("x==a==b", "found '==', expected: ',' or 'end of string'".into()),
        ("!x=a", "found '=', expected: ',' or 'end of string'".into()),
        ("x,", "found '', expected: identifier after ','".into()),
        (",x", "found ',', expected: !, identifier, or 'end of string'".into()),
        ("x a", "unable to parse requirement: found 'a', expected: in, notin, =, ==, !=, gt, lt".into()),
        ("x in a", "unable to parse requirement: found 'a' expected: '('".into()),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'".into()),
        ("x in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier".into()),
        ("x in (a,=", "unable to parse requirement: found '=', expected: ',', or identifier".into()),
        ("x=(", "unable to parse requirement: found '(', expected: identifier".into()),
        ("!", "unable to parse requirement: found '', expected: identifier".into()),
        (
            "x<a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an \
             integer"
                .into(),
        ),
        ("_a", format!("unable to parse requirement: <nil>: Invalid value: \"_a\": name part {key_rule}")),
        (
            "a=!",
            "unable to parse requirement: found '!', expected: identifier".into(),
        ),
        (
            "a=_b",
            "unable to parse requirement: values[0][a]: Invalid value: \"_b\": a valid label must be an empty string or \
             consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
             (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .into(),
        ),
    ];
    for (text, want) in cases {
        assert_eq!(
            Selector::parse(text).expect_err(text).to_string(),
            *want,
            "{text}"
        );
    }
}

#[test]
fn matches_as_upstream() {
    let check = |text: &str, set: &[(&str, &str)], want: bool| {
        assert_eq!(
            Selector::parse(text).expect(text).matches(&labels(set)),
            want,
            "{text} {set:?}"
        );
    };
    check("", &[("x", "y")], true);
    check("x=y", &[("x", "y")], true);
    check("x=y,z=w", &[("x", "y"), ("z", "w")], true);
    check("x!=y,z!=w", &[("x", "z"), ("z", "a")], true);
    check("notin=in", &[("notin", "in")], true);
    check("x", &[("x", "z")], true);
    check("!x", &[("y", "z")], true);
    check("x>1", &[("x", "2")], true);
    check("x<1", &[("x", "0")], true);
    check("x=z", &[], false);
    check("x=y", &[("x", "z")], false);
    check("x=y,z=w", &[("x", "w"), ("z", "w")], false);
    check("x!=y,z!=w", &[("x", "z"), ("z", "w")], false);
    check("x", &[("y", "z")], false);
    check("!x", &[("x", "z")], false);
    check("x>1", &[("x", "0")], false);
    check("x<1", &[("x", "2")], false);
    check("x>1", &[("x", "abc")], false);
    check("x notin (a,b)", &[], true);
    check("x notin (a,b)", &[("x", "b")], false);
    check("x in (a,b)", &[("x", "b")], true);
    check("x in ()", &[("x", "")], true);
    assert!(!Selector::nothing().matches(&labels(&[])));
}

#[test]
fn requirements_are_checked() {
    let new = |op, values: &[&str]| {
        Requirement::new("k", op, values.iter().map(|v| (*v).to_owned()).collect())
    };
    let cases: &[(Operator, &[&str], Option<&str>)] = &[
        (Operator::In, &["a"], None),
        (
            Operator::In,
            &[],
            Some(
                "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
            ),
        ),
        (
            Operator::Equals,
            &["a", "b"],
            Some(
                r#"values: Invalid value: ["a","b"]: exact-match compatibility requires one single value"#,
            ),
        ),
        (
            Operator::Exists,
            &["a"],
            Some(
                r#"values: Invalid value: ["a"]: values set must be empty for exists and does not exist"#,
            ),
        ),
        (
            Operator::GreaterThan,
            &["1", "b"],
            Some(
                "[values: Invalid value: [\"1\",\"b\"]: for 'Gt', 'Lt' operators, exactly one value is required, \
                 values[1]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer]",
            ),
        ),
    ];
    for (operator, values, want) in cases {
        assert_eq!(
            new(*operator, values)
                .err()
                .map(|e| e.to_string())
                .as_deref(),
            *want
        );
    }
}

#[test]
fn label_selectors_convert() {
    assert!(
        Selector::from_label_selector(None)
            .expect("none")
            .is_nothing()
    );
    assert!(
        Selector::from_label_selector(Some(&LabelSelector::default()))
            .expect("empty")
            .is_empty()
    );
    let mut selector = LabelSelector {
        match_labels: labels(&[("foo", "bar")]),
        ..Default::default()
    };
    selector.match_expressions.push(LabelSelectorRequirement {
        key: "baz".to_owned(),
        operator: "In".to_owned(),
        values: vec!["qux".to_owned(), "norf".to_owned()],
    });
    assert_eq!(
        format_label_selector(Some(&selector)),
        "baz in (norf,qux),foo=bar"
    );
    assert_eq!(
        label_selector_as_map(Some(&selector))
            .expect_err("two values")
            .to_string(),
        "operator \"In\" without a single value cannot be converted into the old label selector format"
    );
    selector.match_expressions[0].values.pop();
    assert_eq!(
        label_selector_as_map(Some(&selector)),
        Ok(labels(&[("foo", "bar"), ("baz", "qux")]))
    );
    selector.match_expressions[0].operator = "Near".to_owned();
    assert_eq!(
        Selector::from_label_selector(Some(&selector))
            .expect_err("operator")
            .to_string(),
        "\"Near\" is not a valid label selector operator"
    );
    assert_eq!(format_label_selector(Some(&selector)), "<error>");
    assert_eq!(
        format_label_selector(Some(&LabelSelector::default())),
        "<none>"
    );
}

#[test]
fn text_becomes_a_label_selector() {
    let selector = parse_to_label_selector("foo=bar,baz in (b,a),!q,r").expect("selector");
    assert_eq!(selector.match_labels, labels(&[("foo", "bar")]));
    let got: Vec<_> = selector
        .match_expressions
        .iter()
        .map(|e| (e.key.as_str(), e.operator.as_str()))
        .collect();
    assert_eq!(got, [("baz", "In"), ("q", "DoesNotExist"), ("r", "Exists")]);
    let error = parse_to_label_selector("x>1").expect_err("gt");
    assert_eq!(
        error.to_string(),
        "\"gt\" isn't supported in label selectors"
    );
    let error = parse_to_label_selector("x!=1").expect_err("!=");
    assert_eq!(
        error.to_string(),
        "\"!=\" is not a valid label selector operator"
    );
}

#[test]
fn exact_matches() {
    let selector = Selector::parse("a=1,b in (2),c in (3,4),d").expect("selector");
    assert_eq!(selector.requires_exact_match("a"), Some("1"));
    assert_eq!(selector.requires_exact_match("b"), Some("2"));
    assert_eq!(selector.requires_exact_match("c"), None);
    assert_eq!(selector.requires_exact_match("d"), None);
    assert_eq!(selector.requires_exact_match("e"), None);
}
