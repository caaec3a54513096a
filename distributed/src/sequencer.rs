//! Numbers of chats and messages from counters in Redis, which may lose them at any time. docs/numbers.md explains the
//! protocol.
//!
//! | module | holds |
//! |---|---|
//! | [`redis_keys`] | the names of the keys in Redis |
//! | `redis_client` | the connection to Redis: commands, scripts, version and settings |
//! | `epoch_script` | the Lua scripts of an epoch and of a fence |
//! | `script_reply` | the replies of an epoch's script |
//! | `script_client` | calls of an epoch's script, one function an operation |
//! | `fence` | how an epoch begins |
//! | `epoch_choice` | which epoch begins, and whether the log contradicts it |
//! | `epoch_keeper` | keeps an epoch in force |
//! | `redis_time` | notices that the clock of Redis was set |
//! | [`clock`] | how long a reservation is valid |
//! | `barrier` | reads the log's end |
//! | `counts_gate` | waits until `counts` has passed a position or the start of an epoch |
//! | `redis_sequencer` | [`RedisSequencer`]: reserves numbers, and fills cold counters |
//!
//! **Architecture invariant:** a reply of Redis is used only if it comes from the epoch's script, and a reservation is
//! acknowledged only if the log has its event within [`clock::RESERVATION_LIFE`] of the request to Redis.

mod barrier;
pub mod clock;
mod counts_gate;
mod epoch_choice;
mod epoch_keeper;
mod epoch_script;
mod fence;
mod metric_definitions;
mod redis_client;
pub mod redis_keys;
mod redis_sequencer;
mod redis_time;
mod script_client;
mod script_reply;

pub use redis_client::{RedisFailure, Unsupported};
pub use redis_keys::RedisKeys;
pub use redis_sequencer::{MAX_COUNTS_WAITS, RedisSequencer, StartError, check_url};
