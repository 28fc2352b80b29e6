//! What clients select by.

use std::collections::BTreeMap;

use api_types::meta::v1::LabelSelector;
use apimachinery::{fields, labels};

use crate::target::{Case, Outcome, Target, Verdict, listed, same};

/// `?labelSelector=`, by both parsers.
pub const LABELS: Target = Target {
    name: "selectors/labels",
    promise: "its text is read as the same; the parser of LabelSelectors selects the same",
    cases: 2000,
    seed: |number| {
        listed(
            &[
                "a=b",
                "a==b,c!=d",
                "x in (a,b,c),y notin (d)",
                "!gone",
                "there",
                "n>5,m<-3",
                "example.com/a in ()",
                "a,b,c,d",
                "a=",
                "in in (in)",
                "notin,in",
                " a = b , ! c ",
                "a in (b,,c)",
                "x>1,x<9,x=3",
            ],
            number,
        )
    },
    tokens: &[
        "a",
        "b",
        "=",
        "==",
        "!=",
        "!",
        ",",
        "(",
        ")",
        " in ",
        " notin ",
        ">",
        "<",
        "example.com/",
        "1",
        "-1",
        " ",
        "\t",
        "in",
        "notin",
        "_",
        ".",
        "é",
        "9223372036854775808",
    ],
    check: label_text,
};

/// The LabelSelector of an object.
pub const LABEL_SELECTOR: Target = Target {
    name: "selectors/label-selector",
    promise: "what it selects is what its text selects",
    cases: 2000,
    seed: |number| {
        listed(
            &[
                r#"{"matchLabels":{"a":"b","example.com/c":""}}"#,
                r#"{"matchExpressions":[{"key":"a","operator":"In","values":["b","c"]},{"key":"d","operator":"DoesNotExist"}]}"#,
                r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"NotIn","values":["c",""]}]}"#,
                r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
                "{}",
            ],
            number,
        )
    },
    tokens: &[
        "In",
        "NotIn",
        "Exists",
        "DoesNotExist",
        "Gt",
        "a",
        "b",
        "\"a\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"key\":",
        "\"values\":",
        "\"operator\":",
        "\"matchLabels\":",
        "",
    ],
    check: label_selector,
};

/// `?fieldSelector=`.
pub const FIELDS: Target = Target {
    name: "selectors/fields",
    promise: "its text is read as the same; a value that is escaped and unescaped is the value",
    cases: 4000,
    seed: |number| {
        listed(
            &[
                "metadata.name=a",
                "status.phase!=Running,spec.nodeName==n",
                r"a=b\,c\=d\\",
                "a=",
                ",,",
                "=x",
                "metadata.namespace=",
            ],
            number,
        )
    },
    tokens: &[
        "a",
        "=",
        "==",
        "!=",
        ",",
        "\\",
        "\\,",
        "\\=",
        "\\\\",
        ".",
        " ",
        "é",
        "metadata.name",
    ],
    check: field_text,
};

/// Labels that selectors made of the words above tell apart.
fn samples() -> [BTreeMap<String, String>; 5] {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    [
        map(&[]),
        map(&[("a", "b")]),
        map(&[("a", ""), ("example.com/a", "1")]),
        map(&[("a", "1"), ("b", "a"), ("in", "in"), ("x", "3")]),
        map(&[("a", "a"), ("n", "7"), ("m", "-9"), ("there", "")]),
    ]
}

fn select_the_same(
    what: &str,
    one: &labels::Selector,
    other: &labels::Selector,
) -> Result<(), String> {
    for sample in samples() {
        if one.matches(&sample) != other.matches(&sample) {
            return Err(format!(
                "{what}: {one:?} and {other:?} differ for {sample:?}"
            ));
        }
    }
    Ok(())
}

fn label_text(case: &Case) -> Outcome {
    let text = case.text();
    let parsed = labels::Selector::parse(&text);
    let structured = labels::parse_to_label_selector(&text);
    let Ok(selector) = parsed else {
        if structured.is_ok() {
            return Err("only the parser of LabelSelectors takes it".to_owned());
        }
        return Ok(Verdict::Refused);
    };
    let written = selector.to_string();
    let again =
        labels::Selector::parse(&written).map_err(|error| format!("{written:?}: {error}"))?;
    same("written again", &again.to_string(), &written)?;
    select_the_same("its own text", &selector, &again)?;
    for requirement in selector.requirements() {
        let _ = selector.requires_exact_match(requirement.key());
    }
    // A LabelSelector has one value for a key, and needs values where the text may have none.
    let keys: std::collections::BTreeSet<&str> = selector
        .requirements()
        .iter()
        .map(labels::Requirement::key)
        .collect();
    if let Ok(structured) = structured
        && keys.len() == selector.requirements().len()
    {
        let other = labels::Selector::from_label_selector(Some(&structured))
            .map_err(|error| format!("{structured:?}: {error}"))?;
        select_the_same("LabelSelector", &selector, &other)?;
    }
    Ok(Verdict::Accepted)
}

fn label_selector(case: &Case) -> Outcome {
    let Ok(given) = api_types::decode_json::<LabelSelector>(&case.bytes) else {
        return Ok(Verdict::Refused);
    };
    let _ = labels::label_selector_as_map(Some(&given));
    let _ = labels::format_label_selector(Some(&given));
    let _ = apimachinery::validation::validate_label_selector(
        Some(&given),
        apimachinery::validation::LabelSelectorValidationOptions::default(),
        &apimachinery::field::Path::new("spec"),
    );
    let Ok(selector) = labels::Selector::from_label_selector(Some(&given)) else {
        return Ok(Verdict::Refused);
    };
    let written = selector.to_string();
    let again =
        labels::Selector::parse(&written).map_err(|error| format!("{written:?}: {error}"))?;
    select_the_same("its text", &selector, &again)?;
    Ok(Verdict::Accepted)
}

fn field_text(case: &Case) -> Outcome {
    let text = case.text();
    let escaped = fields::escape_value(&text);
    let back = fields::unescape_value(&escaped).map_err(|error| format!("{escaped:?}: {error}"))?;
    same("escaped", &back, &text.into_owned())?;
    let Ok(selector) = fields::Selector::parse(&case.text()) else {
        return Ok(Verdict::Refused);
    };
    let written = selector.to_string();
    let again =
        fields::Selector::parse(&written).map_err(|error| format!("{written:?}: {error}"))?;
    same("written again", &again.to_string(), &written)?;
    for value in [None, Some(""), Some("a"), Some("Running")] {
        same(
            "selects",
            &again.matches(|_| value),
            &selector.matches(|_| value),
        )?;
    }
    Ok(Verdict::Accepted)
}
