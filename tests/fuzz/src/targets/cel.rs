//! Expressions of policies, CRDs and selectors.

use std::sync::OnceLock;

use cel::{Activation, Budget, Env, Type, Value};

use crate::target::{Case, Outcome, Target, Verdict, listed, nested, same};

/// Any expression.
pub const EXPRESSION: Target = Target {
    name: "cel/expression",
    promise: "it is an expression or an error with text; it costs the same each time, within its budget",
    cases: 600,
    seed: expression,
    tokens: &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "?",
        ":",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        " in ",
        "true",
        "null",
        "x",
        "l",
        "m",
        "s",
        "a",
        ".size()",
        "size(",
        ".map(y, ",
        ".all(y, ",
        ".exists_one(y, ",
        ".filter(y, ",
        "has(",
        ".?",
        "[?",
        ".optMap(v, ",
        ".transformMap(k, v, ",
        ".sortBy(e, ",
        ".format(",
        "cel.bind(z, ",
        ".matches(",
        "1",
        "2u",
        "1.5",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615u",
        "1e308",
        "0x7f",
        "'s'",
        "b'\\xff'",
        "r'\\'",
        "'%d'",
        "'%.999f'",
        "\"\"\"",
        "'''",
        "`e-f`",
        "@",
        " ",
        "\n",
        "é",
        "//",
        "optional.of(",
        "optional.none()",
        ".orValue(",
        "timestamp('2024-01-01T00:00:00Z')",
        "duration('1h')",
        "quantity('1Ei')",
        "ip('::1')",
        "cidr('10.0.0.0/8')",
        "url('https://a')",
        "semver('1.2.3')",
        "int(",
        "uint(",
        "double(",
        "string(",
        "bytes(",
        "dyn(",
        "type(",
        "lists.range(",
        ".flatten()",
        ".slice(",
        ".join(",
        ".split(",
        ".replace('', 'xxxxxxxx')",
        ".findAll(",
        "base64.decode(",
        "sets.contains(",
        "math.greatest(",
        "\\",
        "google.protobuf.",
    ],
    check: evaluate,
};

/// Patterns, which come from whoever writes an expression, and with dynamic ones from whoever writes an object.
pub const REGEX: Target = Target {
    name: "cel/regex",
    promise: "it is a pattern or an error; matching stays within its budget",
    cases: 200,
    seed: |number| match number % 9 {
        0 => nested("(", "a", ")", 500),
        1 => nested("(", "a", ")*", 60),
        _ => listed(
            &[
                "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "(a|aa)+$",
                "a{1000}",
                "(a{100}){100}",
                "\\pL+\\d",
                "(?i)x*?",
                "[[:alpha:]-\\x{10ffff}]",
            ],
            number,
        ),
    },
    tokens: &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "*",
        "+",
        "?",
        "|",
        "^",
        "$",
        ".",
        "\\",
        "(?:",
        "(?i)",
        "(?P<n>",
        "\\pL",
        "\\x{10ffff}",
        "\\Q",
        "\\E",
        "{1000}",
        "{0,1000}",
        "[[:alpha:]]",
        "[^",
        "a",
        "-",
        "é",
        "\\b",
        "\\z",
        "\\1",
        "(?=",
    ],
    check: match_pattern,
};

fn expression(number: u32) -> Vec<u8> {
    match number % 5 {
        0 => match number / 5 % 9 {
            0 => nested("(", "1", ")", 240),
            1 => nested("[", "", "]", 5000),
            2 => nested("l.map(y, ", "y", ")", 30),
            3 => nested("{1: ", "1", "}", 249),
            4 => format!("x{}", ".a".repeat(3000)).into_bytes(),
            5 => format!("true{}", " && true".repeat(3000)).into_bytes(),
            6 => [vec![b'!'; 5000], b"true".to_vec()].concat(),
            7 => format!("s{}", ".replace('a', s)".repeat(30)).into_bytes(),
            _ => format!("[l]{}", ".map(y, [y, y])".repeat(40)).into_bytes(),
        },
        _ => listed(
            &[
                "x.spec.replicas <= 5 && x.metadata.name.startsWith('a')",
                "l.all(y, y > 0) || m.exists(k, m[k] == 'b')",
                "has(x.a) && x.a.map(e, type(e)) == [int, double, string, null_type, map]",
                "x.?a[?0].orValue(1) + size(s)",
                "'%s %d %.2f %x'.format([s, 1, 2.5, 255])",
                "duration('1h') + duration('30m') > duration('5400s') ? timestamp('2024-01-01T00:00:00Z').getFullYear() : 0",
                "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1').add(2).asInteger() == 3",
                "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && isURL('https://a.b/c?d=e')",
                "cel.bind(z, l.filter(y, y % 2 == 0), z.sum() + z.size())",
                "s.matches('^[a-z]+$') && s.find('b') == '' && s.split('b', 2).join('c') == s",
                "lists.range(10).transformList(i, v, i * v).sortBy(e, -e).slice(1, 3).flatten()",
                "{'a': 1, 'b': [1, 2u, 3.5]}.transformMap(k, v, k + string(dyn(v)))",
                "int('9223372036854775807') + int(uint(1)) + int(1.5) - int(timestamp(0)) * -1 / 0",
                "base64.encode(bytes(s)) + string(b'a\\377'.size()) + r'\\' + \"\"\"x\ny\"\"\"",
                "optional.of(1).optMap(v, v + 1).or(optional.none()).value() in [1, 2] && !false",
                "semver('1.2.3-a+b').isLessThan(semver('v2', true)) || url('http://[::1]:80/').getPort() == '80'",
            ],
            number,
        ),
    }
}

fn environment() -> &'static Env {
    static ENV: OnceLock<Env> = OnceLock::new();
    ENV.get_or_init(|| {
        Env::builder()
            .variable("x", Type::Dyn)
            .variable("l", Type::list(Type::Int))
            .variable("m", Type::map(Type::String, Type::String))
            .variable("s", Type::String)
            .all_libraries()
            .build()
    })
}

const BUDGET: u64 = 10_000;

fn evaluate(case: &Case) -> Outcome {
    let text = case.text();
    let escaped = cel::escape(&text);
    if let Some(escaped) = escaped {
        same(
            "unescaped",
            &cel::unescape(&escaped).as_deref(),
            &Some(&*text),
        )?;
    }
    let program = match environment().compile(&text) {
        Ok(program) => program,
        Err(errors) if errors.to_string().is_empty() => {
            return Err("errors without text".to_owned());
        }
        Err(_) => return Ok(Verdict::Refused),
    };
    let json = serde_json::json!({
        "a": [1, 2.5, "x", null, {"b": true}],
        "metadata": {"name": "abc"},
        "spec": {"replicas": 3},
    });
    let map = serde_json::json!({"a": "b", "c": ""});
    let activation = Activation::new()
        .with("x", Value::from_json(&json))
        .with(
            "l",
            vec![Value::Int(1), Value::Int(2), Value::Int(-3)].into(),
        )
        .with("m", Value::from_json(&map))
        .with("s", "abc".into());
    let estimate = program.estimate_cost(&());
    if estimate.min > estimate.max {
        return Err(format!("{estimate:?}"));
    }
    let run = || {
        let mut budget = Budget::new(BUDGET);
        let value = program.evaluate(&activation, &mut budget);
        (value, budget.used())
    };
    let (value, used) = run();
    let (again, used_again) = run();
    same("cost", &used_again, &used)?;
    match value {
        Ok(_) if used > BUDGET => Err(format!("a value for {used} of {BUDGET}")),
        Ok(value) => {
            // Values share their parts: `[y, y]` of `[y, y]` and so on is small, and what is written of it is not.
            if is_small(&value, &mut 10_000) {
                same(
                    "value",
                    &format!("{again:?}"),
                    &format!("{:?}", Ok::<_, ()>(&value)),
                )?;
                let _ = value.to_json();
                let _ = (value.type_of().to_string(), value.into_owned().is_ok());
            }
            Ok(Verdict::Accepted)
        }
        Err(error) if error.to_string().is_empty() => Err("an error without text".to_owned()),
        Err(_) => Ok(Verdict::Accepted),
    }
}

/// Whether a value has no more parts than are left.
fn is_small(value: &Value<'_>, left: &mut u32) -> bool {
    let Some(less) = left.checked_sub(1) else {
        return false;
    };
    *left = less;
    match value {
        Value::List(list) => list
            .iter()
            .all(|item| item.is_ok_and(|item| is_small(&item, left))),
        Value::Map(map) => map.keys().iter().all(|key| {
            let found = map.find(key).ok().flatten();
            found.is_none_or(|found| is_small(&found, left))
        }),
        Value::Optional(Some(inner)) => is_small(inner, left),
        _ => true,
    }
}

fn match_pattern(case: &Case) -> Outcome {
    let literal = serde_json::to_string(&case.text()).map_err(|error| error.to_string())?;
    // CEL has no `\/`, and serde_json does not write it.
    let source = format!(
        "s.matches({literal}) || s.find(dyn({literal})) == s || s.findAll({literal}).size() > 9"
    );
    let Ok(program) = environment().compile(&source) else {
        return Ok(Verdict::Refused);
    };
    let text = "ab-c1é ".repeat(200);
    let activation = Activation::new().with("s", text.as_str().into());
    let mut budget = Budget::new(BUDGET);
    let value = program.evaluate(&activation, &mut budget);
    Ok(match value {
        Ok(_) => Verdict::Accepted,
        Err(_) => Verdict::Refused,
    })
}
