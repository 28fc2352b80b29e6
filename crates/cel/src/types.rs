//! The types expressions have. Upstream: common/types/types.go and checker/format.go of cel-go.

use std::fmt;
use std::sync::Arc;

/// A type. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Whatever it turns out to be at run time.
    Dyn,
    /// The same, under the name `google.protobuf.Any`, but that there is no walking over it: attributes of devices are of it.
    Any,
    /// The type of what could not be checked.
    Error,
    /// `null`.
    Null,
    /// Booleans.
    Bool,
    /// 64-bit integers.
    Int,
    /// Unsigned 64-bit integers.
    Uint,
    /// 64-bit floating point numbers.
    Double,
    /// Unicode text.
    String,
    /// Byte sequences.
    Bytes,
    /// Points in time.
    Timestamp,
    /// Lengths of time, in nanoseconds.
    Duration,
    /// Lists of one type.
    List(Arc<Type>),
    /// Maps from one type to another.
    Map(Arc<(Type, Type)>),
    /// The type of types; of a known type where the checker knows it.
    Type(Option<Arc<Type>>),
    /// A parameter in a declaration.
    Param(&'static str),
    /// A parameter while one expression is checked.
    Var(u32),
    /// Objects with fields, known by name.
    Struct(Arc<str>),
    /// Values only functions look into.
    Opaque(Arc<str>, Arc<[Type]>),
}

impl Type {
    /// A list of these.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// A map of these.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    /// The type of this type.
    pub fn type_of(of: Type) -> Type {
        Type::Type(Some(Arc::new(of)))
    }

    /// An optional value of this type.
    pub fn optional(of: Type) -> Type {
        Type::Opaque("optional_type".into(), Arc::new([of]))
    }

    /// An object type.
    pub fn object(name: &str) -> Type {
        Type::Struct(name.into())
    }

    /// An opaque type without parameters.
    pub fn opaque(name: &str) -> Type {
        Type::Opaque(name.into(), Arc::new([]))
    }

    /// What is in the optional, if it is one.
    pub fn unwrap_optional(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, parameters) if &**name == "optional_type" => parameters.first(),
            _ => None,
        }
    }

    /// What the checker knows of a variable of a policy whose expression has this type: it may be a simple type, or a list or
    /// map of what it may be; everything else is known when it is evaluated.
    pub fn of_variable(&self) -> Type {
        const DEEPEST: usize = 16;
        fn known(of: &Type, depth: usize) -> Type {
            match of {
                Type::Bool
                | Type::Bytes
                | Type::Double
                | Type::Duration
                | Type::Int
                | Type::Null
                | Type::String
                | Type::Timestamp
                | Type::Uint => of.clone(),
                Type::List(element) if depth > 0 => Type::list(known(element, depth - 1)),
                Type::Map(pair) if depth > 0 => {
                    Type::map(known(&pair.0, depth - 1), known(&pair.1, depth - 1))
                }
                _ => Type::Dyn,
            }
        }
        known(self, DEEPEST)
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Any)
    }

    pub(crate) fn is_param(&self) -> bool {
        matches!(self, Type::Param(_) | Type::Var(_))
    }

    /// The types this one is made of.
    pub(crate) fn parameters(&self) -> Vec<&Type> {
        match self {
            Type::List(element) => vec![element],
            Type::Map(pair) => vec![&pair.0, &pair.1],
            Type::Type(Some(of)) => vec![of],
            Type::Opaque(_, parameters) => parameters.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Its name without parameters, as `type(x)` shows it.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Type::Dyn => "dyn",
            Type::Any => "google.protobuf.Any",
            Type::Error => "error",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Type(_) => "type",
            Type::Param(name) => name,
            Type::Var(number) => return format!("_var{number}").into(),
            Type::Struct(name) | Type::Opaque(name, _) => name,
        }
        .into()
    }

    /// As error messages of the checker write it.
    pub(crate) fn in_messages(&self) -> String {
        let name = match self {
            Type::Any => "any".into(),
            Type::Duration => "duration".into(),
            Type::Error => "!error!".into(),
            Type::Null => "null".into(),
            Type::Timestamp => "timestamp".into(),
            _ => self.name(),
        };
        let parameters = self.parameters();
        if parameters.is_empty() {
            return name.into_owned();
        }
        let parameters: Vec<String> = parameters.iter().map(|of| of.in_messages()).collect();
        format!("{name}({})", parameters.join(", "))
    }

    /// Whether two types are the same but for the names of their parameters.
    pub(crate) fn is_equivalent(&self, other: &Type) -> bool {
        match (self, other) {
            (a, b) if a.is_param() && b.is_param() => true,
            (Type::List(a), Type::List(b)) => a.is_equivalent(b),
            (Type::Map(a), Type::Map(b)) => a.0.is_equivalent(&b.0) && a.1.is_equivalent(&b.1),
            (Type::Type(Some(a)), Type::Type(Some(b))) => a.is_equivalent(b),
            (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
                a == b
                    && of_a.len() == of_b.len()
                    && of_a
                        .iter()
                        .zip(of_b.iter())
                        .all(|(a, b)| a.is_equivalent(b))
            }
            (a, b) => a == b,
        }
    }
}

/// As upstream's `Type.String`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_param() {
            return write!(f, "<{}>", self.name());
        }
        f.write_str(&self.name())?;
        for (index, parameter) in self.parameters().into_iter().enumerate() {
            f.write_str(if index == 0 { "(" } else { ", " })?;
            write!(f, "{parameter}")?;
        }
        if !self.parameters().is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}
