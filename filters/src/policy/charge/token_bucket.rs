//! `token_bucket`: one bucket that refills steadily.

use portcullis_bundles::algorithm::TokenBucket;

use super::{Applying, Parts, RuleError};
use crate::buckets::{Charge, Params};
use crate::policy::subject::Subject;
use crate::verdict::Reason;

/// The reason when it has not enough.
pub const EXCEEDED: Reason = Reason("token_bucket_exceeded");

pub(super) fn params(bucket: &TokenBucket) -> Option<Params> {
    Params::new(bucket.tokens_per_second, bucket.burst)
}

pub(super) fn add<'p>(
    bucket: &TokenBucket,
    applying: &Applying<'p, '_, impl Subject>,
    parts: &mut Parts<'p>,
) -> Result<(), RuleError> {
    let params = params(bucket).ok_or_else(|| applying.numbers())?;
    let cost = applying.cost(&bucket.cost, &params)?;
    let charge = Charge::new(applying.hasher.finish(), params, cost);
    parts.push(applying.part(charge, EXCEEDED));
    Ok(())
}
