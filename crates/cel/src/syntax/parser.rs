//! The parser for what is valid.

use super::ast::{Ast, Expr, Kind};
use super::lexer::{self, Token, TokenKind};
use super::macros::{Builder, Macro};
use super::{literal, recovery};
use crate::error::Issue;

/// Expressions with more code points are not read at all.
const MAX_CODE_POINTS: usize = 100_000;
/// How deep expressions may nest.
const MAX_DEPTH: u32 = 250;

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Parses an expression and expands macros.
pub(crate) fn parse(source: &str, macros: &[Macro]) -> Result<Ast, Vec<Issue>> {
    let size = source.chars().count();
    if size > MAX_CODE_POINTS {
        let limit = MAX_CODE_POINTS;
        return Err(whole(format!(
            "expression code point size exceeds limit: size: {size}, limit {limit}"
        )));
    }
    let (tokens, lex_errors) = lexer::tokens(source);
    if !lex_errors.is_empty() {
        return Err(recovery::issues(source, &tokens, &lex_errors));
    }
    let mut parser = Parser {
        source,
        tokens: &tokens,
        at: 0,
        depths: [0; 3],
        builder: Builder::new(),
        macros,
        issues: Vec::new(),
    };
    let parsed = parser.expr().and_then(|root| {
        parser.expect(TokenKind::Eof)?;
        Ok(root)
    });
    match parsed {
        Err(Stop::Syntax) => {
            let mut issues = recovery::issues(source, &tokens, &[]);
            issues.append(&mut parser.issues);
            Err(issues)
        }
        Err(Stop::TooDeep) => Err(whole(format!(
            "expression recursion limit exceeded: {MAX_DEPTH}"
        ))),
        Ok(root) if root.depth > MAX_DEPTH => Err(whole("max recursion depth exceeded".to_owned())),
        Ok(root) if parser.issues.is_empty() => Ok(Ast {
            root: *root.expr,
            offsets: parser.builder.offsets,
        }),
        Ok(_) => Err(parser.issues),
    }
}

fn whole(message: String) -> Vec<Issue> {
    vec![Issue {
        line: -1,
        column: -1,
        message,
    }]
}

/// The line, from one, and column of an offset in code points.
pub(crate) fn position(source: &str, offset: u32) -> (i32, i32) {
    let (mut line, mut column) = (1, 0);
    for c in source.chars().take(offset as usize) {
        if c == '\n' {
            line += 1;
            column = 0;
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// Why parsing ended early.
pub(super) enum Stop {
    Syntax,
    TooDeep,
}

/// An expression, and how many nested operators it has as upstream counts them.
pub(super) struct Parsed {
    /// Boxed, since functions that lead to themselves hold many.
    pub(super) expr: Box<Expr>,
    pub(super) depth: u32,
}

impl Parsed {
    pub(super) fn new(expr: Expr, depth: u32) -> Self {
        Parsed {
            expr: Box::new(expr),
            depth,
        }
    }
}

/// Rules whose nesting upstream limits; index into `depths`.
const EXPR: usize = 0;
const RELATION: usize = 1;
const CALC: usize = 2;

pub(super) struct Parser<'s> {
    source: &'s str,
    tokens: &'s [Token<'s>],
    at: usize,
    depths: [u32; 3],
    pub(super) builder: Builder,
    macros: &'s [Macro],
    issues: Vec<Issue>,
}

pub(super) type Result<T, E = Stop> = std::result::Result<T, E>;

impl<'s> Parser<'s> {
    pub(super) fn token(&self) -> Token<'s> {
        self.tokens[self.at]
    }

    pub(super) fn peek(&self) -> TokenKind {
        self.token().kind
    }

    pub(super) fn peek_at(&self, ahead: usize) -> TokenKind {
        self.tokens
            .get(self.at + ahead)
            .map_or(TokenKind::Eof, |token| token.kind)
    }

    pub(super) fn advance(&mut self) -> Token<'s> {
        let token = self.token();
        if token.kind != TokenKind::Eof {
            self.at += 1;
        }
        token
    }

    pub(super) fn take(&mut self, kind: TokenKind) -> Option<Token<'s>> {
        (self.peek() == kind).then(|| self.advance())
    }

    pub(super) fn expect(&mut self, kind: TokenKind) -> Result<Token<'s>> {
        if self.peek() == kind {
            Ok(self.advance())
        } else {
            Err(Stop::Syntax)
        }
    }

    pub(super) fn report(&mut self, offset: u32, message: String) -> Expr {
        let (line, column) = position(self.source, offset);
        self.issues.push(Issue {
            line,
            column,
            message,
        });
        self.builder.at(offset).node(Kind::Unspecified)
    }

    fn enter(&mut self, rule: usize) -> Result<()> {
        self.depths[rule] += 1;
        if self.depths[rule] > MAX_DEPTH {
            Err(Stop::TooDeep)
        } else {
            Ok(())
        }
    }

    // Functions that lead to themselves are short: what they keep while doing so is needed once per level.

    pub(super) fn expr(&mut self) -> Result<Parsed> {
        self.enter(EXPR)?;
        let mut parsed = self.logical_or()?;
        if self.peek() == TokenKind::Question {
            parsed = self.conditional(parsed)?;
        }
        self.depths[EXPR] -= 1;
        Ok(parsed)
    }

    /// `? a : b` after a condition.
    fn conditional(&mut self, condition: Parsed) -> Result<Parsed> {
        let operator = self.advance();
        let if_true = self.logical_or()?;
        self.expect(TokenKind::Colon)?;
        let if_false = self.expr()?;
        let depth = 1 + condition.depth.max(if_true.depth).max(if_false.depth);
        let args = vec![*condition.expr, *if_true.expr, *if_false.expr];
        Ok(Parsed::new(
            self.call(operator.offset, "_?_:_", None, args),
            depth,
        ))
    }

    fn logical_or(&mut self) -> Result<Parsed> {
        let first = self.logical_and()?;
        if self.peek() == TokenKind::Or {
            self.chain(TokenKind::Or, first)
        } else {
            Ok(first)
        }
    }

    fn logical_and(&mut self) -> Result<Parsed> {
        let first = self.relation(0)?;
        if self.peek() == TokenKind::And {
            self.chain(TokenKind::And, first)
        } else {
            Ok(first)
        }
    }

    /// A chain of `||` or `&&` as a balanced tree.
    fn chain(&mut self, operator: TokenKind, first: Parsed) -> Result<Parsed> {
        let mut depth = first.depth;
        let mut terms = vec![Some(*first.expr)];
        let mut operators = Vec::new();
        while let Some(token) = self.take(operator) {
            let term = match operator {
                TokenKind::Or => self.logical_and()?,
                _ => self.relation(0)?,
            };
            depth = depth.max(term.depth);
            terms.push(Some(*term.expr));
            operators.push(token.offset);
        }
        let function = if operator == TokenKind::Or {
            "_||_"
        } else {
            "_&&_"
        };
        Ok(Parsed::new(
            self.balanced(function, &mut terms, &operators),
            depth,
        ))
    }

    fn balanced(&mut self, function: &str, terms: &mut [Option<Expr>], operators: &[u32]) -> Expr {
        if operators.is_empty() {
            return terms[0].take().expect("each term is taken once");
        }
        let middle = operators.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balanced(function, left, &operators[..middle]);
        let right = self.balanced(function, right, &operators[middle + 1..]);
        self.call(operators[middle], function, None, vec![left, right])
    }

    fn relation(&mut self, level: u32) -> Result<Parsed> {
        self.enter(RELATION)?;
        let mut left = self.calc(0)?;
        while let Some(function) = relation_function(self.peek()).filter(|_| level == 0) {
            let operator = self.advance();
            let right = self.relation(1)?;
            left = self.binary(operator, function, left, right);
        }
        self.depths[RELATION] -= 1;
        Ok(left)
    }

    /// Sums (level 0), products (1) and operands (2).
    fn calc(&mut self, level: u32) -> Result<Parsed> {
        self.enter(CALC)?;
        let mut left = self.unary()?;
        while let Some((function, binds)) =
            calc_function(self.peek()).filter(|(_, binds)| *binds > level)
        {
            let operator = self.advance();
            let right = self.calc(binds)?;
            left = self.binary(operator, function, left, right);
        }
        self.depths[CALC] -= 1;
        Ok(left)
    }

    fn binary(
        &mut self,
        operator: Token<'s>,
        function: &str,
        left: Parsed,
        right: Parsed,
    ) -> Parsed {
        let depth = 1 + left.depth.max(right.depth);
        Parsed::new(
            self.call(
                operator.offset,
                function,
                None,
                vec![*left.expr, *right.expr],
            ),
            depth,
        )
    }

    fn unary(&mut self) -> Result<Parsed> {
        let function = match (self.peek(), self.peek_at(1)) {
            (TokenKind::Not, _) => "!_",
            // The sign of a number belongs to the number.
            (TokenKind::Minus, TokenKind::Int | TokenKind::Float) => return self.member(),
            (TokenKind::Minus, _) => "-_",
            _ => return self.member(),
        };
        let first = self.advance();
        let mut count = 1;
        while self.peek() == first.kind {
            self.advance();
            count += 1;
        }
        let operand = self.member()?;
        if count % 2 == 0 {
            return Ok(operand);
        }
        Ok(Parsed::new(
            self.call(first.offset, function, None, vec![*operand.expr]),
            operand.depth,
        ))
    }

    fn member(&mut self) -> Result<Parsed> {
        let mut operand = self.primary()?;
        loop {
            operand = match self.peek() {
                TokenKind::Dot => self.selected(operand)?,
                TokenKind::LeftBracket => self.indexed(operand)?,
                _ => return Ok(operand),
            };
        }
    }

    /// `.name`, `.?name` or `.name(...)` after an operand.
    fn selected(&mut self, operand: Parsed) -> Result<Parsed> {
        let dot = self.advance();
        let optional = self.take(TokenKind::Question).is_some();
        let name = self.advance();
        match name.kind {
            TokenKind::Identifier if !optional && self.peek() == TokenKind::LeftParen => {
                let open = self.advance();
                let (args, depth) = self.arguments()?;
                let depth = 1 + operand.depth.max(depth);
                let expr = self.call(open.offset, name.text, Some(*operand.expr), args);
                return Ok(Parsed::new(expr, depth));
            }
            TokenKind::Identifier => {}
            TokenKind::EscapedIdentifier => {
                self.report(name.offset, "unsupported syntax: '`'".to_owned());
            }
            _ => return Err(Stop::Syntax),
        }
        let depth = operand.depth + 1;
        let expr = if optional {
            let field = self.builder.at(name.offset).string(name.text);
            self.builder
                .at(dot.offset)
                .call("_?._", vec![*operand.expr, field])
        } else {
            self.builder
                .at(dot.offset)
                .select(*operand.expr, name.text.into(), false)
        };
        Ok(Parsed::new(expr, depth))
    }

    /// `[index]` or `[?index]` after an operand.
    fn indexed(&mut self, operand: Parsed) -> Result<Parsed> {
        let open = self.advance();
        let optional = self.take(TokenKind::Question).is_some();
        let index = self.expr()?;
        self.expect(TokenKind::RightBracket)?;
        let function = if optional { "_[?_]" } else { "_[_]" };
        Ok(self.binary(open, function, operand, index))
    }

    /// What is in parentheses, the opening one already read.
    fn arguments(&mut self) -> Result<(Vec<Expr>, u32)> {
        let (mut args, mut depth) = (Vec::new(), 0);
        if self.take(TokenKind::RightParen).is_some() {
            return Ok((args, depth));
        }
        loop {
            let arg = self.expr()?;
            args.push(*arg.expr);
            depth = depth.max(arg.depth);
            if self.take(TokenKind::Comma).is_none() {
                break;
            }
        }
        self.expect(TokenKind::RightParen)?;
        Ok((args, depth))
    }

    fn primary(&mut self) -> Result<Parsed> {
        let token = self.token();
        match token.kind {
            TokenKind::LeftParen => {
                self.advance();
                let inner = self.expr()?;
                self.expect(TokenKind::RightParen)?;
                Ok(inner)
            }
            TokenKind::LeftBracket => self.list(),
            TokenKind::LeftBrace => self.map(),
            TokenKind::Dot | TokenKind::Identifier => self.name(),
            _ => self.literal().map(|expr| Parsed::new(expr, 0)),
        }
    }

    fn name(&mut self) -> Result<Parsed> {
        if self.starts_message() {
            self.message()
        } else {
            self.name_or_call()
        }
    }

    fn name_or_call(&mut self) -> Result<Parsed> {
        let dot = self.take(TokenKind::Dot);
        let ident = self.expect(TokenKind::Identifier)?;
        let open = self.take(TokenKind::LeftParen);
        let args = match open {
            Some(_) => Some(self.arguments()?),
            None => None,
        };
        if RESERVED.contains(&ident.text) {
            let offset = dot.unwrap_or(ident).offset;
            let expr = self.report(offset, format!("reserved identifier: {}", ident.text));
            return Ok(Parsed::new(expr, 0));
        }
        let name = if dot.is_some() {
            format!(".{}", ident.text)
        } else {
            ident.text.to_owned()
        };
        Ok(match (open, args) {
            (Some(open), Some((args, depth))) => {
                Parsed::new(self.call(open.offset, &name, None, args), depth)
            }
            _ => Parsed::new(self.builder.at(ident.offset).ident(&name), 0),
        })
    }

    fn literal(&mut self) -> Result<Expr> {
        let start = self.token().offset;
        let sign = self.take(TokenKind::Minus).map_or("", |_| "-");
        let token = self.advance();
        match literal::value(sign, &token) {
            None => Err(Stop::Syntax),
            Some(Ok(value)) => Ok(self.builder.at(start).literal(value)),
            Some(Err(message)) => Ok(self.report(start, message.to_owned())),
        }
    }

    /// A call, or what the macro of this name makes of it.
    fn call(&mut self, offset: u32, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let found = self.macros.iter().find(|candidate| {
            candidate.name == function
                && candidate.args == args.len()
                && candidate.receiver == target.is_some()
        });
        let Some(found) = found.copied() else {
            return self.builder.at(offset).member_call(function, target, args);
        };
        self.builder.at(offset);
        match (found.expand)(&mut self.builder, target, args) {
            Ok(expr) => expr,
            Err(refused) => {
                let offset = self.builder.offsets[refused.id as usize];
                self.report(offset, refused.message)
            }
        }
    }
}

fn relation_function(operator: TokenKind) -> Option<&'static str> {
    Some(match operator {
        TokenKind::Less => "_<_",
        TokenKind::LessEquals => "_<=_",
        TokenKind::Greater => "_>_",
        TokenKind::GreaterEquals => "_>=_",
        TokenKind::Equals => "_==_",
        TokenKind::NotEquals => "_!=_",
        TokenKind::In => "@in",
        _ => return None,
    })
}

/// The function of an operator, and how strongly it binds.
fn calc_function(operator: TokenKind) -> Option<(&'static str, u32)> {
    Some(match operator {
        TokenKind::Star => ("_*_", 2),
        TokenKind::Slash => ("_/_", 2),
        TokenKind::Percent => ("_%_", 2),
        TokenKind::Plus => ("_+_", 1),
        TokenKind::Minus => ("_-_", 1),
        _ => return None,
    })
}
