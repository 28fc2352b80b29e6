//! The grammar as a graph of states, as upstream's parser generator (ANTLR 4) builds it from parser/gen/CEL.g4.

use std::sync::LazyLock;

use crate::syntax::lexer::TokenKind;

/// A set of kinds of tokens, and of the end of the rule.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TokenSet(u64);

const END_OF_RULE: u64 = 1 << 63;

impl TokenSet {
    pub(super) fn contains(self, kind: TokenKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub(super) fn insert(&mut self, kind: TokenKind) {
        self.0 |= 1 << kind as u8;
    }

    pub(super) fn union(self, other: TokenSet) -> TokenSet {
        TokenSet(self.0 | other.0)
    }

    /// Whether the rule may end instead.
    pub(super) fn may_end(self) -> bool {
        self.0 & END_OF_RULE != 0
    }

    pub(super) fn without_end(self) -> TokenSet {
        TokenSet(self.0 & !END_OF_RULE)
    }

    /// As messages list it.
    pub(super) fn display(self) -> String {
        let names: Vec<&str> = TokenKind::ALL
            .into_iter()
            .filter(|kind| self.contains(*kind))
            .map(TokenKind::display)
            .collect();
        match names.as_slice() {
            [name] => (*name).to_owned(),
            names => format!("{{{}}}", names.join(", ")),
        }
    }
}

impl<const N: usize> From<[TokenKind; N]> for TokenSet {
    fn from(kinds: [TokenKind; N]) -> Self {
        let mut set = TokenSet::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

pub(super) type StateId = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    Start,
    Expr,
    Or,
    And,
    Relation,
    Calc,
    Unary,
    Member,
    Primary,
    ExprList,
    ListInit,
    FieldInits,
    OptField,
    MapInits,
    EscapeIdent,
    OptExpr,
    Literal,
}

pub(super) const RULES: [Rule; 17] = [
    Rule::Start,
    Rule::Expr,
    Rule::Or,
    Rule::And,
    Rule::Relation,
    Rule::Calc,
    Rule::Unary,
    Rule::Member,
    Rule::Primary,
    Rule::ExprList,
    Rule::ListInit,
    Rule::FieldInits,
    Rule::OptField,
    Rule::MapInits,
    Rule::EscapeIdent,
    Rule::OptExpr,
    Rule::Literal,
];

#[derive(Clone, Copy)]
pub(super) enum Transition {
    Epsilon(StateId),
    Token(TokenSet, StateId),
    Rule {
        rule: Rule,
        precedence: u8,
        follow: StateId,
    },
    /// Goes on only where operators of this level may stand.
    Precedence(u8, StateId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StateKind {
    Basic,
    RuleStop,
    /// Chooses between alternatives.
    Block,
    /// Chooses whether to start a loop.
    LoopEntry,
    /// Chooses whether to go round again.
    LoopBack,
}

pub(super) struct State {
    pub(super) kind: StateKind,
    pub(super) transitions: Vec<Transition>,
    /// Whether the next token alone decides.
    pub(super) simple: bool,
    /// Whether the last alternative is to go on.
    pub(super) skips: bool,
}

pub(super) struct Grammar {
    pub(super) states: Vec<State>,
    starts: Vec<StateId>,
    stops: Vec<StateId>,
    /// What comes after each rule, wherever it is used.
    pub(super) follows: Vec<Vec<StateId>>,
    next: Vec<TokenSet>,
}

pub(super) static GRAMMAR: LazyLock<Grammar> = LazyLock::new(Grammar::build);

/// A part of a rule: its first and last state.
type Part = (StateId, StateId);

impl Grammar {
    pub(super) fn start(&self, rule: Rule) -> StateId {
        self.starts[rule as usize]
    }

    /// The rule that ends in this state.
    pub(super) fn stop_of(&self, state: StateId) -> Rule {
        let index = self
            .stops
            .iter()
            .position(|stop| *stop == state)
            .unwrap_or(0);
        RULES[index]
    }

    /// What may come next in the rule.
    pub(super) fn next(&self, state: StateId) -> TokenSet {
        self.next[state]
    }

    fn state(&mut self, kind: StateKind, simple: bool) -> StateId {
        let skips = matches!(kind, StateKind::LoopEntry | StateKind::LoopBack);
        self.states.push(State {
            kind,
            transitions: Vec::new(),
            simple,
            skips,
        });
        self.states.len() - 1
    }

    fn basic(&mut self) -> StateId {
        self.state(StateKind::Basic, false)
    }

    fn link(&mut self, from: StateId, to: Transition) {
        self.states[from].transitions.push(to);
    }

    fn any<const N: usize>(&mut self, kinds: [TokenKind; N]) -> Part {
        let (from, to) = (self.basic(), self.basic());
        self.link(from, Transition::Token(kinds.into(), to));
        (from, to)
    }

    fn token(&mut self, kind: TokenKind) -> Part {
        self.any([kind])
    }

    fn rule(&mut self, rule: Rule) -> Part {
        self.rule_at(rule, 0)
    }

    fn rule_at(&mut self, rule: Rule, precedence: u8) -> Part {
        let (from, follow) = (self.basic(), self.basic());
        self.link(
            from,
            Transition::Rule {
                rule,
                precedence,
                follow,
            },
        );
        (from, follow)
    }

    fn precedence(&mut self, level: u8) -> Part {
        let (from, to) = (self.basic(), self.basic());
        self.link(from, Transition::Precedence(level, to));
        (from, to)
    }

    fn sequence(&mut self, parts: &[Part]) -> Part {
        for pair in parts.windows(2) {
            self.link(pair[0].1, Transition::Epsilon(pair[1].0));
        }
        (parts[0].0, parts[parts.len() - 1].1)
    }

    fn choice(&mut self, parts: &[Part], simple: bool) -> Part {
        let (block, end) = (self.state(StateKind::Block, simple), self.basic());
        for part in parts {
            self.link(block, Transition::Epsilon(part.0));
            self.link(part.1, Transition::Epsilon(end));
        }
        (block, end)
    }

    fn optional(&mut self, part: Part) -> Part {
        let (block, end) = self.choice(&[part], true);
        self.link(block, Transition::Epsilon(end));
        self.states[block].skips = true;
        (block, end)
    }

    fn optional_token(&mut self, kind: TokenKind) -> Part {
        let part = self.token(kind);
        self.optional(part)
    }

    fn many(&mut self, part: Part, simple: bool) -> Part {
        let entry = self.state(StateKind::LoopEntry, simple);
        let back = self.state(StateKind::LoopBack, simple);
        let end = self.basic();
        for state in [entry, back] {
            self.link(state, Transition::Epsilon(part.0));
            self.link(state, Transition::Epsilon(end));
        }
        self.link(part.1, Transition::Epsilon(back));
        (entry, end)
    }

    fn at_least_one(&mut self, part: Part, simple: bool) -> Part {
        let back = self.state(StateKind::LoopBack, simple);
        let end = self.basic();
        self.link(back, Transition::Epsilon(part.0));
        self.link(back, Transition::Epsilon(end));
        self.link(part.1, Transition::Epsilon(back));
        (part.0, end)
    }

    fn define(&mut self, rule: Rule, body: Part) {
        let stop = self.state(StateKind::RuleStop, false);
        self.link(body.1, Transition::Epsilon(stop));
        self.starts[rule as usize] = body.0;
        self.stops[rule as usize] = stop;
    }

    fn build() -> Grammar {
        let count = RULES.len();
        let mut g = Grammar {
            states: Vec::new(),
            starts: vec![0; count],
            stops: vec![0; count],
            follows: vec![Vec::new(); count],
            next: Vec::new(),
        };
        g.operators();
        g.members();
        g.lists();
        for state in 0..g.states.len() {
            for transition in g.states[state].transitions.clone() {
                if let Transition::Rule { rule, follow, .. } = transition {
                    g.follows[rule as usize].push(follow);
                }
            }
        }
        g.next = (0..g.states.len())
            .map(|state| g.look(state, &mut Vec::new()))
            .collect();
        g
    }

    fn operators(&mut self) {
        use TokenKind::*;
        let body = [self.rule(Rule::Expr), self.token(Eof)];
        let body = self.sequence(&body);
        self.define(Rule::Start, body);

        let rest = [
            self.token(Question),
            self.rule(Rule::Or),
            self.token(Colon),
            self.rule(Rule::Expr),
        ];
        let rest = self.sequence(&rest);
        let body = [self.rule(Rule::Or), self.optional(rest)];
        let body = self.sequence(&body);
        self.define(Rule::Expr, body);

        for (rule, operand, operator) in
            [(Rule::Or, Rule::And, Or), (Rule::And, Rule::Relation, And)]
        {
            let more = [self.token(operator), self.rule(operand)];
            let more = self.sequence(&more);
            let body = [self.rule(operand), self.many(more, true)];
            let body = self.sequence(&body);
            self.define(rule, body);
        }

        let operators = self.any([
            Less,
            LessEquals,
            GreaterEquals,
            Greater,
            Equals,
            NotEquals,
            In,
        ]);
        let more = [
            self.precedence(1),
            operators,
            self.rule_at(Rule::Relation, 2),
        ];
        let more = self.sequence(&more);
        let body = [self.rule(Rule::Calc), self.many(more, false)];
        let body = self.sequence(&body);
        self.define(Rule::Relation, body);

        let product = [
            self.precedence(2),
            self.any([Star, Slash, Percent]),
            self.rule_at(Rule::Calc, 3),
        ];
        let product = self.sequence(&product);
        let sum = [
            self.precedence(1),
            self.any([Plus, Minus]),
            self.rule_at(Rule::Calc, 2),
        ];
        let sum = self.sequence(&sum);
        let more = self.choice(&[product, sum], false);
        let body = [self.rule(Rule::Unary), self.many(more, false)];
        let body = self.sequence(&body);
        self.define(Rule::Calc, body);

        let plain = self.rule(Rule::Member);
        let nots = self.token(Not);
        let not = [self.at_least_one(nots, true), self.rule(Rule::Member)];
        let not = self.sequence(&not);
        let minuses = self.token(Minus);
        let minus = [self.at_least_one(minuses, false), self.rule(Rule::Member)];
        let minus = self.sequence(&minus);
        let body = self.choice(&[plain, not, minus], false);
        self.define(Rule::Unary, body);
    }

    fn members(&mut self) {
        use TokenKind::*;
        let select = [
            self.token(Dot),
            self.optional_token(Question),
            self.rule(Rule::EscapeIdent),
        ];
        let select = self.sequence(&select);
        let args = self.rule(Rule::ExprList);
        let call = [
            self.token(Dot),
            self.token(Identifier),
            self.token(LeftParen),
            self.optional(args),
            self.token(RightParen),
        ];
        let call = self.sequence(&call);
        let index = [
            self.token(LeftBracket),
            self.optional_token(Question),
            self.rule(Rule::Expr),
            self.token(RightBracket),
        ];
        let index = self.sequence(&index);
        let more = self.choice(&[select, call, index], false);
        let body = [self.rule(Rule::Primary), self.many(more, false)];
        let body = self.sequence(&body);
        self.define(Rule::Member, body);

        let ident = [self.optional_token(Dot), self.token(Identifier)];
        let ident = self.sequence(&ident);
        let args = self.rule(Rule::ExprList);
        let call = [
            self.optional_token(Dot),
            self.token(Identifier),
            self.token(LeftParen),
            self.optional(args),
            self.token(RightParen),
        ];
        let call = self.sequence(&call);
        let nested = [
            self.token(LeftParen),
            self.rule(Rule::Expr),
            self.token(RightParen),
        ];
        let nested = self.sequence(&nested);
        let items = self.rule(Rule::ListInit);
        let list = [
            self.token(LeftBracket),
            self.optional(items),
            self.optional_token(Comma),
            self.token(RightBracket),
        ];
        let list = self.sequence(&list);
        let entries = self.rule(Rule::MapInits);
        let map = [
            self.token(LeftBrace),
            self.optional(entries),
            self.optional_token(Comma),
            self.token(RightBrace),
        ];
        let map = self.sequence(&map);
        let more = [self.token(Dot), self.token(Identifier)];
        let more = self.sequence(&more);
        let fields = self.rule(Rule::FieldInits);
        let message = [
            self.optional_token(Dot),
            self.token(Identifier),
            self.many(more, true),
            self.token(LeftBrace),
            self.optional(fields),
            self.optional_token(Comma),
            self.token(RightBrace),
        ];
        let message = self.sequence(&message);
        let literal = self.rule(Rule::Literal);
        let body = self.choice(&[ident, call, nested, list, map, message, literal], false);
        self.define(Rule::Primary, body);
    }

    fn lists(&mut self) {
        use TokenKind::*;
        let more = [self.token(Comma), self.rule(Rule::Expr)];
        let more = self.sequence(&more);
        let body = [self.rule(Rule::Expr), self.many(more, true)];
        let body = self.sequence(&body);
        self.define(Rule::ExprList, body);

        let more = [self.token(Comma), self.rule(Rule::OptExpr)];
        let more = self.sequence(&more);
        let body = [self.rule(Rule::OptExpr), self.many(more, false)];
        let body = self.sequence(&body);
        self.define(Rule::ListInit, body);

        for (rule, key) in [
            (Rule::FieldInits, Rule::OptField),
            (Rule::MapInits, Rule::OptExpr),
        ] {
            let more = [
                self.token(Comma),
                self.rule(key),
                self.token(Colon),
                self.rule(Rule::Expr),
            ];
            let more = self.sequence(&more);
            let body = [
                self.rule(key),
                self.token(Colon),
                self.rule(Rule::Expr),
                self.many(more, false),
            ];
            let body = self.sequence(&body);
            self.define(rule, body);
        }
        for (rule, inner) in [
            (Rule::OptField, Rule::EscapeIdent),
            (Rule::OptExpr, Rule::Expr),
        ] {
            let body = [self.optional_token(Question), self.rule(inner)];
            let body = self.sequence(&body);
            self.define(rule, body);
        }

        let names = [self.token(Identifier), self.token(EscapedIdentifier)];
        let body = self.choice(&names, true);
        self.define(Rule::EscapeIdent, body);

        let int = [self.optional_token(Minus), self.token(Int)];
        let int = self.sequence(&int);
        let float = [self.optional_token(Minus), self.token(Float)];
        let float = self.sequence(&float);
        let mut alternatives = vec![int, self.token(Uint), float];
        for kind in [String, Bytes, True, False, Null] {
            alternatives.push(self.token(kind));
        }
        let body = self.choice(&alternatives, false);
        self.define(Rule::Literal, body);
    }

    /// What may come next in the rule, going into the rules it uses.
    fn look(&self, state: StateId, seen: &mut Vec<StateId>) -> TokenSet {
        if seen.contains(&state) {
            return TokenSet::default();
        }
        seen.push(state);
        if self.states[state].kind == StateKind::RuleStop {
            return TokenSet(END_OF_RULE);
        }
        let mut found = TokenSet::default();
        for transition in &self.states[state].transitions {
            found = found.union(match *transition {
                Transition::Token(kinds, _) => kinds,
                Transition::Epsilon(to) | Transition::Precedence(_, to) => self.look(to, seen),
                // No rule of this grammar can be empty.
                Transition::Rule { rule, .. } => {
                    self.look(self.start(rule), &mut Vec::new()).without_end()
                }
            });
        }
        found
    }
}
