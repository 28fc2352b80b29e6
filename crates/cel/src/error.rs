//! What is wrong with an expression, when it is compiled and when it is evaluated.

use std::borrow::Cow;
use std::fmt;

/// One thing wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The line, from one; `-1` for the whole expression.
    pub line: i32,
    /// The column in code points, from zero; `-1` for the whole expression.
    pub column: i32,
    /// What is wrong.
    pub message: String,
}

/// Why an expression does not compile. Shown as cel-go shows it: each issue with the line it is in and a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors {
    source: String,
    issues: Vec<Issue>,
    total: usize,
    instantiation: Option<EvalError>,
}

/// More issues than these are counted and not shown.
const MAX_ISSUES: usize = 100;
/// Longer lines are not shown.
const MAX_SNIPPET: usize = 16384;

impl CompileErrors {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        let total = issues.len();
        issues.truncate(MAX_ISSUES);
        issues.sort_by_key(|issue| (issue.line, issue.column));
        CompileErrors {
            source: source.to_owned(),
            issues,
            total,
            instantiation: None,
        }
    }

    /// The expression is fine but cannot be evaluated: a constant in it has no value.
    pub(crate) fn of_instantiation(source: &str, error: EvalError) -> Self {
        CompileErrors {
            source: source.to_owned(),
            issues: Vec::new(),
            total: 0,
            instantiation: Some(error),
        }
    }

    /// Why a valid expression could not be made ready to be evaluated; upstream words this differently.
    pub fn instantiation(&self) -> Option<&EvalError> {
        self.instantiation.as_ref()
    }

    /// What is wrong, in the order of the text.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }
}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.instantiation {
            return write!(f, "{error}");
        }
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "ERROR: <input>:{}:{}: {}",
                issue.line,
                issue.column + 1,
                issue.message
            )?;
            let line = usize::try_from(issue.line - 1)
                .ok()
                .and_then(|line| self.source.split('\n').nth(line));
            let Some(line) =
                line.filter(|line| !self.source.is_empty() && line.len() <= MAX_SNIPPET)
            else {
                continue;
            };
            write!(f, "\n | {}\n | ", line.replace('\t', " "))?;
            let mut characters = line.chars();
            for _ in 0..issue.column {
                match characters.next() {
                    Some(c) if c.len_utf8() > 1 => f.write_str("\u{ff0e}")?,
                    Some(_) => f.write_str(".")?,
                    None => break,
                }
            }
            f.write_str(match characters.next() {
                Some(c) if c.len_utf8() > 1 => "\u{ff3e}",
                _ => "^",
            })?;
        }
        if self.total > MAX_ISSUES {
            write!(
                f,
                "\n{} more errors were truncated",
                self.total - MAX_ISSUES
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for CompileErrors {}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// A value error, which `||` and `&&` may absorb.
    Value(Cow<'static, str>),
    /// The cost limit was reached. Nothing absorbs this.
    CostLimit,
}

impl EvalError {
    /// An operator or function that does not take these values.
    pub const NO_SUCH_OVERLOAD: EvalError = EvalError::Value(Cow::Borrowed("no such overload"));

    /// A value error with this text.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        EvalError::Value(message.into())
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::Value(message) => f.write_str(message),
            EvalError::CostLimit => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

impl std::error::Error for EvalError {}
