//! Expressions as PostgreSQL prints them (`pg_get_constraintdef`, `pg_get_expr`): fully in parentheses, so
//! that no table of precedences is needed. Pure; what is not understood is none.

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A column, unquoted.
    Column(String),
    /// A constant as text; casts are taken off.
    Constant(String),
    /// A function and its arguments.
    Call(String, Vec<Expression>),
    /// Two sides compared.
    Compare(Box<Expression>, Operator, Box<Expression>),
    /// `left operator ANY (list)`.
    Any(Box<Expression>, Operator, Vec<Expression>),
    /// `left operator ALL (list)`.
    All(Box<Expression>, Operator, Vec<Expression>),
    /// `IS NULL` (true) or `IS NOT NULL`.
    IsNull(Box<Expression>, bool),
    /// All of them.
    And(Vec<Expression>),
    /// One of them.
    Or(Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),
    /// Two sides joined by another operator: `+ - * / % || -> ->> ? @> <@ &&`.
    Operation(Box<Expression>, String, Box<Expression>),
    /// The first value whose condition holds, else the last one.
    Case(Vec<(Expression, Expression)>, Option<Box<Expression>>),
    /// `NULL`.
    Null,
}

impl Expression {
    /// The columns that it reads, each once.
    pub fn columns(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn collect<'e>(&'e self, found: &mut Vec<&'e str>) {
        match self {
            Self::Column(name) => found.push(name),
            Self::Constant(_) | Self::Null => {}
            Self::Call(_, parts) | Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.collect(found));
            }
            Self::Compare(left, _, right) | Self::Operation(left, _, right) => {
                left.collect(found);
                right.collect(found);
            }
            Self::Any(left, _, list) | Self::All(left, _, list) => {
                left.collect(found);
                list.iter().for_each(|one| one.collect(found));
            }
            Self::IsNull(inner, _) | Self::Not(inner) => inner.collect(found),
            Self::Case(branches, last) => {
                for (condition, value) in branches {
                    condition.collect(found);
                    value.collect(found);
                }
                if let Some(last) = last {
                    last.collect(found);
                }
            }
        }
    }

    /// The expression with parts of it put in place of others.
    pub fn replaced(&self, by: &dyn Fn(&Self) -> Option<Self>) -> Self {
        if let Some(other) = by(self) {
            return other;
        }
        let one = |inner: &Self| Box::new(inner.replaced(by));
        let all = |parts: &[Self]| parts.iter().map(|part| part.replaced(by)).collect();
        match self {
            Self::Column(_) | Self::Constant(_) | Self::Null => self.clone(),
            Self::Call(name, parts) => Self::Call(name.clone(), all(parts)),
            Self::And(parts) => Self::And(all(parts)),
            Self::Or(parts) => Self::Or(all(parts)),
            Self::Compare(left, operator, right) => Self::Compare(one(left), *operator, one(right)),
            Self::Operation(left, operator, right) => Self::Operation(one(left), operator.clone(), one(right)),
            Self::Any(left, operator, list) => Self::Any(one(left), *operator, all(list)),
            Self::All(left, operator, list) => Self::All(one(left), *operator, all(list)),
            Self::IsNull(inner, is_null) => Self::IsNull(one(inner), *is_null),
            Self::Not(inner) => Self::Not(one(inner)),
            Self::Case(branches, last) => Self::Case(
                branches.iter().map(|(condition, value)| (condition.replaced(by), value.replaced(by))).collect(),
                last.as_ref().map(|last| one(last)),
            ),
        }
    }

    /// It is true or false, and no other value.
    pub fn is_condition(&self) -> bool {
        match self {
            Self::Compare(..)
            | Self::Any(..)
            | Self::All(..)
            | Self::IsNull(..)
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_) => true,
            Self::Operation(_, operator, _) => matches!(operator.as_str(), "?" | "@>" | "<@" | "&&"),
            Self::Constant(text) => text == "true" || text == "false",
            _ => false,
        }
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `<>`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `~`, `~*`
    Matches,
    /// `!~`, `!~*`
    Mismatches,
    /// `~~`, `~~*`: LIKE, ILIKE
    Like,
    /// `!~~`, `!~~*`
    Unlike,
}

impl Operator {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "<>" => Self::Unequal,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::Greater,
            ">=" => Self::AtLeast,
            "~" | "~*" => Self::Matches,
            "!~" | "!~*" => Self::Mismatches,
            "~~" | "~~*" => Self::Like,
            "!~~" | "!~~*" => Self::Unlike,
            _ => return None,
        })
    }

    /// What holds where this one does not.
    pub fn negated(self) -> Option<Self> {
        Some(match self {
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::Greater,
            Self::Greater => Self::AtMost,
            Self::AtLeast => Self::Less,
            Self::Matches => Self::Mismatches,
            Self::Mismatches => Self::Matches,
            Self::Like => Self::Unlike,
            Self::Unlike => Self::Like,
        })
    }

    /// The same with its sides exchanged; patterns have none.
    pub fn mirrored(self) -> Option<Self> {
        Some(match self {
            Self::Equal | Self::Unequal => self,
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Number(String),
    Symbol(String),
}

/// Reads an expression; `value` is the column that a domain's VALUE stands for.
pub fn parse(text: &str, value: Option<&str>) -> Option<Expression> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, value };
    let expression = parser.expression()?;
    (parser.at == tokens.len()).then_some(expression)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let c = characters[at];
        let while_true = |from: usize, test: &dyn Fn(char) -> bool| {
            (from..characters.len()).find(|index| !test(characters[*index])).unwrap_or(characters.len())
        };
        if c.is_whitespace() {
            at += 1;
        } else if c == '\'' || (c == 'E' && characters.get(at + 1) == Some(&'\'')) {
            let is_escaped = c == 'E';
            at += 1 + usize::from(is_escaped);
            let mut value = String::new();
            loop {
                match characters.get(at)? {
                    '\'' if characters.get(at + 1) == Some(&'\'') => {
                        value.push('\'');
                        at += 2;
                    }
                    '\'' => break,
                    '\\' if is_escaped => {
                        value.push(*characters.get(at + 1)?);
                        at += 2;
                    }
                    c => {
                        value.push(*c);
                        at += 1;
                    }
                }
            }
            at += 1;
            tokens.push(Token::Text(value));
        } else if c == '"' {
            let mut name = String::new();
            at += 1;
            loop {
                match characters.get(at)? {
                    '"' if characters.get(at + 1) == Some(&'"') => {
                        name.push('"');
                        at += 2;
                    }
                    '"' => break,
                    c => {
                        name.push(*c);
                        at += 1;
                    }
                }
            }
            at += 1;
            tokens.push(Token::Quoted(name));
        } else if c.is_ascii_digit() {
            let end = while_true(at, &|c| c.is_ascii_digit() || c == '.');
            tokens.push(Token::Number(characters[at..end].iter().collect()));
            at = end;
        } else if c.is_alphabetic() || c == '_' {
            let end = while_true(at, &|c| c.is_alphanumeric() || c == '_' || c == '$');
            tokens.push(Token::Word(characters[at..end].iter().collect()));
            at = end;
        } else if "()[],.".contains(c) {
            tokens.push(Token::Symbol(c.to_string()));
            at += 1;
        } else {
            let end = while_true(at, &|c| "+-*/<>=~!@#%^&|`?:".contains(c));
            if end == at {
                return None;
            }
            tokens.push(Token::Symbol(characters[at..end].iter().collect()));
            at = end;
        }
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    value: Option<&'a str>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Symbol(found)) if found == symbol);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.at += usize::from(is_there);
        is_there
    }

    /// Operands joined by AND or OR; within one pair of parentheses they are all the same.
    fn expression(&mut self) -> Option<Expression> {
        let first = self.comparison()?;
        let mut parts = vec![first];
        if self.word("and") {
            parts.push(self.comparison()?);
            while self.word("and") {
                parts.push(self.comparison()?);
            }
            return Some(Expression::And(parts));
        }
        if self.word("or") {
            parts.push(self.comparison()?);
            while self.word("or") {
                parts.push(self.comparison()?);
            }
            return Some(Expression::Or(parts));
        }
        parts.pop()
    }

    fn comparison(&mut self) -> Option<Expression> {
        if self.word("not") {
            return Some(Expression::Not(Box::new(self.comparison()?)));
        }
        let left = self.operand()?;
        if self.word("is") {
            let is_not = self.word("not");
            return if self.word("null") {
                Some(Expression::IsNull(Box::new(left), !is_not))
            } else if self.word("distinct") {
                if !self.word("from") {
                    return None;
                }
                let right = self.operand()?;
                let both = |is_null| {
                    Expression::And(vec![
                        Expression::IsNull(Box::new(left.clone()), is_null),
                        Expression::IsNull(Box::new(right.clone()), is_null),
                    ])
                };
                let same = Expression::Or(vec![
                    both(true),
                    Expression::And(vec![
                        both(false),
                        Expression::Compare(Box::new(left.clone()), Operator::Equal, Box::new(right.clone())),
                    ]),
                ]);
                Some(if is_not { same } else { Expression::Not(Box::new(same)) })
            } else if self.word("true") || self.word("false") {
                let is_true = matches!(self.tokens.get(self.at - 1), Some(Token::Word(word)) if word.eq_ignore_ascii_case("true"));
                if is_true == is_not { Some(Expression::Not(Box::new(left))) } else { Some(left) }
            } else {
                None
            };
        }
        let Some(Token::Symbol(symbol)) = self.peek() else { return Some(left) };
        let Some(operator) = Operator::read(symbol) else {
            if matches!(symbol.as_str(), ")" | "," | "]") {
                return Some(left);
            }
            // Any other operator than these is not understood.
            const OTHERS: [&str; 18] =
                ["+", "-", "*", "/", "%", "||", "->", "->>", "#>", "#>>", "?", "?|", "?&", "@>", "<@", "&&", "#", "&"];
            let operator = OTHERS.iter().find(|other| **other == symbol)?;
            self.at += 1;
            let right = self.operand()?;
            return Some(Expression::Operation(Box::new(left), (*operator).to_owned(), Box::new(right)));
        };
        self.at += 1;
        let is_any = self.word("any");
        if is_any || self.word("all") {
            let list = self.list()?;
            let left = Box::new(left);
            return Some(if is_any {
                Expression::Any(left, operator, list)
            } else {
                Expression::All(left, operator, list)
            });
        }
        let right = self.operand()?;
        Some(Expression::Compare(Box::new(left), operator, Box::new(right)))
    }

    /// `(ARRAY[...])`, `((ARRAY[...])::text[])` or `('{a,b}'::text[])`.
    fn list(&mut self) -> Option<Vec<Expression>> {
        if !self.symbol("(") {
            return None;
        }
        let list = if matches!(self.peek(), Some(Token::Symbol(symbol)) if symbol == "(") {
            self.list()?
        } else if self.word("array") {
            if !self.symbol("[") {
                return None;
            }
            let mut list = Vec::new();
            while !self.symbol("]") {
                list.push(self.operand()?);
                self.symbol(",");
            }
            list
        } else {
            let Some(Token::Text(text)) = self.peek() else { return None };
            let inner = text.strip_prefix('{')?.strip_suffix('}')?;
            let list = inner.split(',').map(|one| Expression::Constant(one.trim_matches('"').to_owned())).collect();
            self.at += 1;
            list
        };
        self.casts()?;
        self.symbol(")").then_some(list)
    }

    fn operand(&mut self) -> Option<Expression> {
        let is_negative = self.symbol("-");
        let token = self.peek()?.clone();
        self.at += 1;
        let expression = match token {
            Token::Symbol(symbol) if symbol == "(" => {
                let inner = self.expression()?;
                if !self.symbol(")") {
                    return None;
                }
                inner
            }
            Token::Text(text) => Expression::Constant(text),
            Token::Number(number) => Expression::Constant(number),
            Token::Quoted(name) => Expression::Column(name),
            Token::Word(word) => self.named(&word)?,
            Token::Symbol(_) => return None,
        };
        let before = self.at;
        self.casts()?;
        let is_date = matches!(self.tokens.get(before + 1), Some(Token::Word(word)) if word == "date");
        let mut expression = match expression {
            Expression::Constant(_) => expression,
            other if is_date => Expression::Call("date".into(), vec![other]),
            other => other,
        };
        if self.word("collate") {
            self.at += 1;
            // `"pg_catalog"."C"`
            if self.symbol(".") {
                self.at += 1;
            }
            self.casts()?;
        }
        if self.word("at") {
            if !(self.word("time") && self.word("zone")) {
                return None;
            }
            self.operand()?;
        }
        if is_negative {
            expression = match expression {
                Expression::Constant(number) => Expression::Constant(format!("-{number}")),
                other => Expression::Operation(Box::new(Expression::Constant("0".into())), "-".into(), Box::new(other)),
            };
        }
        Some(expression)
    }

    fn named(&mut self, word: &str) -> Option<Expression> {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "true" | "false" => return Some(Expression::Constant(lower)),
            "current_date" | "current_timestamp" | "localtimestamp" => {
                return Some(Expression::Call(lower, Vec::new()));
            }
            "value" if self.value.is_some() => {
                return self.value.map(|column| Expression::Column(column.to_owned()));
            }
            "null" => return Some(Expression::Null),
            "case" => return self.case(),
            "array" => {
                if !self.symbol("[") {
                    return None;
                }
                let mut list = Vec::new();
                while !self.symbol("]") {
                    list.push(self.expression()?);
                    if !self.symbol(",") && !matches!(self.peek(), Some(Token::Symbol(symbol)) if symbol == "]") {
                        return None;
                    }
                }
                return Some(Expression::Call("array".into(), list));
            }
            "extract" => {
                if !self.symbol("(") {
                    return None;
                }
                let (Token::Word(field) | Token::Text(field)) = self.peek()?.clone() else { return None };
                self.at += 1;
                if !self.word("from") {
                    return None;
                }
                let inner = self.expression()?;
                let field = Expression::Constant(field.to_ascii_lowercase());
                return self.symbol(")").then(|| Expression::Call("extract".into(), vec![field, inner]));
            }
            "row" | "exists" | "select" => return None,
            _ => {}
        }
        let mut name = word.to_owned();
        while self.symbol(".") {
            let (Token::Word(next) | Token::Quoted(next)) = self.peek()?.clone() else { return None };
            self.at += 1;
            name = next;
        }
        if !self.symbol("(") {
            return Some(Expression::Column(name));
        }
        let mut arguments = Vec::new();
        while !self.symbol(")") {
            arguments.push(self.expression()?);
            if !self.symbol(",") && !matches!(self.peek(), Some(Token::Symbol(symbol)) if symbol == ")") {
                return None;
            }
        }
        Some(Expression::Call(name, arguments))
    }

    fn case(&mut self) -> Option<Expression> {
        let subject = if matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case("when")) {
            None
        } else {
            Some(self.operand()?)
        };
        let mut branches = Vec::new();
        while self.word("when") {
            let mut condition = self.expression()?;
            if let Some(subject) = &subject {
                condition = Expression::Compare(Box::new(subject.clone()), Operator::Equal, Box::new(condition));
            }
            if !self.word("then") {
                return None;
            }
            branches.push((condition, self.expression()?));
        }
        let last = if self.word("else") { Some(Box::new(self.expression()?)) } else { None };
        self.word("end").then_some(Expression::Case(branches, last))
    }

    /// Takes `::type` off, as often as it stands.
    fn casts(&mut self) -> Option<()> {
        while self.symbol("::") {
            let (Token::Word(_) | Token::Quoted(_)) = self.peek()? else { return None };
            self.at += 1;
            while self.symbol(".") {
                self.at += 1;
            }
            while ["varying", "precision", "with", "without", "time", "zone"].iter().any(|word| self.word(word)) {}
            if self.symbol("(") {
                while !self.symbol(")") {
                    self.peek()?;
                    self.at += 1;
                }
                while ["with", "without", "time", "zone"].iter().any(|word| self.word(word)) {}
            }
            while self.symbol("[") {
                if !self.symbol("]") {
                    return None;
                }
            }
        }
        Some(())
    }
}
