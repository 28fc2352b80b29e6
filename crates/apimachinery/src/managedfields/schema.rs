//! The types by which values merge. Upstream: structured-merge-diff schema, kube-openapi/pkg/schemaconv.
//!
//! A schema is a table of types that refer to each other by number, so that types may be recursive and nothing is resolved by
//! name. Built-in kinds share one schema, made from the tables of the API types; custom resources get one of their own.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

/// A type within its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(pub(super) u32);

impl TypeId {
    /// Position among the types of its schema.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value of a type may be: any of the parts that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Atom {
    /// A scalar.
    pub scalar: Option<Scalar>,
    /// A list.
    pub list: Option<List>,
    /// A map or a struct.
    pub map: Option<MapType>,
}

/// Kinds of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A number.
    Numeric,
    /// A string.
    String,
    /// A boolean.
    Boolean,
    /// Any of them.
    Untyped,
}

/// A list type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List {
    /// Type of the items.
    pub element: TypeId,
    /// How items are told apart.
    pub relationship: ListRelationship,
}

/// How the items of a list are told apart, which decides whether managers can own them one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListRelationship {
    /// Not at all: the list is owned as a whole.
    Atomic,
    /// By their values: the list is a set of scalars.
    Set,
    /// By these fields.
    Map(Box<[Cow<'static, str>]>),
}

/// A map or struct type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct MapType {
    /// Fields, sorted by name.
    fields: Box<[Field]>,
    /// Type of entries that are no fields. Without it, only fields are allowed.
    pub element: Option<TypeId>,
    /// The value is owned as a whole.
    pub atomic: bool,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// Name in JSON.
    pub name: Cow<'static, str>,
    /// Type.
    pub ty: TypeId,
    /// The value that an absent field has, where the field is a key of a list.
    pub default: Option<Box<Value>>,
}

impl MapType {
    /// A struct with these fields.
    pub fn new(mut fields: Vec<Field>, element: Option<TypeId>, atomic: bool) -> Self {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            fields: fields.into(),
            element,
            atomic,
        }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .binary_search_by(|field| field.name.as_ref().cmp(name))
            .ok()
            .map(|at| &self.fields[at])
    }

    /// The fields, sorted by name.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

/// Types that refer to each other.
#[derive(Debug)]
pub struct Schema {
    /// Types that other schemas have too; they come first.
    shared: &'static [Atom],
    types: Vec<Atom>,
}

impl Schema {
    /// Anything, owned as a whole: the type of embedded objects.
    pub const UNTYPED_ATOMIC: TypeId = TypeId(0);
    /// Anything, with maps owned entry by entry and lists as a whole: the type where nothing is known.
    pub const UNTYPED_DEDUCED: TypeId = TypeId(1);

    /// A schema with the two untyped types only.
    pub fn new() -> Self {
        let untyped = |map_element, atomic| Atom {
            scalar: Some(Scalar::Untyped),
            list: Some(List {
                element: Self::UNTYPED_ATOMIC,
                relationship: ListRelationship::Atomic,
            }),
            map: Some(MapType {
                fields: Box::default(),
                element: Some(map_element),
                atomic,
            }),
        };
        Self {
            shared: &[],
            types: vec![
                untyped(Self::UNTYPED_ATOMIC, true),
                untyped(Self::UNTYPED_DEDUCED, false),
            ],
        }
    }

    /// A schema that begins with the types of another, under the same numbers, and does not copy them. The other one shares
    /// none itself.
    pub fn on(other: &'static Schema) -> Self {
        Self {
            shared: &other.types,
            types: Vec::new(),
        }
    }

    /// Adds a type.
    pub fn add(&mut self, atom: Atom) -> TypeId {
        self.types.push(atom);
        TypeId((self.len() - 1) as u32)
    }

    /// Adds a type to be defined later with [`Schema::define`], for types that contain themselves.
    pub fn reserve(&mut self) -> TypeId {
        self.add(Atom::default())
    }

    /// Defines a reserved type.
    pub fn define(&mut self, ty: TypeId, atom: Atom) {
        self.types[ty.index() - self.shared.len()] = atom;
    }

    /// What a value of the type may be.
    pub fn atom(&self, ty: TypeId) -> &Atom {
        match self.shared.get(ty.index()) {
            Some(shared) => shared,
            None => &self.types[ty.index() - self.shared.len()],
        }
    }

    /// Number of types.
    pub fn len(&self) -> usize {
        self.shared.len() + self.types.len()
    }

    /// Whether there are no types, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives back what memory was reserved for more types.
    pub fn shrink(&mut self) {
        self.types.shrink_to_fit();
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

/// The type of an object: a schema and a type in it.
#[derive(Debug, Clone)]
pub struct ObjectType {
    /// The schema.
    pub schema: Arc<Schema>,
    /// The object's type.
    pub root: TypeId,
}

impl ObjectType {
    /// The type of objects of which nothing is known, as for custom resources without a schema.
    pub fn deduced() -> Self {
        static SCHEMA: std::sync::LazyLock<Arc<Schema>> =
            std::sync::LazyLock::new(|| Arc::new(Schema::new()));
        Self {
            schema: Arc::clone(&SCHEMA),
            root: Schema::UNTYPED_DEDUCED,
        }
    }
}
