//! The `session` filter: who has a session goes on as its user, who has none is sent to log in or refused. What is answered
//! below its own path is in [`super::endpoints`], a login's way in [`super::flow`].

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use portcullis_config::diagnostic::Diagnostic;
use ring::hmac;

use super::config::SessionConfig;
use super::id::{Id, Random};
use super::keeper::{Job, Keeper, LoggedIn, NotKept, Outcome};
use super::provider::Provider;
use super::record::{Limits, Renewal};
use super::table::{Found, SessionTable, Shown, View, Which};
use super::{compile, endpoints, flow};
use crate::claims::Claims;
use crate::cookies::{self, Sent, Terms};
use crate::filter::{Filter, Phases};
use crate::headers::names::is_twin;
use crate::request::{Head, Request};
use crate::response::Response;
use crate::secrets::SecretSlot;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome as Answer, Reason, Reply, Stop, Verdict};
use crate::zones::BuildEnv;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const FINGERPRINT_ERROR: HeaderName = HeaderName::from_static("x-fingerprint-error");

/// Keeps users logged in without a token in their browsers.
pub struct Session {
    pub(super) provider: Arc<Provider>,
    pub(super) table: Arc<SessionTable>,
    pub(super) key: Arc<SecretSlot>,
    pub(super) paths: Paths,
    pub(super) cookie: Box<str>,
    pub(super) login_cookie: String,
    pub(super) context: String,
    pub(super) scope: String,
    pub(super) parameters: Box<[(String, String)]>,
    pub(super) tenant_parameter: Option<Box<str>>,
    pub(super) optional: bool,
    pub(super) limits: Limits,
    pub(super) access_field: Option<HeaderName>,
    pub(super) outputs: Box<[Output]>,
    pub(super) devices: Box<[HeaderName]>,
    pub(super) post_logout_url: Option<Box<str>>,
    pub(super) most: usize,
}

/// A claim that becomes a header field.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) field: HeaderName,
    pub(super) claim: Box<str>,
}

/// The paths that are answered here.
#[derive(Debug)]
pub(super) struct Paths {
    base: Box<str>,
    callback: Box<str>,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Callback,
    Info,
    Login,
    Logout,
    Refresh,
    Switch,
    BackchannelLogout,
}

impl Paths {
    pub(super) fn new(base: &str, callback: &str) -> Self {
        Self {
            base: base.into(),
            callback: callback.into(),
        }
    }

    pub(super) fn of(&self, path: &str) -> Option<Place> {
        if path == &*self.callback {
            return Some(Place::Callback);
        }
        Some(match path.strip_prefix(&*self.base)? {
            "" => Place::Info,
            "/login" => Place::Login,
            "/logout" => Place::Logout,
            "/refresh" => Place::Refresh,
            "/switch" => Place::Switch,
            "/backchannel-logout" => Place::BackchannelLogout,
            _ => return None,
        })
    }

    /// Whether the way back from the provider is taken by something else.
    pub(super) fn clash(&self) -> bool {
        let other = Self::new(&self.base, "");
        other.of(&self.callback).is_some()
    }
}

/// What the filter knows of a request.
#[derive(Default)]
pub struct SessionState {
    /// Cookies for the answer.
    pub(super) cookies: Vec<HeaderValue>,
    /// The provider was looked for.
    pub(super) discovered: bool,
    /// Newer keys or tokens were asked for.
    pub(super) asked: bool,
    /// A login whose end is waited for.
    pub(super) login: Option<Outcome<LoggedIn>>,
    /// A change that is waited for until it is written.
    pub(super) kept: Option<Outcome<Result<(), NotKept>>>,
}

impl Filter for Session {
    const KIND: &'static str = "session";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);
    type Config = SessionConfig;
    type State = SessionState;

    fn keeps(state: &SessionState) -> bool {
        let waits = state.discovered || state.asked || state.login.is_some() || state.kept.is_some();
        waits || !state.cookies.is_empty()
    }

    fn build(config: SessionConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        compile::compile(config, env)
    }

    fn on_request(&self, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
        // After a wait everything is looked at anew.
        state.cookies.clear();
        match self.paths.of(request.head.path) {
            None => self.guard(state, request),
            Some(Place::Callback) => flow::callback(self, state, request),
            Some(place) => endpoints::answer(self, place, state, request),
        }
    }

    fn on_response(&self, state: &mut SessionState, response: &mut Response<'_>) -> Answer {
        if state.cookies.is_empty() {
            return CONTINUE;
        }
        let edits = &mut response.facts.response_headers;
        for cookie in state.cookies.drain(..) {
            edits.append(SET_COOKIE, cookie);
        }
        // A cache must not give one user's cookie to another.
        edits.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        CONTINUE
    }
}

/// Why a request has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    /// It has no cookie.
    Missing,
    /// Its cookie is none of a session, or of one that was ended.
    Invalid,
    /// Its session is over.
    Expired,
    /// Its session ended because an old id was used.
    Reused,
    /// Its session belongs to another device.
    OtherDevice,
}

impl Without {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("session_required", "Log in first."),
            Self::Invalid => ("session_invalid", "The session is not known any more."),
            Self::Expired => ("session_expired", "The session is over."),
            Self::Reused => (
                "session_reused",
                "The session has ended: one of its old ids was used again.",
            ),
            Self::OtherDevice => ("session_fingerprint_mismatch", "The session belongs to another device."),
        }
    }
}

impl Session {
    /// A request for something behind us.
    fn guard(&self, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
        match self.find(request.head)? {
            Err(why) => self.without_session(why, state, request),
            Ok(view) => self.with_session(&view, state, request),
        }
    }

    /// The session of a request.
    pub(super) fn find(&self, head: &Head<'_>) -> Result<Result<View, Without>, FilterError> {
        let id = match cookies::sent(head.headers, &self.cookie) {
            Sent::Absent => return Ok(Err(Without::Missing)),
            Sent::Several => return Ok(Err(Without::Invalid)),
            Sent::Value(value) => Id::parse(value),
        };
        let Some(id) = id else {
            return Ok(Err(Without::Invalid));
        };
        let key = self.hmac()?;
        let found = self.table.present(&Shown {
            id: &id,
            key: &key,
            device: self.device(head, &key),
            limits: &self.limits,
            now_ms: head.now.unix_ms,
        });
        Ok(match found {
            Found::Here(view) => Ok(view),
            Found::Absent => Err(Without::Invalid),
            Found::Ended(_) => Err(Without::Expired),
            Found::Reused => Err(Without::Reused),
            Found::OtherDevice => Err(Without::OtherDevice),
        })
    }

    fn with_session(&self, view: &View, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
        self.give_next(view, state);
        let needs_access = self.access_field.is_some();
        match view.renewal {
            Renewal::Over if needs_access && state.asked => {
                let detail = "the access token has ended, and the provider gave no other";
                return Err(FilterError::unavailable("provider_unavailable", detail));
            }
            Renewal::Over if needs_access => {
                state.asked = true;
                let renew = Job::Renew(
                    Arc::clone(&self.provider),
                    Arc::clone(&self.table),
                    view.key,
                    view.serial,
                );
                return Ok(Verdict::Wait(self.keeper()?.begin(renew)));
            }
            Renewal::Soon | Renewal::Over => {
                let renew = Job::Renew(
                    Arc::clone(&self.provider),
                    Arc::clone(&self.table),
                    view.key,
                    view.serial,
                );
                // It goes on beside the request.
                drop(self.keeper()?.begin(renew));
            }
            Renewal::Lost if needs_access => {
                self.end(&Which::Key(view.key));
                return self.without_session(Without::Expired, state, request);
            }
            Renewal::Fresh | Renewal::Lost => {}
        }
        self.admit(view, request)
    }

    /// The request goes on as the session's user.
    fn admit(&self, view: &View, request: &mut Request<'_>) -> Answer {
        self.clean(request);
        for output in &self.outputs {
            let unusable = || {
                let denial = Denial::new(StatusCode::UNAUTHORIZED, Reason("claim_unusable"));
                Ok(denial.detail("A claim of the session cannot be passed on.").into())
            };
            match view.claims.text(&output.claim) {
                Ok(None) => {}
                Ok(Some(text)) => match HeaderValue::from_bytes(text.as_bytes()) {
                    Ok(value) => request.facts.request_headers.set(output.field.clone(), value),
                    Err(_) => return unusable(),
                },
                Err(_) => return unusable(),
            }
        }
        if let (Some(field), Some(token)) = (&self.access_field, &view.access) {
            let value = if *field == AUTHORIZATION {
                let mut value = HeaderValue::from_bytes(&[b"Bearer ", token.as_bytes()].concat()).map_err(|_| {
                    FilterError::internal("access_token_unusable", "the access token is no field value")
                })?;
                value.set_sensitive(true);
                value
            } else {
                token.clone()
            };
            request.facts.request_headers.set(field.clone(), value);
        }
        request.facts.session = Some(view.key);
        request.facts.claims = Some(Arc::<Claims>::clone(&view.claims));
        CONTINUE
    }

    /// Keeps from the upstream the session itself, and what it could mistake for our word.
    fn clean(&self, request: &mut Request<'_>) {
        let is_ours = |name: &str| {
            let outputs = self.outputs.iter().map(|output| &output.field);
            let mut fields = outputs.chain(&self.access_field);
            fields.any(|field| is_twin(field.as_str(), name))
        };
        for name in request.head.headers.keys().filter(|name| is_ours(name.as_str())) {
            request.facts.request_headers.remove(name.clone());
        }
        for field in self
            .outputs
            .iter()
            .map(|output| &output.field)
            .chain(&self.access_field)
        {
            // An earlier filter may have written it.
            if request.header(field).is_some() {
                request.facts.request_headers.remove(field.clone());
            }
        }
        cookies::take_away(request, |name| {
            name == self.cookie.as_bytes() || name.starts_with(self.login_cookie.as_bytes())
        });
    }

    fn without_session(&self, why: Without, state: &mut SessionState, request: &mut Request<'_>) -> Answer {
        self.let_go(why, state);
        let refused = matches!(why, Without::Reused | Without::OtherDevice);
        if self.optional && !refused {
            self.clean(request);
            return CONTINUE;
        }
        if why != Without::OtherDevice && is_page(request.head) {
            let head = request.head;
            let here = head
                .query
                .map_or_else(|| head.path.to_owned(), |query| format!("{}?{query}", head.path));
            return flow::begin(self, state, head, &here, "");
        }
        Ok(refuse(why).into())
    }

    /// Has the browser let go of a cookie that is good for nothing any more.
    fn let_go(&self, why: Without, state: &mut SessionState) {
        if !matches!(why, Without::Missing | Without::OtherDevice) {
            state.cookies.extend(cookies::set(&self.cookie, "", OVER));
        }
    }

    /// The refusal of a request for one of our paths that needs a session.
    pub(super) fn refused(&self, why: Without, state: &mut SessionState) -> Verdict {
        self.let_go(why, state);
        refuse(why).into()
    }

    /// The cookie with the id that takes the place of the one that was shown.
    pub(super) fn give_next(&self, view: &View, state: &mut SessionState) {
        if let Some(next) = &view.next {
            self.give(next, state);
        }
    }

    /// The cookie with an id.
    pub(super) fn give(&self, id: &Id, state: &mut SessionState) {
        state.cookies.extend(cookies::set(&self.cookie, &id.text(), HELD));
    }

    /// Ends sessions, and tells the provider that their refresh tokens are not used any more.
    pub(super) fn end(&self, which: &Which) -> Vec<super::keeper::Keeping> {
        let revoked = self.table.revoke(which);
        if let Some(keeper) = self.table.keeper() {
            let tokens = revoked.records.into_iter().filter_map(|record| record.tokens.refresh);
            for token in tokens {
                drop(keeper.begin(Job::Forget(Arc::clone(&self.provider), token)));
            }
        }
        revoked.kept
    }

    /// The key that ids, logins and devices are protected with.
    pub(super) fn hmac(&self) -> Result<hmac::Key, FilterError> {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, self.key.get()?.expose()))
    }

    pub(super) fn keeper(&self) -> Result<Arc<dyn Keeper>, FilterError> {
        let keeper = self.table.keeper();
        keeper.ok_or_else(|| FilterError::unavailable("sessions_unavailable", "nobody keeps sessions yet"))
    }

    /// A keyed hash of the device that a request comes from.
    pub(super) fn device(&self, head: &Head<'_>, key: &hmac::Key) -> Option<Random> {
        if self.devices.is_empty() {
            return None;
        }
        let mut context = hmac::Context::with_key(key);
        context.update(b"portcullis device v1\0");
        for name in &self.devices {
            let values = head.headers.get_all(name);
            context.update(&(values.iter().count() as u64).to_be_bytes());
            for value in values {
                context.update(&(value.len() as u64).to_be_bytes());
                context.update(value.as_bytes());
            }
        }
        let mut device = [0; 32];
        for (to, from) in device.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        Some(device)
    }
}

/// A cookie that browsers hold for us.
const HELD: Terms = Terms {
    http_only: true,
    same_site: "Lax",
    max_age: None,
};
/// A cookie that they let go.
pub(super) const OVER: Terms = Terms {
    max_age: Some(0),
    ..HELD
};

/// Whether somebody looks at a page, who can be sent to log in. A script could do nothing with a redirect.
fn is_page(head: &Head<'_>) -> bool {
    let is = |name: &HeaderName, word: &[u8]| head.headers.get(name).is_none_or(|value| value.as_bytes() == word);
    *head.method == Method::GET
        && is(&SEC_FETCH_MODE, b"navigate")
        && is(&SEC_FETCH_DEST, b"document")
        && accepts_html(head.headers)
}

/// Whether whoever asks can show a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    fields.any(|field| field.to_ascii_lowercase().contains("text/html"))
}

fn refuse(why: Without) -> Denial {
    let (reason, detail) = why.words();
    let denial = Denial::new(StatusCode::UNAUTHORIZED, Reason(reason)).detail(detail);
    let denial = denial.header(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Cookie realm=\"portcullis\""),
    );
    if why == Without::OtherDevice {
        denial.header(FINGERPRINT_ERROR, HeaderValue::from_static("true"))
    } else {
        denial
    }
}

/// An answer with a JSON body that nobody keeps.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Verdict {
    let headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Verdict::Stop(Stop::Reply(Box::new(Reply {
        status,
        headers,
        body: Bytes::from(value.to_string()),
    })))
}

/// A redirect that nobody keeps.
pub(super) fn redirect(status: StatusCode, to: &str) -> Answer {
    let location = HeaderValue::from_str(to)
        .map_err(|_| FilterError::internal("redirect_unusable", "a place to go to is no field value"))?;
    let headers = vec![
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok(Verdict::Stop(Stop::Reply(Box::new(Reply {
        status,
        headers,
        body: Bytes::new(),
    }))))
}
