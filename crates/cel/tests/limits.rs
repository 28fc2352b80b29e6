//! Text of any kind neither panics nor needs much stack.

use cel::{Activation, Budget, Env, Type, Value};
use proptest::prelude::*;

fn environment() -> Env {
    Env::builder()
        .variable("x", Type::Dyn)
        .variable("l", Type::list(Type::Int))
        .all_libraries()
        .build()
}

/// Compiles and evaluates; all that matters is that it ends.
fn run(env: &Env, expression: &str) {
    let program = match env.compile(expression) {
        Ok(program) => program,
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            return;
        }
    };
    let json = serde_json::json!({"a": [1, 2.5, "x", null, {"b": true}]});
    let activation = Activation::new()
        .with("x", Value::from_json(&json))
        .with("l", vec![Value::Int(1)].into());
    let _ = program.estimate_cost(&());
    let _ = program.evaluate(&activation, &mut Budget::new(10_000));
}

#[test]
fn deep_expressions_fit_a_small_stack() {
    let nested = |open: &str, middle: &str, close: &str, depth: usize| {
        format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
    };
    let expressions = [
        nested("(", "1", ")", 300),
        nested("(", "1", ")", 250),
        nested("(", "1", ")", 249),
        nested("[", "", "]", 249),
        nested("{1: ", "1", "}", 249),
        nested("size([", "", "])", 120),
        nested("1+(", "1", ")", 124),
        nested("x.all(y, ", "true", ")", 120),
        nested("l.map(y, ", "1", ")", 200),
        nested("true ? (", "1", ") : 2", 120),
        nested("x[", "0", "]", 240),
        format!("x{}", ".a".repeat(249)),
        format!("1{}", "+1".repeat(249)),
        format!("true{}", " && true".repeat(4000)),
        format!("l{}", ".map(y, y)".repeat(200)),
        "!".repeat(5000) + "true",
        "(".repeat(5000),
        // Not valid, so that it is read again for its issues.
        nested("[", "+", "]", 249),
        format!("\u{fffd}{}{}", "[".repeat(5000), "]".repeat(5000)),
        ")".repeat(5000),
    ];
    for expression in expressions {
        // Threads of servers have two megabytes.
        let work = move || run(&environment(), &expression);
        let thread = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(work)
            .unwrap();
        thread.join().unwrap();
    }
}

const TOKENS: &[&str] = &[
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
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "in",
    "true",
    "null",
    "x",
    "l",
    "a",
    "size",
    "map",
    "all",
    "exists",
    "filter",
    "has",
    "optMap",
    "transformMap",
    "sortBy",
    "format",
    "cel",
    "bind",
    "matches",
    "1",
    "2u",
    "1.5",
    "'s'",
    "b'x'",
    "'%d'",
    "\"\"\"",
    "`e`",
    "@",
    " ",
    "\n",
    "é",
    "optional",
    "of",
    "none",
    "orValue",
    "timestamp",
    "duration",
    "quantity",
    "ip",
    "'['",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_expression_or_an_error(text in ".{0,60}") {
        run(&environment(), &text);
    }

    #[test]
    fn any_tokens_are_an_expression_or_an_error(tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..24)) {
        run(&environment(), &tokens.concat());
    }

    #[test]
    fn any_pattern_is_a_regular_expression_or_an_error(pattern in "[\\[\\](){}*+?|^$.\\\\a-c0-9,:&~é-]{0,16}") {
        let literal = serde_json::to_string(&pattern).unwrap();
        run(&environment(), &format!("'abc'.matches({literal}) || 'abc'.find(dyn({literal})) == ''"));
    }
}
