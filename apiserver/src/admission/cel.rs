//! Expressions of admission: which variables they have, what the values are, how they are evaluated. For match conditions of webhooks and
//! for policies. Upstream: apiserver/pkg/admission/plugin/cel.

use std::fmt;
use std::sync::{Arc, LazyLock};

use api_types::admission::v1::AdmissionRequest;
use api_types::authentication::v1::UserInfo as ApiUserInfo;
use api_types::codec::Header;
use api_types::core::v1::Namespace;
use api_types::{RawExtension, Struct};
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use cel::{
    AccessCheck, Activation, Authorize, Budget, Env, EvalError, Opaque, Program, Type, Value,
};
use component_base::auth::{self, UserInfo};
use serde_json::Value as Json;

use super::matching::Matched;
use super::{Attributes, Options};

/// Which variables an expression has besides `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `params`
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`
    pub authorizer: bool,
    /// `Object{}`, `JSONPatch{}` and `jsonpatch.escapeKey`
    pub patch_types: bool,
}

/// The environment that expressions are compiled in.
pub fn environment(declared: Declared) -> Env {
    static ENVIRONMENTS: LazyLock<Vec<Env>> = LazyLock::new(|| {
        let flags = |index: usize| Declared {
            params: index & 1 != 0,
            authorizer: index & 2 != 0,
            patch_types: index & 4 != 0,
        };
        (0..8).map(|index| build(flags(index))).collect()
    });
    let index = usize::from(declared.params)
        + 2 * usize::from(declared.authorizer)
        + 4 * usize::from(declared.patch_types);
    ENVIRONMENTS[index].clone()
}

fn build(declared: Declared) -> Env {
    let mut builder = Env::builder()
        .admission()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn);
    if declared.params {
        builder = builder.variable("params", Type::Dyn);
    }
    if declared.authorizer {
        let of = |name: &str| Type::object(&format!("kubernetes.authorization.{name}"));
        builder = builder
            .variable("authorizer", of("Authorizer"))
            .variable("authorizer.requestResource", of("ResourceCheck"));
    }
    if declared.patch_types {
        builder = builder.mutation_types();
    }
    builder.build()
}

/// Compiles an expression that must be of one of some types. The error is what users are shown.
pub fn compile(env: &Env, expression: &str, types: &[Type]) -> Result<Program, String> {
    let program = env
        .compile(expression)
        .map_err(|errors| match errors.instantiation() {
            Some(error) => format!("program instantiation failed: {error}"),
            None => format!("compilation failed: {errors}"),
        })?;
    let found = program.output_type();
    // Upstream's AnyType takes everything.
    if types.contains(found) || types.contains(&Type::Dyn) {
        return Ok(program);
    }
    Err(match types {
        [only] => format!("must evaluate to {only} but got {found}"),
        _ => {
            let wanted: Vec<String> = types.iter().map(Type::to_string).collect();
            format!(
                "must evaluate to one of [{}] but got {found}",
                wanted.join(" ")
            )
        }
    })
}

/// All evaluations together cost more than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBudget;

impl fmt::Display for OutOfBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("validation failed due to running out of cost budget, no further validation rules will be run")
    }
}

/// Evaluates an expression and takes its cost from what is left. The inner error is what users are shown.
pub fn evaluate<'a>(
    program: &Program,
    expression: &str,
    activation: &Activation<'a>,
    remaining: &mut u64,
) -> Result<Result<Value<'a>, String>, OutOfBudget> {
    let mut budget = Budget::default();
    let value = program.evaluate(activation, &mut budget);
    *remaining = remaining.checked_sub(budget.used()).ok_or(OutOfBudget)?;
    Ok(value.map_err(|error: EvalError| {
        format!("expression '{expression}' resulted in error: {error}")
    }))
}

/// What the variables of a request's expressions are.
#[derive(Debug)]
pub struct Input {
    /// Null where there is none, as on deletion.
    pub object: Arc<Json>,
    pub old_object: Arc<Json>,
    pub request: Arc<Json>,
    pub namespace: Arc<Json>,
    pub params: Arc<Json>,
    authorizer: Option<(Arc<Opaque>, Arc<Opaque>)>,
}

impl Input {
    /// Objects are in the version that was matched.
    pub fn new(
        attributes: &Attributes,
        matched: &Matched,
        object: Json,
        old_object: Json,
    ) -> Input {
        Input {
            request: Arc::new(json_of(&request(attributes, matched), None)),
            ..Input::of_objects(object.into(), old_object.into())
        }
    }

    /// With objects only.
    pub fn of_objects(object: Arc<Json>, old_object: Arc<Json>) -> Input {
        let null = Arc::new(Json::Null);
        Input {
            object,
            old_object,
            request: null.clone(),
            namespace: null.clone(),
            params: null,
            authorizer: None,
        }
    }

    /// With what `authorizer` asks.
    pub fn with_authorizer(
        mut self,
        attributes: &Attributes,
        authorizer: Arc<dyn auth::Authorizer>,
    ) -> Input {
        let asks = cel::Authorizer::new(Arc::new(Asks {
            user: attributes.user.clone(),
            authorizer,
        }));
        let resource = asks.request_resource(&AccessCheck {
            group: &attributes.resource.group,
            resource: &attributes.resource.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            ..AccessCheck::default()
        });
        self.authorizer = Some((
            Arc::new(Opaque::Authorizer(asks)),
            Arc::new(Opaque::ResourceCheck(resource)),
        ));
        self
    }

    /// The variables. Those that an expression did not declare do no harm.
    pub fn activation(&self) -> Activation<'_> {
        let mut activation = Activation::new()
            .with("object", Value::from_json(&self.object))
            .with("oldObject", Value::from_json(&self.old_object))
            .with("request", Value::from_json(&self.request))
            .with("namespaceObject", Value::from_json(&self.namespace))
            .with("params", Value::from_json(&self.params));
        if let Some((authorizer, resource)) = &self.authorizer {
            activation.set("authorizer", Value::Opaque(authorizer.clone()));
            activation.set(
                "authorizer.requestResource",
                Value::Opaque(resource.clone()),
            );
        }
        activation
    }
}

/// The value of `namespaceObject`: a Namespace without what expressions have no business with.
pub fn namespace_object(namespace: &Namespace) -> Json {
    let mut namespace = namespace.clone();
    namespace.metadata.managed_fields.clear();
    namespace.metadata.owner_references.clear();
    namespace.metadata.self_link.clear();
    let mut json = json_of(&namespace, None);
    if let Json::Object(fields) = &mut json {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    json
}

/// A struct of the API as expressions see it.
pub fn json_of(value: &dyn Struct, header: Option<Header<'_>>) -> Json {
    let bytes = match header {
        Some(header) => api_types::encode_json_as(value, header),
        None => api_types::encode_json(value),
    };
    serde_json::from_slice(&bytes).unwrap_or(Json::Null)
}

/// The request of an AdmissionReview, without objects and UID. Webhooks add those; expressions have variables for them.
pub fn request(attributes: &Attributes, matched: &Matched) -> AdmissionRequest {
    let kind = |kind: &GroupVersionKind| api_types::meta::v1::GroupVersionKind {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
    };
    let resource = |resource: &GroupVersionResource| api_types::meta::v1::GroupVersionResource {
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.resource.clone(),
    };
    let user = &attributes.user;
    AdmissionRequest {
        kind: kind(&matched.kind),
        resource: resource(&matched.resource),
        sub_resource: attributes.subresource.clone(),
        request_kind: Some(Box::new(kind(&attributes.kind))),
        request_resource: Some(Box::new(resource(&attributes.resource))),
        request_sub_resource: attributes.subresource.clone(),
        name: attributes.name.clone(),
        namespace: attributes.namespace.clone(),
        operation: attributes.operation.as_str().to_owned(),
        user_info: ApiUserInfo {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone().into_iter().collect(),
        },
        dry_run: Some(attributes.dry_run),
        options: RawExtension {
            raw: options(&attributes.options),
        },
        ..AdmissionRequest::default()
    }
}

/// The options of a request as JSON; nothing for connects.
fn options(options: &Options) -> Vec<u8> {
    let (value, kind): (&dyn Struct, &str) = match options {
        Options::Create(options) => (&**options, "CreateOptions"),
        Options::Update(options) => (&**options, "UpdateOptions"),
        Options::Delete(options) => (&**options, "DeleteOptions"),
        Options::None => return Vec::new(),
    };
    let header = Header {
        api_version: "meta.k8s.io/v1",
        kind,
    };
    api_types::encode_json_as(value, header)
}

/// Answers `authorizer` for the user of a request.
struct Asks {
    user: UserInfo,
    authorizer: Arc<dyn auth::Authorizer>,
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authorizer for {:?}", self.user.name)
    }
}

impl Authorize for Asks {
    fn authorize(&self, check: &AccessCheck<'_>) -> cel::Decision {
        let user = match check.service_account {
            Some((namespace, name)) => UserInfo {
                name: format!("system:serviceaccount:{namespace}:{name}"),
                groups: vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                ],
                ..UserInfo::default()
            },
            None => self.user.clone(),
        };
        let attributes = auth::Attributes {
            user,
            verb: check.verb.to_owned(),
            namespace: check.namespace.to_owned(),
            api_group: check.group.to_owned(),
            api_version: if check.path.is_none() { "*" } else { "" }.to_owned(),
            resource: check.resource.to_owned(),
            subresource: check.subresource.to_owned(),
            name: check.name.to_owned(),
            resource_request: check.path.is_none(),
            path: check.path.unwrap_or_default().to_owned(),
            ..auth::Attributes::default()
        };
        let attributes = attributes.with_selectors(check.field_selector, check.label_selector);
        match wait(self.authorizer.authorize(&attributes)) {
            Ok(auth::Decision::Allow(reason)) => cel::Decision {
                allowed: true,
                reason,
                ..cel::Decision::default()
            },
            Ok(auth::Decision::Deny(reason) | auth::Decision::NoOpinion(reason)) => cel::Decision {
                reason,
                ..cel::Decision::default()
            },
            Err(error) => cel::Decision {
                error: Some(error.to_string()),
                ..cel::Decision::default()
            },
        }
    }
}

/// The answer of an authorizer. Those that know the rules answer at once; for one that asks somebody else this thread waits.
fn wait<T>(mut answer: auth::BoxFuture<'_, T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match answer.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(declared: Declared, expression: &str, want: Result<(), &str>) {
        let found = compile(&environment(declared), expression, &[Type::Bool]);
        match want {
            Ok(()) => assert!(found.is_ok(), "{expression}: {found:?}"),
            Err(text) => {
                let found = found.unwrap_err();
                assert!(found.contains(text), "{expression}: {found}");
            }
        }
    }

    #[test]
    fn what_expressions_may_use() {
        let none = Declared::default();
        let all = Declared {
            params: true,
            authorizer: true,
            patch_types: true,
        };
        check(
            none,
            "object.spec.replicas > 3 && oldObject == null",
            Ok(()),
        );
        check(none, "request.kind.group == '' && !request.dryRun", Ok(()));
        check(none, "request.userInfo.extra['a'][0] == 'b'", Ok(()));
        check(none, "namespaceObject.metadata.labels['a'] == 'b'", Ok(()));
        check(none, "request.uid == ''", Err("undefined field 'uid'"));
        check(none, "params.a", Err("undeclared reference to 'params'"));
        check(
            none,
            "authorizer.path('/a').check('get').allowed()",
            Err("undeclared reference"),
        );
        check(none, "1 + 1", Err("must evaluate to bool but got int"));
        check(
            all,
            "authorizer.requestResource.check('get').allowed()",
            Ok(()),
        );
        check(all, "params.a == 1 && Object{} == Object{}", Ok(()));
    }

    #[test]
    fn a_budget_is_shared() {
        let env = environment(Declared::default());
        let program = compile(&env, "object.a == 1", &[Type::Bool]).unwrap();
        let object = json!({"a": 1});
        let activation = Activation::new().with("object", Value::from_json(&object));
        let mut remaining = 5;
        let value = evaluate(&program, "object.a == 1", &activation, &mut remaining);
        assert_eq!(value.unwrap().unwrap().as_bool(), Some(true));
        assert!(remaining < 5);
        remaining = 1;
        assert!(evaluate(&program, "", &activation, &mut remaining).is_err());
        let mut remaining = 100;
        let program = compile(&env, "object.b", &[Type::Dyn]).unwrap();
        let error = evaluate(&program, "object.b", &activation, &mut remaining);
        assert_eq!(
            error.unwrap().unwrap_err(),
            "expression 'object.b' resulted in error: no such key: b"
        );
    }
}
