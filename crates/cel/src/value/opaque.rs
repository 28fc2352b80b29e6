//! Values that only the functions of their library look into, and objects built by expressions.

use std::net::IpAddr;
use std::sync::Arc;

use api_types::special::Quantity;

use super::Value;
use crate::library::authz::{Authorizer, Decision, GroupCheck, PathCheck, ResourceCheck};
use crate::library::cidr::Cidr;
use crate::library::named_format::NamedFormat;
use crate::library::semver::Semver;
use crate::library::url::Url;
use crate::types::Type;

/// A value of one of the Kubernetes libraries.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is what its library says")]
pub enum Opaque {
    Quantity(Quantity),
    Url(Url),
    Ip(IpAddr),
    Cidr(Cidr),
    Semver(Semver),
    NamedFormat(&'static NamedFormat),
    Authorizer(Authorizer),
    PathCheck(PathCheck),
    GroupCheck(GroupCheck),
    ResourceCheck(ResourceCheck),
    Decision(Decision),
}

impl Opaque {
    /// Its type.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Opaque::Ip(_) => Type::opaque("net.IP"),
            Opaque::Cidr(_) => Type::opaque("net.CIDR"),
            Opaque::Quantity(_) => Type::object("kubernetes.Quantity"),
            Opaque::Url(_) => Type::object("kubernetes.URL"),
            Opaque::Semver(_) => Type::object("kubernetes.Semver"),
            Opaque::NamedFormat(_) => Type::object("kubernetes.NamedFormat"),
            Opaque::Authorizer(_) => Type::object("kubernetes.authorization.Authorizer"),
            Opaque::PathCheck(_) => Type::object("kubernetes.authorization.PathCheck"),
            Opaque::GroupCheck(_) => Type::object("kubernetes.authorization.GroupCheck"),
            Opaque::ResourceCheck(_) => Type::object("kubernetes.authorization.ResourceCheck"),
            Opaque::Decision(_) => Type::object("kubernetes.authorization.Decision"),
        }
    }

    /// Bytes of an address, for costs.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Opaque::Ip(IpAddr::V4(_)) => Some(4),
            Opaque::Ip(IpAddr::V6(_)) => Some(16),
            Opaque::Cidr(cidr) => Some(u64::from(cidr.prefix).div_ceil(8)),
            _ => None,
        }
    }

    /// Whether two are the same; none when they cannot be compared.
    pub(crate) fn equals(&self, other: &Opaque) -> Option<bool> {
        match (self, other) {
            (Opaque::Quantity(a), Opaque::Quantity(b)) => Some(a == b),
            (Opaque::Url(a), Opaque::Url(b)) => Some(a.text == b.text),
            (Opaque::Ip(a), Opaque::Ip(b)) => Some(a == b),
            (Opaque::Cidr(a), Opaque::Cidr(b)) => Some(a == b),
            (Opaque::Semver(a), Opaque::Semver(b)) => Some(a.cmp(b).is_eq()),
            (Opaque::NamedFormat(a), Opaque::NamedFormat(b)) => Some(a.name == b.name),
            _ => None,
        }
    }

    /// Its text, for those that have one.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Opaque::Quantity(quantity) => Some(quantity.to_string()),
            Opaque::Url(url) => Some(url.text.clone()),
            Opaque::Ip(ip) => Some(ip.to_string()),
            Opaque::Cidr(cidr) => Some(cidr.to_string()),
            Opaque::Semver(version) => Some(version.to_string()),
            _ => None,
        }
    }
}

/// An object built by an expression.
#[derive(Clone, Debug)]
pub struct StructValue<'a> {
    /// The name of its type.
    pub type_name: Arc<str>,
    /// Its fields in the order they were written.
    pub fields: Vec<(Arc<str>, Value<'a>)>,
}

impl<'a> StructValue<'a> {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.fields
            .iter()
            .rev()
            .find(|(field, _)| &**field == name)
            .map(|(_, value)| value)
    }

    /// Whether it has whatever fields it was given, like `Object{}`.
    pub(crate) fn is_dynamic(&self) -> bool {
        &*self.type_name != "JSONPatch"
    }
}
