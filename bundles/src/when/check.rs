//! From the tree to what is evaluated: names become keys, patterns are compiled, and types are checked as far as they are
//! known, which is everywhere but in claims.

use portcullis_config::diagnostic::suggest;
use portcullis_config::key::Key;
use regex::{Regex, RegexBuilder};

use super::expr::{Access, Expr, Function, Sign, Step};
use super::parse::{Form, Node};
use super::{MAX_PATTERN, WhenError};

/// What is known of a value before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Number,
    Text,
    Null,
    /// Of a claim: anything.
    Any,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Null => "null",
            Self::Any => "anything",
        }
    }

    fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }
}

type Typed = Result<(Expr, Type), WhenError>;

/// Steps, and the byte at which each begins.
type Steps = Vec<(usize, Step)>;

/// What a name stands for.
enum Place {
    Value(Expr, Type),
    /// `request.headers` and its like: asked only whether it has a name.
    Headers,
    Query,
    Claims,
}

/// Names that an expression can begin with.
const ROOTS: [&str; 7] = ["request", "jwt", "cookie", "ip", "mtls", "ua", "route"];
/// What a request has.
const OF_REQUEST: [&str; 5] = ["method", "path", "host", "headers", "query"];
const FUNCTIONS: [&str; 6] = ["has", "size", "startsWith", "endsWith", "contains", "matches"];

/// An expression that is true or false.
pub(super) fn condition(node: &Node) -> Result<Expr, WhenError> {
    boolean(node)
}

fn boolean(node: &Node) -> Result<Expr, WhenError> {
    expect(node, Type::Bool)
}

fn expect(node: &Node, wanted: Type) -> Result<Expr, WhenError> {
    let (expr, found) = typed(node)?;
    if found.may_be(wanted) {
        return Ok(expr);
    }
    let message = format!("expected {}, found {}", wanted.name(), found.name());
    Err(WhenError::at(node.at, message))
}

fn typed(node: &Node) -> Typed {
    Ok(match &node.form {
        Form::Bool(value) => (Expr::Bool(*value), Type::Bool),
        Form::Null => (Expr::Null, Type::Null),
        Form::Int(number) => (Expr::Int(*number), Type::Number),
        Form::Double(number) => (Expr::Double(*number), Type::Number),
        Form::Text(text) => (Expr::Text(text.clone()), Type::Text),
        Form::Name(_) | Form::Field(..) | Form::Index(..) => match place(node)? {
            Place::Value(expr, found) => (expr, found),
            Place::Headers | Place::Query | Place::Claims => {
                let help = "name one of its values: `.name`, or `[\"name\"]`; or ask `\"name\" in ...`";
                return Err(WhenError::at(node.at, "this is a map and no value").help(help));
            }
        },
        Form::Call(before, name, arguments) => return call(node.at, before.as_deref(), name, arguments),
        Form::List(_) => return Err(WhenError::at(node.at, "a list can only stand behind `in`")),
        Form::Not(inner) => (Expr::Not(Box::new(boolean(inner)?)), Type::Bool),
        Form::And(all) => (
            Expr::And(all.iter().map(boolean).collect::<Result<_, _>>()?),
            Type::Bool,
        ),
        Form::Or(all) => (Expr::Or(all.iter().map(boolean).collect::<Result<_, _>>()?), Type::Bool),
        Form::If(parts) => return choice(parts),
        Form::Compare(sign, sides) => (compare(node.at, sign, sides)?, Type::Bool),
        Form::In(sides) => (is_in(node.at, sides)?, Type::Bool),
    })
}

fn choice(parts: &[Node; 3]) -> Typed {
    let [condition, yes, no] = parts;
    let at = no.at;
    let (condition, (yes, first), (no, second)) = (boolean(condition)?, typed(yes)?, typed(no)?);
    if !first.may_be(second) {
        let message = format!("`?:` is {} or {}; both must be the same", first.name(), second.name());
        return Err(WhenError::at(at, message));
    }
    let found = if first == second { first } else { Type::Any };
    Ok((Expr::If(Box::new([condition, yes, no])), found))
}

fn compare(at: usize, sign: &str, sides: &[Node; 2]) -> Result<Expr, WhenError> {
    let [left, right] = sides;
    let ((left, first), (right, second)) = (typed(left)?, typed(right)?);
    let sign = match sign {
        "==" => Sign::Is,
        "!=" => Sign::IsNot,
        "<" => Sign::Below,
        "<=" => Sign::AtMost,
        ">" => Sign::Above,
        _ => Sign::AtLeast,
    };
    if !first.may_be(second) {
        let message = format!("{} is never {}", first.name(), second.name());
        return Err(WhenError::at(at, message));
    }
    let ordered = |side: Type| matches!(side, Type::Number | Type::Text | Type::Any);
    let equality = matches!(sign, Sign::Is | Sign::IsNot);
    if !equality && ![first, second].into_iter().all(ordered) {
        return Err(WhenError::at(at, "only numbers and texts have an order"));
    }
    Ok(Expr::Compare(sign, Box::new([left, right])))
}

fn is_in(at: usize, sides: &[Node; 2]) -> Result<Expr, WhenError> {
    let [left, right] = sides;
    if let Form::List(items) = &right.form {
        let (left, wanted) = typed(left)?;
        let items = items
            .iter()
            .map(|item| expect(item, wanted))
            .collect::<Result<_, _>>()?;
        return Ok(Expr::OneOf(Box::new(left), items));
    }
    let place = match &right.form {
        Form::Name(_) | Form::Field(..) | Form::Index(..) => place(right)?,
        _ => {
            let (expr, found) = typed(right)?;
            Place::Value(expr, found)
        }
    };
    let source = match place {
        Place::Value(right, Type::Any) => {
            let (left, _) = typed(left)?;
            return Ok(Expr::Within(Box::new([left, right])));
        }
        Place::Value(_, found) => {
            let message = format!("behind `in` stands a list or a map, and not {}", found.name());
            return Err(WhenError::at(right.at, message).help("a part of a text is found with `.contains(...)`"));
        }
        Place::Headers => "header",
        Place::Query => "query",
        Place::Claims => "jwt",
    };
    let Form::Text(name) = &left.form else {
        return Err(WhenError::at(
            at,
            "before `in`, and with a map behind it, stands a name in quotes",
        ));
    };
    let key = key(source, name, left.at)?;
    Ok(Expr::Has(Access {
        key,
        steps: Box::default(),
    }))
}

fn call(at: usize, before: Option<&Node>, name: &str, arguments: &[Node]) -> Typed {
    match (before, name, arguments) {
        (None, "has", [asked]) => match place(asked)? {
            Place::Value(Expr::Read(access), _) => Ok((Expr::Has(access), Type::Bool)),
            _ => Err(WhenError::at(
                asked.at,
                "`has` asks for a header, a parameter, a claim or a key",
            )),
        },
        (None, "size", [value]) | (Some(value), "size", []) => {
            Ok((Expr::Size(Box::new(expect(value, Type::Text)?)), Type::Number))
        }
        (Some(text), "matches", [pattern]) => {
            let text = expect(text, Type::Text)?;
            Ok((Expr::Matches(Box::new(text), self::pattern(pattern)?), Type::Bool))
        }
        (Some(text), "startsWith" | "endsWith" | "contains", [part]) => {
            let function = match name {
                "startsWith" => Function::StartsWith,
                "endsWith" => Function::EndsWith,
                _ => Function::Contains,
            };
            let sides = [expect(text, Type::Text)?, expect(part, Type::Text)?];
            Ok((Expr::Call(function, Box::new(sides)), Type::Bool))
        }
        _ if FUNCTIONS.contains(&name) => {
            let message = format!("`{name}` is not asked like this");
            let help = match name {
                "has" => "has(request.headers.name)",
                "size" => "size(request.path)",
                "matches" => "request.path.matches(\"^/v[0-9]+/\")",
                _ => "request.path.startsWith(\"/v1/\")",
            };
            Err(WhenError::at(at, message).help(help))
        }
        _ => {
            let message = format!("there is no function `{name}`");
            Err(WhenError::at(at, message).help(suggest(name, FUNCTIONS)))
        }
    }
}

/// A pattern is known beforehand, small, and matched in linear time.
fn pattern(node: &Node) -> Result<Regex, WhenError> {
    let Form::Text(text) = &node.form else {
        return Err(WhenError::at(
            node.at,
            "a pattern is a text in quotes, so that it can be checked beforehand",
        ));
    };
    let built = RegexBuilder::new(text)
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN)
        .nest_limit(32)
        .build();
    built.map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let message = format!("the pattern cannot be used: {}", last.trim_start_matches("error: "));
        WhenError::at(node.at, message)
    })
}

/// What a name with all its steps stands for.
fn place(node: &Node) -> Result<Place, WhenError> {
    let (root, steps) = path(node)?;
    let value = |expr, steps: &[(usize, Step)]| match steps.first() {
        None => Ok(Place::Value(expr, Type::Text)),
        Some((at, _)) => Err(WhenError::at(*at, "this is a text; it has no parts")),
    };
    let named = |steps: &[(usize, Step)], what: &str| match steps.first() {
        Some((at, Step::Name(name))) => Ok((*at, name.clone())),
        Some((at, Step::Index(_))) => Err(WhenError::at(*at, "expected a name, found a number")),
        None => Err(WhenError::at(node.at, format!("`{root}` is no value")).help(what)),
    };
    match &*root {
        "request" => {
            let (at, name) = named(&steps, "such as `request.path`")?;
            let rest = steps.get(1..).unwrap_or_default();
            match &*name {
                "method" => value(Expr::Method, rest),
                "path" => value(Expr::Path, rest),
                "host" => value(Expr::Host, rest),
                "headers" if rest.is_empty() => Ok(Place::Headers),
                "query" if rest.is_empty() => Ok(Place::Query),
                "headers" | "query" => {
                    let (at, field) = named(rest, "")?;
                    let source = if &*name == "query" { "query" } else { "header" };
                    let access = Access {
                        key: key(source, &field, at)?,
                        steps: Box::default(),
                    };
                    value(Expr::Read(access), rest.get(1..).unwrap_or_default())
                }
                _ => {
                    let message = format!("a request has no `{name}` here");
                    Err(WhenError::at(at, message).help(suggest(&name, OF_REQUEST)))
                }
            }
        }
        "jwt" => claims(node, steps),
        _ => {
            let (at, name) = named(&steps, "such as `request.path` or `ip.address`")?;
            if matches!(&*root, "header" | "query") {
                let message = format!("there is no `{root}` here");
                let help = format!(
                    "request.{}[\"{name}\"]",
                    if &*root == "query" { "query" } else { "headers" }
                );
                return Err(WhenError::at(node.at, message).help(help));
            }
            let key = key(&root, &name, at)?;
            let access = Access {
                key,
                steps: Box::default(),
            };
            value(Expr::Read(access), steps.get(1..).unwrap_or_default())
        }
    }
}

fn claims(node: &Node, steps: Steps) -> Result<Place, WhenError> {
    let mut steps = steps.into_iter();
    match steps.next() {
        Some((_, Step::Name(name))) if &*name == "claims" => {}
        _ => {
            return Err(WhenError::at(
                node.at,
                "a token has `jwt.claims` here, and nothing else",
            ));
        }
    }
    match steps.next() {
        None => Ok(Place::Claims),
        Some((at, Step::Index(_))) => Err(WhenError::at(at, "claims have names")),
        Some((_, Step::Name(name))) => {
            let access = Access {
                key: Key::Jwt(name),
                steps: steps.map(|(_, step)| step).collect(),
            };
            Ok(Place::Value(Expr::Read(access), Type::Any))
        }
    }
}

/// The name that an expression begins with, and the steps from there.
fn path(node: &Node) -> Result<(Box<str>, Steps), WhenError> {
    let mut steps = Vec::new();
    let mut node = node;
    loop {
        node = match &node.form {
            Form::Name(name) => {
                steps.reverse();
                return Ok((name.clone(), steps));
            }
            Form::Field(before, name) => {
                steps.push((node.at, Step::Name(name.clone())));
                before
            }
            Form::Index(before, index) => {
                let step = match &index.form {
                    Form::Text(name) => Step::Name(name.clone()),
                    Form::Int(number) => {
                        let index = usize::try_from(*number);
                        Step::Index(index.map_err(|_| WhenError::at(node.at, "no list begins before 0"))?)
                    }
                    _ => {
                        let message = "between `[` and `]` stands a name in quotes or a number";
                        return Err(WhenError::at(index.at, message));
                    }
                };
                steps.push((index.at, step));
                before
            }
            _ => return Err(WhenError::at(node.at, "this has no parts")),
        };
    }
}

fn key(source: &str, name: &str, at: usize) -> Result<Key, WhenError> {
    if source == "jwt" {
        return Ok(Key::Jwt(name.into()));
    }
    format!("{source}:{name}")
        .parse()
        .map_err(|error: portcullis_config::text::TextError| {
            if ROOTS.contains(&source) || matches!(source, "header" | "query") {
                let wrong = WhenError::at(at, error.message);
                return match error.help {
                    Some(help) => wrong.help(help),
                    None => wrong,
                };
            }
            WhenError::at(at, format!("there is no `{source}` here")).help(suggest(source, ROOTS))
        })
}
