//! Authenticators and authorizers made of others. Upstream: apiserver/pkg/authentication/{request/union,
//! request/anonymous,group} and apiserver/pkg/authorization/{union,path,authorizerfactory}.

use std::sync::Arc;

use super::{
    ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, Attributes, AuthenticateError,
    Authenticated, Authenticator, AuthorizeError, Authorizer, BoxFuture, Credentials, Decision,
    UserInfo,
};

/// Where callers without any credential are `system:anonymous`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnonymousAccess {
    #[default]
    Nowhere,
    Everywhere,
    /// On these paths, exactly as they are.
    Paths(Vec<String>),
}

impl AnonymousAccess {
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::Paths(paths) => paths.iter().any(|allowed| allowed == path),
        }
    }
}

impl From<bool> for AnonymousAccess {
    fn from(everywhere: bool) -> Self {
        if everywhere {
            Self::Everywhere
        } else {
            Self::Nowhere
        }
    }
}

/// Asks one authenticator after the other; the first that knows the caller counts. When none does, a credential that one
/// of them refused is an error. Callers get the group `system:authenticated`.
#[derive(Clone, Default)]
pub struct UnionAuthenticator {
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    pub anonymous: AnonymousAccess,
}

impl Authenticator for UnionAuthenticator {
    fn authenticate<'a>(
        &'a self,
        request: &'a Credentials,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        Box::pin(async move {
            let mut errors = Vec::new();
            for authenticator in &self.authenticators {
                match authenticator.authenticate(request).await {
                    Ok(Some(mut authenticated)) => {
                        add_authenticated_group(&mut authenticated.user);
                        return Ok(Some(authenticated));
                    }
                    Ok(None) => {}
                    Err(error) => errors.push(error.0),
                }
            }
            match errors.len() {
                0 if self.anonymous.covers(&request.path) => Ok(Some(Authenticated {
                    user: anonymous(),
                    ..Authenticated::default()
                })),
                0 => Ok(None),
                1 => Err(AuthenticateError(errors.remove(0))),
                _ => Err(AuthenticateError(format!("[{}]", errors.join(", ")))),
            }
        })
    }
}

/// The caller without credentials.
pub fn anonymous() -> UserInfo {
    UserInfo {
        name: ANONYMOUS.to_owned(),
        groups: vec![ALL_UNAUTHENTICATED.to_owned()],
        ..UserInfo::default()
    }
}

/// Whether a caller is anonymous, by name or by group.
pub fn is_anonymous(user: &UserInfo) -> bool {
    user.name == ANONYMOUS || user.groups.iter().any(|group| group == ALL_UNAUTHENTICATED)
}

/// Adds `system:authenticated`, unless the caller is anonymous or has it.
pub fn add_authenticated_group(user: &mut UserInfo) {
    let special = |group: &String| group == ALL_AUTHENTICATED || group == ALL_UNAUTHENTICATED;
    if user.name != ANONYMOUS && !user.groups.iter().any(special) {
        user.groups.push(ALL_AUTHENTICATED.to_owned());
    }
}

/// What authorizers said that did not decide. Upstream: apiserver/pkg/authorization/union.
#[derive(Default)]
pub struct Undecided {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Undecided {
    /// Takes note of what one authorizer says, or gives it back if it decides.
    pub fn add(
        &mut self,
        verdict: Result<Decision, AuthorizeError>,
    ) -> Option<Result<Decision, AuthorizeError>> {
        match verdict {
            Ok(Decision::NoOpinion(reason)) => self.reasons.push(reason),
            Err(error) if !error.denied => {
                self.reasons.push(error.reason);
                self.errors.push(error.message);
            }
            decided => return Some(decided),
        }
        None
    }

    /// What is said when nobody decided: all reasons, and all errors as one.
    pub fn verdict(mut self) -> Result<Decision, AuthorizeError> {
        self.reasons.retain(|reason| !reason.is_empty());
        let reason = self.reasons.join("\n");
        if self.errors.is_empty() {
            return Ok(Decision::NoOpinion(reason));
        }
        Err(AuthorizeError {
            reason,
            ..AuthorizeError::new(crate::aggregate(&self.errors))
        })
    }
}

/// Asks one authorizer after the other until one allows or denies.
#[derive(Clone, Default)]
pub struct UnionAuthorizer {
    pub authorizers: Vec<Arc<dyn Authorizer>>,
}

impl Authorizer for UnionAuthorizer {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(async move {
            let mut undecided = Undecided::default();
            for authorizer in &self.authorizers {
                if let Some(decided) = undecided.add(authorizer.authorize(attributes).await) {
                    return decided;
                }
            }
            undecided.verdict()
        })
    }
}

/// Allows members of some groups everything.
#[derive(Clone, Debug)]
pub struct PrivilegedGroups(pub Vec<String>);

impl Authorizer for PrivilegedGroups {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let member = attributes
            .user
            .groups
            .iter()
            .any(|group| self.0.contains(group));
        let decision = if member {
            Decision::allow()
        } else {
            Decision::no_opinion()
        };
        Box::pin(std::future::ready(Ok(decision)))
    }
}

/// Allows everybody everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(std::future::ready(Ok(Decision::allow())))
    }
}

/// Has no opinion on anything, which nobody after it turns into yes.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let decision = Decision::NoOpinion("Everything is forbidden.".to_owned());
        Box::pin(std::future::ready(Ok(decision)))
    }
}

/// Allows everybody some paths, as `--authorization-always-allow-paths` lists them; a path may end in `*`.
#[derive(Clone, Debug, Default)]
pub struct AllowedPaths {
    paths: Vec<String>,
    prefixes: Vec<String>,
}

impl AllowedPaths {
    /// The error is upstream's.
    pub fn new(paths: &[String]) -> Result<Self, String> {
        let mut this = Self::default();
        for path in paths {
            let path = path.strip_prefix('/').unwrap_or(path);
            match path.strip_suffix('*') {
                Some(prefix) if !prefix.contains('*') => this.prefixes.push(prefix.to_owned()),
                None if !path.contains('*') => this.paths.push(path.to_owned()),
                _ => {
                    return Err(format!(
                        "only trailing * allowed in {}",
                        apimachinery::quote::quote(path)
                    ));
                }
            }
        }
        Ok(this)
    }
}

impl Authorizer for AllowedPaths {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let path = attributes
            .path
            .strip_prefix('/')
            .unwrap_or(&attributes.path);
        let allowed = !attributes.resource_request
            && (self.paths.iter().any(|allowed| allowed == path)
                || self
                    .prefixes
                    .iter()
                    .any(|prefix| path.starts_with(prefix.as_str())));
        let decision = if allowed {
            Decision::allow()
        } else {
            Decision::no_opinion()
        };
        Box::pin(std::future::ready(Ok(decision)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Result<Option<&'static str>, &'static str>);

    impl Authenticator for Says {
        fn authenticate<'a>(
            &'a self,
            _: &'a Credentials,
        ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
            let user = |name: &str| UserInfo {
                name: name.to_owned(),
                ..UserInfo::default()
            };
            let verdict = match self.0 {
                Ok(name) => Ok(name.map(|name| Authenticated {
                    user: user(name),
                    ..Authenticated::default()
                })),
                Err(why) => Err(AuthenticateError(why.to_owned())),
            };
            Box::pin(std::future::ready(verdict))
        }
    }

    async fn ask(
        verdicts: Vec<Result<Option<&'static str>, &'static str>>,
        anonymous: bool,
    ) -> Result<Option<UserInfo>, String> {
        let authenticators = verdicts
            .into_iter()
            .map(|verdict| Arc::new(Says(verdict)) as Arc<dyn Authenticator>)
            .collect();
        let union = UnionAuthenticator {
            authenticators,
            anonymous: anonymous.into(),
        };
        let verdict = union.authenticate(&Credentials::default()).await;
        verdict
            .map(|found| found.map(|found| found.user))
            .map_err(|error| error.0)
    }

    #[tokio::test]
    async fn a_later_success_covers_an_earlier_error() {
        let user = ask(vec![Err("bad certificate"), Ok(Some("bob"))], true)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("bob", vec![ALL_AUTHENTICATED.to_owned()])
        );
        assert_eq!(
            ask(vec![Err("bad"), Ok(None)], true).await,
            Err("bad".to_owned())
        );
        assert_eq!(
            ask(vec![Err("a"), Err("b")], true).await,
            Err("[a, b]".to_owned())
        );
        assert_eq!(ask(vec![Ok(None)], true).await.unwrap(), Some(anonymous()));
        assert_eq!(ask(vec![Ok(None)], false).await, Ok(None));
    }

    #[tokio::test]
    async fn anonymous_callers_may_be_let_in_on_some_paths() {
        let union = UnionAuthenticator {
            authenticators: Vec::new(),
            anonymous: AnonymousAccess::Paths(vec!["/livez".to_owned()]),
        };
        for (path, known) in [("/livez", true), ("/livez/ping", false), ("/", false)] {
            let request = Credentials {
                path: path.to_owned(),
                ..Credentials::default()
            };
            let found = union.authenticate(&request).await.unwrap();
            assert_eq!(found.is_some(), known, "{path}");
        }
    }

    #[tokio::test]
    async fn paths() {
        let paths =
            AllowedPaths::new(&["/healthz".to_owned(), "/livez/*".to_owned(), "/".to_owned()])
                .unwrap();
        for (path, allowed) in [
            ("/healthz", true),
            ("/healthz/ping", false),
            ("/livez/ping", true),
            ("/", true),
            ("/metrics", false),
        ] {
            let attributes = Attributes {
                path: path.to_owned(),
                ..Attributes::default()
            };
            let decision = paths.authorize(&attributes).await.unwrap();
            assert_eq!(decision.is_allowed(), allowed, "{path}");
        }
        assert_eq!(
            AllowedPaths::new(&["/a*b".to_owned()]).unwrap_err(),
            "only trailing * allowed in \"a*b\""
        );
    }

    #[tokio::test]
    async fn union_of_authorizers() {
        let union = UnionAuthorizer {
            authorizers: vec![
                Arc::new(AlwaysDeny),
                Arc::new(PrivilegedGroups(vec!["system:masters".to_owned()])),
            ],
        };
        let mut attributes = Attributes::default();
        assert_eq!(
            union.authorize(&attributes).await.unwrap(),
            Decision::NoOpinion("Everything is forbidden.".to_owned())
        );
        attributes.user.groups.push("system:masters".to_owned());
        assert!(union.authorize(&attributes).await.unwrap().is_allowed());
    }
}
