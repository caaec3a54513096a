//! The protocol by which numbers survive Redis, as a specification that a model checker explores to its end.
//!
//! What runs is `distributed::sequencer`; what it must do is in `docs/numbers.md`. Here is the same in steps so small that
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
//! # What is explored together
//!
//! A fence in all its steps is explored beside posts without keys, posts that are sent again with one, and children of every
//! partition; a fill in all its steps beside a creation, and beside children of every partition. A fence and a fill in all
//! their steps at once are too many states. They meet in three places only, and each has its step: a fence ends the epoch
//! (every step of a fill is refused then, as the script compares the epoch), makes the counter cold, and its markers lie
//! before every end that a fill of the new epoch reads. The same is so of keys of chats: what the fence does for a key is the
//! start that the look-up waits for, in one partition or in all.
//!
//! # What is left out
//!
//! What the code does beside these steps can give no number that the model does not give:
//!
//! - *Old epochs.* Here a key that Redis does not know is always looked up. In an epoch of more than 25 h the script does not
//!   ask: each key that is still to be known was then used in this very epoch, and is remembered.
//! - *Creations with a key.* A retry is given the number that it had, as a post is, and a ticket of its own, as a creation
//!   is. Its counter can not have been used and forgotten since: that takes 25 h, and the key is known for 24 h.
//! - *Events without an epoch:* new names, and applications that are created without Redis. They have no number, nobody is
//!   given theirs, and the counter of such an application is filled as any cold one is.
//! - *404 above the application's counter.* That counter is of this epoch, and so never below the number of a chat that
//!   somebody was told of: only who guesses is refused.
//! - *The look at an epoch is two calls,* its key and then its script. Whatever happens between them happens as well after
//!   both; and a process that holds an epoch for good gets no number in it unless the script finds its key.
//! - *Commands of a given-up attempt other than deleting and setting* the epoch's key. A lock that is taken, renewed or given
//!   back late holds others up, or lets them in, as a lock does that lasts longer or shorter.
//!
//! # How it is tied to the code
//!
//! A test of `distributed` replays here what a Redis and a log have seen of two real processes: each command, by the text of
//! its script where it calls one, each append and marker, each reading of the log's end, and how far `counts` was whenever it
//! was asked. A step that is not possible here at that moment fails. It can not see what the scripts do inside Redis (that
//! they compare the epoch and the owner, and take a ticket once), nor what command-api makes of a reservation that has
//! lapsed: other tests look at these from outside.

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
