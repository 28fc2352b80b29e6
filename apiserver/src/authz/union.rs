//! Several authorizers in order, and the two that need no knowledge.

use std::sync::Arc;

use component_base::auth::combine::Undecided;
use component_base::auth::{
    Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, SYSTEM_PRIVILEGED_GROUP, UserInfo,
};

use super::metrics::Decisions;
use super::{NonResourceRule, ResourceRule, RuleResolver, Rules};

/// What a union is made of.
pub(super) trait Part: Authorizer + RuleResolver {}

impl<T: Authorizer + RuleResolver> Part for T {}

/// An authorizer, and what is counted of it.
pub(super) struct Link {
    pub(super) part: Arc<dyn Part>,
    pub(super) decisions: Decisions,
}

/// Asks authorizers in order, after the privileged group. Upstream: apiserver/pkg/authorization/union.
pub(super) struct Union {
    links: Vec<Link>,
}

impl Union {
    pub(super) fn new(links: Vec<Link>) -> Self {
        Self { links }
    }

    pub(super) async fn decide(&self, attributes: &Attributes) -> Result<Decision, AuthorizeError> {
        let mut groups = attributes.user.groups.iter();
        if groups.any(|group| group == SYSTEM_PRIVILEGED_GROUP) {
            return Ok(Decision::allow());
        }
        let mut undecided = Undecided::default();
        for link in &self.links {
            let verdict = link.part.authorize(attributes).await;
            link.decisions.count(&verdict);
            if let Some(decided) = undecided.add(verdict) {
                return decided;
            }
        }
        undecided.verdict()
    }
}

impl RuleResolver for Union {
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        for link in &self.links {
            rules.extend(link.part.rules_for(user, namespace));
        }
        rules
    }
}

/// Mode AlwaysAllow.
pub(super) struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(std::future::ready(Ok(Decision::allow())))
    }
}

impl RuleResolver for AlwaysAllow {
    fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        let all = || vec!["*".to_owned()];
        Rules {
            resource: vec![ResourceRule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..ResourceRule::default()
            }],
            non_resource: vec![NonResourceRule {
                verbs: all(),
                non_resource_urls: all(),
            }],
            ..Rules::default()
        }
    }
}

/// Mode AlwaysDeny.
pub(super) struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(
        &'a self,
        _: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let decision = Decision::NoOpinion("Everything is forbidden.".to_owned());
        Box::pin(std::future::ready(Ok(decision)))
    }
}

impl RuleResolver for AlwaysDeny {
    fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

#[cfg(test)]
mod tests {
    use component_base::metrics::{Metrics, MetricsOptions};
    use futures::FutureExt as _;

    use super::*;
    use crate::authz::AuthorizerMetrics;

    struct Fixed(Result<Decision, AuthorizeError>);

    impl Authorizer for Fixed {
        fn authorize<'a>(
            &'a self,
            _: &'a Attributes,
        ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    impl RuleResolver for Fixed {
        fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
            match &self.0 {
                Ok(_) => AlwaysAllow.rules_for(&UserInfo::default(), ""),
                Err(error) => Rules::unknown(&error.message),
            }
        }
    }

    fn union(verdicts: &[Result<Decision, AuthorizeError>], metrics: &Metrics) -> Union {
        let counted = AuthorizerMetrics::new(metrics);
        let link = |(i, verdict): (usize, &Result<Decision, AuthorizeError>)| Link {
            part: Arc::new(Fixed(verdict.clone())),
            decisions: counted.decisions("Fixed", &i.to_string()),
        };
        Union::new(verdicts.iter().enumerate().map(link).collect())
    }

    fn bare() -> Metrics {
        Metrics::bare(MetricsOptions::default())
    }

    fn no(reason: &str) -> Result<Decision, AuthorizeError> {
        Ok(Decision::NoOpinion(reason.to_owned()))
    }

    fn yes() -> Result<Decision, AuthorizeError> {
        Ok(Decision::allow())
    }

    fn deny() -> Result<Decision, AuthorizeError> {
        Ok(Decision::Deny("x".to_owned()))
    }

    #[track_caller]
    fn check(
        groups: &[&str],
        verdicts: &[Result<Decision, AuthorizeError>],
        expected: Result<Decision, AuthorizeError>,
    ) {
        let mut attributes = Attributes::default();
        attributes.user.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let union = union(verdicts, &bare());
        let found = union.decide(&attributes).now_or_never();
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn the_first_verdict_wins() {
        check(&[], &[no(""), yes(), deny()], yes());
        check(&[], &[no("a"), deny(), yes()], deny());
        check(&[], &[no("a"), no(""), no("b")], no("a\nb"));
        check(&["system:masters"], &[deny()], yes());
        check(&[], &[], no(""));
    }

    #[test]
    fn errors_are_told_when_nobody_decides() {
        let error = |text: &str| Err(AuthorizeError::new(text));
        check(&[], &[error("a"), yes()], yes());
        check(&[], &[error("a"), no("b"), error("c")], {
            let mut both = AuthorizeError::new("[a, c]");
            both.reason = "b".to_owned();
            Err(both)
        });
        check(
            &[],
            &[Err(AuthorizeError::denied("a")), yes()],
            Err(AuthorizeError::denied("a")),
        );
    }

    #[test]
    fn what_ends_the_search_is_counted() {
        let metrics = bare();
        let union = union(&[no(""), deny(), yes()], &metrics);
        for _ in 0..2 {
            let _ = union.decide(&Attributes::default()).now_or_never();
        }
        let text = String::from_utf8(metrics.text()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("apiserver_authorization_decisions_total"))
            .collect();
        assert_eq!(
            lines,
            [
                "apiserver_authorization_decisions_total{decision=\"denied\",name=\"1\",type=\"Fixed\"} 2"
            ]
        );
    }

    #[test]
    fn rules_are_added_up() {
        let union = union(
            &[yes(), Err(AuthorizeError::new("no list")), yes()],
            &bare(),
        );
        let rules = union.rules_for(&UserInfo::default(), "");
        assert_eq!((rules.resource.len(), rules.non_resource.len()), (2, 2));
        assert!(rules.incomplete);
        assert_eq!(rules.errors, ["no list"]);
    }
}
