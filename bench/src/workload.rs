//! The workloads: what is requested, and what must be answered.

mod posting;
mod reading;

pub(crate) use posting::{Acknowledged, Posting, Sequence};
pub(crate) use reading::Reading;
