//! What expressions may use: variables, types of objects, libraries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use crate::checker;
use crate::error::{CompileErrors, EvalError};
use crate::eval::{self, Program};
use crate::library::{self, Library};
use crate::syntax;
use crate::syntax::macros::Macro;
use crate::types::Type;
use crate::value::Schema;
use crate::value::Value;

/// What a function does with its arguments.
pub(crate) type Implementation = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, EvalError>;

/// One way to call a function.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) implementation: Implementation,
}

/// A function with all the ways to call it.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
    /// Whether the implementation looks at the types of its arguments itself.
    pub(crate) unguarded: bool,
}

impl Function {
    pub(crate) fn new(name: &'static str) -> Self {
        Function {
            name,
            overloads: Vec::new(),
            unguarded: false,
        }
    }

    /// For functions whose implementation, one for all overloads, checks its arguments.
    pub(crate) fn unguarded(mut self) -> Self {
        self.unguarded = true;
        self
    }

    /// Called `f(x)`.
    pub(crate) fn global(
        mut self,
        id: &'static str,
        args: &[Type],
        result: Type,
        implementation: Implementation,
    ) -> Self {
        self.overloads.push(Overload {
            id,
            member: false,
            args: args.to_vec(),
            result,
            implementation,
        });
        self
    }

    /// Called `x.f()`.
    pub(crate) fn member(
        mut self,
        id: &'static str,
        args: &[Type],
        result: Type,
        implementation: Implementation,
    ) -> Self {
        self.overloads.push(Overload {
            id,
            member: true,
            args: args.to_vec(),
            result,
            implementation,
        });
        self
    }
}

/// The functions and macros of a set of libraries.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    pub(crate) functions: HashMap<&'static str, Function>,
    pub(crate) macros: Vec<Macro>,
}

impl Declarations {
    fn new(libraries: impl Iterator<Item = &'static Library>) -> Self {
        let mut declarations = Declarations::default();
        for library in libraries {
            declarations.macros.extend_from_slice(library.macros);
            for function in (library.functions)() {
                let name = function.name;
                let known = declarations
                    .functions
                    .entry(name)
                    .or_insert_with(|| Function::new(name));
                known.unguarded |= function.unguarded;
                known.overloads.extend(function.overloads);
            }
        }
        declarations
    }
}

static KUBERNETES: LazyLock<Arc<Declarations>> = LazyLock::new(|| {
    Arc::new(Declarations::new(
        library::LIBRARIES.iter().filter(|row| row.kubernetes),
    ))
});
static MUTATION: LazyLock<Arc<Declarations>> = LazyLock::new(|| {
    let rows = library::LIBRARIES
        .iter()
        .filter(|row| row.kubernetes || row.name == "kubernetes.jsonpatch");
    Arc::new(Declarations::new(rows))
});
static BINDINGS: LazyLock<Arc<Declarations>> = LazyLock::new(|| {
    let rows = library::LIBRARIES
        .iter()
        .filter(|row| row.kubernetes || row.name == "cel.lib.ext.cel.bindings");
    Arc::new(Declarations::new(rows))
});
static EVERYTHING: LazyLock<Arc<Declarations>> =
    LazyLock::new(|| Arc::new(Declarations::new(library::LIBRARIES.iter())));

/// An environment: compiles expressions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    pub(crate) declarations: Arc<Declarations>,
    pub(crate) variables: Arc<HashMap<Arc<str>, Type>>,
    pub(crate) structs: Arc<HashMap<Arc<str>, BTreeMap<String, Type>>>,
    /// Whether there are `JSONPatch{}` and `Object{}`.
    pub(crate) mutation: bool,
}

/// Builds an [`Env`].
#[derive(Debug)]
pub struct Builder {
    declarations: Arc<Declarations>,
    variables: HashMap<Arc<str>, Type>,
    structs: HashMap<Arc<str>, BTreeMap<String, Type>>,
    mutation: bool,
}

impl Env {
    /// The environment of Kubernetes 1.36, without variables.
    pub fn builder() -> Builder {
        Builder {
            declarations: KUBERNETES.clone(),
            variables: HashMap::new(),
            structs: HashMap::new(),
            mutation: false,
        }
    }

    /// This environment with more in it.
    pub fn extend(&self) -> Builder {
        Builder {
            declarations: self.declarations.clone(),
            variables: (*self.variables).clone(),
            structs: (*self.structs).clone(),
            mutation: self.mutation,
        }
    }

    /// Adds a field to an object type, or changes it. Cheap while nobody else has this environment.
    pub fn declare_field(&mut self, type_name: &str, field: &str, of: Type) {
        let fields = Arc::make_mut(&mut self.structs)
            .entry(type_name.into())
            .or_default();
        fields.insert(field.to_owned(), of);
    }

    /// Parses and checks an expression and makes it ready to be evaluated.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let errors = |issues| CompileErrors::new(source, issues);
        let ast = syntax::parse(source, &self.declarations.macros).map_err(errors)?;
        let checked = checker::check(self, source, ast).map_err(errors)?;
        eval::plan(self, checked).map_err(|error| CompileErrors::of_instantiation(source, error))
    }

    /// The type of a field of an object type.
    pub(crate) fn field_type(&self, type_name: &str, field: &str) -> FieldLookup {
        if self.mutation {
            match type_name {
                "JSONPatch" => {
                    return match field {
                        "op" | "from" | "path" => FieldLookup::Found(Type::String),
                        "value" => FieldLookup::Found(Type::Dyn),
                        // As upstream: a field of no type at all, into which nothing fits.
                        _ => FieldLookup::Found(Type::object("")),
                    };
                }
                name if is_dynamic_object(name) => return FieldLookup::Found(Type::Dyn),
                _ => {}
            }
        }
        match self.structs.get(type_name) {
            None => FieldLookup::NoType,
            Some(fields) => match fields.get(field).or_else(|| {
                let reserved = crate::escape::escape(field)?;
                (reserved.len() == field.len() + 4 && reserved.starts_with("__"))
                    .then(|| fields.get(&reserved))?
            }) {
                Some(found) => FieldLookup::Found(found.clone()),
                None => FieldLookup::NoField,
            },
        }
    }

    /// The type that this name names.
    pub(crate) fn named_type(&self, name: &str) -> Option<Type> {
        Some(match name {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "google.protobuf.Duration" => Type::Duration,
            "int" => Type::Int,
            "list" => Type::list(Type::Param("A")),
            "map" => Type::map(Type::Param("A"), Type::Param("B")),
            "null_type" => Type::Null,
            "string" => Type::String,
            "google.protobuf.Timestamp" => Type::Timestamp,
            "type" => Type::Type(None),
            "uint" => Type::Uint,
            "optional_type" => Type::optional(Type::Dyn),
            "net.IP" | "net.CIDR" => Type::opaque(name),
            _ if self.structs.contains_key(name) => Type::object(name),
            // As upstream: schemas bring these names along, and values of them do not exist.
            "timestamp" if !self.structs.is_empty() => Type::Timestamp,
            "duration" if !self.structs.is_empty() => Type::Duration,
            "JSONPatch" if self.mutation => Type::object(name),
            _ if self.mutation && is_dynamic_object(name) => Type::object(name),
            _ => return None,
        })
    }
}

/// `Object`, `Object.spec` and so on.
pub(crate) fn is_dynamic_object(name: &str) -> bool {
    name.strip_prefix("Object")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(crate) enum FieldLookup {
    Found(Type),
    NoField,
    NoType,
}

impl Builder {
    /// Declares a variable.
    pub fn variable(mut self, name: &str, of: Type) -> Self {
        self.variables.insert(name.into(), of);
        self
    }

    /// Declares an object type by the types of its fields.
    pub fn object_type(
        mut self,
        name: &str,
        fields: impl IntoIterator<Item = (String, Type)>,
    ) -> Self {
        self.structs
            .insert(name.into(), fields.into_iter().collect());
        self
    }

    /// Declares a variable of a schema's type, and the types in it. Nothing, where expressions cannot use the schema.
    pub fn schema_variable(mut self, name: &str, schema: &Schema) -> Self {
        schema.declare_types(&mut |name, fields| {
            self.structs.insert(name.clone(), fields);
        });
        match schema.cel_type() {
            Some(of) => self.variable(name, of.clone()),
            None => self,
        }
    }

    /// Adds what mutations are written with: `JSONPatch{}`, `Object{}` and `jsonpatch.escapeKey`.
    pub fn mutation_types(mut self) -> Self {
        self.mutation = true;
        self.declarations = MUTATION.clone();
        self
    }

    /// Adds `cel.bind`, which selectors of devices have.
    pub fn bindings(mut self) -> Self {
        self.declarations = BINDINGS.clone();
        self
    }

    /// Adds every library there is, also those that Kubernetes leaves out, like `cel.bind`.
    pub fn all_libraries(mut self) -> Self {
        self.declarations = EVERYTHING.clone();
        self
    }

    /// The environment.
    pub fn build(self) -> Env {
        Env {
            declarations: self.declarations,
            variables: Arc::new(self.variables),
            structs: Arc::new(self.structs),
            mutation: self.mutation,
        }
    }
}
