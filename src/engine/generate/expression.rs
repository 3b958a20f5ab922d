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
            } else if self.word("true") || self.word("false") {
                let is_true = matches!(self.tokens.get(self.at - 1), Some(Token::Word(word)) if word.eq_ignore_ascii_case("true"));
                if is_true == is_not { Some(Expression::Not(Box::new(left))) } else { Some(left) }
            } else {
                None
            };
        }
        let Some(Token::Symbol(symbol)) = self.peek() else { return Some(left) };
        let Some(operator) = Operator::read(symbol) else {
            // A closing parenthesis or comma ends the operand; any other operator is not understood.
            return matches!(symbol.as_str(), ")" | "," | "]").then_some(left);
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
        self.casts()?;
        if self.word("collate") {
            self.at += 1;
            self.casts()?;
        }
        match (is_negative, expression) {
            (false, expression) => Some(expression),
            (true, Expression::Constant(number)) => Some(Expression::Constant(format!("-{number}"))),
            (true, _) => None,
        }
    }

    fn named(&mut self, word: &str) -> Option<Expression> {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "true" | "false" => return Some(Expression::Constant(lower)),
            "current_date" | "current_timestamp" | "localtimestamp" => {
                return Some(Expression::Call(lower, Vec::new()));
            }
            "value" => return self.value.map(|column| Expression::Column(column.to_owned())),
            "case" | "null" | "array" | "row" | "exists" | "select" | "extract" => return None,
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
