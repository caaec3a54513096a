//! Helpers that the tests of several crates share. No product contains them.
//!
//! | module | holds |
//! |---|---|
//! | [`histories`] | logs as applications could have written them, for property tests |
//! | [`polling`] | waiting for a condition |
//! | [`mod@scenarios`] | the behaviour of the whole over HTTP, for any topology |

pub mod histories;
pub mod polling;
pub mod scenarios;
