//! The protocol by which numbers survive the loss of Redis, as a specification that a model checker explores
//! exhaustively.
//!
//! `distributed::sequencer` implements the protocol, and docs/numbers.md explains it. The model divides it into steps
//! so small that everything may happen between two of them. It has two processes; one Redis that may lose its tail, be
//! wiped, restarted or replaced; a log in which appends land late or never; and clients that retry. [`stateright`]
//! takes every possible step in every reachable state, and checks the [`invariants`] in each state. So within the
//! bounds of a scope no case is missed.
//!
//! Read [`state`] first. Then read the steps:
//!
//! - [`fence`]: how an epoch begins, from the loss of the former to the key that puts the next in force;
//! - [`client`]: reserve, append, acknowledge, and the look-up of a key;
//! - [`fill`]: how a cold counter is filled from the log;
//! - [`faults`]: what happens to Redis;
//! - [`damage`]: what happens to a log that was damaged, and what can still be promised then.
//!
//! [`redis`] and [`log`] are the two servers. An [`epoch`] is the offset of its claim, or above it. [`model`] lists the steps. A pause
//! is a step that is not taken: so neither a process that sleeps between two steps nor a Redis that does not reply needs
//! a step of its own. A [`scope`] bounds one exploration, and [`scopes`] lists them all. [`mistakes`] are errors that an
//! implementation could easily make. The checker must find each of them: otherwise the invariants might hold because
//! they demand too little.
//!
//! The model has no clock. The protocol makes only three assumptions about time, and each is part of a step here: a
//! fence waits longer than T after the reply to the deletion ([`fence::wait`]); no append lands 24 h after its
//! reservation, and no ticket is valid for so long (both [`fill::counter_idles`]). A ticket may expire at any earlier
//! time too ([`fill::ticket_expires`]).
//!
//! # What is explored together
//!
//! A fence in all its steps is explored beside posts without keys, beside retries with a key, and beside children of
//! every partition. A fill in all its steps is explored beside a creation, and beside children of every partition. A
//! fence and a fill in all their steps together have too many states. They meet in three places only, and each has its
//! step: a fence ends the epoch (then every step of a fill is refused, because the script compares the epoch), makes
//! the counter cold, and writes its markers before every end that a fill of the new epoch reads. The same is true of
//! keys of chats: all that a look-up needs from a fence is the epoch's start, in one partition or in all.
//!
//! # What is left out
//!
//! The code does more than these steps. But none of the following can give a number that the model does not give:
//!
//! - *Old epochs.* In the model, a key that Redis does not know is always looked up. The script does not ask for that in an
//!   epoch older than 25 h: every key that must still be known was then used in this epoch, and Redis remembers it.
//! - *Creations with a key.* A retry gets its number again, as a post does, and a ticket of its own, as a creation does. Its
//!   counter cannot have been used and forgotten meanwhile: that takes 25 h, and the key is known for 24 h.
//! - *Events without an epoch:* new names, and applications that are created without Redis. They have no number, nobody gets
//!   their token, and the counter of such an application is filled as any cold one is.
//! - *404 above the application's counter.* That counter belongs to this epoch, so it is never below the number of an
//!   acknowledged chat: only a guessed number is refused.
//! - *The two calls that find an epoch,* one for its key and one for its script. Anything that happens between them could also
//!   happen after both; and a process that relies on an epoch gets no number in it unless the script finds its key.
//! - *Late commands other than deleting and setting* the epoch's key. A lock that is taken, renewed or given back late delays
//!   other processes, or lets them in, as a lock does that lasts longer or shorter.
//!
//! # How the model is tied to the code
//!
//! A test of `distributed` replays in the model the events that a Redis and a log recorded of two real processes: each
//! command, by its script's text where it calls one, each append and marker, each read of the log's end, and the
//! checkpoints of `counts` at each read. A step that is not possible in the model at that moment fails the test. The
//! replay cannot see what the scripts do inside Redis (they compare the epoch and the owner, and use a ticket once),
//! nor what command-api does with a reservation that has lapsed. Other tests check these from outside.

pub mod client;
pub mod damage;
pub mod epoch;
pub mod faults;
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
