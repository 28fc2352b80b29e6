use std::collections::BTreeMap;

use api_types::Quantity;
use api_types::core::v1::{Container, Pod};
use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use component_base::auth::UserInfo;

use super::*;
use crate::admission::{Options, Reinvocation};
use crate::request::context::{AuditAnnotations, Warnings};

/// Quotas of one namespace. Somebody else is faster, as often as `faster` says for a quota.
#[derive(Default)]
struct Quotas {
    all: Mutex<BTreeMap<String, Quota>>,
    faster: Mutex<BTreeMap<String, usize>>,
}

impl Quotas {
    fn of(quotas: impl IntoIterator<Item = Quota>) -> Self {
        let named = quotas.into_iter();
        let named = named.map(|quota| (quota.metadata.name.clone(), quota));
        Self {
            all: Mutex::new(named.collect()),
            ..Self::default()
        }
    }

    fn races(self, name: &str, times: usize) -> Self {
        self.faster.lock().insert(name.to_owned(), times);
        self
    }

    fn used(&self, name: &str) -> String {
        quota::pretty(&self.all.lock()[name].status.used)
    }
}

impl Cluster for Quotas {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        name: &'a str,
        freshness: Freshness,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>> {
        assert_eq!(freshness, Freshness::Consistent);
        let quota = self.all.lock().get(name).cloned();
        Box::pin(async move { Ok(quota.map(Object::from).map(Arc::new)) })
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        resource: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>> {
        assert_eq!(resource, "resourcequotas");
        let quotas = self.all.lock().values().cloned().collect::<Vec<_>>();
        let quotas = quotas.into_iter().map(Object::from).map(Arc::new);
        Box::pin(async move { Ok(quotas.collect()) })
    }

    fn update_status<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        object: Object,
    ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>> {
        let quota = object.get::<Quota>().cloned().unwrap_or_default();
        let name = quota.metadata.name.clone();
        let outcome = match self.faster.lock().get_mut(&name) {
            Some(times) if *times > 0 => {
                *times -= 1;
                UpdateOutcome::Conflict
            }
            _ => {
                self.all.lock().insert(name, quota);
                UpdateOutcome::Updated
            }
        };
        Box::pin(async move { Ok(outcome) })
    }
}

fn amounts(of: &[(&str, &str)]) -> quota::Amounts {
    let parse = |(name, amount): &(&str, &str)| {
        let amount = Quantity::parse(amount).expect("a quantity");
        ((*name).to_owned(), amount)
    };
    of.iter().map(parse).collect()
}

fn quota(name: &str, hard: &[(&str, &str)], used: &[(&str, &str)]) -> Quota {
    let mut quota = Quota::default();
    name.clone_into(&mut quota.metadata.name);
    quota.status.hard = amounts(hard);
    quota.status.used = amounts(used);
    quota
}

fn pod(requests: &[(&str, &str)]) -> Pod {
    let mut pod = Pod::default();
    let mut container = Container {
        name: "c".to_owned(),
        ..Container::default()
    };
    container.resources.requests = amounts(requests);
    pod.spec.containers.push(container);
    pod
}

fn create(pod: Pod) -> Attributes {
    Attributes {
        operation: Operation::Create,
        kind: GroupVersionKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Pod".to_owned(),
        },
        resource: GroupVersionResource {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
        },
        subresource: String::new(),
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
        object: Some(Object::from(pod)),
        old_object: None,
        options: Options::None,
        dry_run: false,
        user: UserInfo::default(),
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        deadline: None,
        reinvocation: Reinvocation::default(),
    }
}

async fn check(request: &Attributes, quotas: &Quotas) -> Result<(), (i32, String)> {
    let plugin = ResourceQuota::new(None).expect("the default configuration");
    let verdict = plugin.validate(request, quotas).await;
    verdict.map_err(|error| (error.code, error.message.clone()))
}

#[tokio::test]
async fn a_lost_race_charges_nothing_twice() {
    let quotas = ["a", "b"].map(|name| quota(name, &[("pods", "5")], &[("pods", "1")]));
    let quotas = Quotas::of(quotas).races("b", 2);
    assert_eq!(check(&create(pod(&[])), &quotas).await, Ok(()));
    assert_eq!(
        (&*quotas.used("a"), &*quotas.used("b")),
        ("pods=2", "pods=2")
    );
}

#[tokio::test]
async fn who_loses_all_races_may_try_again() {
    let quotas = Quotas::of([quota("a", &[("pods", "5")], &[("pods", "1")])]).races("a", ATTEMPTS);
    let problem = "Operation cannot be fulfilled on resourcequotas \"a\": the object has been modified; please apply your changes to \
                   the latest version and try again";
    assert_eq!(
        check(&create(pod(&[])), &quotas).await,
        Err((409, problem.to_owned()))
    );
    assert_eq!(quotas.used("a"), "pods=1");
}

#[tokio::test]
async fn refusals() {
    for (pod, quotas, expected) in [
        (
            pod(&[("cpu", "-1")]),
            vec![quota("a", &[("pods", "5")], &[("pods", "1")])],
            "quota usage is negative for resource(s): cpu,requests.cpu",
        ),
        // What is wrong with the pod comes before what there is too much of.
        (
            pod(&[]),
            vec![
                quota("a", &[("pods", "1")], &[("pods", "1")]),
                quota("b", &[("cpu", "1")], &[("cpu", "1")]),
            ],
            "failed quota: b: must specify cpu for: c",
        ),
        (
            pod(&[("cpu", "1")]),
            vec![
                quota("a", &[("pods", "1")], &[("pods", "1")]),
                quota("b", &[("cpu", "1"), ("pods", "1")], &[("cpu", "0")]),
            ],
            "status unknown for quota: b, resources: cpu,pods",
        ),
    ] {
        let expected = format!("pods \"p\" is forbidden: {expected}");
        let found = check(&create(pod), &Quotas::of(quotas)).await;
        assert_eq!(found, Err((403, expected)));
    }
}
