//! The account of an exchange with a model: what was reserved for it, and what is given back or charged once it is known
//! what it took. What was taken from which bucket, and whether there was enough, is the engine's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_bundles::algorithm::llm::Estimator;
use smallvec::SmallVec;

use super::meter::{Form, Limit, Meter, Total};
use super::stats::{LlmStats, Settled};
use crate::buckets::{BucketTable, Cost, Params, Reserved, Taken};
use crate::facts::{Body, Facts};
use crate::policy::charge::Parts;
use crate::record::LogRecord;
use crate::request::Request;
use crate::response::Response;
use crate::verdict::Reason;

/// A stream was cut off.
pub const CUT: Reason = Reason("completion_tokens_exceeded");

/// What a part of a charge is for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Role {
    /// It is taken and stays so.
    #[default]
    Plain,
    /// A model's tokens by the minute.
    Minute(Estimate),
    /// The same tokens by the day. Stands behind those by the minute.
    Day,
}

/// What a rule reserves for a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    /// Tokens of the prompt.
    pub(crate) prompt: u64,
    /// All that is reserved.
    pub(crate) total: u64,
    /// Whether streams are read.
    pub(crate) reads_streams: bool,
    /// Where a stream is cut off.
    pub(crate) cut: Option<Limit>,
    /// Who estimated the prompt.
    pub(crate) estimator: Estimator,
}

/// What one rule reserved.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) policy: Arc<str>,
    pub(crate) rule: Arc<str>,
    /// The rule only records.
    pub(crate) shadow: bool,
    pub(crate) estimate: Estimate,
    /// From the minute's bucket, and from the day's.
    pub(crate) reserved: SmallVec<[(Reserved, Params); 2]>,
    /// What they had left then.
    pub(crate) left: SmallVec<[u64; 2]>,
}

/// The accounts of an exchange.
pub(crate) type Accounts = SmallVec<[Account; 1]>;

/// Opens an account for each rule that reserved a model's tokens.
pub(in crate::policy) fn accounts(parts: &Parts<'_>, answers: &[Taken], out: &mut Accounts) {
    for (part, taken) in parts.iter().zip(answers) {
        let Some(reserved) = part.charge.reserved(taken) else {
            continue;
        };
        let reserved = (reserved, part.charge.params);
        match part.role {
            Role::Plain => {}
            Role::Minute(estimate) => out.push(Account {
                policy: Arc::clone(&part.policy.id),
                rule: part.rule.map_or_else(Arc::default, Arc::clone),
                shadow: false,
                estimate,
                reserved: SmallVec::from_iter([reserved]),
                left: SmallVec::from_iter([taken.remaining]),
            }),
            Role::Day => out.last_mut().into_iter().for_each(|account| {
                account.reserved.push(reserved);
                account.left.push(taken.remaining);
            }),
        }
    }
}

/// An exchange with a model.
#[derive(Debug)]
pub(crate) struct Ledger {
    accounts: Accounts,
    /// Nanoseconds of the monotonic clock when the request came.
    now: u64,
    /// Reads the answer, once one that counts has begun.
    meter: Option<Meter>,
    /// The answer goes by somewhere else.
    unseen: bool,
    settled: bool,
}

impl Ledger {
    /// Opens the accounts, and asks the upstream for an answer that can be read. `shadow`: the link itself only records.
    pub(crate) fn open(mut accounts: Accounts, request: &mut Request<'_>, shadow: bool, books: &Books<'_>) -> Self {
        for account in &mut accounts {
            account.shadow |= shadow;
            books.stats.reserved(account);
        }
        if accounts.iter().any(|account| !account.shadow) {
            let edits = &mut request.facts.request_headers;
            edits.set(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Self {
            accounts,
            now: request.head.now.monotonic_ns,
            meter: None,
            unseen: matches!(request.facts.body, Some(Body::Unseen)),
            settled: false,
        }
    }

    /// An answer has begun, the upstream's or one in its place.
    pub(crate) fn answered(&mut self, response: &mut Response<'_>) {
        self.meter = None;
        if !response.status.is_success() {
            return;
        }
        let header = |name: HeaderName| first(response.headers, &name);
        let mut form = Form::of(header(CONTENT_TYPE), header(CONTENT_ENCODING));
        if form == Form::Events && !self.accounts.iter().any(|account| account.estimate.reads_streams) {
            form = Form::Opaque;
        }
        let meter = Meter::new(form, self.limit());
        if meter.holds_back() {
            remove_length(response.facts);
        }
        self.meter = Some(meter);
    }

    /// A piece of the answer's body. `true`: it was the last that passes.
    pub(crate) fn body(&mut self, chunk: &mut Option<Bytes>, last: bool, books: &Books<'_>) -> bool {
        let Some(meter) = &mut self.meter else { return false };
        let cut = meter.push(chunk, last);
        if cut || last {
            self.settle(books);
        }
        cut
    }

    /// The exchange is over, however it ended.
    pub(crate) fn close(&mut self, books: &Books<'_>, record: &mut LogRecord) {
        self.settle(books);
        let total = self.total();
        let most = self
            .accounts
            .iter()
            .map(|account| (self.actual(account, &total).tokens, account.estimate.total));
        if let Some((used, reserved)) = most.max() {
            record.fields.push(("llm_reserved_tokens", reserved.to_string().into()));
            record.fields.push(("llm_tokens", used.to_string().into()));
        }
        let would = self.accounts.iter().filter(|account| account.shadow);
        for account in would.filter(|account| account.would_cut(&total)) {
            let rule = format!("{}/{}", account.policy, account.rule);
            record.fields.push(("llm_would_truncate", rule.into()));
        }
    }

    /// The tightest limit that counts.
    fn limit(&self) -> Option<Limit> {
        let counting = self.accounts.iter().filter(|account| !account.shadow);
        counting
            .filter_map(|account| account.estimate.cut)
            .min_by_key(|cut| cut.tokens)
    }

    fn total(&self) -> Total {
        self.meter.as_ref().map(Meter::total).unwrap_or_default()
    }

    /// What the exchange took, by an account.
    fn actual(&self, account: &Account, total: &Total) -> Actual {
        if self.unseen && self.meter.is_some() {
            let tokens = account.estimate.total;
            return Actual {
                tokens,
                known: Settled::Unread,
            };
        }
        account.actual(total)
    }

    fn settle(&mut self, books: &Books<'_>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let total = self.total();
        for account in &self.accounts {
            let actual = self.actual(account, &total);
            books.stats.settled(account, actual, total.cut && !account.shadow);
            account.correct(actual.tokens, books.table, self.now);
        }
    }
}

/// Where exchanges are booked.
pub(crate) struct Books<'b> {
    pub(crate) table: &'b BucketTable,
    pub(crate) stats: &'b LlmStats,
}

/// What an exchange took, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actual {
    pub(crate) tokens: u64,
    pub(crate) known: Settled,
}

impl Account {
    /// The same, of a policy that only records.
    pub(crate) fn in_shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// What the exchange took, by this account.
    fn actual(&self, total: &Total) -> Actual {
        let known = |tokens, known| Actual { tokens, known };
        let streamed = total.streamed && self.estimate.reads_streams;
        match total.usage {
            // Nothing came, so nothing was made.
            _ if total.bytes == 0 => known(0, Settled::Nothing),
            Some(usage)
                if total.final_usage && !total.cut && (streamed || !total.streamed) && usage.all().is_some() =>
            {
                known(usage.all().unwrap_or_default(), Settled::Usage)
            }
            usage if streamed => {
                let usage = usage.unwrap_or_default();
                let prompt = usage.prompt.unwrap_or(self.estimate.prompt);
                let completion = total.counted.max(usage.completion.unwrap_or(0));
                known(prompt.saturating_add(completion), Settled::Counted)
            }
            _ => known(self.estimate.total, Settled::Unread),
        }
    }

    fn would_cut(&self, total: &Total) -> bool {
        self.estimate.cut.is_some_and(|cut| total.counted > cut.tokens)
    }

    /// Gives back what was not used, or charges what was used beyond the reservation: a bucket may owe for it.
    fn correct(&self, actual: u64, table: &BucketTable, now: u64) {
        let estimated = self.estimate.total;
        for (reserved, params) in &self.reserved {
            if actual < estimated {
                table.refund(reserved, Cost::whole(estimated - actual), now);
            } else if actual > estimated {
                table.take(&reserved.overrun(*params, Cost::whole(actual - estimated)), now);
            }
        }
    }
}

/// What comes out is not what came in, so nobody knows its length.
fn remove_length(facts: &mut Facts) {
    facts.response_headers.remove(CONTENT_LENGTH);
}

fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}
