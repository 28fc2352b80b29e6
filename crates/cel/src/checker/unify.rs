//! Which types fit where, and what the parameters of functions stand for. Upstream: checker/types.go of cel-go.

use crate::types::Type;

/// What is known about the variables of one check.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(Vec<Option<Type>>);

impl Bindings {
    /// A variable nothing is known of.
    pub(super) fn fresh(&mut self) -> Type {
        self.0.push(None);
        Type::Var((self.0.len() - 1) as u32)
    }

    fn find(&self, of: &Type) -> Option<&Type> {
        match of {
            Type::Var(number) => self.0[*number as usize].as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, variable: &Type, to: Type) {
        if let Type::Var(number) = variable {
            self.0[*number as usize] = Some(to);
        }
    }

    /// The type with what its variables stand for; the free ones become `dyn` when `finish`.
    pub(super) fn substitute(&self, of: &Type, finish: bool) -> Type {
        if let Some(found) = self.find(of) {
            return self.substitute(found, finish);
        }
        match of {
            Type::Var(_) | Type::Param(_) if finish => Type::Dyn,
            Type::List(element) => Type::list(self.substitute(element, finish)),
            Type::Map(pair) => Type::map(
                self.substitute(&pair.0, finish),
                self.substitute(&pair.1, finish),
            ),
            Type::Type(Some(of)) => Type::type_of(self.substitute(of, finish)),
            Type::Opaque(name, parameters) if !parameters.is_empty() => Type::Opaque(
                name.clone(),
                parameters
                    .iter()
                    .map(|parameter| self.substitute(parameter, finish))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// Whether each type fits the other; learns what variables stand for when all do.
    pub(super) fn assignable_list(&mut self, a: &[Type], b: &[Type]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let mut trial = self.clone();
        let fits = a.iter().zip(b).all(|(a, b)| trial.fits(a, b));
        if fits {
            *self = trial;
        }
        fits
    }

    pub(super) fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        self.assignable_list(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if b.is_param() {
            match self.fits_variable(a, b) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if a.is_param() {
            return self.fits_variable(b, a).0;
        }
        let any = |of: &Type| matches!(of, Type::Dyn | Type::Any | Type::Error);
        if any(a) || any(b) {
            return true;
        }
        let nullable = |of: &Type| {
            matches!(
                of,
                Type::Null | Type::Opaque(..) | Type::Struct(_) | Type::Duration | Type::Timestamp
            )
        };
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
                a == b
                    && of_a.len() == of_b.len()
                    && of_a.iter().zip(of_b.iter()).all(|(a, b)| self.fits(a, b))
            }
            (a, b) => a == b,
        }
    }

    /// Whether the variable can stand for the type, and whether it stood for something already.
    fn fits_variable(&mut self, of: &Type, variable: &Type) -> (bool, bool) {
        if of == variable {
            return (true, true);
        }
        if let Some(found) = self.find(variable).cloned() {
            if *of == found {
                return (true, true);
            }
            if !self.fits(of, &found) {
                return (false, true);
            }
            let general = most_general(of, &found);
            if self.not_in(variable, &general) {
                self.bind(variable, general);
            }
            return (true, true);
        }
        if self.not_in(variable, of) {
            self.bind(variable, of.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether the variable is no part of the type.
    fn not_in(&self, variable: &Type, of: &Type) -> bool {
        if variable == of {
            return false;
        }
        if of.is_param() {
            return self
                .find(of)
                .is_none_or(|found| self.not_in(variable, found));
        }
        of.parameters()
            .into_iter()
            .all(|parameter| self.not_in(variable, parameter))
    }
}

/// The one of two fitting types that says less.
pub(super) fn most_general(a: &Type, b: &Type) -> Type {
    if equal_or_less_specific(a, b) {
        a.clone()
    } else {
        b.clone()
    }
}

fn equal_or_less_specific(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || a.is_param() {
        return true;
    }
    if b.is_dyn() || b.is_param() {
        return false;
    }
    match (a, b) {
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(a), Type::List(b)) => equal_or_less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => {
            equal_or_less_specific(&a.0, &b.0) && equal_or_less_specific(&a.1, &b.1)
        }
        (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
            a == b
                && of_a.len() == of_b.len()
                && of_a
                    .iter()
                    .zip(of_b.iter())
                    .all(|(a, b)| equal_or_less_specific(a, b))
        }
        (a, b) => a == b,
    }
}
