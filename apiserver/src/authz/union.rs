//! Several authorizers in order, and the two that need no knowledge.

use std::sync::Arc;

use component_base::auth::{
    Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, SYSTEM_PRIVILEGED_GROUP,
};

/// Asks authorizers in order, after the privileged group. Upstream: apiserver/pkg/authorization/union.
pub struct Union {
    authorizers: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { authorizers }
    }
}

impl Authorizer for Union {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(async move {
            if attributes
                .user
                .groups
                .iter()
                .any(|group| group == SYSTEM_PRIVILEGED_GROUP)
            {
                return Ok(Decision::Allow);
            }
            let mut reasons: Vec<String> = Vec::new();
            let mut errors: Vec<String> = Vec::new();
            for authorizer in &self.authorizers {
                match authorizer.authorize(attributes).await {
                    Ok(Decision::NoOpinion(reason)) => {
                        if !reason.is_empty() {
                            reasons.push(reason);
                        }
                    }
                    Ok(verdict) => return Ok(verdict),
                    Err(error) => errors.push(error.to_string()),
                }
            }
            if errors.is_empty() {
                Ok(Decision::NoOpinion(reasons.join("\n")))
            } else {
                Err(AuthorizeError(errors.join(", ")))
            }
        })
    }
}

/// Mode AlwaysAllow.
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(async { Ok(Decision::Allow) })
    }
}

/// Mode AlwaysDeny.
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(async { Ok(Decision::NoOpinion("Everything is forbidden.".to_owned())) })
    }
}

/// A value of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AlwaysAllow,
    AlwaysDeny,
    Abac,
    Webhook,
    Rbac,
    Node,
}

/// `--authorization-mode` named something else, or a mode twice.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownMode {
    #[error("authorization-mode \"{0}\" is not a valid mode")]
    Unknown(String),
    #[error("authorization-mode \"{0}\" has mode specified more than once")]
    Repeated(String),
}

/// Reads the values of `--authorization-mode`, in the order they are asked in.
pub fn parse_modes(names: &[String]) -> Result<Vec<Mode>, UnknownMode> {
    let mut modes = Vec::new();
    for name in names {
        let mode = match name.as_str() {
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "ABAC" => Mode::Abac,
            "Webhook" => Mode::Webhook,
            "RBAC" => Mode::Rbac,
            "Node" => Mode::Node,
            _ => return Err(UnknownMode::Unknown(name.clone())),
        };
        if modes.contains(&mode) {
            return Err(UnknownMode::Repeated(name.clone()));
        }
        modes.push(mode);
    }
    Ok(modes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::auth::UserInfo;

    struct Fixed(Decision);

    impl Authorizer for Fixed {
        fn authorize<'a>(
            &'a self,
            _: &'a Attributes,
        ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    fn no(reason: &str) -> Decision {
        Decision::NoOpinion(reason.to_owned())
    }

    #[track_caller]
    fn check(groups: &[&str], decisions: &[Decision], expected: Decision) {
        let union = Union::new(
            decisions
                .iter()
                .map(|decision| Arc::new(Fixed(decision.clone())) as Arc<dyn Authorizer>)
                .collect(),
        );
        let user = UserInfo {
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let attributes = Attributes {
            user,
            ..Attributes::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        assert_eq!(
            runtime
                .block_on(union.authorize(&attributes))
                .expect("no error"),
            expected
        );
    }

    #[test]
    fn the_first_verdict_wins() {
        check(
            &[],
            &[no(""), Decision::Allow, Decision::Deny("x".into())],
            Decision::Allow,
        );
        check(
            &[],
            &[no("a"), Decision::Deny("x".into()), Decision::Allow],
            Decision::Deny("x".into()),
        );
        check(&[], &[no("a"), no(""), no("b")], no("a\nb"));
        check(
            &["system:masters"],
            &[Decision::Deny("x".into())],
            Decision::Allow,
        );
    }

    #[test]
    fn modes() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            parse_modes(&names(&["Node", "RBAC"])),
            Ok(vec![Mode::Node, Mode::Rbac])
        );
        assert_eq!(
            parse_modes(&names(&["rbac"])),
            Err(UnknownMode::Unknown("rbac".into()))
        );
        assert_eq!(
            parse_modes(&names(&["RBAC", "RBAC"])),
            Err(UnknownMode::Repeated("RBAC".into()))
        );
    }
}
