//! The evaluation of a condition: each part once at most, from left to right, within a budget. As in CEL, what `&&` and `||`
//! can tell without a part that is broken, they tell.

use std::borrow::Cow;
use std::cmp::Ordering;

use portcullis_config::key::Key;
use serde_json::Value as Json;

use super::expr::{Access, Expr, Function, Sign, Step};
use super::{Claim, Environment, MAX_COST, NODE_COST};

/// Why it cannot be told whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken<'v, E> {
    /// A value that it asks for is missing.
    #[error("`{0}` is missing")]
    Missing(&'v Key),
    /// A claim is of another type than the condition needs.
    #[error("a value is {found}, and not {wanted}")]
    Type {
        /// What the condition needs.
        wanted: &'static str,
        /// What the value is.
        found: &'static str,
    },
    /// It would look at more than it may.
    #[error("it costs too much to tell")]
    Costly,
    /// A key has neither a value nor none.
    #[error("`{0}` cannot be read")]
    Key(&'v Key, E),
}

/// A value while it is looked at.
#[derive(Debug, Clone)]
enum Value<'v> {
    Bool(bool),
    Null,
    Int(i128),
    Double(f64),
    Text(Cow<'v, str>),
    /// A list or a map of a claim.
    Json(&'v Json),
}

/// Whether an expression holds.
pub(super) fn holds<'v, E: Environment>(expr: &'v Expr, environment: &'v E) -> Result<bool, Broken<'v, E::Error>> {
    let mut evaluation = Evaluation {
        environment,
        left: MAX_COST,
    };
    evaluation.boolean(expr)
}

struct Evaluation<'v, E> {
    environment: &'v E,
    /// What may still be spent.
    left: u32,
}

type Told<'v, T, E> = Result<T, Broken<'v, <E as Environment>::Error>>;

impl<'v, E: Environment> Evaluation<'v, E> {
    fn spend(&mut self, cost: usize) -> Told<'v, (), E> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.left = self.left.checked_sub(cost).ok_or(Broken::Costly)?;
        Ok(())
    }

    fn boolean(&mut self, expr: &'v Expr) -> Told<'v, bool, E> {
        self.spend(NODE_COST as usize)?;
        match expr {
            Expr::Bool(value) => Ok(*value),
            Expr::Not(inner) => self.boolean(inner).map(|value| !value),
            Expr::And(all) => self.joined(all, true),
            Expr::Or(all) => self.joined(all, false),
            Expr::If(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.boolean(condition)? { yes } else { no };
                self.boolean(chosen)
            }
            Expr::Has(access) => self.has(access),
            Expr::Compare(sign, sides) => self.compare(*sign, sides),
            Expr::OneOf(left, items) => self.one_of(left, items),
            Expr::Within(sides) => self.within(sides),
            Expr::Call(function, sides) => {
                let [text, part] = &**sides;
                let (text, part) = (self.text(text)?, self.text(part)?);
                self.spend(text.len() + part.len())?;
                Ok(match function {
                    Function::StartsWith => text.starts_with(&*part),
                    Function::EndsWith => text.ends_with(&*part),
                    Function::Contains => text.contains(&*part),
                })
            }
            Expr::Matches(text, pattern) => {
                let text = self.text(text)?;
                self.spend(text.len().saturating_mul(4))?;
                Ok(pattern.is_match(&text))
            }
            other => match self.value(other, true)? {
                Value::Bool(value) => Ok(value),
                value => Err(wrong("true or false", &value)),
            },
        }
    }

    /// `&&` for `neutral` true, `||` for false: the first part that settles it does, and a broken one only if none does.
    fn joined(&mut self, all: &'v [Expr], neutral: bool) -> Told<'v, bool, E> {
        let mut broken = None;
        for one in all {
            match self.boolean(one) {
                Ok(value) if value != neutral => return Ok(value),
                Ok(_) => {}
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        broken.map_or(Ok(neutral), Err)
    }

    fn compare(&mut self, sign: Sign, sides: &'v [Expr; 2]) -> Told<'v, bool, E> {
        let [left, right] = sides;
        let equality = matches!(sign, Sign::Is | Sign::IsNot);
        // Whether it is a text that is known beforehand needs no more than a stand-in for the text.
        let known = |expr: &Expr| equality && matches!(expr, Expr::Text(_));
        let (left, right) = (self.value(left, !known(right))?, self.value(right, !known(left))?);
        if equality {
            return self.equal(&left, &right).map(|equal| equal == (sign == Sign::Is));
        }
        let order = self.order(&left, &right)?;
        Ok(match sign {
            Sign::Below => order == Some(Ordering::Less),
            Sign::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Sign::Above => order == Some(Ordering::Greater),
            _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        })
    }

    fn equal(&mut self, left: &Value<'_>, right: &Value<'_>) -> Told<'v, bool, E> {
        Ok(match (left, right) {
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Null, Value::Null) => true,
            (Value::Text(left), Value::Text(right)) => {
                self.spend(left.len().min(right.len()))?;
                left == right
            }
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
                numbers(left, right) == Some(Ordering::Equal)
            }
            (Value::Json(_), Value::Json(_)) => return Err(wrong("a single value", left)),
            // Values of different types are different.
            _ => false,
        })
    }

    fn order(&mut self, left: &Value<'_>, right: &Value<'_>) -> Told<'v, Option<Ordering>, E> {
        match (left, right) {
            (Value::Text(left), Value::Text(right)) => {
                self.spend(left.len().min(right.len()))?;
                Ok(Some(left.cmp(right)))
            }
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => Ok(numbers(left, right)),
            (Value::Text(_), other) => Err(wrong("a text", other)),
            (Value::Int(_) | Value::Double(_), other) => Err(wrong("a number", other)),
            (other, _) => Err(wrong("a number or a text", other)),
        }
    }

    fn one_of(&mut self, left: &'v Expr, items: &'v [Expr]) -> Told<'v, bool, E> {
        let whole = !items.iter().all(|item| matches!(item, Expr::Text(_)));
        let left = self.value(left, whole)?;
        for item in items {
            let item = self.value(item, true)?;
            if self.equal(&left, &item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn within(&mut self, sides: &'v [Expr; 2]) -> Told<'v, bool, E> {
        let [left, right] = sides;
        let (left, right) = (self.value(left, true)?, self.value(right, true)?);
        match right {
            Value::Json(Json::Array(items)) => {
                for item in items {
                    self.spend(NODE_COST as usize)?;
                    let item = value_of(item);
                    if !matches!(item, Value::Json(_)) && self.equal(&left, &item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Json(Json::Object(map)) => match &left {
                Value::Text(name) => Ok(map.contains_key(&**name)),
                other => Err(wrong("a text", other)),
            },
            other => Err(wrong("a list or a map", &other)),
        }
    }

    fn text(&mut self, expr: &'v Expr) -> Told<'v, Cow<'v, str>, E> {
        match self.value(expr, true)? {
            Value::Text(text) => Ok(text),
            other => Err(wrong("a text", &other)),
        }
    }

    /// A value. `whole`: see [`Environment::text`].
    fn value(&mut self, expr: &'v Expr, whole: bool) -> Told<'v, Value<'v>, E> {
        self.spend(NODE_COST as usize)?;
        Ok(match expr {
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Null => Value::Null,
            Expr::Int(number) => Value::Int((*number).into()),
            Expr::Double(number) => Value::Double(*number),
            Expr::Text(text) => Value::Text(Cow::Borrowed(text)),
            Expr::Method => Value::Text(Cow::Borrowed(self.environment.method())),
            Expr::Path => Value::Text(Cow::Borrowed(self.environment.path())),
            Expr::Host => Value::Text(Cow::Borrowed(self.environment.host())),
            Expr::Read(access) => self.read(access, whole)?,
            Expr::Size(inner) => Value::Int(self.size(inner)?),
            Expr::If(parts) => {
                let [condition, yes, no] = &**parts;
                let chosen = if self.boolean(condition)? { yes } else { no };
                self.value(chosen, whole)?
            }
            condition => Value::Bool(self.boolean(condition)?),
        })
    }

    fn size(&mut self, expr: &'v Expr) -> Told<'v, i128, E> {
        let size = match self.value(expr, true)? {
            Value::Text(text) => {
                self.spend(text.len())?;
                text.chars().count()
            }
            Value::Json(Json::Array(items)) => items.len(),
            Value::Json(Json::Object(map)) => map.len(),
            other => return Err(wrong("a text, a list or a map", &other)),
        };
        Ok(i128::try_from(size).unwrap_or(i128::MAX))
    }

    fn has(&mut self, access: &'v Access) -> Told<'v, bool, E> {
        if let Key::Jwt(name) = &access.key {
            let claim = self.environment.claim(name, !access.steps.is_empty());
            return Ok(match claim {
                None => false,
                Some(Claim::Text(_)) => access.steps.is_empty(),
                Some(Claim::Json(claim)) => part(claim, &access.steps).is_some(),
            });
        }
        let value = self.environment.text(&access.key, false);
        value
            .map(|value| value.is_some())
            .map_err(|error| Broken::Key(&access.key, error))
    }

    fn read(&mut self, access: &'v Access, whole: bool) -> Told<'v, Value<'v>, E> {
        let missing = || Broken::Missing(&access.key);
        let Key::Jwt(name) = &access.key else {
            let value = self.environment.text(&access.key, whole);
            let value = value.map_err(|error| Broken::Key(&access.key, error))?;
            return value.map(Value::Text).ok_or_else(missing);
        };
        match self.environment.claim(name, whole || !access.steps.is_empty()) {
            Some(Claim::Text(text)) if access.steps.is_empty() => Ok(Value::Text(text)),
            Some(Claim::Text(_)) | None => Err(missing()),
            Some(Claim::Json(claim)) => part(claim, &access.steps).map(value_of).ok_or_else(missing),
        }
    }
}

/// A part of a claim.
fn part<'c>(claim: &'c Json, steps: &[Step]) -> Option<&'c Json> {
    steps.iter().try_fold(claim, |claim, step| match step {
        Step::Name(name) => claim.as_object()?.get(&**name),
        Step::Index(index) => claim.as_array()?.get(*index),
    })
}

fn value_of(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::Text(Cow::Borrowed(text)),
        Json::Number(number) => {
            let whole = number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from));
            whole.map_or_else(|| Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        Json::Array(_) | Json::Object(_) => Value::Json(json),
    }
}

/// The order of two numbers, exact between whole ones. `None` when one of them is none.
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    // What is no number never gets here, and has no order.
    #[allow(clippy::cast_precision_loss)]
    let double = |value: &Value<'_>| match value {
        Value::Int(number) => *number as f64,
        Value::Double(number) => *number,
        _ => f64::NAN,
    };
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        _ => double(left).partial_cmp(&double(right)),
    }
}

fn wrong<'v, E>(wanted: &'static str, found: &Value<'_>) -> Broken<'v, E> {
    let found = match found {
        Value::Bool(_) => "true or false",
        Value::Null => "null",
        Value::Int(_) | Value::Double(_) => "a number",
        Value::Text(_) => "a text",
        Value::Json(Json::Array(_)) => "a list",
        Value::Json(_) => "a map",
    };
    Broken::Type { wanted, found }
}
