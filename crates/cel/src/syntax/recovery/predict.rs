//! Which alternative the text ahead asks for. Upstream: ANTLR's adaptive LL(*) prediction.

use super::grammar::{GRAMMAR, StateId, StateKind, Transition};
use crate::syntax::lexer::TokenKind;

/// A possible way through the grammar: where it is, what it returns to, and which alternative it began with.
#[derive(Clone, PartialEq, Eq)]
struct Config {
    state: StateId,
    alternative: usize,
    /// Follow states of the rules entered; the rules entered before the decision are not known.
    stack: Vec<StateId>,
    /// Whether it left the rule of the decision.
    outside: bool,
}

/// What a prediction found.
pub(super) enum Prediction {
    Alternative(usize),
    /// Nothing fits; the token with this number ahead is the first that does not.
    Nothing(usize),
}

/// Chooses an alternative of a decision. `precedence` is the level of the rule it is in.
pub(super) fn predict(state: StateId, precedence: u8, tokens: &[TokenKind]) -> Prediction {
    let mut configs = Vec::new();
    for (index, transition) in GRAMMAR.states[state].transitions.iter().enumerate() {
        if let Transition::Epsilon(to) = transition {
            let config = Config {
                state: *to,
                alternative: index,
                stack: Vec::new(),
                outside: false,
            };
            close(config, Some(precedence), &mut configs);
        }
    }
    let mut ahead = 0;
    loop {
        let kind = tokens.get(ahead).copied().unwrap_or(TokenKind::Eof);
        let mut reached = Vec::new();
        for config in &configs {
            for transition in &GRAMMAR.states[config.state].transitions {
                if let Transition::Token(kinds, to) = transition
                    && kinds.contains(kind)
                {
                    close(
                        Config {
                            state: *to,
                            ..config.clone()
                        },
                        None,
                        &mut reached,
                    );
                }
            }
        }
        if reached.is_empty() {
            // An alternative that was complete before this token will do.
            let complete = configs
                .iter()
                .filter(|config| config.outside || is_stop(config.state));
            return match complete.map(|config| config.alternative).min() {
                Some(alternative) => Prediction::Alternative(alternative),
                None => Prediction::Nothing(ahead),
            };
        }
        if let Some(alternative) = decided(&reached) {
            return Prediction::Alternative(alternative);
        }
        if kind == TokenKind::Eof {
            return Prediction::Alternative(
                reached
                    .iter()
                    .map(|config| config.alternative)
                    .min()
                    .unwrap_or(0),
            );
        }
        configs = reached;
        ahead += 1;
    }
}

fn is_stop(state: StateId) -> bool {
    GRAMMAR.states[state].kind == StateKind::RuleStop
}

/// The alternative that all ways share, or the first where the ways are the same for several.
fn decided(configs: &[Config]) -> Option<usize> {
    let first = configs[0].alternative;
    if configs.iter().all(|config| config.alternative == first) {
        return Some(first);
    }
    let shared = |config: &Config| {
        let mut others = configs
            .iter()
            .filter(|other| other.alternative != config.alternative);
        others.any(|other| other.state == config.state)
    };
    let all = || configs.iter().map(|config| config.alternative).min();
    configs.iter().all(shared).then(all)?
}

/// Adds a way and all it leads to without reading a token. Kept are the places where a token is read or a rule ends.
fn close(config: Config, precedence: Option<u8>, into: &mut Vec<Config>) {
    let mut seen = Vec::new();
    let mut waiting = vec![(config, precedence)];
    while let Some((config, precedence)) = waiting.pop() {
        if seen.contains(&config) {
            continue;
        }
        seen.push(config.clone());
        let state = &GRAMMAR.states[config.state];
        let is_stop = state.kind == StateKind::RuleStop;
        let reads = matches!(state.transitions.first(), Some(Transition::Token(..)));
        if (is_stop || reads) && !into.contains(&config) {
            into.push(config.clone());
        }
        if is_stop {
            let mut stack = config.stack.clone();
            if let Some(follow) = stack.pop() {
                waiting.push((
                    Config {
                        state: follow,
                        stack,
                        ..config
                    },
                    None,
                ));
                continue;
            }
            // Out of the rule: anything that follows it anywhere.
            let follows = &GRAMMAR.follows[GRAMMAR.stop_of(config.state) as usize];
            waiting.extend(follows.iter().map(|follow| {
                (
                    Config {
                        state: *follow,
                        stack: Vec::new(),
                        outside: true,
                        ..config.clone()
                    },
                    None,
                )
            }));
            continue;
        }
        for transition in &state.transitions {
            match *transition {
                Transition::Token(..) => {}
                Transition::Epsilon(to) => waiting.push((
                    Config {
                        state: to,
                        ..config.clone()
                    },
                    precedence,
                )),
                Transition::Precedence(level, to) => {
                    if precedence.is_none_or(|current| level >= current) {
                        waiting.push((
                            Config {
                                state: to,
                                ..config.clone()
                            },
                            precedence,
                        ));
                    }
                }
                Transition::Rule { rule, follow, .. } => {
                    let mut stack = config.stack.clone();
                    stack.push(follow);
                    waiting.push((
                        Config {
                            state: GRAMMAR.start(rule),
                            stack,
                            ..config.clone()
                        },
                        None,
                    ));
                }
            }
        }
    }
}
