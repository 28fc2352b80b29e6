//! Match conditions: which requests a webhook is asked about. Upstream: apiserver/pkg/authorization/cel.

use std::sync::LazyLock;

use api_types::apiserver_config::v1::WebhookMatchCondition;
use api_types::authorization::v1::SubjectAccessReviewSpec;
use cel::{Activation, Budget, Env, Program, Type, Value};
use serde_json::{Value as Json, json};

const REQUEST: &str = "request";

/// The one variable is `request`, a SubjectAccessReviewSpec of v1.
static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    const SPEC: &str = "kubernetes.SubjectAccessReviewSpec";
    const RESOURCE: &str = "kubernetes.ResourceAttributes";
    const OTHER: &str = "kubernetes.NonResourceAttributes";
    const FIELDS: &str = "kubernetes.FieldSelectorAttributes";
    const LABELS: &str = "kubernetes.LabelSelectorAttributes";
    const REQUIREMENT: &str = "kubernetes.SelectorRequirement";
    let strings = || Type::list(Type::String);
    let text = |name: &str| (name.to_owned(), Type::String);
    let field = |name: &str, of: Type| (name.to_owned(), of);
    let selector = || {
        let requirements = Type::list(Type::object(REQUIREMENT));
        [text("rawSelector"), field("requirements", requirements)]
    };
    Env::builder()
        .object_type(
            REQUIREMENT,
            [text("key"), text("operator"), field("values", strings())],
        )
        .object_type(FIELDS, selector())
        .object_type(LABELS, selector())
        .object_type(
            RESOURCE,
            [
                text("namespace"),
                text("verb"),
                text("group"),
                text("version"),
                text("resource"),
                text("subresource"),
                text("name"),
                field("fieldSelector", Type::object(FIELDS)),
                field("labelSelector", Type::object(LABELS)),
            ],
        )
        .object_type(OTHER, [text("path"), text("verb")])
        .object_type(
            SPEC,
            [
                field("resourceAttributes", Type::object(RESOURCE)),
                field("nonResourceAttributes", Type::object(OTHER)),
                text("user"),
                field("groups", strings()),
                field("extra", Type::map(Type::String, strings())),
                text("uid"),
            ],
        )
        .variable(REQUEST, Type::object(SPEC))
        .build()
});

/// Compiled conditions, which must all be true.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    expression: String,
    program: Program,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Matches,
    DoesNotMatch,
    /// None is false, and some have no value.
    Failed(String),
}

/// Compiles an expression. The error is the detail of a field error.
pub fn compile(expression: &str) -> Result<Program, String> {
    crate::admission::cel::compile(&ENVIRONMENT, expression, &[Type::Bool])
}

impl Conditions {
    pub fn new(conditions: &[WebhookMatchCondition]) -> Result<Self, String> {
        let compiled = conditions.iter().map(|condition| {
            Ok(Condition {
                expression: condition.expression.clone(),
                program: compile(&condition.expression)?,
            })
        });
        Ok(Self(compiled.collect::<Result<_, String>>()?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all are true, and whether one could not be evaluated on the way.
    pub fn evaluate(&self, spec: &SubjectAccessReviewSpec) -> (Outcome, bool) {
        let request = request(spec);
        let activation = Activation::new().with(REQUEST, Value::from_json(&request));
        let mut errors = Vec::new();
        for condition in &self.0 {
            match condition
                .program
                .evaluate(&activation, &mut Budget::default())
            {
                Ok(value) if value.as_bool() == Some(false) => {
                    return (Outcome::DoesNotMatch, !errors.is_empty());
                }
                Ok(_) => {}
                Err(error) => errors.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {error}",
                    condition.expression
                )),
            }
        }
        if errors.is_empty() {
            (Outcome::Matches, false)
        } else {
            (Outcome::Failed(component_base::aggregate(&errors)), true)
        }
    }
}

/// The variable: all texts are there, also those that are empty.
fn request(spec: &SubjectAccessReviewSpec) -> Json {
    let mut request = json!({
        "user": spec.user, "groups": spec.groups, "uid": spec.uid, "extra": spec.extra,
    });
    if let Some(resource) = &spec.resource_attributes {
        let mut attributes = json!({
            "namespace": resource.namespace,
            "verb": resource.verb,
            "group": resource.group,
            "version": resource.version,
            "resource": resource.resource,
            "subresource": resource.subresource,
            "name": resource.name,
        });
        if let Some(selector) = &resource.field_selector {
            let requirements = selector.requirements.iter();
            let requirements: Vec<Json> = requirements
                .map(|one| json!({"key": one.key, "operator": one.operator, "values": one.values}))
                .collect();
            attributes["fieldSelector"] = json!({"requirements": requirements});
        }
        if let Some(selector) = &resource.label_selector {
            let requirements = selector.requirements.iter();
            let requirements: Vec<Json> = requirements
                .map(|one| json!({"key": one.key, "operator": one.operator, "values": one.values}))
                .collect();
            attributes["labelSelector"] = json!({"requirements": requirements});
        }
        request["resourceAttributes"] = attributes;
    }
    if let Some(other) = &spec.non_resource_attributes {
        request["nonResourceAttributes"] = json!({"path": other.path, "verb": other.verb});
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::auth::delegated::review_of;
    use component_base::auth::{Attributes, UserInfo};

    fn spec() -> SubjectAccessReviewSpec {
        let attributes = Attributes {
            user: UserInfo {
                name: "jane".to_owned(),
                groups: vec!["devs".to_owned()],
                extra: [("scope".to_owned(), vec!["a".to_owned()])].into(),
                ..UserInfo::default()
            },
            verb: "list".to_owned(),
            resource: "pods".to_owned(),
            namespace: "x".to_owned(),
            resource_request: true,
            ..Attributes::default()
        };
        review_of(&attributes.with_selectors("spec.nodeName=n", "a in (b, c)")).spec
    }

    #[track_caller]
    fn check(expressions: &[&str], want: Outcome) {
        let conditions: Vec<WebhookMatchCondition> = expressions
            .iter()
            .map(|expression| WebhookMatchCondition {
                expression: (*expression).to_owned(),
            })
            .collect();
        let conditions = Conditions::new(&conditions).unwrap();
        assert_eq!(conditions.evaluate(&spec()).0, want);
    }

    #[test]
    fn conditions_see_the_review() {
        for expression in [
            "request.user == 'jane' && request.uid == ''",
            "has(request.resourceAttributes) && !has(request.nonResourceAttributes)",
            "request.resourceAttributes.namespace == 'x' && request.resourceAttributes.name == ''",
            "'devs' in request.groups && request.extra['scope'] == ['a']",
            "request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'spec.nodeName' && r.values == ['n'])",
            "request.resourceAttributes.labelSelector.requirements[0].operator == 'In'",
            "!has(request.resourceAttributes.labelSelector.rawSelector)",
            "request.?nonResourceAttributes.path.orValue('none') == 'none'",
        ] {
            check(&[expression], Outcome::Matches);
        }
    }

    #[test]
    fn one_that_is_false_decides() {
        check(
            &["request.extra['no'][0] == 'a'", "request.user == 'joe'"],
            Outcome::DoesNotMatch,
        );
        check(&["true", "request.user == 'joe'"], Outcome::DoesNotMatch);
        let missing = "cel evaluation error: expression 'request.extra['no'][0] == 'a'' resulted in error: no such key: no";
        check(
            &["request.extra['no'][0] == 'a'", "true"],
            Outcome::Failed(missing.to_owned()),
        );
    }

    #[test]
    fn what_does_not_compile() {
        let refused = |expression: &str, want: &str| {
            let error = compile(expression).unwrap_err();
            assert!(error.contains(want), "{expression}: {error}");
        };
        refused("request.user", "must evaluate to bool but got string");
        refused("request.users == ''", "undefined field 'users'");
        refused("object.user == ''", "undeclared reference to 'object'");
        refused(
            "request.",
            "compilation failed: ERROR: <input>:1:9: Syntax error",
        );
    }
}
