//! Names of API groups, versions, kinds and resources. Upstream: apimachinery/pkg/runtime/schema.
//!
//! These are plain data with upstream's text forms: a `GroupVersion` prints as `apps/v1`, or as `v1` for the core group,
//! and a `GroupResource` as `deployments.apps`, or as `pods` for the core group.

use std::fmt;

use api_types::Object;

/// An `apiVersion` with more than one slash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected GroupVersion string: {0}")]
pub struct ParseGroupVersionError(pub String);

/// An API group and version, such as `apps/v1`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
}

impl GroupVersion {
    /// The group and version with these names.
    pub fn new(group: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
        }
    }

    /// Parses an `apiVersion`. The empty string and `/` are the empty group and version, as upstream.
    pub fn parse(text: &str) -> Result<Self, ParseGroupVersionError> {
        if text.is_empty() || text == "/" {
            return Ok(Self::default());
        }
        match text.split_once('/') {
            None => Ok(Self::new("", text)),
            Some((group, version)) if !version.contains('/') => Ok(Self::new(group, version)),
            Some(_) => Err(ParseGroupVersionError(text.to_owned())),
        }
    }

    /// Whether both group and version are empty.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.version.is_empty()
    }

    /// The kind of that name in this group and version.
    pub fn with_kind(&self, kind: impl Into<String>) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: kind.into(),
        }
    }

    /// The resource of that name in this group and version.
    pub fn with_resource(&self, resource: impl Into<String>) -> GroupVersionResource {
        GroupVersionResource {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: resource.into(),
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// A kind in a group, without a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
}

impl GroupKind {
    /// The kind of that name in that group.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
        }
    }

    /// Parses `Deployment.apps`; everything after the first dot is the group.
    pub fn parse(text: &str) -> Self {
        let (kind, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(group, kind)
    }

    /// Whether both group and kind are empty.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.kind.is_empty()
    }

    /// This kind at a version.
    pub fn with_version(&self, version: impl Into<String>) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: version.into(),
            kind: self.kind.clone(),
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.group)
        }
    }
}

/// A resource in a group, without a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource name, such as `deployments`.
    pub resource: String,
}

impl GroupResource {
    /// The resource of that name in that group.
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }

    /// Parses `deployments.apps`; everything after the first dot is the group.
    pub fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self::new(group, resource)
    }

    /// Whether both group and resource are empty.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.resource.is_empty()
    }

    /// This resource at a version.
    pub fn with_version(&self, version: impl Into<String>) -> GroupVersionResource {
        GroupVersionResource {
            group: self.group.clone(),
            version: version.into(),
            resource: self.resource.clone(),
        }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// A kind at one version of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
}

impl GroupVersionKind {
    /// The kind with these names.
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// The kind of a Rust type.
    pub fn of<T: Object>() -> Self {
        Self::new(T::GROUP, T::VERSION, T::KIND)
    }

    /// The kind that an object's `apiVersion` and `kind` name. An `apiVersion` that does not parse counts as empty, as upstream.
    pub fn from_api_version_and_kind(api_version: &str, kind: &str) -> Self {
        match GroupVersion::parse(api_version) {
            Ok(gv) => gv.with_kind(kind),
            Err(_) => Self::new("", "", kind),
        }
    }

    /// Parses `Deployment.v1.apps`: the kind that the text names if it has a version, and the versionless reading.
    pub fn parse_arg(text: &str) -> (Option<Self>, GroupKind) {
        let mut parts = text.splitn(3, '.');
        let full = match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(version), Some(group)) => Some(Self::new(group, version, kind)),
            _ => None,
        };
        (full, GroupKind::parse(text))
    }

    /// Whether all three parts are empty.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.version.is_empty() && self.kind.is_empty()
    }

    /// The kind without its version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&self.group, &self.kind)
    }

    /// The group and version without the kind.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&self.group, &self.version)
    }

    /// The `apiVersion` text of this kind.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// A resource at one version of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Plural resource name, such as `deployments`.
    pub resource: String,
}

impl GroupVersionResource {
    /// The resource with these names.
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        resource: impl Into<String>,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
        }
    }

    /// The resource of a Rust type.
    pub fn of<T: api_types::Resource>() -> Self {
        Self::new(T::GROUP, T::VERSION, T::PLURAL)
    }

    /// Parses `deployments.v1.apps`: the resource that the text names if it has a version, and the versionless reading.
    pub fn parse_arg(text: &str) -> (Option<Self>, GroupResource) {
        let mut parts = text.splitn(3, '.');
        let full = match (parts.next(), parts.next(), parts.next()) {
            (Some(resource), Some(version), Some(group)) => {
                Some(Self::new(group, version, resource))
            }
            _ => None,
        };
        (full, GroupResource::parse(text))
    }

    /// Whether all three parts are empty.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.version.is_empty() && self.resource.is_empty()
    }

    /// The resource without its version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.resource)
    }

    /// The group and version without the resource.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&self.group, &self.version)
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}, Resource={}",
            self.group, self.version, self.resource
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_versions_parse_as_upstream() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("", Some(("", ""))),
            ("/", Some(("", ""))),
            ("v1", Some(("", "v1"))),
            ("apps/v1", Some(("apps", "v1"))),
            ("v1/", Some(("v1", ""))),
            ("/v1", Some(("", "v1"))),
            ("//", None),
            ("/v1/", None),
            ("apps/v1/x", None),
        ];
        for (text, want) in cases {
            let got = GroupVersion::parse(text).ok();
            assert_eq!(got, want.map(|(g, v)| GroupVersion::new(g, v)), "{text:?}");
        }
        let error = GroupVersion::parse("a/b/c").expect_err("two slashes");
        assert_eq!(error.to_string(), "unexpected GroupVersion string: a/b/c");
    }

    #[test]
    fn text_forms() {
        assert_eq!(GroupVersion::new("", "v1").to_string(), "v1");
        assert_eq!(GroupVersion::new("apps", "v1").to_string(), "apps/v1");
        assert_eq!(GroupResource::new("", "pods").to_string(), "pods");
        assert_eq!(
            GroupResource::new("apps", "deployments").to_string(),
            "deployments.apps"
        );
        assert_eq!(
            GroupKind::new("apps", "Deployment").to_string(),
            "Deployment.apps"
        );
        assert_eq!(
            GroupVersionKind::new("apps", "v1", "Deployment").to_string(),
            "apps/v1, Kind=Deployment"
        );
        assert_eq!(
            GroupVersionKind::new("", "v1", "Event").to_string(),
            "/v1, Kind=Event"
        );
        assert_eq!(
            GroupVersionResource::new("", "v1", "pods").to_string(),
            "/v1, Resource=pods"
        );
    }

    #[test]
    fn resource_arguments() {
        let (full, short) = GroupVersionResource::parse_arg("deployments.v1.apps");
        assert_eq!(
            full,
            Some(GroupVersionResource::new("apps", "v1", "deployments"))
        );
        assert_eq!(short, GroupResource::new("v1.apps", "deployments"));
        let (full, short) = GroupVersionResource::parse_arg("pods");
        assert_eq!(full, None);
        assert_eq!(short, GroupResource::new("", "pods"));
        let (full, _) = GroupVersionKind::parse_arg("ClusterRole.v1.rbac.authorization.k8s.io");
        assert_eq!(
            full,
            Some(GroupVersionKind::new(
                "rbac.authorization.k8s.io",
                "v1",
                "ClusterRole"
            ))
        );
    }
}
