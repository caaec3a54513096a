//! How many may listen: all together, each application, and each principal.

use std::collections::HashMap;
use std::sync::Arc;

use access::Principal;
use events::{ApplicationToken, KeyNumber, UserId};
use parking_lot::Mutex;
use service::streams::{StreamLimit, StreamPlace};

/// Most streams and waiting requests of one key, where the process may have many streams.
pub(crate) const MAX_OF_KEY: usize = 2_000;
/// Those of one user, whichever tokens they are opened with: some windows on some devices.
pub(crate) const MAX_OF_USER: usize = 20;
/// An application has at most this part of all streams, and of all waiting requests: so it leaves the rest to others.
const PART_OF_APPLICATION: usize = 2;
/// A key has at most this part of all waiting requests.
const WAITING_PART_OF_KEY: usize = 4;
/// Most requests that wait for an event at once, so that they leave slots and connections to requests that need not wait.
const MAX_LONG_POLLS: usize = 1_024;
/// Where the limit of open files is low, so many times as many streams are admitted.
const STREAMS_PER_LONG_POLL: usize = 4;

/// Counts who listens. Clones share the counts.
#[derive(Clone)]
pub(super) struct ListenerBounds {
    streams: StreamLimit,
    max_long_polls: usize,
    /// Streams and waiting requests.
    of_all: PrincipalBounds,
    of_long_polls: PrincipalBounds,
}

/// The places of applications and of their principals. Clones share the counts.
#[derive(Clone)]
struct PrincipalBounds {
    max_of_application: usize,
    max_of_key: usize,
    counts: Arc<Mutex<HashMap<Whose, usize>>>,
}

/// Those whom others must be protected from. Whoever has the root key, or uses an open server, has the bound of all alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Application(ApplicationToken),
    Key(ApplicationToken, KeyNumber),
    User(ApplicationToken, UserId),
}

/// Somebody may not listen beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyListeners {
    #[error("too many clients follow the feeds of this process; try again")]
    All,
    #[error(
        "the clients of this application have {0} streams or waiting requests here, which is the most; close some of them"
    )]
    Application(usize),
    #[error("this credential has {0} streams or waiting requests here, which is the most; close some of them")]
    Principal(usize),
}

/// The place of a principal, which is one of its application too. A drop gives it back.
pub(super) struct PrincipalPlace {
    counts: Arc<Mutex<HashMap<Whose, usize>>>,
    whose: Vec<Whose>,
}

impl ListenerBounds {
    pub(super) fn new(streams: StreamLimit) -> Self {
        let max_streams = streams.max();
        let max_long_polls = MAX_LONG_POLLS.min(max_streams / STREAMS_PER_LONG_POLL).max(1);
        let of_application = (max_streams / PART_OF_APPLICATION).max(1);
        Self {
            streams,
            max_long_polls,
            of_all: PrincipalBounds::new(of_application, MAX_OF_KEY.min(of_application)),
            of_long_polls: PrincipalBounds::new(
                (max_long_polls / PART_OF_APPLICATION).max(1),
                (max_long_polls / WAITING_PART_OF_KEY).max(1),
            ),
        }
    }

    /// Most requests that wait for an event at once.
    pub(super) const fn max_long_polls(&self) -> usize {
        self.max_long_polls
    }

    /// Takes a place among all streams.
    pub(super) fn take_stream(&self) -> Result<StreamPlace, TooManyListeners> {
        self.streams.try_take().ok_or(TooManyListeners::All)
    }

    /// Takes one of the places that a principal has.
    pub(super) fn take_of(&self, principal: &Principal) -> Result<PrincipalPlace, TooManyListeners> {
        self.of_all.take(principal)
    }

    /// Takes one of the places that a principal has, and one of those for its requests that wait.
    pub(super) fn take_long_poll_of(
        &self,
        principal: &Principal,
    ) -> Result<(PrincipalPlace, PrincipalPlace), TooManyListeners> {
        Ok((self.of_all.take(principal)?, self.of_long_polls.take(principal)?))
    }
}

impl PrincipalBounds {
    fn new(max_of_application: usize, max_of_key: usize) -> Self {
        Self { max_of_application, max_of_key, counts: Arc::default() }
    }

    fn take(&self, principal: &Principal) -> Result<PrincipalPlace, TooManyListeners> {
        let whose = whose(principal);
        let mut counts = self.counts.lock();
        for one in &whose {
            let count = counts.get(one).copied().unwrap_or_default();
            let (max, crowded) = self.bound(one);
            if count >= max {
                return Err(crowded);
            }
        }
        for one in &whose {
            *counts.entry(one.clone()).or_default() += 1;
        }
        drop(counts);
        Ok(PrincipalPlace { counts: Arc::clone(&self.counts), whose })
    }

    const fn bound(&self, whose: &Whose) -> (usize, TooManyListeners) {
        match whose {
            Whose::Application(_) => (self.max_of_application, TooManyListeners::Application(self.max_of_application)),
            Whose::Key(..) => (self.max_of_key, TooManyListeners::Principal(self.max_of_key)),
            Whose::User(..) => (MAX_OF_USER, TooManyListeners::Principal(MAX_OF_USER)),
        }
    }
}

/// A principal and its application. The principal comes first, so that it learns of its own bound.
fn whose(principal: &Principal) -> Vec<Whose> {
    match principal {
        Principal::Anonymous | Principal::Root => Vec::new(),
        Principal::Key(grant) => vec![Whose::Key(grant.token, grant.number), Whose::Application(grant.token)],
        Principal::User(grant) => {
            vec![Whose::User(grant.token, grant.user.clone()), Whose::Application(grant.token)]
        }
    }
}

impl Drop for PrincipalPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        for one in &self.whose {
            if let Some(count) = counts.get_mut(one) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use access::principal::{Chats, KeyGrant, UserGrant};
    use events::Scope;

    use super::*;

    fn user(application: u8, name: &str) -> Principal {
        Principal::User(Arc::new(UserGrant {
            token: ApplicationToken::from_bytes([application; 16]),
            user: UserId::new(name.to_owned()).unwrap(),
            scope: Scope::Read,
            chats: Chats::All,
            minted_by: KeyNumber::new(1).unwrap(),
        }))
    }

    fn key(application: u8, number: u32) -> Principal {
        Principal::Key(KeyGrant {
            token: ApplicationToken::from_bytes([application; 16]),
            number: KeyNumber::new(number).unwrap(),
            scope: Scope::Read,
        })
    }

    #[test]
    fn each_principal_has_places_of_its_own_and_gets_them_back() {
        let bounds = ListenerBounds::new(StreamLimit::new(10_000));
        for (principal, max) in [(user(1, "a"), MAX_OF_USER), (user(1, "b"), MAX_OF_USER), (key(1, 1), MAX_OF_KEY)] {
            let mut places: Vec<_> = (0..max).map(|_| bounds.take_of(&principal).unwrap()).collect();
            assert_eq!(bounds.take_of(&principal).err(), Some(TooManyListeners::Principal(max)));
            places.pop();
            assert!(bounds.take_of(&principal).is_ok());
        }
        assert!(bounds.of_all.counts.lock().is_empty(), "nothing is kept of those who have gone");
        let others: Vec<_> = (0..=MAX_OF_KEY).map(|_| bounds.take_of(&Principal::Root)).collect();
        assert!(others.iter().all(Result::is_ok));
        let bounds = ListenerBounds::new(StreamLimit::new(1));
        let stream = bounds.take_stream().unwrap();
        assert_eq!(bounds.take_stream().err(), Some(TooManyListeners::All));
        drop(stream);
        assert!(bounds.take_stream().is_ok());
    }

    #[test]
    fn an_application_leaves_half_of_the_streams_to_others_whatever_its_credentials() {
        let bounds = ListenerBounds::new(StreamLimit::new(40));
        let mut places: Vec<_> = (0..12).map(|_| bounds.take_of(&user(1, "a")).unwrap()).collect();
        places.extend((0..8).map(|_| bounds.take_of(&key(1, 1)).unwrap()));
        for principal in [user(1, "a"), user(1, "b"), key(1, 1), key(1, 2)] {
            assert_eq!(bounds.take_of(&principal).err(), Some(TooManyListeners::Application(20)));
        }
        let others: Vec<_> = (0..20).map(|_| bounds.take_of(&key(2, 1)).unwrap()).collect();
        drop((places, others));
        assert!(bounds.of_all.counts.lock().is_empty());
    }

    #[test]
    fn a_key_and_an_application_leave_most_waits_to_others() {
        let bounds = ListenerBounds::new(StreamLimit::new(10_000));
        assert_eq!(bounds.max_long_polls(), 1_024);
        let mut places = Vec::new();
        for number in [1, 2] {
            places.extend((0..256).map(|_| bounds.take_long_poll_of(&key(1, number)).unwrap()));
            let refused = bounds.take_long_poll_of(&key(1, number)).err();
            assert_eq!(refused, Some(TooManyListeners::Principal(256)));
        }
        assert_eq!(bounds.take_long_poll_of(&key(1, 3)).err(), Some(TooManyListeners::Application(512)));
        assert!(bounds.take_long_poll_of(&key(2, 1)).is_ok());
        assert!(bounds.take_of(&key(1, 1)).is_ok(), "a stream is no request that waits");
        drop(places);
        assert!(bounds.of_all.counts.lock().is_empty() && bounds.of_long_polls.counts.lock().is_empty());
    }
}
