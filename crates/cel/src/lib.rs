//! The Common Expression Language as Kubernetes uses it.
//!
//! An [`Env`] knows what expressions may use and compiles them to a [`Program`]; a program is evaluated as often as needed with
//! an [`Activation`] (the variables) and a [`Budget`] (what it may cost). Everything here is a function of its arguments: no
//! tokio, no clock, no input or output. Upstream: cel-go, apiserver/pkg/cel, apiextensions-apiserver/pkg/apiserver/schema/cel.
//!
//! ```
//! let env = cel::Env::builder().variable("object", cel::Type::Dyn).build();
//! let program = env.compile("object.spec.replicas <= 5").unwrap();
//! let object = serde_json::json!({"spec": {"replicas": 3}});
//! let activation = cel::Activation::new().with("object", cel::Value::from_json(&object));
//! let mut budget = cel::Budget::default();
//! assert_eq!(program.evaluate(&activation, &mut budget).unwrap().as_bool(), Some(true));
//! assert_eq!(budget.used(), 4);
//! ```

// What goes in and comes out.
mod admission;
mod env;
mod error;
mod escape;
mod types;
mod value;

// From text to a value, in this order.
mod checker;
mod cost;
mod eval;
mod syntax;

// What expressions can call.
mod library;

pub use cost::{
    CostEstimate, MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT, RUNTIME_BUDGET, SizeEstimate,
    SizeEstimator,
};
pub use env::{Builder, Env};
pub use error::{CompileErrors, EvalError, Issue};
pub use escape::{escape, is_identifier, unescape};
pub use eval::{Activation, Budget, Program};
pub use library::authz::{
    AccessCheck, Authorize, Authorizer, Decision, GroupCheck, PathCheck, ResourceCheck,
};
pub use library::cidr::Cidr;
pub use library::named_format::NamedFormat;
pub use library::semver::Semver;
pub use library::url::Url;
pub use types::Type;
pub use value::{List, ListView, Map, MapView, Opaque, Schema, Str, StructValue, Timestamp, Value};
