//! What the server serves. Upstream: `client-go/discovery`, KEP-3352 (aggregated discovery).

use api_types::meta::v1::{
    APIGroup, APIGroupList, APIResource, APIResourceList, APIVersions, GroupVersionForDiscovery,
};
use api_types::{apidiscovery, decode_json};
use apimachinery::gvk::{GroupVersion, GroupVersionResource};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::Error;
use crate::rest::{Call, Client, Target};

const JSON: &str = "application/json";
const ACCEPT_AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Asks a server what it serves. Nothing is remembered between calls.
#[derive(Clone, Debug)]
pub struct Discovery {
    client: Client,
}

/// All groups, versions and resources, and what could not be found out.
#[derive(Debug, Default)]
pub struct ServedResources {
    /// The groups, in the server's order of preference.
    pub groups: Vec<APIGroup>,
    /// The resources of every group version, subresources (`pods/status`) among them.
    pub resources: Vec<APIResourceList>,
    /// Group versions that could not be read, usually of an aggregated server that is away. What depends on completeness (deleting
    /// what nobody owns, say) must take these as unknown and not as absent.
    pub failed: Vec<(GroupVersion, Error)>,
}

impl Client {
    /// What the server serves.
    pub fn discovery(&self) -> Discovery {
        Discovery {
            client: self.clone(),
        }
    }
}

impl Discovery {
    async fn get(
        &self,
        path: String,
        accept: &'static str,
    ) -> Result<http::Response<bytes::Bytes>, Error> {
        let call = Call::new(Method::GET, path, Target::default()).header(ACCEPT, accept);
        self.client.read(call).await
    }

    /// The groups with their versions; the core group has the name "".
    pub async fn groups(&self) -> Result<APIGroupList, Error> {
        let mut list = APIGroupList::default();
        match self.get("/api".into(), JSON).await {
            Ok(response) => {
                let core: APIVersions = decode_json(response.body())
                    .map_err(|error| Error::decode("APIVersions", error))?;
                list.groups.extend(core_group(&core.versions));
            }
            // Servers of aggregated APIs have no core group.
            Err(error) if error.is_not_found() || error.is_forbidden() => {}
            Err(error) => return Err(error),
        }
        match self.get("/apis".into(), JSON).await {
            Ok(response) => {
                let named: APIGroupList = decode_json(response.body())
                    .map_err(|error| Error::decode("APIGroupList", error))?;
                list.groups.extend(named.groups);
            }
            Err(error) if error.is_not_found() || error.is_forbidden() => {}
            Err(error) => return Err(error),
        }
        Ok(list)
    }

    /// The resources of one group version.
    pub async fn resources(&self, version: &GroupVersion) -> Result<APIResourceList, Error> {
        let path = if version.group.is_empty() {
            format!("/api/{}", version.version)
        } else {
            format!("/apis/{version}")
        };
        let response = self.get(path, JSON).await?;
        let mut list: APIResourceList = decode_json(response.body())
            .map_err(|error| Error::decode("APIResourceList", error))?;
        list.group_version = version.to_string();
        Ok(list)
    }

    /// Everything, in two requests where the server can, else in one per group version.
    pub async fn groups_and_resources(&self) -> Result<ServedResources, Error> {
        let mut served = ServedResources::default();
        let mut unaggregated = false;
        for path in ["/api", "/apis"] {
            let response = match self.get(path.into(), ACCEPT_AGGREGATED).await {
                Ok(response) => response,
                Err(error) if error.is_not_found() || error.is_forbidden() => continue,
                Err(error) if error.code() == 406 => {
                    unaggregated = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            let content_type = response
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if !content_type.contains("as=APIGroupDiscoveryList") {
                unaggregated = true;
                break;
            }
            // v2beta1 has the same fields.
            let list: apidiscovery::v2::APIGroupDiscoveryList = decode_json(response.body())
                .map_err(|error| Error::decode("APIGroupDiscoveryList", error))?;
            for group in list.items {
                served.add_aggregated(group);
            }
        }
        if unaggregated {
            self.one_by_one().await
        } else {
            Ok(served)
        }
    }

    async fn one_by_one(&self) -> Result<ServedResources, Error> {
        let mut served = ServedResources {
            groups: self.groups().await?.groups,
            ..ServedResources::default()
        };
        for group in &served.groups {
            for version in &group.versions {
                let version = GroupVersion::new(group.name.as_str(), version.version.as_str());
                match self.resources(&version).await {
                    Ok(list) => served.resources.push(list),
                    Err(error) => served.failed.push((version, error)),
                }
            }
        }
        Ok(served)
    }

    /// Each resource once, in the version the server prefers among those that have it. Subresources are left out.
    pub async fn preferred_resources(&self) -> Result<ServedResources, Error> {
        Ok(self.groups_and_resources().await?.preferred())
    }

    /// The preferred resources with all of the verbs, as one list.
    pub async fn preferred_with_verbs(
        &self,
        verbs: &[&str],
    ) -> Result<Vec<(GroupVersionResource, APIResource)>, Error> {
        Ok(self.preferred_resources().await?.with_verbs(verbs))
    }
}

fn core_group(versions: &[String]) -> Option<APIGroup> {
    let versions: Vec<GroupVersionForDiscovery> = versions
        .iter()
        .map(|version| GroupVersionForDiscovery {
            group_version: version.clone(),
            version: version.clone(),
        })
        .collect();
    let preferred_version = versions.first()?.clone();
    Some(APIGroup {
        versions,
        preferred_version,
        ..APIGroup::default()
    })
}

impl ServedResources {
    fn add_aggregated(&mut self, group: apidiscovery::v2::APIGroupDiscovery) {
        let name = group.metadata.name;
        let mut versions = Vec::new();
        for version in group.versions {
            let full = GroupVersion::new(name.as_str(), version.version.as_str());
            versions.push(GroupVersionForDiscovery {
                group_version: full.to_string(),
                version: version.version,
            });
            if version.freshness == "Stale" {
                let reason = format!("stale GroupVersion discovery: {full}");
                self.failed.push((full, Error::decode("discovery", reason)));
                continue;
            }
            let mut list = APIResourceList {
                group_version: full.to_string(),
                ..APIResourceList::default()
            };
            for resource in version.resources {
                let namespaced = resource.scope == "Namespaced";
                let kind = resource.response_kind.unwrap_or_default();
                if !kind.kind.is_empty() {
                    list.resources.push(APIResource {
                        name: resource.resource.clone(),
                        singular_name: resource.singular_resource.clone(),
                        namespaced,
                        group: kind.group,
                        version: kind.version,
                        kind: kind.kind,
                        verbs: resource.verbs,
                        short_names: resource.short_names,
                        categories: resource.categories,
                        ..APIResource::default()
                    });
                }
                for sub in resource.subresources {
                    let kind = sub.response_kind.unwrap_or_default();
                    if kind.kind.is_empty() {
                        continue;
                    }
                    list.resources.push(APIResource {
                        name: format!("{}/{}", resource.resource, sub.subresource),
                        singular_name: resource.singular_resource.clone(),
                        namespaced,
                        group: kind.group,
                        version: kind.version,
                        kind: kind.kind,
                        verbs: sub.verbs,
                        ..APIResource::default()
                    });
                }
            }
            self.resources.push(list);
        }
        if let Some(preferred_version) = versions.first().cloned() {
            self.groups.push(APIGroup {
                name,
                versions,
                preferred_version,
                ..APIGroup::default()
            });
        }
    }

    /// Each resource once, in the preferred version among those that have it.
    #[must_use]
    pub fn preferred(self) -> Self {
        let mut chosen: Vec<APIResourceList> = Vec::new();
        for group in &self.groups {
            let preferred = group.preferred_version.version.as_str();
            let order = std::iter::once(preferred).chain(
                group
                    .versions
                    .iter()
                    .map(|version| version.version.as_str())
                    .filter(|version| *version != preferred),
            );
            let mut seen: Vec<String> = Vec::new();
            for version in order {
                let full = GroupVersion::new(group.name.as_str(), version).to_string();
                let Some(list) = self
                    .resources
                    .iter()
                    .find(|list| list.group_version == full)
                else {
                    continue;
                };
                let fresh: Vec<APIResource> = list
                    .resources
                    .iter()
                    .filter(|resource| {
                        !resource.name.contains('/') && !seen.contains(&resource.name)
                    })
                    .cloned()
                    .collect();
                if fresh.is_empty() {
                    continue;
                }
                seen.extend(fresh.iter().map(|resource| resource.name.clone()));
                chosen.push(APIResourceList {
                    group_version: full,
                    resources: fresh,
                    ..APIResourceList::default()
                });
            }
        }
        Self {
            resources: chosen,
            ..self
        }
    }

    /// The resources that have all of the verbs, with their full names.
    pub fn with_verbs(&self, verbs: &[&str]) -> Vec<(GroupVersionResource, APIResource)> {
        let mut found = Vec::new();
        for list in &self.resources {
            let Ok(version) = GroupVersion::parse(&list.group_version) else {
                continue;
            };
            for resource in &list.resources {
                if verbs
                    .iter()
                    .all(|verb| resource.verbs.iter().any(|has| has == verb))
                {
                    found.push((
                        version.with_resource(resource.name.as_str()),
                        resource.clone(),
                    ));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGGREGATED: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[
        {"metadata":{"name":"autoscaling"},"versions":[
            {"version":"v2","freshness":"Current","resources":[{"resource":"hpas","responseKind":{"group":"","version":"","kind":"HPA"},
                "scope":"Namespaced","verbs":["get","list"],"subresources":[{"subresource":"status","responseKind":{"group":"","version":"","kind":"HPA"},"verbs":["get"]}]}]},
            {"version":"v1","freshness":"Current","resources":[
                {"resource":"hpas","responseKind":{"group":"","version":"","kind":"HPA"},"scope":"Namespaced","verbs":["get"]},
                {"resource":"old","responseKind":{"group":"","version":"","kind":"Old"},"scope":"Cluster","verbs":["get","list","watch"]}]}]},
        {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#;

    fn served() -> ServedResources {
        let list: apidiscovery::v2::APIGroupDiscoveryList =
            decode_json(AGGREGATED.as_bytes()).unwrap();
        let mut served = ServedResources::default();
        for group in list.items {
            served.add_aggregated(group);
        }
        served
    }

    #[test]
    fn aggregated_discovery_becomes_the_classic_lists() {
        let served = served();
        let names: Vec<(&str, Vec<&str>)> = served
            .resources
            .iter()
            .map(|list| {
                (
                    list.group_version.as_str(),
                    list.resources
                        .iter()
                        .map(|resource| resource.name.as_str())
                        .collect(),
                )
            })
            .collect();
        assert_eq!(
            names,
            [
                ("autoscaling/v2", vec!["hpas", "hpas/status"]),
                ("autoscaling/v1", vec!["hpas", "old"])
            ]
        );
        assert_eq!(served.failed[0].0.to_string(), "metrics.k8s.io/v1beta1");
        assert_eq!(served.groups[0].preferred_version.version, "v2");
    }

    #[test]
    fn each_resource_is_preferred_once() {
        let preferred = served().preferred();
        let names: Vec<String> = preferred
            .with_verbs(&["get"])
            .iter()
            .map(|(name, _)| format!("{}/{}", name.version, name.resource))
            .collect();
        assert_eq!(names, ["v2/hpas", "v1/old"]);
        assert_eq!(preferred.with_verbs(&["list", "watch"]).len(), 1);
        assert_eq!(
            preferred.failed.len(),
            1,
            "what is unknown stays known as unknown"
        );
    }
}
