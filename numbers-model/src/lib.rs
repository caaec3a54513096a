//! The protocol by which numbers survive Redis, as a specification that a model checker explores to its end.
//!
//! What runs is `distributed::numbers`; what it must do is in `docs/numbers.md`. Here is the same in steps so small that
//! everything may happen between two of them: two processes, one Redis that may lose its tail, be wiped, restarted or
//! replaced, a log in which appends land late or never, and clients that send things again. [`stateright`] takes every step
//! that is possible in every state that is reachable, and looks at each state for what must never be
//! ([`invariants`]). So nothing is tried, as in a test; within the bounds of a scope all there is has been seen.
//!
//! Read [`state`] first: it is all there is. Then what changes it:
//!
//! - [`fence`]: how an epoch begins, from the loss of the former to the key that puts the next in force;
//! - [`client`]: reserve, append, answer, and the question whether a key is known;
//! - [`fill`]: how a cold counter is filled from the log;
//! - [`redis`] and [`log`]: what the two servers do, and what befalls them.
//!
//! [`model`] lists the steps; a pause is a step that is not taken, so a process that sleeps between any two needs no step of
//! its own, nor does a Redis that does not answer. [`scopes`] says how much of everything is explored at once. [`mistakes`]
//! are wrong turns that are easily taken: each is put back in, and must be found, lest the invariants hold because they
//! demand too little.
//!
//! The model has no clock. Of time the protocol assumes only three things, and each is one step here: a fence waits longer
//! than T after the deletion was answered ([`fence::wait`]), no append lands 24 h after its number was given
//! ([`fill::counter_idles`]), and a ticket outlives neither ([`fill::ticket_expires`]).
//!
//! The steps are tied to the code: a test of `distributed` replays here what a Redis and a log have seen of the real one.

pub mod client;
pub mod fence;
pub mod fill;
pub mod invariants;
pub mod log;
pub mod mistakes;
pub mod model;
pub mod redis;
pub mod scope;
pub mod scopes;
pub mod state;
