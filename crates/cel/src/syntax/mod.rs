//! Text to trees. Upstream: parser/ of cel-go.
//!
//! Valid expressions go through a plain recursive descent. When one is not valid, `recovery` reads it again the way upstream's
//! generated parser does, so that messages are the same; that reader builds no tree.

mod aggregates;
pub(crate) mod ast;
pub(crate) mod lexer;
mod literal;
pub(crate) mod macros;
mod parser;
mod recovery;

pub(crate) use parser::{parse, position};
