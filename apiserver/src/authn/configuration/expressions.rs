//! Expressions over the claims of a token and over the user they make. Upstream: apiserver/pkg/authentication/cel.

use std::sync::LazyLock;

use cel::{Activation, Budget, Env, Program, Type, Value};

use super::claims::ClaimMap;

const CLAIMS: &str = "claims";
const USER: &str = "user";

static CLAIMS_ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    Env::builder()
        .variable(CLAIMS, Type::map(Type::String, Type::Dyn))
        .build()
});

static USER_ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    const NAME: &str = "kubernetes.UserInfo";
    let strings = || Type::list(Type::String);
    let fields = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", strings()),
        ("extra", Type::map(Type::String, strings())),
    ];
    Env::builder()
        .object_type(NAME, fields.map(|(name, of)| (name.to_owned(), of)))
        .variable(USER, Type::object(NAME))
        .build()
});

/// What an expression of an authenticator is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

/// A compiled expression and its text.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    program: Program,
    about: About,
}

impl Expression {
    /// The error is the detail of a field error. Conditions must be boolean; of others it is seen at run time what they give.
    pub(super) fn compile(about: About, text: &str, condition: bool) -> Result<Self, String> {
        let environment = match about {
            About::Claims => &*CLAIMS_ENVIRONMENT,
            About::User => &*USER_ENVIRONMENT,
        };
        let program = environment
            .compile(text)
            .map_err(|errors| match errors.instantiation() {
                Some(error) => format!("program instantiation failed: {error}"),
                None => format!("compilation failed: {errors}"),
            })?;
        if condition && *program.output_type() != Type::Bool {
            return Err("must evaluate to bool".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            program,
            about,
        })
    }

    /// Whether it selects this claim.
    pub(super) fn uses_claim(&self, claim: &str) -> bool {
        self.about == About::Claims && self.program.selects(CLAIMS, claim)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value for these claims, or for this user.
    pub fn evaluate<'a>(&self, variable: &'a ClaimMap) -> Result<Value<'a>, String> {
        let name = match self.about {
            About::Claims => CLAIMS,
            About::User => USER,
        };
        let activation = Activation::new().with(name, variable.value());
        self.program
            .evaluate(&activation, &mut Budget::default())
            .map_err(|error| format!("expression '{}' resulted in error: {error}", self.text))
    }
}

/// A condition and what is said when it does not hold.
#[derive(Clone, Debug)]
pub struct Rule {
    pub expression: Expression,
    pub message: String,
}

/// Where the values of a key of a user's extra come from.
#[derive(Clone, Debug)]
pub struct ExtraExpression {
    pub key: String,
    pub expression: Expression,
}

/// All expressions of one authenticator.
#[derive(Clone, Debug, Default)]
pub struct Expressions {
    pub username: Option<Expression>,
    pub groups: Option<Expression>,
    pub uid: Option<Expression>,
    pub extra: Vec<ExtraExpression>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

impl Expressions {
    /// Whether any of them looks at claims.
    pub fn use_claims(&self) -> bool {
        self.username.is_some()
            || self.groups.is_some()
            || self.uid.is_some()
            || !self.extra.is_empty()
            || !self.claim_rules.is_empty()
    }
}
