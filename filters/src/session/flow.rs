//! A login's way through the filter: off to the provider, and back with a code (RFC 6749, 4.1; RFC 9207).

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use portcullis_bundles::cookie;
use ring::digest;

use super::filter::{OVER, Session, SessionState, redirect};
use super::id::Id;
use super::keeper::{Job, LoggedIn, LoginJob, Outcome, Terms};
use super::login::{Derived, LIFETIME_MS, Login, form, with_query};
use super::table::Which;
use crate::cookies;
use crate::request::{Head, Request, query_values};
use crate::verdict::{Denial, FilterError, Outcome as Answer, Reason, Verdict};

/// Most logins that a browser may have on their way.
const MOST_LOGINS: usize = 4;
/// Longest code of a provider.
const MOST_CODE: usize = 4096;
/// Characters of `state` that name its cookie.
const MARK: usize = 8;

/// Sends a user to the provider. `tenant`: the one to act for; empty for none.
pub(super) fn begin(
    session: &Session,
    state: &mut SessionState,
    head: &Head<'_>,
    return_to: &str,
    tenant: &str,
) -> Answer {
    match destination(session, state, head, return_to, tenant)? {
        Ok(url) => redirect(StatusCode::FOUND, &url),
        Err(wait) => Ok(wait),
    }
}

/// Where a user is sent to log in, or what is to be waited for first. The login's cookie is left in the state.
pub(super) fn destination(
    session: &Session,
    state: &mut SessionState,
    head: &Head<'_>,
    return_to: &str,
    tenant: &str,
) -> Result<Result<String, Verdict>, FilterError> {
    let keeper = session.keeper()?;
    let Some(metadata) = session.provider.metadata.get() else {
        return look_for_provider(session, state).map(Err);
    };
    let key = session.hmac()?;
    let random = keeper
        .random()
        .ok_or_else(|| FilterError::internal("no_randomness", "the system gives no random bytes"))?;
    let login = Login::begin(random, head.now.unix_ms, return_to, tenant);
    let derived = login.derive(&key);
    forget_old_logins(session, state, head.headers);
    let terms = cookies::Terms {
        max_age: Some(LIFETIME_MS / 1000),
        ..OVER
    };
    let name = cookie_name(session, &derived.state);
    let sealed = login.seal(&key, &session.context);
    state
        .cookies
        .extend(name.and_then(|name| cookies::set(&name, &sealed, terms)));
    let challenge = derived.challenge();
    let own = [
        ("response_type", "code"),
        ("client_id", &session.provider.client_id),
        ("redirect_uri", &session.provider.redirect_url),
        ("scope", &session.scope),
        ("state", &derived.state),
        ("nonce", &derived.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let more = session
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let of_tenant = session.tenant_parameter.as_deref().filter(|_| !tenant.is_empty());
    let of_tenant = of_tenant.map(|name| (name, tenant));
    let query = form(own.into_iter().chain(more).chain(of_tenant));
    Ok(Ok(with_query(&metadata.authorization, &query)))
}

fn look_for_provider(session: &Session, state: &mut SessionState) -> Result<Verdict, FilterError> {
    if state.discovered {
        let detail = format!("the endpoints of issuer `{}` are not known", session.provider.name);
        return Err(FilterError::unavailable("provider_unavailable", detail));
    }
    state.discovered = true;
    let discover = Job::Discover(Arc::clone(&session.provider));
    Ok(Verdict::Wait(session.keeper()?.begin(discover)))
}

/// Each login has a cookie of its own, so that two tabs do not disturb each other.
fn cookie_name(session: &Session, state: &str) -> Option<String> {
    let mark = state.get(..MARK)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    mark.bytes()
        .all(fits)
        .then(|| format!("{}{mark}", session.login_cookie))
}

/// Has a browser forget logins when it holds too many.
fn forget_old_logins(session: &Session, state: &mut SessionState, headers: &HeaderMap) {
    let names = headers
        .get_all(http::header::COOKIE)
        .iter()
        .flat_map(|field| cookie::names(field.as_bytes()));
    let ours = names.filter_map(|name| std::str::from_utf8(name).ok());
    let ours: Vec<&str> = ours.filter(|name| name.starts_with(&session.login_cookie)).collect();
    if ours.len() >= MOST_LOGINS {
        let over = ours.iter().filter_map(|name| cookies::set(name, "", OVER));
        state.cookies.extend(over.take(2 * MOST_LOGINS));
    }
}

/// What the provider sent back.
#[derive(Debug, Default)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Returned {
    /// Reads a query. `None` if it has a parameter twice, or too many.
    fn read(query: &str) -> Option<Self> {
        let one = |name: &str| {
            let mut values = query_values(query, name);
            match (values.next(), values.next()) {
                (None, _) => Some(None),
                (Some(Ok(value)), None) if value.len() <= MOST_CODE => Some(Some(value.into_owned())),
                _ => None,
            }
        };
        Some(Self {
            state: one("state")?,
            code: one("code")?,
            issuer: one("iss")?,
            error: one("error")?,
        })
    }
}

/// A user comes back from the provider.
pub(super) fn callback(session: &Session, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
    let head = request.head;
    if *head.method != http::Method::GET {
        return Ok(refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "callback_malformed",
            "Only GET leads back from a login.",
        ));
    }
    let malformed = || {
        Ok(refuse(
            StatusCode::BAD_REQUEST,
            "callback_malformed",
            "This is no answer of a provider.",
        ))
    };
    let Some(returned) = Returned::read(head.query.unwrap_or_default()) else {
        return malformed();
    };
    let Some((login, derived, cookie)) = open(session, head, returned.state.as_deref().unwrap_or_default())? else {
        let detail = "The login was not begun in this browser, or too long ago. Begin again.";
        return Ok(refuse(StatusCode::UNAUTHORIZED, "login_state_mismatch", detail));
    };
    if let Some(outcome) = state.login.take() {
        return finish(session, state, head, &login, &cookie, outcome.take());
    }
    let Some(metadata) = session.provider.metadata.get() else {
        return look_for_provider(session, state);
    };
    let named = match returned.issuer.as_deref() {
        None => !metadata.names_itself,
        Some(issuer) => issuer == &*session.provider.issuer,
    };
    if !named {
        let detail = "The answer is not of the provider that was asked.";
        return Ok(refuse(StatusCode::UNAUTHORIZED, "login_issuer_mismatch", detail));
    }
    if returned.error.is_some() {
        state.cookies.extend(cookies::set(&cookie, "", OVER));
        return Ok(refuse(
            StatusCode::UNAUTHORIZED,
            "login_refused",
            "The provider did not log the user in.",
        ));
    }
    let Some(code) = returned.code.filter(|code| !code.is_empty()) else {
        return malformed();
    };
    let outcome = Outcome::default();
    state.login = Some(outcome.clone());
    let job = Job::Login(Box::new(LoginJob {
        provider: Arc::clone(&session.provider),
        table: Arc::clone(&session.table),
        code,
        verifier: derived.verifier,
        nonce: derived.nonce,
        terms: Terms {
            device: session.device(head, &session.hmac()?),
            idle_ms: session.limits.idle_ms,
            absolute_ms: session.limits.absolute_ms,
            tenant: login.tenant().to_owned(),
            most: session.most,
        },
        outcome,
    }));
    Ok(Verdict::Wait(session.keeper()?.begin(job)))
}

/// The login that `state` belongs to, and the name of its cookie.
fn open(session: &Session, head: &Head<'_>, state: &str) -> Result<Option<(Login, Derived, String)>, FilterError> {
    let Some(name) = cookie_name(session, state) else {
        return Ok(None);
    };
    let Some(sealed) = cookies::sent(head.headers, &name).value() else {
        return Ok(None);
    };
    let key = session.hmac()?;
    let Some(login) = Login::open(&key, &session.context, sealed, head.now.unix_ms) else {
        return Ok(None);
    };
    let derived = login.derive(&key);
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    // Hashes are compared, so that the time tells nothing of the value.
    let same = hash(state).as_ref() == hash(&derived.state).as_ref();
    Ok(same.then_some((login, derived, name)))
}

fn finish(
    session: &Session,
    state: &mut SessionState,
    head: &Head<'_>,
    login: &Login,
    cookie: &str,
    outcome: Option<LoggedIn>,
) -> Answer {
    match outcome {
        Some(LoggedIn::Yes { handle, salt }) => {
            // Whoever was here before is not any more: an id is never kept over a login.
            if let Some(before) = cookies::sent(head.headers, &session.cookie).value().and_then(Id::parse) {
                drop(session.end(&Which::Key(before.key())));
            }
            session.give(&Id::new(&session.hmac()?, handle, &salt, 0), state);
            state.cookies.extend(cookies::set(cookie, "", OVER));
            redirect(StatusCode::SEE_OTHER, login.return_to())
        }
        Some(LoggedIn::Refused(reason)) => {
            state.cookies.extend(cookies::set(cookie, "", OVER));
            let detail = format!("The login did not succeed: {reason}.");
            let denial = Denial::new(StatusCode::UNAUTHORIZED, Reason("login_refused")).detail(detail);
            Ok(denial.into())
        }
        Some(LoggedIn::Full) => Err(FilterError::unavailable(
            "sessions_full",
            "there are `max_sessions` sessions",
        )),
        Some(LoggedIn::Unavailable(why)) => Err(FilterError::unavailable("provider_unavailable", why)),
        None => Err(FilterError::unavailable(
            "provider_unavailable",
            "the login came to no end in time",
        )),
    }
}

fn refuse(status: StatusCode, reason: &'static str, detail: &'static str) -> Verdict {
    Denial::new(status, Reason(reason)).detail(detail).into()
}
