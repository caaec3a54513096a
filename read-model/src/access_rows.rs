//! What a batch changes in the tables of keys and of voided users, and which number each new key gets.

use std::collections::{BTreeSet, HashMap, HashSet};

use events::{ApplicationToken, EventId, KeyHash, KeyNumber, RequestKey, Scopes, UnixMillis, UserId};

use crate::changes::{DeadLetter, SourceEvent};

/// An event about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// A key was issued.
    Issued(IssuedKey),
    /// A key was revoked.
    Revoked(RevokedKey),
}

/// A key that an event has issued. The store gives it the next number of its application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedKey {
    /// The application.
    pub token: ApplicationToken,
    /// The event.
    pub source: SourceEvent,
    /// When the event was made.
    pub created_at: UnixMillis,
    /// A hash of the values of the request that issued it, if the request had an Idempotency-Key.
    pub request_values: Option<[u8; RequestKey::HASH_BYTES]>,
    /// What the event says. `None` if this program cannot read it: then nobody can use the key, and its number is taken all the same,
    /// so that the numbers of later keys do not depend on who has read the log.
    pub content: Option<KeyContent>,
}

/// What the event that issues a key says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyContent {
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is of no use.
    pub expires_at: Option<UnixMillis>,
    /// By which it is recognised.
    pub hash: KeyHash,
}

/// A revocation of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedKey {
    /// The application.
    pub token: ApplicationToken,
    /// The key.
    pub number: KeyNumber,
    /// The event.
    pub source: SourceEvent,
}

/// Identifies the event that issued a key of an application.
pub type KeyEvent = (ApplicationToken, EventId);

/// A new key with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRow<'a> {
    /// Its number within the application.
    pub number: KeyNumber,
    /// The key.
    pub key: &'a IssuedKey,
}

/// A user whose tokens an event has voided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidedUser {
    /// The application.
    pub token: ApplicationToken,
    /// The user.
    pub user: UserId,
    /// The event.
    pub source: SourceEvent,
}

impl KeyChange {
    /// The application of the key.
    pub const fn token(&self) -> ApplicationToken {
        match self {
            Self::Issued(issued) => issued.token,
            Self::Revoked(revoked) => revoked.token,
        }
    }

    /// The event.
    pub const fn source(&self) -> SourceEvent {
        match self {
            Self::Issued(issued) => issued.source,
            Self::Revoked(revoked) => revoked.source,
        }
    }
}

/// The rows that a batch has to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResolvedKeys<'a> {
    /// New keys, in log order.
    pub(crate) issued: Vec<KeyRow<'a>>,
    /// The first revocation of each key, in log order. The key may be revoked already.
    pub(crate) revoked: Vec<RevokedKey>,
}

/// Gives new keys their numbers. `last` has the last number of each application that has keys, and `known` those events among the
/// changes whose keys the store has.
///
/// An event that repeats a known one is dropped. A revocation of a number that no key has becomes a dead letter.
pub(crate) fn resolve_keys<'a>(
    changes: &'a [KeyChange],
    mut last: HashMap<ApplicationToken, KeyNumber>,
    mut known: HashSet<KeyEvent>,
    dead_letters: &mut Vec<DeadLetter>,
) -> ResolvedKeys<'a> {
    let mut resolved = ResolvedKeys::default();
    let mut revoked_numbers = HashSet::new();
    for change in changes {
        let number = last.get(&change.token()).copied();
        match change {
            KeyChange::Issued(key) if !known.insert((key.token, key.source.event_id)) => {}
            KeyChange::Issued(key) => match KeyNumber::new(number.map_or(0, KeyNumber::get).wrapping_add(1)) {
                Some(next) => {
                    last.insert(key.token, next);
                    resolved.issued.push(KeyRow { number: next, key });
                }
                None => dead_letters.push(letter(change, "every number of a key is taken")),
            },
            KeyChange::Revoked(revoked) if Some(revoked.number) > number => {
                dead_letters.push(letter(change, &format!("there is no key {}", revoked.number)));
            }
            KeyChange::Revoked(revoked) => {
                if revoked_numbers.insert((revoked.token, revoked.number)) {
                    resolved.revoked.push(*revoked);
                }
            }
        }
    }
    resolved
}

fn letter(change: &KeyChange, reason: &str) -> DeadLetter {
    let reason = format!("{reason} of application {:?}", change.token());
    DeadLetter { source: change.source(), reason }
}

/// The applications of the changes, each once, in order.
pub(crate) fn tokens_of(changes: &[KeyChange]) -> Vec<ApplicationToken> {
    let tokens: BTreeSet<_> = changes.iter().map(KeyChange::token).collect();
    tokens.into_iter().collect()
}

/// The events of the changes that issue keys.
pub(crate) fn issuing_events(changes: &[KeyChange]) -> Vec<KeyEvent> {
    let issued = changes.iter().filter_map(|change| match change {
        KeyChange::Issued(key) => Some((key.token, key.source.event_id)),
        KeyChange::Revoked(_) => None,
    });
    issued.collect()
}

/// The last event of each user, in the order of users: several processes lock rows in this order.
pub(crate) fn last_of_each_user(voided: &[VoidedUser]) -> Vec<&VoidedUser> {
    let mut last = HashMap::with_capacity(voided.len());
    for user in voided {
        last.insert((user.token, &user.user), user);
    }
    let mut last: Vec<_> = last.into_values().collect();
    last.sort_unstable_by(|one, other| (one.token, &one.user).cmp(&(other.token, &other.user)));
    last
}

#[cfg(test)]
mod tests {
    use events::Offset;
    use uuid::Uuid;

    use super::*;

    const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
    const OTHER: ApplicationToken = ApplicationToken::from_bytes([8; ApplicationToken::BYTES]);

    fn event(id: u128) -> EventId {
        EventId(Uuid::from_u128(id))
    }

    fn source(id: u128, offset: u64) -> SourceEvent {
        SourceEvent { event_id: event(id), offset: Offset(offset) }
    }

    fn number(value: u32) -> KeyNumber {
        KeyNumber::new(value).unwrap()
    }

    fn issued(token: ApplicationToken, id: u128, offset: u64) -> KeyChange {
        let source = source(id, offset);
        KeyChange::Issued(IssuedKey { token, source, created_at: UnixMillis(1), request_values: None, content: None })
    }

    fn revoked(value: u32, offset: u64) -> KeyChange {
        KeyChange::Revoked(RevokedKey { token: TOKEN, number: number(value), source: source(offset.into(), offset) })
    }

    /// Returns the offsets and numbers of new keys, the numbers that are revoked, and the offsets of dead letters.
    fn resolve(changes: &[KeyChange], last: Option<u32>, known: &[u128]) -> (Vec<(u64, u32)>, Vec<u32>, Vec<u64>) {
        let last = last.map(|last| (TOKEN, number(last)));
        let known = known.iter().map(|id| (TOKEN, event(*id))).collect();
        let mut letters = Vec::new();
        let resolved = resolve_keys(changes, last.into_iter().collect(), known, &mut letters);
        (
            resolved.issued.iter().map(|row| (row.key.source.offset.0, row.number.get())).collect(),
            resolved.revoked.iter().map(|revoked| revoked.number.get()).collect(),
            letters.iter().map(|letter| letter.source.offset.0).collect(),
        )
    }

    #[test]
    fn keys_are_numbered_in_log_order_within_their_application() {
        let changes = [issued(TOKEN, 1, 10), issued(OTHER, 2, 11), issued(TOKEN, 3, 12)];
        assert_eq!(resolve(&changes, None, &[]).0, [(10, 1), (11, 1), (12, 2)]);
        assert_eq!(resolve(&changes, Some(4), &[]).0, [(10, 5), (11, 1), (12, 6)]);
    }

    #[test]
    fn an_event_that_comes_again_takes_no_number() {
        let changes = [issued(TOKEN, 1, 10), issued(TOKEN, 2, 11), issued(TOKEN, 2, 12), issued(TOKEN, 3, 13)];
        assert_eq!(resolve(&changes, Some(1), &[1]).0, [(11, 2), (13, 3)]);
    }

    #[test]
    fn only_a_key_that_was_issued_before_is_revoked() {
        let changes = [revoked(1, 1), revoked(3, 2), issued(TOKEN, 9, 3), revoked(3, 4), revoked(3, 5)];
        assert_eq!(resolve(&changes, Some(2), &[]), (vec![(3, 3)], vec![1, 3], vec![2]));
        assert_eq!(resolve(&[revoked(1, 1)], None, &[]), (vec![], vec![], vec![1]));
    }

    #[test]
    fn beyond_the_last_number_there_are_no_keys() {
        assert_eq!(resolve(&[issued(TOKEN, 1, 5)], Some(u32::MAX), &[]), (vec![], vec![], vec![5]));
    }

    #[test]
    fn the_last_event_of_a_user_counts() {
        let voided = |user: &str, offset| {
            let user = UserId::new(user.to_owned()).unwrap();
            VoidedUser { token: TOKEN, user, source: source(offset, u64::try_from(offset).unwrap()) }
        };
        let all = [voided("b", 1), voided("a", 2), voided("b", 3)];
        assert_eq!(last_of_each_user(&all), [&all[1], &all[2]]);
    }
}
