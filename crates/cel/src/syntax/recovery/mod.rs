//! What is wrong with text that is no expression.
//!
//! Messages are upstream's to the letter, and upstream's come from a generated parser that goes on after each mistake. This one
//! walks the same grammar and recovers the same way; it makes no tree. Upstream: ANTLR's DefaultErrorStrategy, and
//! parser/parser.go of cel-go for the limits.

mod grammar;
mod predict;

use grammar::{GRAMMAR, Rule, StateId, StateKind, TokenSet, Transition};
use predict::{Prediction, predict};

use super::lexer::{LexError, Token, TokenKind};
use super::position;
use crate::error::Issue;

/// How often the parser may go on after a mistake.
const MAX_RECOVERIES: u32 = 30;
/// How many tokens it may skip in one go.
const MAX_SKIPPED: u32 = 256;
/// How deep a rule may be inside of itself.
const MAX_DEPTH: u32 = 250;

/// The issues of a text that the parser refused.
pub(super) fn issues(source: &str, tokens: &[Token<'_>], lex_errors: &[LexError]) -> Vec<Issue> {
    let mut parser = Parser {
        source,
        tokens,
        lex_errors,
        kinds: tokens.iter().map(|token| token.kind).collect(),
        at: 0,
        stack: Vec::new(),
        recovering: false,
        last_error: None,
        recoveries: 0,
        issues: Vec::new(),
    };
    for error in lex_errors {
        parser.report(
            error.offset,
            format!("token recognition error at: '{}'", error.text),
        );
    }
    // Giving up leaves what was reported so far.
    let _ = parser.rule(Rule::Start, 0);
    parser.issues
}

/// The parser gave up.
struct GaveUp;

/// A rule could not be completed.
enum Failure {
    Mismatch,
    NothingFits { start: usize, end: usize },
}

/// Where a rule goes on.
enum Step {
    To(StateId),
    /// Into another rule with this precedence, and then at the state.
    Enter(Rule, u8, StateId),
    /// The rule is complete.
    Done,
    Failed(Failure),
}

struct Parser<'s> {
    source: &'s str,
    tokens: &'s [Token<'s>],
    /// Text that is in no token.
    lex_errors: &'s [LexError],
    kinds: Vec<TokenKind>,
    at: usize,
    /// The rules being read, with what follows each in the one before.
    stack: Vec<(Rule, Option<StateId>)>,
    /// No issue is reported until a token fits again.
    recovering: bool,
    last_error: Option<(usize, Vec<StateId>)>,
    recoveries: u32,
    issues: Vec<Issue>,
}

fn escape_spaces(text: &str) -> String {
    text.replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

impl Parser<'_> {
    fn report(&mut self, offset: u32, message: String) {
        let (line, mut column) = position(self.source, offset);
        if self.source.is_empty() {
            // As upstream, nothing has no place.
            column = -1;
        }
        self.issues.push(Issue {
            line,
            column,
            message: format!("Syntax error: {message}"),
        });
    }

    fn kind(&self) -> TokenKind {
        self.kinds[self.at]
    }

    fn kind_after(&self) -> TokenKind {
        self.kinds
            .get(self.at + 1)
            .copied()
            .unwrap_or(TokenKind::Eof)
    }

    fn consume(&mut self) {
        if self.kind() != TokenKind::Eof {
            self.at += 1;
        }
    }

    /// The current token in quotes.
    fn shown(&self) -> String {
        match self.kind() {
            TokenKind::Eof => "'<EOF>'".to_owned(),
            _ => format!("'{}'", escape_spaces(self.tokens[self.at].text)),
        }
    }

    /// What may come after a state, in this rule or those it is in.
    fn expected(&self, state: StateId) -> TokenSet {
        let mut following = GRAMMAR.next(state);
        let mut found = following.without_end();
        for (_, follow) in self.stack.iter().rev() {
            let (true, Some(follow)) = (following.may_end(), follow) else {
                break;
            };
            following = GRAMMAR.next(*follow);
            found = found.union(following.without_end());
        }
        if following.may_end() {
            found.insert(TokenKind::Eof);
        }
        found
    }

    /// Reads a rule and those in it. Mistakes are reported; a rule with one counts as if it had been there. Rules nest nine
    /// deep for each parenthesis, so that those being read are kept in a list and not on the thread's stack.
    fn rule(&mut self, rule: Rule, precedence: u8) -> Result<(), GaveUp> {
        self.enter(rule, None)?;
        let (mut state, mut precedence) = (GRAMMAR.start(rule), precedence);
        let mut callers = Vec::new();
        loop {
            match self.step(state, precedence)? {
                Step::To(next) => {
                    state = next;
                    continue;
                }
                Step::Enter(rule, inner, follow) => {
                    self.enter(rule, Some(follow))?;
                    callers.push((follow, precedence));
                    (state, precedence) = (GRAMMAR.start(rule), inner);
                    continue;
                }
                Step::Done => {}
                Step::Failed(failure) => {
                    self.report_failure(failure, state);
                    self.recover(state)?;
                }
            }
            self.stack.pop();
            let Some(caller) = callers.pop() else {
                return Ok(());
            };
            (state, precedence) = caller;
        }
    }

    fn enter(&mut self, rule: Rule, follow: Option<StateId>) -> Result<(), GaveUp> {
        let depth = self.stack.iter().filter(|(open, _)| *open == rule).count() as u32 + 1;
        if depth > MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            self.issues.push(Issue {
                line: -1,
                column: -1,
                message,
            });
            return Err(GaveUp);
        }
        self.stack.push((rule, follow));
        Ok(())
    }

    /// What a state of a rule leads to.
    fn step(&mut self, state: StateId, precedence: u8) -> Result<Step, GaveUp> {
        let node = &GRAMMAR.states[state];
        match node.kind {
            StateKind::RuleStop => return Ok(Step::Done),
            StateKind::Basic => {}
            StateKind::Block | StateKind::LoopEntry | StateKind::LoopBack => {
                if let Err(failure) = self.sync(state)? {
                    return Ok(Step::Failed(failure));
                }
                return Ok(match self.choose(state, precedence) {
                    Ok(chosen) => Step::To(chosen),
                    Err(failure) => Step::Failed(failure),
                });
            }
        }
        Ok(match node.transitions[0] {
            Transition::Epsilon(to) | Transition::Precedence(_, to) => Step::To(to),
            Transition::Token(kinds, to) => {
                if kinds.contains(self.kind()) {
                    self.recovering = false;
                    self.last_error = None;
                    self.consume();
                } else if !self.recover_inline(state, to)? {
                    return Ok(Step::Failed(Failure::Mismatch));
                }
                Step::To(to)
            }
            Transition::Rule {
                rule,
                precedence,
                follow,
            } => Step::Enter(rule, precedence, follow),
        })
    }

    /// The state that a decision leads to.
    fn choose(&self, state: StateId, precedence: u8) -> Result<StateId, Failure> {
        let node = &GRAMMAR.states[state];
        let target = |index: usize| match node.transitions[index] {
            Transition::Epsilon(to) => to,
            _ => state,
        };
        if node.simple {
            let fits = (0..node.transitions.len())
                .find(|index| GRAMMAR.next(target(*index)).contains(self.kind()));
            return match fits {
                Some(index) => Ok(target(index)),
                None if node.skips => Ok(target(node.transitions.len() - 1)),
                None => Err(Failure::NothingFits {
                    start: self.at,
                    end: self.at,
                }),
            };
        }
        match predict(state, precedence, &self.kinds[self.at..]) {
            Prediction::Alternative(index) => Ok(target(index)),
            Prediction::Nothing(ahead) => Err(Failure::NothingFits {
                start: self.at,
                end: (self.at + ahead).min(self.tokens.len() - 1),
            }),
        }
    }

    fn report_failure(&mut self, failure: Failure, state: StateId) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        match failure {
            Failure::Mismatch => {
                let expected = self.expected(state).display();
                let message = format!("mismatched input {} expecting {expected}", self.shown());
                self.report(self.tokens[self.at].offset, message);
            }
            Failure::NothingFits { start, end } => {
                let input = if self.kinds[start] == TokenKind::Eof {
                    "<EOF>".to_owned()
                } else {
                    escape_spaces(&self.text_between(start, end))
                };
                let reserved = ["true", "false", "null"].into_iter().find(|word| {
                    input
                        .strip_suffix(word)
                        .is_some_and(|before| before.chars().count() == 1)
                });
                let message = match reserved {
                    Some(word) => format!("mismatched input '{word}' expecting IDENTIFIER"),
                    None => format!("no viable alternative at input '{input}'"),
                };
                self.report(self.tokens[end].offset, message);
            }
        }
    }

    /// The text from one token to another, without what is in no token.
    fn text_between(&self, start: usize, end: usize) -> String {
        let last = &self.tokens[end];
        let (mut at, end) = (self.tokens[start].start, last.start + last.text.len());
        let mut text = String::new();
        for error in self.lex_errors {
            if !(at..end).contains(&error.start) {
                continue;
            }
            text.push_str(&self.source[at..error.start]);
            at = error.start + error.text.len();
        }
        text.push_str(&self.source[at..end]);
        text
    }

    /// Before a decision: skips what cannot be part of the text here.
    fn sync(&mut self, state: StateId) -> Result<Result<(), Failure>, GaveUp> {
        let next = GRAMMAR.next(state);
        if self.recovering || next.may_end() || next.contains(self.kind()) {
            return Ok(Ok(()));
        }
        if GRAMMAR.states[state].kind == StateKind::LoopBack {
            self.report_unwanted(state);
            let until = self.expected(state).union(self.recovery_set());
            self.skip_until(until, None)?;
            return Ok(Ok(()));
        }
        Ok(if self.delete_token(state) {
            Ok(())
        } else {
            Err(Failure::Mismatch)
        })
    }

    fn report_unwanted(&mut self, state: StateId) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        let message = format!(
            "extraneous input {} expecting {}",
            self.shown(),
            self.expected(state).display()
        );
        self.report(self.tokens[self.at].offset, message);
    }

    /// Leaves out one token, if the one after it fits.
    fn delete_token(&mut self, state: StateId) -> bool {
        if !self.expected(state).contains(self.kind_after()) {
            return false;
        }
        self.report_unwanted(state);
        self.consume();
        self.recovering = false;
        self.last_error = None;
        true
    }

    /// Where a token does not fit: leaves it out, or takes the wanted one for there.
    fn recover_inline(&mut self, state: StateId, to: StateId) -> Result<bool, GaveUp> {
        self.count_recovery()?;
        if self.delete_token(state) {
            self.consume();
            return Ok(true);
        }
        if self.expected(to).contains(self.kind()) {
            if !self.recovering {
                self.recovering = true;
                let message = format!(
                    "missing {} at {}",
                    self.expected(state).display(),
                    self.shown()
                );
                self.report(self.tokens[self.at].offset, message);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// After a rule that could not be completed: skips to what may follow it.
    fn recover(&mut self, state: StateId) -> Result<(), GaveUp> {
        self.count_recovery()?;
        let mut skipped = 0;
        let again = self
            .last_error
            .as_ref()
            .is_some_and(|(at, states)| *at == self.at && states.contains(&state));
        if again {
            self.consume();
            skipped += 1;
        }
        match &mut self.last_error {
            Some((at, states)) => {
                *at = self.at;
                states.push(state);
            }
            None => self.last_error = Some((self.at, vec![state])),
        }
        self.skip_until(self.recovery_set(), Some(skipped))
    }

    /// All that may follow the rules being read.
    fn recovery_set(&self) -> TokenSet {
        let follows = self.stack.iter().filter_map(|(_, follow)| *follow);
        follows.fold(TokenSet::default(), |set, follow| {
            set.union(GRAMMAR.next(follow).without_end())
        })
    }

    fn skip_until(&mut self, until: TokenSet, limited: Option<u32>) -> Result<(), GaveUp> {
        let mut skipped = limited.unwrap_or(0);
        while self.kind() != TokenKind::Eof && !until.contains(self.kind()) {
            if limited.is_some() && skipped >= MAX_SKIPPED {
                let message =
                    format!("error recovery token lookahead limit exceeded: {MAX_SKIPPED}");
                self.issues.push(Issue {
                    line: -1,
                    column: -1,
                    message,
                });
                return Err(GaveUp);
            }
            skipped += 1;
            self.consume();
        }
        Ok(())
    }

    fn count_recovery(&mut self) -> Result<(), GaveUp> {
        if self.recoveries == MAX_RECOVERIES {
            let message = format!("error recovery attempt limit exceeded: {MAX_RECOVERIES}");
            self.report(self.tokens[self.at].offset, message);
            return Err(GaveUp);
        }
        self.recoveries += 1;
        Ok(())
    }
}
