//! The numbers of chats and messages, from counters in Redis that may be lost at any time.
//!
//! | module | holds |
//! |---|---|
//! | [`redis_keys`] | the names of what is kept in Redis |
//! | `epoch_script` | what an epoch is to Redis: its key, and the script that works in it alone |
//! | `script_reply` | what that script answers |
//! | `redis_client` | one Redis: connection, version, calls |
//! | [`fence`] | how an epoch begins |
//! | `epoch_keeper` | who sees to it that an epoch is in force |
//! | [`clock`] | how long a reservation is good for |
//! | `barrier`, `counts_gate` | the log's end, and how far `counts` has come |
//! | [`counts_reader`] | what is asked of `counts` |
//! | `redis_sequencer` | [`RedisSequencer`]: reserving, and filling counters that are cold |
//!
//! **Architecture invariant:** whatever Redis answers is used only if the epoch's script has answered it, and is told of
//! only if the log acknowledged it within [`clock::RESERVATION_LIFE`] of the asking.

mod barrier;
pub mod clock;
mod counts_gate;
pub mod counts_reader;
mod epoch_keeper;
mod epoch_script;
pub mod fence;
mod redis_client;
pub mod redis_keys;
mod redis_sequencer;
mod script_reply;

pub use counts_reader::{Answered, Checkpoints, CountsReader, CountsSnapshot};
pub use fence::MarkerLog;
pub use redis_client::{RedisFailure, Unsuitable};
pub use redis_keys::RedisKeys;
pub use redis_sequencer::{RedisSequencer, StartError};
