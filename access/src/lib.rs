//! Who may do what: the credentials of requests, the principals behind them, and the layer in front of the routes.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@guard`] | the layer in front of the routes of an API |
//! | [`rules`] | who may do what: a rule for each route and method |
//! | [`principal`] | who makes a request, as handlers get it |
//! | `credential` | the credential that a request sends |
//! | [`authority`], `look_up` | decide whose a credential is: from memory, and by asking `views` |
//! | [`admission`] | whether whoever was admitted may go on, for answers that last |
//! | `memory`, `freshness`, [`follow`] | what a process remembers of credentials, how current that is, and how it stays so |
//! | [`secret`] | the secret of a key: its text, its hash, its place in the log |
//! | [`root_key`] | the root key |
//! | [`user_tokens`], `hs256`, [`minting`] | tokens of users: their form, their signature, how they are minted |
//! | [`refusal`], [`codes`], `description` | how requests are refused, and with which codes; what OpenAPI says of all this |
//! | [`config`], [`secret_files`] | the mode and the secrets of a process |
//!
//! **Architecture invariant:** nobody outside of [`mod@guard`] decides whether a request is admitted. A handler gets a principal and asks it
//! what to show.

pub mod admission;
pub mod authority;
mod clock;
pub mod codes;
pub mod config;
mod credential;
mod description;
pub mod follow;
mod freshness;
pub mod guard;
mod hs256;
mod look_up;
mod memory;
pub mod minting;
pub mod principal;
pub mod refusal;
pub mod root_key;
pub mod rules;
pub mod secret;
pub mod secret_files;
pub mod user_tokens;

pub use admission::Admission;
pub use authority::{ACCESS_PART, Authority, AuthorityConfig, KeysBehind};
pub use config::{AuthArgs, AuthMode, Credentials};
pub use guard::guard;
pub use principal::Principal;
pub use refusal::Refusal;
