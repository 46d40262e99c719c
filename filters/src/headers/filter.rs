//! The `headers` filter: fields of the request and of the answer, removed, set, appended.

use std::collections::BTreeSet;

use http::HeaderName;
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::site;

use super::config::{Changes, HeadersConfig};
use super::names::{is_twin, reserved_in_request, reserved_in_response};
use super::template::Template;
use crate::facts::HeaderEdits;
use crate::filter::{Filter, Phases};
use crate::request::{Head, Request};
use crate::response::Response;
use crate::verdict::{CONTINUE, FilterError, Outcome};
use crate::zones::BuildEnv;

/// Most changes to a message.
const MAX_CHANGES: usize = 100;

/// Changes header fields.
#[derive(Debug)]
pub struct Headers {
    request: Compiled,
    response: Compiled,
}

#[derive(Debug, Default)]
struct Compiled {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, Template)]>,
    append: Box<[(HeaderName, Template)]>,
}

impl Filter for Headers {
    const KIND: &'static str = "headers";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = HeadersConfig;
    type State = ();

    fn build(config: HeadersConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        let request = compile("request", config.request, reserved_in_request, env)?;
        let response = compile("response", config.response, reserved_in_response, env)?;
        if request.is_empty() && response.is_empty() {
            return Err(env
                .wrong(codes::MISSING_KEY, "", "`headers` changes nothing")
                .help("give it `request` or `response`"));
        }
        Ok(Self { request, response })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let edits = &mut request.facts.request_headers;
        // What a client writes under a name that a server could take for one of ours would undo the change.
        for sent in request.head.headers.keys() {
            if self
                .request
                .replaced()
                .any(|name| name != sent && is_twin(name.as_str(), sent.as_str()))
            {
                edits.remove(sent.clone());
            }
        }
        self.request.apply(request.head, edits)
    }

    fn on_response(&self, (): &mut (), response: &mut Response<'_>) -> Outcome {
        self.response.apply(response.head, &mut response.facts.response_headers)
    }
}

impl Compiled {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    /// Names of which nothing that is there may stay.
    fn replaced(&self) -> impl Iterator<Item = &HeaderName> {
        self.remove.iter().chain(self.set.iter().map(|(name, _)| name))
    }

    fn apply(&self, head: &Head<'_>, edits: &mut HeaderEdits) -> Outcome {
        let filled = |name: &HeaderName, template: &Template| {
            template.fill(head).ok_or_else(|| {
                FilterError::internal(
                    "header_value",
                    format!("the value for `{name}` cannot be that of a header field"),
                )
            })
        };
        for name in &self.remove {
            edits.remove(name.clone());
        }
        for (name, template) in &self.set {
            edits.set(name.clone(), filled(name, template)?);
        }
        for (name, template) in &self.append {
            edits.append(name.clone(), filled(name, template)?);
        }
        CONTINUE
    }
}

fn compile(
    key: &str,
    changes: Changes,
    reserved: fn(&HeaderName) -> Option<&'static str>,
    env: &BuildEnv<'_>,
) -> Result<Compiled, Diagnostic> {
    let name = |written: &site::HeaderName| {
        let name = HeaderName::try_from(written.0.as_str()).map_err(|_| {
            env.wrong(
                codes::INVALID_VALUE,
                key,
                format!("`{}` is not a header field name", written.0),
            )
        })?;
        match reserved(&name) {
            Some(why) => Err(env.wrong(codes::INVALID_VALUE, key, format!("`{name}` cannot be changed: {why}"))),
            None => Ok(name),
        }
    };
    if changes.set.len() + changes.append.len() + changes.remove.len() > MAX_CHANGES {
        return Err(env.wrong(codes::OUT_OF_RANGE, key, format!("more than {MAX_CHANGES} changes")));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = changes
        .remove
        .iter()
        .chain(changes.set.keys())
        .find(|written| !seen.insert(*written))
    {
        let message = format!("`{}` is to be removed or set twice", twice.0);
        return Err(env
            .wrong(codes::CONFLICTING_KEYS, key, message)
            .help("`set` replaces what is there; nothing need be removed"));
    }
    let pair = |(written, template)| Ok((name(&written)?, template));
    Ok(Compiled {
        remove: changes.remove.iter().map(name).collect::<Result<_, _>>()?,
        set: changes.set.into_iter().map(pair).collect::<Result<_, _>>()?,
        append: changes.append.into_iter().map(pair).collect::<Result<_, _>>()?,
    })
}
