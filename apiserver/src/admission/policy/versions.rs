//! What the expressions of policies see of a request. Made when the first policy needs it, and then shared by all.

use std::sync::Arc;

use api_types::codec::Header;
use api_types::core::v1::Namespace;
use apimachinery::status::StatusError;
use component_base::auth::Authorizer;
use serde_json::Value as Json;

use crate::admission::cel::{Input, json_of, namespace_object, request};
use crate::admission::matching::{self, Matched};
use crate::admission::{Attributes, Cluster};
use crate::registry::object::Object;

/// A request in the versions that policies matched.
#[derive(Default)]
pub struct Versions {
    known: Vec<Version>,
    namespace: Option<Arc<Json>>,
}

struct Version {
    matched: Matched,
    object: Arc<Json>,
    old_object: Arc<Json>,
    request: Arc<Json>,
}

impl Versions {
    /// The object changed.
    pub fn forget_objects(&mut self) {
        self.known.clear();
    }

    /// The variables of a policy that matched in a version, but `params`.
    pub async fn input(
        &mut self,
        attributes: &Attributes,
        matched: &Matched,
        authorizer: Option<&Arc<dyn Authorizer>>,
        cluster: &dyn Cluster,
    ) -> Result<Input, StatusError> {
        let position = self
            .known
            .iter()
            .position(|known| known.matched == *matched);
        let position = match position {
            Some(position) => position,
            None => {
                let old = attributes.old_object.as_deref();
                self.known.push(Version {
                    object: object(attributes.object.as_ref(), matched, cluster).await?,
                    old_object: object(old, matched, cluster).await?,
                    request: Arc::new(json_of(&request(attributes, matched), None)),
                    matched: matched.clone(),
                });
                self.known.len() - 1
            }
        };
        let known = &self.known[position];
        let mut input = Input::of_objects(known.object.clone(), known.old_object.clone());
        input.request = known.request.clone();
        if let Some(authorizer) = authorizer {
            input = input.with_authorizer(attributes, authorizer.clone());
        }
        Ok(input)
    }

    /// The value of `namespaceObject`: the request's namespace, null where there is none.
    pub async fn namespace(
        &mut self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Result<Arc<Json>, StatusError> {
        if let Some(known) = &self.namespace {
            return Ok(known.clone());
        }
        let kind = &attributes.kind;
        let is_namespace = (&*kind.group, &*kind.version, &*kind.kind) == ("", "v1", "Namespace");
        let value = if attributes.namespace.is_empty() || is_namespace {
            Json::Null
        } else {
            let namespace = matching::namespace(cluster, &attributes.namespace).await?;
            namespace
                .get::<Namespace>()
                .map_or(Json::Null, namespace_object)
        };
        Ok(self.namespace.insert(Arc::new(value)).clone())
    }
}

async fn object(
    object: Option<&Object>,
    matched: &Matched,
    cluster: &dyn Cluster,
) -> Result<Arc<Json>, StatusError> {
    let Some(object) = object else {
        return Ok(Arc::new(Json::Null));
    };
    let header = Header {
        api_version: &matched.kind.api_version(),
        kind: &matched.kind.kind,
    };
    let object = cluster.in_version(object, matched).await?;
    Ok(Arc::new(json_of(object.value(), Some(header))))
}
