//! Lists, maps and objects: `[a]`, `{k: v}`, `Type{field: v}`.

use super::ast::{Expr, Kind, MapEntry, StructField};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser, Result, Stop};

impl Parser<'_> {
    pub(super) fn starts_message(&self) -> bool {
        let mut ahead = usize::from(self.peek() == TokenKind::Dot);
        loop {
            if self.peek_at(ahead) != TokenKind::Identifier {
                return false;
            }
            match self.peek_at(ahead + 1) {
                TokenKind::LeftBrace => return true,
                TokenKind::Dot => ahead += 2,
                _ => return false,
            }
        }
    }

    pub(super) fn message(&mut self) -> Result<Parsed> {
        let mut type_name = String::new();
        while self.peek() != TokenKind::LeftBrace {
            type_name.push_str(self.advance().text);
        }
        let open = self.advance();
        let id = self.builder.at(open.offset).id();
        let (mut fields, mut depth) = (Vec::new(), 0);
        while matches!(
            self.peek(),
            TokenKind::Question | TokenKind::Identifier | TokenKind::EscapedIdentifier
        ) {
            let first = self.token();
            let optional = self.take(TokenKind::Question).is_some();
            let name = self.advance();
            match name.kind {
                TokenKind::Identifier => {}
                TokenKind::EscapedIdentifier => {
                    self.report(first.offset, "unsupported syntax: '`'".to_owned());
                }
                _ => return Err(Stop::Syntax),
            }
            let colon = self.expect(TokenKind::Colon)?;
            let value = self.expr()?;
            depth = depth.max(value.depth);
            let id = self.builder.at(colon.offset).id();
            fields.push(StructField {
                id,
                name: name.text.into(),
                value: *value.expr,
                optional,
            });
            if self.take(TokenKind::Comma).is_none() {
                break;
            }
        }
        if fields.is_empty() {
            self.take(TokenKind::Comma);
        }
        self.expect(TokenKind::RightBrace)?;
        Ok(Parsed::new(
            Expr {
                id,
                kind: Kind::Struct {
                    type_name: type_name.into(),
                    fields,
                },
            },
            depth,
        ))
    }

    pub(super) fn list(&mut self) -> Result<Parsed> {
        let open = self.advance();
        let id = self.builder.at(open.offset).id();
        let (mut elements, mut optional, mut depth) = (Vec::new(), Vec::new(), 0);
        while !matches!(self.peek(), TokenKind::RightBracket | TokenKind::Comma) {
            optional.push(self.take(TokenKind::Question).is_some());
            let element = self.expr()?;
            depth = depth.max(element.depth);
            elements.push(*element.expr);
            if self.take(TokenKind::Comma).is_none() {
                break;
            }
        }
        if elements.is_empty() {
            self.take(TokenKind::Comma);
        }
        self.expect(TokenKind::RightBracket)?;
        Ok(Parsed::new(
            Expr {
                id,
                kind: Kind::List { elements, optional },
            },
            depth,
        ))
    }

    pub(super) fn map(&mut self) -> Result<Parsed> {
        let open = self.advance();
        let id = self.builder.at(open.offset).id();
        let (mut entries, mut depth) = (Vec::new(), 0);
        while !matches!(self.peek(), TokenKind::RightBrace | TokenKind::Comma) {
            let (entry, deep) = self.map_entry()?;
            entries.push(entry);
            depth = depth.max(deep);
            if self.take(TokenKind::Comma).is_none() {
                break;
            }
        }
        if entries.is_empty() {
            self.take(TokenKind::Comma);
        }
        self.expect(TokenKind::RightBrace)?;
        Ok(Parsed::new(
            Expr {
                id,
                kind: Kind::Map { entries },
            },
            depth,
        ))
    }

    fn map_entry(&mut self) -> Result<(MapEntry, u32)> {
        let optional = self.take(TokenKind::Question).is_some();
        let key = self.expr()?;
        self.expect(TokenKind::Colon)?;
        let value = self.expr()?;
        let entry = MapEntry {
            key: *key.expr,
            value: *value.expr,
            optional,
        };
        Ok((entry, key.depth.max(value.depth)))
    }
}
