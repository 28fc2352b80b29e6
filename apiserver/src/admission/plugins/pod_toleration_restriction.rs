//! PodTolerationRestriction: tolerations that pods of a namespace get, and those they may have.
//! Upstream: plugin/pkg/admission/podtolerationrestriction and pkg/util/tolerations.

use api_types::codec;
use api_types::core::v1::{Pod, PodSpec, Toleration};
use apimachinery::field::Path;
use apimachinery::gvk::GroupResource;
use apimachinery::resource::pod_qos;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;
use component_base::config::Document;
use serde_json::Value;

use super::namespaces;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use crate::apis::validation::pod_options::PodOptions;
use crate::apis::validation::pod_spec::validate_tolerations;
use crate::registry::errors;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const WHITELIST: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const GROUP_VERSION: &str = "podtolerationrestriction.admission.k8s.io/v1alpha1";

/// What holds in namespaces that say nothing.
#[derive(Default)]
pub(super) struct PodTolerationRestriction {
    defaults: Vec<Toleration>,
    whitelist: Vec<Toleration>,
}

impl PodTolerationRestriction {
    pub(super) fn new(text: Option<&[u8]>) -> Result<Self, String> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let document = Document::parse(text).map_err(|error| error.to_string())?;
        if (&*document.api_version, &*document.kind) != (GROUP_VERSION, "Configuration") {
            return Err(document.unknown().to_string());
        }
        let read: Value =
            serde_json::from_slice(document.json()).map_err(|error| error.to_string())?;
        let list = |name: &str| match read.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list) => tolerations(&list.to_string()),
        };
        let (defaults, whitelist) = (list("default")?, list("whitelist")?);
        let path = Path::new("podtolerationrestriction");
        let options = PodOptions::default();
        let mut errors = validate_tolerations(&defaults, &path.child("default"), &options);
        errors.extend(validate_tolerations(
            &whitelist,
            &path.child("whitelist"),
            &options,
        ));
        if !errors.0.is_empty() {
            let errors: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            return Err(format!("invalid config: [{}]", errors.join(" ")));
        }
        Ok(Self {
            defaults,
            whitelist,
        })
    }

    async fn check(&self, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
        let Some(pod) = attributes.object::<Pod>() else {
            return Ok(());
        };
        if pod.spec.tolerations.is_empty() {
            return Ok(());
        }
        let own = annotation(&attributes.namespace, WHITELIST, cluster).await?;
        let (whitelist, scope) = match &own {
            Some(own) => (own, "namespace"),
            None => (&self.whitelist, "cluster"),
        };
        let allowed =
            |toleration: &Toleration| whitelist.iter().any(|entry| covers(entry, toleration));
        if whitelist.is_empty() || pod.spec.tolerations.iter().all(allowed) {
            return Ok(());
        }
        Err(errors::plain(format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
        )))
    }
}

impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn steps(&self) -> Steps {
        Steps::Both
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            let mut more = Vec::new();
            if attributes.operation == Operation::Create {
                let own = annotation(&attributes.namespace, DEFAULTS, cluster).await?;
                more = own.unwrap_or_else(|| self.defaults.clone());
            }
            if let Some(pod) = attributes.object_mut::<Pod>() {
                if pod_qos(pod) != "BestEffort" {
                    more.push(Toleration {
                        key: "node.kubernetes.io/memory-pressure".to_owned(),
                        operator: "Exists".to_owned(),
                        effect: "NoSchedule".to_owned(),
                        ..Toleration::default()
                    });
                }
                if !more.is_empty() {
                    pod.spec.tolerations.append(&mut more);
                    pod.spec.tolerations = merged(&pod.spec.tolerations);
                }
            }
            self.check(attributes, cluster).await
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !attributes.is_main("", "pods") {
                return Ok(());
            }
            self.check(attributes, cluster).await
        })
    }
}

/// The tolerations in an annotation of a namespace. An empty annotation is an empty list.
async fn annotation(
    name: &str,
    key: &str,
    cluster: &dyn Cluster,
) -> Result<Option<Vec<Toleration>>, StatusError> {
    let mut namespace = namespaces::find(name, Freshness::Cached, cluster).await?;
    if namespace.is_none() {
        namespace = namespaces::find(name, Freshness::Consistent, cluster).await?;
    }
    let Some(namespace) = namespace else {
        return Err(status::not_found(
            &GroupResource::new("", "namespaces"),
            name,
        ));
    };
    match namespace.metadata.annotations.get(key) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(Some(Vec::new())),
        Some(text) => tolerations(text).map(Some).map_err(errors::plain),
    }
}

/// Reads a list.
fn tolerations(json: &str) -> Result<Vec<Toleration>, String> {
    // What stands around the list may not close the object that it is put into.
    let list: Value = serde_json::from_str(json)
        .map_err(|error| crate::go_json::syntax_error(json.as_bytes(), &error))?;
    let wrapped = serde_json::json!({ "tolerations": list }).to_string();
    let spec = codec::decode_json::<PodSpec>(wrapped.as_bytes());
    spec.map(|spec| spec.tolerations)
        .map_err(|error| error.to_string())
}

/// Without those that another one covers; of equal ones the first stays.
pub(super) fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut merged: Vec<Toleration> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let covered = merged.iter().any(|kept| covers(kept, toleration))
            || all[index + 1..]
                .iter()
                .any(|later| later != toleration && covers(later, toleration));
        if !covered {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Toleration, narrow: &Toleration) -> bool {
    if wide == narrow {
        return true;
    }
    let all_keys = wide.key.is_empty() && wide.operator == "Exists";
    if narrow.key != wide.key && !all_keys {
        return false;
    }
    if narrow.effect != wide.effect && !wide.effect.is_empty() {
        return false;
    }
    if wide.effect == "NoExecute"
        && let Some(longest) = wide.toleration_seconds
        && narrow
            .toleration_seconds
            .is_none_or(|seconds| seconds > longest)
    {
        return false;
    }
    match wide.operator.as_str() {
        "Equal" | "" => narrow.operator == "Equal" && narrow.value == wide.value,
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Vec<Toleration> {
        tolerations(json).expect("tolerations")
    }

    #[test]
    fn the_wider_toleration_stays() {
        let narrow = r#"{"key":"a","operator":"Equal","value":"1","effect":"NoSchedule"}"#;
        let wide = r#"{"key":"a","operator":"Exists"}"#;
        let other = r#"{"key":"b","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}"#;
        let longer =
            r#"{"key":"b","operator":"Exists","effect":"NoExecute","tolerationSeconds":9}"#;
        let check = |given: &[&str], kept: &[&str]| {
            let merged = merged(&list(&format!("[{}]", given.join(","))));
            assert_eq!(merged, list(&format!("[{}]", kept.join(","))));
        };
        check(&[narrow, wide], &[wide]);
        check(&[wide, narrow], &[wide]);
        check(&[narrow, other, narrow], &[narrow, other]);
        check(&[other, longer], &[longer]);
        check(
            &[r#"{"operator":"Exists"}"#, wide, other],
            &[r#"{"operator":"Exists"}"#],
        );
    }

    #[test]
    fn configurations() {
        let header = format!("apiVersion: {GROUP_VERSION}\nkind: Configuration\n");
        let new =
            |text: &str| PodTolerationRestriction::new(Some(format!("{header}{text}").as_bytes()));
        let read = new("default: [{key: a, operator: Exists}]\nwhitelist: [{operator: Exists}]\n");
        let read = read.expect("a configuration");
        assert_eq!((read.defaults.len(), read.whitelist.len()), (1, 1));
        let why = new("default: [{operator: Equal}]\n")
            .err()
            .unwrap_or_default();
        assert!(
            why.starts_with("invalid config: [podtolerationrestriction.default[0].operator: "),
            "{why}"
        );
        let why = PodTolerationRestriction::new(Some(b"apiVersion: v1\nkind: Pod\n")).err();
        assert_eq!(
            why.as_deref(),
            Some("no kind \"Pod\" is registered for version \"v1\"")
        );
    }

    #[test]
    fn a_list_stays_in_its_place() {
        assert!(tolerations(r#"[], "containers": []"#).is_err());
    }
}
