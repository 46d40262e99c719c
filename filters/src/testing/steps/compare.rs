//! What must come of a request, and whether it did.

use http::HeaderMap;

use super::field;
use crate::testing::Answered;

/// What must come of a request.
#[derive(Debug, Default)]
pub(super) struct Expected {
    status: Option<u16>,
    reason: Option<String>,
    client: Vec<Field>,
    upstream: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// `None`: it must not be there.
    value: Option<String>,
}

impl Expected {
    pub(super) fn is_empty(&self) -> bool {
        self.status.is_none() && self.upstream.is_empty()
    }

    /// A line about what the client sees.
    pub(super) fn client(&mut self, text: &str) -> Result<(), String> {
        if self.status.is_some() {
            self.client.push(Field::parse(text)?);
            return Ok(());
        }
        let mut words = text.split_whitespace();
        self.status = Some(
            words
                .next()
                .and_then(|status| status.parse().ok())
                .ok_or("the status comes first")?,
        );
        match words.next().map(|word| word.strip_prefix("reason=")) {
            None => {}
            Some(Some(reason)) => self.reason = Some(reason.to_owned()),
            Some(None) => return Err("only `reason=` may follow the status".to_owned()),
        }
        Ok(())
    }

    /// A line about what the upstream sees.
    pub(super) fn upstream(&mut self, text: &str) -> Result<(), String> {
        self.upstream.push(Field::parse(text)?);
        Ok(())
    }

    pub(super) fn compare(&self, came: &Answered) -> Result<(), String> {
        let reason = came.reason.map(|reason| reason.0);
        let status = came.status.as_u16();
        if self.status.is_some_and(|expected| expected != status) || self.reason.as_deref() != reason {
            let error = came
                .facts
                .decisions
                .iter()
                .find_map(|decision| decision.detail.as_ref());
            return Err(format!(
                "was answered {status} reason={} ({error:?})",
                reason.unwrap_or("none")
            ));
        }
        for field in &self.client {
            field
                .compare(&came.headers)
                .map_err(|error| format!("was answered with {error}"))?;
        }
        if self.upstream.is_empty() {
            return Ok(());
        }
        let seen = came.upstream.as_ref().ok_or("did not reach the upstream")?;
        self.upstream
            .iter()
            .try_for_each(|field| field.compare(seen).map_err(|error| format!("went on with {error}")))
    }
}

impl Field {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('!') {
            return Ok(Self {
                name: name.trim().to_owned(),
                value: None,
            });
        }
        let (name, value) = field(text)?;
        Ok(Self {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        })
    }

    fn compare(&self, headers: &HeaderMap) -> Result<(), String> {
        let values: Vec<String> = headers
            .get_all(self.name.as_str())
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        let fits = match &self.value {
            None => values.is_empty(),
            Some(expected) => values.iter().any(|value| fits(expected, value)),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{}: {values:?}", self.name))
        }
    }
}

/// Whether a value is the expected one, in the expected range of numbers, or any (`*`).
fn fits(expected: &str, value: &str) -> bool {
    let range = expected
        .split_once("..")
        .and_then(|(low, high)| Some(low.parse::<u64>().ok()?..=high.parse().ok()?));
    match range {
        Some(range) => value.parse().is_ok_and(|number| range.contains(&number)),
        None => expected == "*" || expected == value,
    }
}
