//! Measures what access costs: posts with a key and with a user's token beside posts to an open server, in turn, and the
//! revocation delay.

mod keys;
mod revocation;

use std::time::Duration;

use uuid::Uuid;

use self::keys::Keys;
pub(crate) use self::revocation::{BOUND_OF_REVOCATION, OtherPort};
use crate::application::Application;
use crate::error::BenchError;
use crate::http::bearer;
use crate::load::{self, Pace, Plan};
use crate::report::say_value;
use crate::results::Value;
use crate::tally::Addresses;
use crate::work::CHATS;
use crate::workload::{Posting, Sequence};

/// Connections that post.
pub(crate) const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
/// For how long the token of a user is valid: longer than any run.
const TOKEN_SECONDS: u64 = 86_400;

/// The sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessSettings {
    /// Rounds of posts of each kind.
    pub(crate) rounds: usize,
    pub(crate) measured: Duration,
    /// Keys that are revoked.
    pub(crate) revocations: usize,
    /// A revoked key is used for at least so long.
    pub(crate) min_use: Duration,
}

/// What is measured side by side.
pub(crate) struct Systems {
    pub(crate) open: Addresses,
    /// Requires credentials.
    pub(crate) required: Addresses,
    pub(crate) other: OtherPort,
    /// Waits until all projections that run have passed a post.
    pub(crate) await_posts: fn(&mut Application) -> Result<Duration, BenchError>,
}

/// The secrets of the servers of one run.
pub(crate) struct Secrets {
    root_key: String,
    token_secret: String,
}

impl Secrets {
    pub(crate) fn generate() -> Self {
        let secret = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self { root_key: secret(), token_secret: secret() }
    }

    /// The variables of an open server.
    pub(crate) fn open(&self) -> [(&str, &str); 3] {
        self.variables("open")
    }

    /// The variables of a server that requires credentials.
    pub(crate) fn required(&self) -> [(&str, &str); 3] {
        self.variables("required")
    }

    fn variables<'a>(&'a self, mode: &'a str) -> [(&'a str, &'a str); 3] {
        let Self { root_key, token_secret } = self;
        [("TALLY_AUTH", mode), ("TALLY_ROOT_KEY", root_key.as_str()), ("TALLY_TOKEN_SECRETS", token_secret.as_str())]
    }
}

/// Posts that are sent in one way.
struct Kind {
    what: &'static str,
    application: Application,
    /// Posts a second of each round.
    rounds: Vec<f64>,
}

/// Measures systems that were started just now.
pub(crate) fn measure(
    systems: &Systems,
    secrets: &Secrets,
    settings: &AccessSettings,
) -> Result<Vec<Value>, BenchError> {
    let open = Application::create(systems.open, CHATS)?;
    let (with_key, keys) = create_with_key(systems.required, secrets)?;
    let (mut with_token, minting) = create_with_key(systems.required, secrets)?;
    with_token.fields = bearer(&minting.mint("bench", TOKEN_SECONDS)?);
    let kind = |what, application| Kind { what, application, rounds: Vec::new() };
    let mut kinds = [
        kind("POST to an open server", open),
        kind("POST with a key", with_key),
        kind("POST with the token of a user", with_token),
    ];
    for kind in &mut kinds {
        (systems.await_posts)(&mut kind.application)?;
    }
    for round in 0..settings.rounds {
        // Each kind is the first as often as the others, and follows each of them.
        kinds.rotate_left(usize::from(round > 0));
        for kind in &mut kinds {
            kind.post(settings.measured)?;
            // What is left to project would take the machine's time from the next round.
            (systems.await_posts)(&mut kind.application)?;
        }
    }
    let turns = settings.rounds.saturating_sub(1) % kinds.len();
    kinds.rotate_right(turns);
    let mut values: Vec<_> = kinds.iter().map(|kind| Value::rate(kind.what, kind.rounds.clone())).collect();
    let [open, with_key, with_token] = &kinds;
    values.extend([with_key, with_token].map(|kind| ratio_to_open(kind.what, &kind.rounds, &open.rounds)));
    values.iter().for_each(say_value);
    let [mut open, mut with_key, mut with_token] = kinds;
    let went_on = revocation::measure(systems, &mut with_key.application, &keys, settings)?;
    went_on.iter().for_each(say_value);
    values.extend(went_on);
    for kind in [&mut open, &mut with_key, &mut with_token] {
        (systems.await_posts)(&mut kind.application)?;
        kind.application.check_counts()?;
    }
    Ok(values)
}

impl Kind {
    /// Posts for one round.
    fn post(&mut self, measured: Duration) -> Result<(), BenchError> {
        let Application { addresses, token, fields, .. } = &self.application;
        let mut posting = Posting::with_fields(token, fields, 1..=CHATS, Sequence::Endless);
        let address = addresses.write;
        let plan = Plan { address, connections: CONNECTIONS, warm_up: WARM_UP, measured, pace: Pace::Closed };
        let round = load::run(&plan, &mut posting);
        let round = round.map_err(|source| BenchError::Load { work: self.what.to_owned(), server: "tally", source })?;
        self.application.record(1..=CHATS, posting.acknowledged())?;
        self.rounds.push(round.per_second);
        Ok(())
    }
}

/// Creates an application with chats, which is used with a key that may write. Also returns its keys, to issue and revoke others.
fn create_with_key(addresses: Addresses, secrets: &Secrets) -> Result<(Application, Keys), BenchError> {
    let root = bearer(&secrets.root_key);
    let token = Application::create_empty(addresses.write, &root)?;
    let admin = Keys::new(addresses.write, &token, root).issue("admin")?;
    let keys = Keys::new(addresses.write, &token, bearer(&admin.secret));
    let key = keys.issue("write")?;
    Ok((Application::with_chats(addresses, token, bearer(&key.secret), CHATS)?, keys))
}

/// The throughput of each round, divided by that of the open server in the same round.
fn ratio_to_open(what: &str, rounds: &[f64], open: &[f64]) -> Value {
    let rounds = rounds.iter().zip(open).map(|(with, without)| with / without).collect();
    Value { what: format!("{what}, ratio to the open server"), unit: String::new(), decimals: 2, rounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_compared_round_by_round() {
        assert_eq!(ratio_to_open("POST", &[90.0, 80.0, 100.0], &[100.0, 160.0, 80.0]).rounds, [0.9, 0.5, 1.25]);
    }

    #[test]
    fn servers_of_one_run_have_the_same_secrets_and_two_runs_do_not() {
        let (secrets, others) = (Secrets::generate(), Secrets::generate());
        assert_eq!(secrets.open()[1..], secrets.required()[1..]);
        for (secret, other) in secrets.open().iter().zip(others.required()) {
            assert_ne!(*secret, other);
        }
    }
}
