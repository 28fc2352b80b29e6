//! Gives each node a type and each call its overloads. Upstream: checker/ of cel-go.

mod unify;
mod validate;

use std::sync::Arc;

use crate::env::{Env, FieldLookup, Function};
use crate::error::Issue;
use crate::syntax::ast::{Ast, Comprehension, Expr, Kind, MapEntry, StructField};
use crate::syntax::position;
use crate::types::Type;
use crate::value::Value;
use unify::{Bindings, most_general};

/// What a name or a call refers to.
#[derive(Clone, Debug)]
pub(crate) enum Reference {
    Variable,
    Type(Type),
    /// The ids of the overloads that may be meant.
    Function(Vec<&'static str>),
}

/// A checked expression: tables by the numbers of its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) root: Expr,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types[expr.id as usize].as_ref().unwrap_or(&Type::Dyn)
    }

    pub(crate) fn reference(&self, expr: &Expr) -> Option<&Reference> {
        self.references[expr.id as usize].as_ref()
    }

    pub(crate) fn overloads(&self, expr: &Expr) -> &[&'static str] {
        match self.reference(expr) {
            Some(Reference::Function(ids)) => ids,
            _ => &[],
        }
    }
}

/// Checks an expression.
pub(crate) fn check(env: &Env, source: &str, ast: Ast) -> Result<Checked, Vec<Issue>> {
    let Ast { mut root, offsets } = ast;
    let mut checker = Checker {
        env,
        source,
        types: vec![None; offsets.len()],
        references: vec![None; offsets.len()],
        offsets,
        bindings: Bindings::default(),
        scopes: Vec::new(),
        issues: Vec::new(),
    };
    checker.check(&mut root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker {
        types,
        references,
        offsets,
        bindings,
        ..
    } = checker;
    let types = types
        .into_iter()
        .map(|of| of.map(|of| bindings.substitute(&of, true)))
        .collect();
    let checked = Checked {
        root,
        types,
        references,
    };
    let issues: Vec<Issue> = validate::validate(&checked)
        .into_iter()
        .map(|(id, message)| {
            let (line, column) = position(source, offsets[id as usize]);
            Issue {
                line,
                column,
                message,
            }
        })
        .collect();
    if issues.is_empty() {
        Ok(checked)
    } else {
        Err(issues)
    }
}

struct Checker<'e> {
    env: &'e Env,
    source: &'e str,
    offsets: Vec<u32>,
    types: Vec<Option<Type>>,
    references: Vec<Option<Reference>>,
    bindings: Bindings,
    /// Variables of comprehensions, inner ones last.
    scopes: Vec<(Arc<str>, Type)>,
    issues: Vec<Issue>,
}

enum Name {
    Variable(Type),
    Type(Type),
}

impl<'e> Checker<'e> {
    fn report(&mut self, id: u32, message: String) {
        let (line, column) = position(self.source, self.offsets[id as usize]);
        self.issues.push(Issue {
            line,
            column,
            message,
        });
    }

    fn mismatch(&mut self, id: u32, expected: &Type, found: &Type) {
        self.report(
            id,
            format!(
                "expected type '{}' but found '{}'",
                expected.in_messages(),
                found.in_messages()
            ),
        );
    }

    fn undeclared(&mut self, id: u32, name: &str) {
        self.report(
            id,
            format!("undeclared reference to '{name}' (in container '')"),
        );
    }

    fn set(&mut self, id: u32, of: Type) {
        self.types[id as usize] = Some(of);
    }

    fn get(&self, expr: &Expr) -> Type {
        self.types[expr.id as usize].clone().unwrap_or(Type::Error)
    }

    fn lookup(&self, name: &str) -> Option<Name> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, of)) = self.scopes.iter().rev().find(|(local, _)| **local == *name) {
            return Some(Name::Variable(of.clone()));
        }
        if let Some(of) = self.env.variables.get(name) {
            return Some(Name::Variable(of.clone()));
        }
        self.env.named_type(name).map(Name::Type)
    }

    fn function(&self, name: &str) -> Option<&'e Function> {
        self.env
            .declarations
            .functions
            .get(name.strip_prefix('.').unwrap_or(name))
    }

    /// Resolves a name; `false` when it names nothing.
    fn resolve(&mut self, expr: &mut Expr, name: &str) -> bool {
        let (of, reference) = match self.lookup(name) {
            None => return false,
            Some(Name::Variable(of)) => (of, Reference::Variable),
            Some(Name::Type(of)) => (Type::type_of(of.clone()), Reference::Type(of)),
        };
        self.set(expr.id, of);
        self.references[expr.id as usize] = Some(reference);
        expr.kind = Kind::Ident(name.strip_prefix('.').unwrap_or(name).into());
        true
    }

    fn check(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Unspecified => self.set(id, Type::Error),
            Kind::Literal(value) => {
                let of = value.type_of();
                self.set(id, of);
            }
            Kind::Ident(name) => {
                let name = name.clone();
                if !self.resolve(expr, &name) {
                    self.set(id, Type::Error);
                    self.undeclared(id, &name);
                }
            }
            Kind::Select { .. } => self.check_select(expr),
            Kind::Call { .. } => self.check_call(expr),
            Kind::List { elements, optional } => {
                let of = self.check_list(elements, optional);
                self.set(id, of);
            }
            Kind::Map { entries } => {
                let of = self.check_map(entries);
                self.set(id, of);
            }
            Kind::Struct { type_name, fields } => {
                let of = self.check_struct(id, type_name, fields);
                self.set(id, of);
            }
            Kind::Comprehension(fold) => {
                let of = self.check_comprehension(fold);
                self.set(id, of);
            }
        }
    }

    fn check_select(&mut self, expr: &mut Expr) {
        if let Some(name) = expr.qualified_name()
            && self.resolve(expr, &name)
        {
            return;
        }
        let id = expr.id;
        let Kind::Select {
            operand,
            field,
            test_only,
        } = &mut expr.kind
        else {
            return;
        };
        let mut of = self.check_field(id, operand, field, false);
        if *test_only {
            of = Type::Bool;
        }
        let of = self.bindings.substitute(&of, false);
        self.set(id, of);
    }

    fn check_field(&mut self, id: u32, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand_type = self.bindings.substitute(&self.get(operand), false);
        let unwrapped = operand_type.unwrap_optional();
        let is_optional = unwrapped.is_some();
        let target = unwrapped.unwrap_or(&operand_type).clone();
        let found = match &target {
            Type::Map(pair) => pair.1.clone(),
            Type::Struct(name) => self.field_type(id, name, field).unwrap_or(Type::Error),
            Type::Var(_) | Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            _ => {
                self.report(
                    id,
                    format!(
                        "type '{}' does not support field selection",
                        target.in_messages()
                    ),
                );
                Type::Dyn
            }
        };
        if is_optional || optional {
            Type::optional(found)
        } else {
            found
        }
    }

    fn field_type(&mut self, id: u32, type_name: &str, field: &str) -> Option<Type> {
        match self.env.field_type(type_name, field) {
            FieldLookup::Found(of) => return Some(of),
            FieldLookup::NoField => self.report(id, format!("undefined field '{field}'")),
            FieldLookup::NoType => {
                self.report(id, format!("unexpected failed resolution of '{type_name}'"))
            }
        }
        None
    }

    fn check_call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call {
            function,
            target,
            args,
        } = &mut expr.kind
        else {
            return;
        };
        if &**function == "_?._" {
            let [operand, field] = args.as_mut_slice() else {
                return;
            };
            let Kind::Literal(Value::String(field)) = &field.kind else {
                return;
            };
            let field = field.clone();
            let of = self.check_field(id, operand, &field, true);
            let of = self.bindings.substitute(&of, false);
            self.set(id, of);
            self.references[id as usize] = Some(Reference::Function(vec!["select_optional_field"]));
            return;
        }
        for arg in args.iter_mut() {
            self.check(arg);
        }
        if let Some(operand) = target {
            // `a.b.f(x)` may be the function `a.b.f`.
            let qualified = operand
                .qualified_name()
                .map(|prefix| format!("{prefix}.{function}"));
            if let Some(found) = qualified.and_then(|name| self.function(&name)) {
                *target = None;
                *function = found.name.into();
                return self.resolve_call(id, found, target, args);
            }
            self.check(operand);
        }
        match self.function(function) {
            Some(found) => {
                *function = found.name.into();
                self.resolve_call(id, found, target, args);
            }
            None => {
                self.set(id, Type::Error);
                let name = function.clone();
                self.undeclared(id, &name);
            }
        }
    }

    fn resolve_call(
        &mut self,
        id: u32,
        function: &'e Function,
        target: &Option<Box<Expr>>,
        args: &[Expr],
    ) {
        match self.overloads(id, function, target.as_deref(), args) {
            Some((of, ids)) => {
                self.set(id, of);
                self.references[id as usize] = Some(Reference::Function(ids));
            }
            None => self.set(id, Type::Error),
        }
    }

    fn overloads(
        &mut self,
        id: u32,
        function: &'e Function,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Option<(Type, Vec<&'static str>)> {
        let arg_types: Vec<Type> = target
            .into_iter()
            .chain(args)
            .map(|arg| self.get(arg))
            .collect();
        if matches!(function.name, "_&&_" | "_||_") {
            let mut fits = true;
            for (arg, of) in args.iter().zip(&arg_types) {
                if !self.bindings.assignable(of, &Type::Bool) {
                    self.mismatch(arg.id, &Type::Bool, of);
                    fits = false;
                }
            }
            return fits.then(|| (Type::Bool, vec![function.overloads[0].id]));
        }
        let mut ids = Vec::new();
        let mut result: Option<Type> = None;
        for overload in function
            .overloads
            .iter()
            .filter(|overload| overload.member == target.is_some())
        {
            if overload.args.len() != arg_types.len() {
                continue;
            }
            let mut fresh = Vec::new();
            let wanted: Vec<Type> = overload
                .args
                .iter()
                .map(|of| self.instantiate(of, &mut fresh))
                .collect();
            let of = self.instantiate(&overload.result, &mut fresh);
            if !self.bindings.assignable_list(&arg_types, &wanted) {
                continue;
            }
            ids.push(overload.id);
            let of = self.bindings.substitute(&of, false);
            result = Some(match result {
                None => of,
                Some(known) if known.is_dyn() || known == of => known,
                Some(_) => Type::Dyn,
            });
        }
        if result.is_none() {
            let shown: Vec<String> = arg_types
                .iter()
                .map(|of| self.bindings.substitute(of, true).in_messages())
                .collect();
            let signature = match target {
                Some(_) => format!("{}.({})", shown[0], shown[1..].join(", ")),
                None => format!("({})", shown.join(", ")),
            };
            let name = function.name;
            self.report(
                id,
                format!("found no matching overload for '{name}' applied to '{signature}'"),
            );
        }
        Some((result?, ids))
    }

    /// A declared type with fresh variables for its parameters.
    fn instantiate(&mut self, of: &Type, fresh: &mut Vec<(&'static str, Type)>) -> Type {
        match of {
            Type::Param(name) => {
                if let Some((_, variable)) = fresh.iter().find(|(known, _)| known == name) {
                    return variable.clone();
                }
                let variable = self.bindings.fresh();
                fresh.push((name, variable.clone()));
                variable
            }
            Type::List(element) => Type::list(self.instantiate(element, fresh)),
            Type::Map(pair) => Type::map(
                self.instantiate(&pair.0, fresh),
                self.instantiate(&pair.1, fresh),
            ),
            Type::Type(Some(of)) => Type::type_of(self.instantiate(of, fresh)),
            Type::Opaque(name, parameters) if !parameters.is_empty() => {
                let parameters: Vec<Type> = parameters
                    .iter()
                    .map(|of| self.instantiate(of, fresh))
                    .collect();
                Type::Opaque(name.clone(), parameters.into())
            }
            other => other.clone(),
        }
    }

    /// The type of what is either; what is mixed is refused later.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        match previous {
            None => current,
            Some(previous) if self.bindings.assignable(&previous, &current) => {
                most_general(&previous, &current)
            }
            Some(_) => Type::Dyn,
        }
    }

    /// The type of an element or entry, without the optional where it is written with `?`.
    fn element(&mut self, expr: &mut Expr, optional: bool) -> Type {
        self.check(expr);
        let of = self.get(expr);
        if !optional {
            return of;
        }
        match of.unwrap_optional() {
            Some(inner) => inner.clone(),
            None => {
                if !of.is_dyn() {
                    self.mismatch(expr.id, &Type::optional(of.clone()), &of);
                }
                of
            }
        }
    }

    fn check_list(&mut self, elements: &mut [Expr], optional: &[bool]) -> Type {
        let mut joined = None;
        for (element, optional) in elements.iter_mut().zip(optional) {
            let of = self.element(element, *optional);
            joined = Some(self.join(joined, of));
        }
        Type::list(joined.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn check_map(&mut self, entries: &mut [MapEntry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let of = self.element(&mut entry.key, false);
            keys = Some(self.join(keys, of));
            let of = self.element(&mut entry.value, entry.optional);
            values = Some(self.join(values, of));
        }
        let keys = keys.unwrap_or_else(|| self.bindings.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn check_struct(
        &mut self,
        id: u32,
        type_name: &mut Arc<str>,
        fields: &mut [StructField],
    ) -> Type {
        let of = match self.lookup(type_name) {
            Some(Name::Type(of @ Type::Struct(_))) => of,
            Some(Name::Type(of)) => {
                self.report(id, format!("'{}' is not a message type", of.name()));
                Type::Error
            }
            Some(Name::Variable(of)) => {
                self.report(id, format!("'{}' is not a type", of.name()));
                Type::Error
            }
            None => {
                let name = type_name.clone();
                self.undeclared(id, &name);
                return Type::Error;
            }
        };
        if let Type::Struct(name) = &of {
            *type_name = name.clone();
            self.references[id as usize] = Some(Reference::Type(of.clone()));
        }
        for field in fields {
            let value = self.element(&mut field.value, field.optional);
            let name = field.name.clone();
            let wanted = self
                .field_type(field.id, type_name, &name)
                .unwrap_or(Type::Error);
            if !self.bindings.assignable(&wanted, &value) {
                let (wanted, value) = (wanted.in_messages(), value.in_messages());
                let message = format!(
                    "expected type of field '{name}' is '{wanted}' but provided type is '{value}'"
                );
                self.report(field.id, message);
            }
        }
        of
    }

    fn check_comprehension(&mut self, fold: &mut Comprehension) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.bindings.substitute(&self.get(&fold.range), false);
        let accumulated = self.get(&fold.init);
        self.scopes
            .push((fold.accumulator.clone(), accumulated.clone()));
        let two = fold.variable2.is_some();
        let (first, second) = match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(pair) => pair.as_ref().clone(),
            Type::Dyn | Type::Error | Type::Var(_) | Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            _ => {
                let shown = range.in_messages();
                self.report(
                    fold.range.id,
                    format!(
                        "expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ),
                );
                (Type::Error, Type::Error)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.variable.clone(), first));
        if let Some(name) = &fold.variable2 {
            self.scopes.push((name.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert_type(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert_type(&fold.step, &accumulated);
        self.scopes.truncate(outer);
        self.check(&mut fold.result);
        self.scopes.truncate(outer - 1);
        self.bindings.substitute(&self.get(&fold.result), false)
    }

    fn assert_type(&mut self, expr: &Expr, wanted: &Type) {
        let of = self.get(expr);
        if !self.bindings.assignable(wanted, &of) {
            self.mismatch(expr.id, wanted, &of);
        }
    }
}
