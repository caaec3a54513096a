//! Helpers that the tests of several crates share. No product contains them.
//!
//! | module | holds |
//! |---|---|
//! | [`histories`] | logs as applications could have written them, for property tests |
//! | [`moved_system`] | what a system holds, to compare it with one into which it was imported |
//! | [`polling`] | waiting for a condition |
//! | [`mod@scenarios`] | the behaviour of the whole over HTTP, for any topology |

pub mod histories;
pub mod moved_system;
pub mod polling;
pub mod scenarios;
