//! From tokens to a tree, by the grammar of CEL as far as it is spoken here. Names and types are [`super::check`]'s.

use super::token::{Kind, Token, tokens};
use super::{MAX_DEPTH, MAX_LENGTH, MAX_NODES, WhenError};

/// A part of an expression, and the byte at which it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) form: Form,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Form {
    Bool(bool),
    Null,
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Name(Box<str>),
    Field(Box<Node>, Box<str>),
    Index(Box<Node>, Box<Node>),
    /// A function, with what stands before its dot.
    Call(Option<Box<Node>>, Box<str>, Vec<Node>),
    List(Vec<Node>),
    Not(Box<Node>),
    /// All of them, or any of them.
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(&'static str, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
}

/// Signs of comparisons.
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];
/// Signs of the language that are not spoken here.
const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];

/// The tree of an expression.
pub(super) fn parse(text: &str) -> Result<Node, WhenError> {
    if text.len() > MAX_LENGTH {
        let message = format!("the expression is longer than {MAX_LENGTH} bytes");
        return Err(WhenError::at(0, message));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        depth: 0,
        nodes: 0,
    };
    let node = parser.expression()?;
    match parser.next() {
        (_, Kind::End) => Ok(node),
        (at, Kind::Sign(sign)) if ARITHMETIC.contains(&sign) => {
            let message = format!("there is no arithmetic in a condition: `{sign}`");
            Err(WhenError::at(at, message))
        }
        (at, Kind::Sign(sign)) if COMPARISONS.contains(&sign) => {
            let message = "comparisons do not follow each other";
            Err(WhenError::at(at, message).help("put one of them into brackets, or join them with `&&`"))
        }
        (at, found) => Err(WhenError::at(at, format!("{} is one too many", shown(&found)))),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    depth: usize,
    nodes: usize,
}

impl Parser<'_> {
    /// The next token, left where it is. The last one is the end.
    fn next(&self) -> (usize, Kind) {
        let first = self.tokens.first();
        first.map_or((0, Kind::End), |token| (token.at, token.kind.clone()))
    }

    fn advance(&mut self) {
        if let Some((_, rest)) = self.tokens.split_first() {
            self.tokens = rest;
        }
    }

    /// Takes the sign if it comes next.
    fn takes(&mut self, sign: &'static str) -> bool {
        let is_next = self.next().1 == Kind::Sign(sign);
        if is_next {
            self.advance();
        }
        is_next
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), WhenError> {
        if self.takes(sign) {
            return Ok(());
        }
        let (at, found) = self.next();
        Err(WhenError::at(at, format!("expected `{sign}`, found {}", shown(&found))))
    }

    fn node(&mut self, at: usize, form: Form) -> Result<Node, WhenError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(WhenError::at(
                at,
                format!("the expression has more than {MAX_NODES} parts"),
            ));
        }
        Ok(Node { at, form })
    }

    fn expression(&mut self) -> Result<Node, WhenError> {
        let (at, _) = self.next();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} deep");
            return Err(WhenError::at(at, message));
        }
        let condition = self.any_of()?;
        let node = if self.takes("?") {
            let yes = self.any_of()?;
            self.expect(":")?;
            let no = self.expression()?;
            self.node(at, Form::If(Box::new([condition, yes, no])))
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        node
    }

    fn any_of(&mut self) -> Result<Node, WhenError> {
        let (at, _) = self.next();
        let mut all = vec![self.all_of()?];
        while self.takes("||") {
            all.push(self.all_of()?);
        }
        self.joined(at, all, Form::Or)
    }

    fn all_of(&mut self) -> Result<Node, WhenError> {
        let (at, _) = self.next();
        let mut all = vec![self.comparison()?];
        while self.takes("&&") {
            all.push(self.comparison()?);
        }
        self.joined(at, all, Form::And)
    }

    fn joined(&mut self, at: usize, mut all: Vec<Node>, form: fn(Vec<Node>) -> Form) -> Result<Node, WhenError> {
        match (all.len(), all.pop()) {
            (1, Some(one)) => Ok(one),
            (_, last) => {
                all.extend(last);
                self.node(at, form(all))
            }
        }
    }

    fn comparison(&mut self) -> Result<Node, WhenError> {
        let left = self.unary()?;
        let (at, found) = self.next();
        let is_in = matches!(&found, Kind::Name(name) if &**name == "in");
        if is_in {
            self.advance();
            let right = self.unary()?;
            return self.node(at, Form::In(Box::new([left, right])));
        }
        match found {
            Kind::Sign(sign) if COMPARISONS.contains(&sign) => {
                self.advance();
                let right = self.unary()?;
                self.node(at, Form::Compare(sign, Box::new([left, right])))
            }
            _ => Ok(left),
        }
    }

    fn unary(&mut self) -> Result<Node, WhenError> {
        let (at, _) = self.next();
        let mut negated = false;
        let mut any = false;
        while self.takes("!") {
            (negated, any) = (!negated, true);
        }
        if !any && self.takes("-") {
            return self.negative(at);
        }
        let member = self.member()?;
        if !any {
            return Ok(member);
        }
        let once = self.node(at, Form::Not(Box::new(member)))?;
        // Twice is not the same as not at all: only what is true or false can be negated.
        if negated {
            Ok(once)
        } else {
            self.node(at, Form::Not(Box::new(once)))
        }
    }

    /// A number below zero.
    fn negative(&mut self, at: usize) -> Result<Node, WhenError> {
        let form = match self.next().1 {
            Kind::Int(number) => Form::Int(-number),
            Kind::Double(number) => Form::Double(-number),
            _ => return Err(WhenError::at(at, "only a number can stand behind `-`")),
        };
        self.advance();
        self.node(at, form)
    }

    fn member(&mut self) -> Result<Node, WhenError> {
        let mut node = self.primary()?;
        loop {
            let at = node.at;
            if self.takes(".") {
                let name = self.name()?;
                node = if self.takes("(") {
                    let arguments = self.list(")")?;
                    self.node(at, Form::Call(Some(Box::new(node)), name, arguments))?
                } else {
                    self.node(at, Form::Field(Box::new(node), name))?
                };
            } else if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                node = self.node(at, Form::Index(Box::new(node), Box::new(index)))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn name(&mut self) -> Result<Box<str>, WhenError> {
        match self.next() {
            (_, Kind::Name(name)) => {
                self.advance();
                Ok(name)
            }
            (at, found) => Err(WhenError::at(at, format!("expected a name, found {}", shown(&found)))),
        }
    }

    fn primary(&mut self) -> Result<Node, WhenError> {
        let (at, found) = self.next();
        let form = match found {
            Kind::Sign("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => {
                self.advance();
                Form::List(self.list("]")?)
            }
            Kind::Text(text) => self.literal(Form::Text(text)),
            Kind::Int(number) => self.literal(Form::Int(number)),
            Kind::Double(number) => self.literal(Form::Double(number)),
            Kind::Name(name) => {
                self.advance();
                match &*name {
                    "true" => Form::Bool(true),
                    "false" => Form::Bool(false),
                    "null" => Form::Null,
                    _ if self.takes("(") => Form::Call(None, name, self.list(")")?),
                    _ => Form::Name(name),
                }
            }
            found => return Err(WhenError::at(at, format!("expected a value, found {}", shown(&found)))),
        };
        self.node(at, form)
    }

    fn literal(&mut self, form: Form) -> Form {
        self.advance();
        form
    }

    /// Expressions up to `end`, with commas between them.
    fn list(&mut self, end: &'static str) -> Result<Vec<Node>, WhenError> {
        let mut all = Vec::new();
        while !self.takes(end) {
            all.push(self.expression()?);
            if !self.takes(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(all)
    }
}

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Name(name) => format!("`{name}`"),
        Kind::Text(_) => "a text".to_owned(),
        Kind::Int(_) | Kind::Double(_) => "a number".to_owned(),
        Kind::Sign(sign) => format!("`{sign}`"),
        Kind::End => "the end".to_owned(),
    }
}
