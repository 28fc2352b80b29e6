//! Maps that make their values on demand, as the variables of a policy do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::{Activation, Budget, Env, EvalError, Map, MapView, Program, Str, Type, Value};
use serde_json::json;

/// Variables that are evaluated when they are first read; each may use those before it.
#[derive(Debug)]
struct Variables<'a> {
    object: &'a serde_json::Value,
    programs: Vec<(&'static str, Program)>,
    values: Vec<OnceLock<Result<Value<'a>, EvalError>>>,
    cost: AtomicU64,
}

impl<'a> MapView<'a> for Variables<'a> {
    fn len(&'a self) -> usize {
        self.programs.len()
    }

    fn get(&'a self, key: &str) -> Result<Option<Value<'a>>, EvalError> {
        let Some(index) = self.programs.iter().position(|(name, _)| *name == key) else {
            return Ok(None);
        };
        let value = self.values[index].get_or_init(|| {
            let activation = Activation::new()
                .with("object", Value::from_json(self.object))
                .with("variables", Value::Map(Map::View(self)));
            let mut budget = Budget::default();
            let value = self.programs[index].1.evaluate(&activation, &mut budget);
            self.cost.fetch_add(budget.used(), Ordering::Relaxed);
            value
        });
        value.clone().map(Some)
    }

    fn keys(&'a self) -> Vec<Str<'a>> {
        self.programs
            .iter()
            .map(|(name, _)| Str::Borrowed(name))
            .collect()
    }
}

#[test]
fn variables_are_evaluated_once_and_only_when_read() {
    let env = Env::builder()
        .variable("object", Type::Dyn)
        .variable("variables", Type::map(Type::String, Type::Dyn))
        .build();
    let sources = [
        ("containers", "object.spec.containers"),
        ("names", "variables.containers.map(c, c.name)"),
        ("broken", "object.nope"),
        ("unread", "1 / 0"),
    ];
    let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let variables = Variables {
        object: &object,
        programs: sources
            .iter()
            .map(|(name, source)| (*name, env.compile(source).unwrap()))
            .collect(),
        values: sources.iter().map(|_| OnceLock::new()).collect(),
        cost: AtomicU64::new(0),
    };
    let activation = Activation::new()
        .with("object", Value::from_json(&object))
        .with("variables", Value::Map(Map::View(&variables)));
    let run = |source: &str| {
        env.compile(source)
            .unwrap()
            .evaluate(&activation, &mut Budget::default())
    };

    assert_eq!(
        run("variables.names.size() == 2 && 'a' in variables.names")
            .unwrap()
            .as_bool(),
        Some(true)
    );
    let cost = variables.cost.load(Ordering::Relaxed);
    assert_eq!(run("variables.names[1]").unwrap().as_str(), Some("b"));
    assert_eq!(
        variables.cost.load(Ordering::Relaxed),
        cost,
        "nothing is evaluated twice"
    );
    assert_eq!(
        run("variables.broken").unwrap_err().to_string(),
        "no such key: nope"
    );
    assert_eq!(
        run("variables.broken == 1 || true").unwrap().as_bool(),
        Some(true)
    );
    assert!(variables.values[3].get().is_none());
}

#[test]
fn programs_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let env = Env::builder().build();
    shared(&env);
    shared(&env.compile("[1, 2, 3].map(x, x * 2)").unwrap());
    shared(&Value::Null);
}

#[test]
fn the_cost_limit_ends_everything() {
    let env = Env::builder().build();
    let program = env.compile("true || [1, 2, 3].all(x, x > 0)").unwrap();
    assert!(
        program
            .evaluate(&Activation::new(), &mut Budget::new(0))
            .is_ok(),
        "what is not evaluated costs nothing"
    );
    let program = env.compile("[1, 2, 3].all(x, x > 0) || true").unwrap();
    let mut budget = Budget::new(5);
    let error = program
        .evaluate(&Activation::new(), &mut budget)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation cancelled: actual cost limit exceeded"
    );
    assert_eq!(budget.used(), 6);
}

#[test]
fn binds_values_where_the_library_is_there() {
    let env = Env::builder().all_libraries().build();
    let program = env.compile("cel.bind(x, [1, 2], x.size() + x[1])").unwrap();
    assert!(matches!(
        program.evaluate(&Activation::new(), &mut Budget::default()),
        Ok(Value::Int(4))
    ));
    assert!(Env::builder().build().compile("cel.bind(x, 1, x)").is_err());
}
