//! What is answered below the filter's own path: who is logged in, login, logout, refresh, another tenant, and the provider's
//! word that somebody logged out there (OpenID Connect RP-Initiated and Back-Channel Logout).

use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::filter::{OVER, Place, Session, SessionState, accepts_html, json, redirect};
use super::flow;
use super::id::Id;
use super::keeper::{Job, Keeping, Outcome};
use super::login::{form, local, with_query};
use super::table::{View, Which};
use super::tokens::{self, Doubt};
use crate::cookies;
use crate::csrf;
use crate::facts::Body;
use crate::request::{Head, Request, query_parameter};
use crate::verdict::{Denial, FilterError, Outcome as Answer, Reason, Verdict};

/// Longest form with a logout token.
const MOST_FORM: usize = 32 << 10;

/// Answers a request for one of our paths.
pub(super) fn answer(session: &Session, place: Place, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
    let head = request.head;
    let allowed = match place {
        Place::Callback | Place::Info | Place::Login => Method::GET,
        Place::Logout | Place::Refresh | Place::Switch | Place::BackchannelLogout => Method::POST,
    };
    if *head.method != allowed {
        let denial = Denial::new(StatusCode::METHOD_NOT_ALLOWED, Reason("method_not_allowed"));
        let allow = HeaderValue::from_str(allowed.as_str()).unwrap_or(HeaderValue::from_static("GET"));
        return Ok(denial.header(ALLOW, allow).into());
    }
    // What changes something is for pages of this origin; the provider is no browser.
    if matches!(place, Place::Logout | Place::Refresh | Place::Switch)
        && let Some(denial) = csrf::foreign_page(head)
    {
        return Ok(denial.into());
    }
    match place {
        Place::Callback => flow::callback(session, state, request),
        Place::Info => info(session, state, head),
        Place::Login => {
            let asked = request.query("return_to").ok().flatten();
            let return_to = asked.as_deref().and_then(local).unwrap_or("/").to_owned();
            flow::begin(session, state, head, &return_to, "")
        }
        Place::Logout => logout(session, state, head),
        Place::Refresh => refresh(session, state, head),
        Place::Switch => switch(session, state, request),
        Place::BackchannelLogout => backchannel(session, state, request),
    }
}

/// Who is logged in, and until when.
fn info(session: &Session, state: &mut SessionState, head: &Head<'_>) -> Answer {
    match session.find(head)? {
        Err(why) => Ok(session.refused(why, state)),
        Ok(view) => {
            session.give_next(&view, state);
            Ok(describe(&view))
        }
    }
}

fn describe(view: &View) -> Verdict {
    let (idle_ms, latest_ms) = view.ends_ms;
    let subject = view.claims.text("sub").ok().flatten();
    json(
        StatusCode::OK,
        &json!({
            "subject": subject,
            "tenant": view.tenant,
            "expires_at": latest_ms / 1000,
            "idle_expires_at": idle_ms / 1000,
        }),
    )
}

/// A new id, and new tokens where the provider gives them.
fn refresh(session: &Session, state: &mut SessionState, head: &Head<'_>) -> Answer {
    let view = match session.find(head)? {
        Err(why) => return Ok(session.refused(why, state)),
        Ok(view) => view,
    };
    if !state.asked {
        state.asked = true;
        let renew = Job::Renew(
            Arc::clone(&session.provider),
            Arc::clone(&session.table),
            view.key,
            view.serial,
        );
        return Ok(Verdict::Wait(session.keeper()?.begin(renew)));
    }
    session.give_next(&view, state);
    // An id that was just replaced is not replaced again: requests side by side get the same one.
    if view.next.is_none()
        && let Some(id) = cookies::sent(head.headers, &session.cookie).value().and_then(Id::parse)
        && let Some((number, salt)) = session.table.advance(&view.key, id.number(), head.now.unix_ms)
    {
        session.give(&id.with_number(&session.hmac()?, &salt, number), state);
    }
    Ok(describe(&view))
}

/// Ends the session, here and, where it has a page for that, at the provider.
fn logout(session: &Session, state: &mut SessionState, head: &Head<'_>) -> Answer {
    if let Some(id) = cookies::sent(head.headers, &session.cookie).value().and_then(Id::parse)
        && state.kept.is_none()
    {
        return Ok(wait_for(session.end(&Which::Key(id.key())), state));
    }
    written(state)?;
    state.cookies.extend(cookies::set(&session.cookie, "", OVER));
    let metadata = session.provider.metadata.get();
    let own = session.post_logout_url.as_deref();
    let to = match metadata.and_then(|metadata| metadata.end_session.clone()) {
        Some(url) => {
            let back = own.map(|url| ("post_logout_redirect_uri", url));
            let client = ("client_id", &*session.provider.client_id);
            with_query(&url, &form([client].into_iter().chain(back)))
        }
        None => own.unwrap_or("/").to_owned(),
    };
    lead(head, &to)
}

/// A page is led on, a script is told where it may lead its user.
fn lead(head: &Head<'_>, to: &str) -> Answer {
    if accepts_html(head.headers) {
        redirect(StatusCode::SEE_OTHER, to)
    } else {
        Ok(json(StatusCode::OK, &json!({ "location": to })))
    }
}

/// Another tenant: a login for it, which begins a session of its own and ends this one.
fn switch(session: &Session, state: &mut SessionState, request: &Request<'_>) -> Answer {
    let head = request.head;
    if let Err(why) = session.find(head)? {
        return Ok(session.refused(why, state));
    }
    let fits = |tenant: &str| {
        !tenant.is_empty() && tenant.len() <= 128 && tenant.bytes().all(|byte| matches!(byte, 0x21..=0x7e))
    };
    let tenant = request.query("tenant").ok().flatten();
    let Some(tenant) = tenant.filter(|tenant| fits(tenant) && session.tenant_parameter.is_some()) else {
        let denial = Denial::new(StatusCode::BAD_REQUEST, Reason("tenant_required"));
        return Ok(denial.detail("The parameter `tenant` must name a tenant.").into());
    };
    match flow::destination(session, state, head, "/", &tenant)? {
        Ok(url) => lead(head, &url),
        Err(wait) => Ok(wait),
    }
}

/// The provider says that somebody logged out there.
fn backchannel(session: &Session, state: &mut SessionState, request: &Request<'_>) -> Answer {
    if state.kept.is_some() {
        written(state)?;
        return Ok(json(StatusCode::OK, &json!({})));
    }
    let refused = |why: &str| {
        let denial = Denial::new(StatusCode::BAD_REQUEST, Reason("logout_token_refused"));
        Ok(denial.detail(format!("The logout token is refused: {why}.")).into())
    };
    let form = match &request.facts.body {
        None => return Ok(Verdict::Body(MOST_FORM)),
        Some(Body::Whole(bytes, _)) => std::str::from_utf8(bytes).unwrap_or_default(),
        Some(_) => return refused("the form is too large"),
    };
    let Ok(Some(token)) = query_parameter(form, "logout_token") else {
        return refused("there is none");
    };
    let provider = &session.provider;
    let logout = match tokens::logout(provider, &token, request.head.now) {
        Ok(logout) => logout,
        Err(Doubt::Refused(reason)) => return refused(reason),
        Err(doubt @ (Doubt::Key | Doubt::NoKeys)) => {
            if !state.asked
                && let Some(waiting) = provider.logout_tokens.keys.refresh()
            {
                state.asked = true;
                return Ok(Verdict::Wait(waiting));
            }
            if doubt == Doubt::Key {
                return refused("unknown_key");
            }
            let detail = format!(
                "the keys of issuer `{}` were never loaded or are too old",
                provider.name
            );
            return Err(FilterError::unavailable("jwks_unavailable", detail));
        }
    };
    if !session.table.is_new_logout(&logout.id, request.head.now.unix_ms) {
        return refused("it came before");
    }
    let issuer = provider.name.to_string();
    let which = match (logout.sid, logout.subject) {
        (Some(sid), _) => Which::Sid(issuer, sid),
        (None, Some(subject)) => Which::Subject(issuer, subject),
        (None, None) => return refused("it names nobody"),
    };
    Ok(wait_for(session.end(&which), state))
}

/// Waits until ends of sessions survive a crash.
fn wait_for(kept: Vec<Keeping>, state: &mut SessionState) -> Verdict {
    let outcome = Outcome::default();
    state.kept = Some(outcome.clone());
    Verdict::Wait(Box::pin(async move {
        let mut result = Ok(());
        for kept in kept {
            result = kept.await.and(result);
        }
        outcome.put(result);
    }))
}

fn written(state: &mut SessionState) -> Result<(), FilterError> {
    match state.kept.take().map(|outcome| outcome.take()) {
        None | Some(Some(Ok(()))) => Ok(()),
        Some(Some(Err(why))) => Err(FilterError::unavailable("session_not_kept", why.to_string())),
        Some(None) => Err(FilterError::unavailable(
            "session_not_kept",
            "the store did not answer in time",
        )),
    }
}
