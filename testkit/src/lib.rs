//! Helpers that the tests of several crates share. No product contains them.
//!
//! | module | holds |
//! |---|---|
//! | [`access_walk`] | every route with every kind of principal |
//! | [`actors`] | what the log keeps of who made a request |
//! | [`event_stream`] | a client of server-sent events |
//! | [`histories`] | logs as applications could have written them, for property tests |
//! | [`moved_system`] | what a system holds, to compare it with one into which it was imported |
//! | [`polling`] | waiting for a condition |
//! | [`mod@scenarios`] | the behaviour of the whole over HTTP, for any topology |

pub mod access_walk;
pub mod actors;
pub mod event_stream;
mod expired_token;
pub mod histories;
pub mod moved_system;
pub mod polling;
pub mod scenarios;
