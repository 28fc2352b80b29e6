//! The grammar of selector text.
//!
//! A hand-written lexer and recursive descent, because clients see upstream's messages about the token that was found.

use std::collections::BTreeSet;

use super::{Operator, Requirement, SelectorError};
use crate::field::{self, Path};
use crate::validation::is_label_key;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Error,
    End,
    ClosedPar,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    GreaterThan,
    Identifier,
    In,
    LessThan,
    NotEquals,
    NotIn,
    OpenPar,
}

fn literal_token(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::ClosedPar,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "in" => Token::In,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::OpenPar,
        _ => return None,
    })
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Splits text into tokens with their literals; the last is [`Token::End`].
fn scan(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    // Upstream's lexer takes a zero byte for the end of the text.
    let text = text.split('\0').next().unwrap_or_default();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (token, literal, length) = if is_symbol(first) {
            scan_symbol(rest)
        } else {
            let length = rest
                .find(|c| is_symbol(c) || is_space(c))
                .unwrap_or(rest.len());
            let word = &rest[..length];
            (
                literal_token(word).unwrap_or(Token::Identifier),
                word.to_owned(),
                length,
            )
        };
        tokens.push((token, literal));
        rest = rest[length..].trim_start_matches(is_space);
    }
    tokens.push((Token::End, String::new()));
    tokens
}

/// The longest known symbol at the start of the text. All start with one that is known itself, so there always is one.
fn scan_symbol(text: &str) -> (Token, String, usize) {
    let mut found = None;
    for length in 1..=text.find(|c| !is_symbol(c)).unwrap_or(text.len()) {
        match literal_token(&text[..length]) {
            Some(token) => found = Some((token, text[..length].to_owned(), length)),
            None => break,
        }
    }
    found.unwrap_or_else(|| {
        (
            Token::Error,
            format!("error expected: keyword found '{text}'"),
            text.len(),
        )
    })
}

/// Parses a whole selector. Requirements come in the order of the text.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Requirement>, SelectorError> {
    Parser {
        tokens: scan(text),
        position: 0,
        path,
    }
    .parse()
}

struct Parser<'a> {
    tokens: Vec<(Token, String)>,
    position: usize,
    path: &'a Path,
}

impl Parser<'_> {
    /// The current token where a value may stand, so that `in` and `notin` are words like any other.
    fn peek_value(&self) -> (Token, &str) {
        let (token, literal) = self.peek_operator();
        match token {
            Token::In | Token::NotIn => (Token::Identifier, literal),
            token => (token, literal),
        }
    }

    /// The current token where an operator may stand. Past the end stays the end.
    fn peek_operator(&self) -> (Token, &str) {
        self.tokens
            .get(self.position)
            .map_or((Token::End, ""), |(token, literal)| {
                (*token, literal.as_str())
            })
    }

    fn next_value(&mut self) -> (Token, String) {
        let (token, literal) = self.peek_value();
        let literal = literal.to_owned();
        self.position += 1;
        (token, literal)
    }

    fn parse(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_value() {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement().map_err(|error| {
                        SelectorError(format!("unable to parse requirement: {error}"))
                    })?;
                    requirements.push(requirement);
                    match self.next_value() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, literal) = self.peek_value();
                            if token != Token::Identifier && token != Token::Not {
                                return fail(format!(
                                    "found '{literal}', expected: identifier after ','"
                                ));
                            }
                        }
                        (_, literal) => {
                            return fail(format!(
                                "found '{literal}', expected: ',' or 'end of string'"
                            ));
                        }
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, literal) => {
                    return fail(format!(
                        "found '{literal}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next_value();
        }
        if token != Token::Identifier {
            return fail(format!("found '{key}', expected: identifier"));
        }
        let problems = is_label_key(&key);
        if !problems.is_empty() {
            return fail(field::invalid(self.path, &key, problems.join("; ")).to_string());
        }
        if negated {
            return Ok(Requirement::new_at(
                key,
                Operator::DoesNotExist,
                Vec::new(),
                self.path,
            )?);
        }
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(Requirement::new_at(
                key,
                Operator::Exists,
                Vec::new(),
                self.path,
            )?);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Ok(Requirement::new_at(
            key,
            operator,
            values.into_iter().collect(),
            self.path,
        )?)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let (token, literal) = self.peek_operator();
        let operator = match token {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            // The names of the last two are upstream's, though the text would be `>` and `<`.
            _ => {
                return fail(format!(
                    "found '{literal}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        self.position += 1;
        Ok(operator)
    }

    /// `(a,b)`; an empty item is the empty string.
    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let (token, literal) = self.next_value();
        if token != Token::OpenPar {
            return fail(format!("found '{literal}' expected: '('"));
        }
        let (token, literal) = self.peek_value();
        match token {
            Token::Identifier | Token::Comma => {
                // Upstream's message about a missing parenthesis names the token after the opening one.
                let literal = literal.to_owned();
                let values = self.identifiers()?;
                if self.next_value().0 != Token::ClosedPar {
                    return fail(format!("found '{literal}', expected: ')'"));
                }
                Ok(values)
            }
            Token::ClosedPar => {
                self.position += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            _ => fail(format!(
                "found '{literal}', expected: ',', ')' or identifier"
            )),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut values = BTreeSet::new();
        loop {
            match self.next_value() {
                (Token::Identifier, value) => {
                    values.insert(value);
                    match self.peek_value() {
                        (Token::Comma, _) => {}
                        (Token::ClosedPar, _) => return Ok(values),
                        (_, literal) => {
                            return fail(format!("found '{literal}', expected: ',' or ')'"));
                        }
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek_value().0 {
                        Token::ClosedPar => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, literal) => {
                    return fail(format!("found '{literal}', expected: ',', or identifier"));
                }
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, value) => Ok(value),
            (_, literal) => fail(format!("found '{literal}', expected: identifier")),
        }
    }
}

fn fail<T>(message: String) -> Result<T, SelectorError> {
    Err(SelectorError(message))
}
