//! The workloads: what is requested, and what must be answered.

mod creating;
mod posting;
mod reading;

pub(crate) use creating::Creating;
pub(crate) use posting::{Acknowledged, Posting, Sequence};
pub(crate) use reading::Reading;

use crate::load::Answer;

/// The number in `{"number":7` and what follows, with status 201.
fn created_number(answer: &Answer<'_>, rest: &[u8]) -> Option<u64> {
    let digits = answer.body.strip_prefix(b"{\"number\":")?.strip_suffix(rest)?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (answer.status == 201 && number > 0).then_some(number)
}
