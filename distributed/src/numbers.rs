//! The numbers of chats and messages, from counters in Redis that may be lost at any time.
//!
//! | module | holds |
//! |---|---|
//! | [`names`] | the names of what is kept in Redis |
//! | `reign` | what an epoch is to Redis: its key, and the script that works in it alone |
//! | `answer` | what that script answers |
//! | `server` | one Redis: connection, version, calls |
//! | [`fence`] | how an epoch begins |
//! | `keeper` | who sees to it that an epoch is in force |
//! | [`clock`] | how long a reservation is good for |
//! | `barrier`, `counted` | the log's end, and how far `counts` has come |
//! | [`taken`] | what is asked of `counts` |
//! | `sequencer` | [`RedisSequencer`]: reserving, and filling counters that are cold |
//!
//! **Architecture invariant:** whatever Redis answers is used only if the epoch's script has answered it, and is told of
//! only if the log acknowledged it within [`clock::RESERVATION_LIFE`] of the asking.

mod answer;
mod barrier;
pub mod clock;
mod counted;
pub mod fence;
mod keeper;
pub mod names;
mod reign;
mod sequencer;
mod server;
pub mod taken;

pub use fence::MarkerLog;
pub use names::Names;
pub use sequencer::{RedisSequencer, StartError};
pub use server::{RedisFailure, Unsuitable};
pub use taken::{Answered, Checkpoints, Seen, TakenNumbers};
