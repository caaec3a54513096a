//! The checks of [`Access`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use events::{EventId, KeyHash, KeyNumber, Offset, Place, Position, Scope, Scopes, UserId};
use uuid::Uuid;

use super::{Fixture, LONG_WAIT, OCCURRED_AT, SHORT_WAIT};
use crate::access::{Access, AccessChange, AccessChanges, AccessKey, MAX_CHANGES};
use crate::access_rows::{IssuedKey, KeyChange, KeyContent, RevokedKey, VoidedUser};
use crate::changes::{NameOrigin, ViewsChanges};
use crate::page::{Cursor, Page};
use crate::store::{ProjectionStore, StoreTime};

/// Most pages of changes that a check reads. Other checks may have made many changes.
const MAX_PAGES: usize = 1_000;
/// Between a look at the log's end and its note.
const A_WHILE: Duration = Duration::from_millis(300);

/// Lists the checks of [`Access`](crate::Access), each with the parts of the adapter that it takes and the
/// [`AccessFault`](crate::conformance::AccessFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. A check writes to the part
/// `store` and reads from the part `access`.
#[macro_export]
macro_rules! access_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            keys_are_numbered_in_log_order(store, access) => ShiftsNumbers,
            a_key_is_read_as_it_was_issued(store, access) => ForgetsEnds,
            an_unreadable_key_takes_a_number_and_is_not_shown(store, access) => ShiftsNumbers,
            a_revoked_key_is_found_and_not_listed(store, access) => HidesRevokedKeys,
            a_revocation_of_no_key_is_a_dead_letter(store, access) => HidesKeys,
            keys_are_paged_both_ways(store, access) => NeverHasMore,
            a_list_of_keys_exists_with_its_application(store, access) => ReturnsEmptyForAbsent,
            a_list_of_keys_shows_the_checkpoint(store, access) => OmitsPositions,
            the_last_void_of_a_user_counts(store, access) => ForgetsVoids,
            changes_are_all_that_came_since(store, access) => OmitsChanges,
            a_change_at_the_position_itself_is_among_them(store, access) => SkipsOne,
            changes_come_in_bounded_pages(store, access) => DropsTheRest,
            a_log_end_is_believed_once_views_has_passed_it(store, access) => AlwaysAtTheEnd,
            readers_of_keys_wait_for_a_position(store, access) => NeverWaitsForKeys,
        }
    };
}

/// Issues a key with an end and the scopes to read and write.
fn issue(fixture: &mut Fixture, name: &str) -> IssuedKey {
    let source = fixture.next_source();
    let mut hash = [0; KeyHash::BYTES];
    hash[..16].copy_from_slice(source.event_id.0.as_bytes());
    hash[31] = 0xff;
    let scopes = Scopes::new([Scope::Read, Scope::Write]).unwrap();
    let content = KeyContent { name: name.to_owned(), scopes, expires_at: Some(OCCURRED_AT), hash: KeyHash(hash) };
    let request_values = Some([7; 32]);
    IssuedKey { token: fixture.token, source, created_at: OCCURRED_AT, request_values, content: Some(content) }
}

fn revoke(fixture: &mut Fixture, key: u32) -> KeyChange {
    KeyChange::Revoked(RevokedKey { token: fixture.token, number: number(key), source: fixture.next_source() })
}

fn void(fixture: &mut Fixture, user: &str) -> VoidedUser {
    VoidedUser { token: fixture.token, user: user_id(user), source: fixture.next_source() }
}

fn number(number: u32) -> KeyNumber {
    KeyNumber::new(number).unwrap()
}

fn user_id(user: &str) -> UserId {
    UserId::new(user.to_owned()).unwrap()
}

async fn apply_keys(fixture: &Fixture, store: &Arc<dyn ProjectionStore>, keys: Vec<KeyChange>) {
    fixture.apply(store, ViewsChanges { keys, ..ViewsChanges::default() }).await;
}

/// Applies new keys as one batch.
async fn apply_issued(fixture: &Fixture, store: &Arc<dyn ProjectionStore>, keys: &[IssuedKey]) {
    apply_keys(fixture, store, keys.iter().cloned().map(KeyChange::Issued).collect()).await;
}

/// Reads the key of an event in each way, and checks that all ways agree.
async fn read(access: &Arc<dyn Access>, key: &IssuedKey) -> Option<AccessKey> {
    let issued = access.issued(key.token, key.source.event_id).await.unwrap();
    if let Some(content) = &key.content {
        assert_eq!(access.find_key(&content.hash).await.unwrap(), issued, "by its hash");
    }
    if let Some(issued) = &issued {
        assert_eq!(access.key(key.token, issued.number).await.unwrap().as_ref(), Some(issued), "by its number");
    }
    issued
}

async fn read_numbers(access: &Arc<dyn Access>, keys: &[IssuedKey]) -> Vec<Option<u32>> {
    let mut numbers = Vec::new();
    for key in keys {
        numbers.push(read(access, key).await.map(|key| key.number.get()));
    }
    numbers
}

/// The numbers of the keys that are listed.
async fn list(access: &Arc<dyn Access>, fixture: &Fixture) -> Vec<u32> {
    let listed = access.keys(fixture.token, Page::FIRST).await.unwrap();
    listed.into_iter().flat_map(|shown| shown.value.items).map(|key| key.number.get()).collect()
}

async fn create(fixture: &mut Fixture, store: &Arc<dyn ProjectionStore>) {
    let names = vec![fixture.name("app", NameOrigin::Created)];
    fixture.apply(store, ViewsChanges { names, ..ViewsChanges::default() }).await;
}

/// The keys of an application are numbered 1, 2, 3 … in the order of the log, whatever the batches. An event that comes again, in the same
/// batch or a later one, takes no number.
pub async fn keys_are_numbered_in_log_order(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    let first = [issue(&mut fixture, "a"), issue(&mut fixture, "b")];
    let again = IssuedKey {
        source: crate::SourceEvent { offset: fixture.next_source().offset, ..first[0].source },
        ..first[0].clone()
    };
    apply_issued(&fixture, &store, &[first.as_slice(), &[again]].concat()).await;
    let again = IssuedKey {
        source: crate::SourceEvent { offset: fixture.next_source().offset, ..first[1].source },
        ..first[1].clone()
    };
    let third = issue(&mut fixture, "c");
    apply_issued(&fixture, &store, &[again, third.clone()]).await;
    let others = [issue(&mut other, "d")];
    apply_issued(&other, &store, &others).await;
    assert_eq!(read_numbers(&access, &[first.as_slice(), &[third]].concat()).await, [Some(1), Some(2), Some(3)]);
    assert_eq!(read_numbers(&access, &others).await, [Some(1)]);
    let place = Place { partition: fixture.partition, offset: first[1].source.offset };
    assert_eq!(read(&access, &first[1]).await.map(|key| key.place), Some(place), "the place of the first event counts");
}

/// A key has everything that its event says. Unknown hashes, numbers and events are none.
pub async fn a_key_is_read_as_it_was_issued(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let long = "🚀".repeat(100 * 1024 / "🚀".len());
    let key = issue(&mut fixture, &long);
    apply_issued(&fixture, &store, std::slice::from_ref(&key)).await;
    let content = key.content.clone().unwrap();
    let expected = AccessKey {
        token: fixture.token,
        number: number(1),
        hash: content.hash,
        name: long,
        scopes: content.scopes,
        created_at: OCCURRED_AT,
        expires_at: content.expires_at,
        revoked: false,
        place: Place { partition: fixture.partition, offset: key.source.offset },
        request_values: key.request_values,
    };
    assert!(read(&access, &key).await == Some(expected), "the key has changed");
    let without_end = IssuedKey {
        request_values: None,
        content: Some(KeyContent {
            expires_at: None,
            hash: KeyHash(Uuid::new_v4().into_bytes().repeat(2).try_into().unwrap()),
            ..content
        }),
        ..issue(&mut fixture, "x")
    };
    apply_issued(&fixture, &store, std::slice::from_ref(&without_end)).await;
    let read_back = read(&access, &without_end).await.unwrap();
    assert_eq!((read_back.expires_at, read_back.request_values), (None, None));
    let unknown = Fixture::new().token;
    assert_eq!(access.find_key(&KeyHash([1; 32])).await.unwrap(), None);
    assert_eq!(access.key(fixture.token, number(9)).await.unwrap(), None);
    assert_eq!(access.key(unknown, number(1)).await.unwrap(), None);
    assert_eq!(access.issued(unknown, key.source.event_id).await.unwrap(), None);
    assert_eq!(access.issued(fixture.token, EventId(Uuid::now_v7())).await.unwrap(), None);
}

/// A key whose event cannot be read has a number, so that the next one has the number after it. Nobody sees the key, and it can be revoked.
pub async fn an_unreadable_key_takes_a_number_and_is_not_shown(
    store: Arc<dyn ProjectionStore>,
    access: Arc<dyn Access>,
) {
    let mut fixture = Fixture::new();
    create(&mut fixture, &store).await;
    let unreadable = IssuedKey { content: None, ..issue(&mut fixture, "") };
    let readable = issue(&mut fixture, "b");
    apply_issued(&fixture, &store, &[unreadable.clone(), readable.clone()]).await;
    assert_eq!(read_numbers(&access, &[unreadable, readable]).await, [None, Some(2)]);
    assert_eq!(access.key(fixture.token, number(1)).await.unwrap(), None);
    let revoked = vec![revoke(&mut fixture, 1)];
    apply_keys(&fixture, &store, revoked).await;
    assert_eq!(list(&access, &fixture).await, [2]);
}

/// A revoked key is found as revoked, and not listed. This holds for a key of the same batch, too, and a second revocation changes
/// nothing.
pub async fn a_revoked_key_is_found_and_not_listed(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    create(&mut fixture, &store).await;
    let keys = [issue(&mut fixture, "a"), issue(&mut fixture, "b"), issue(&mut fixture, "c")];
    let mut batch: Vec<_> = keys.iter().cloned().map(KeyChange::Issued).collect();
    batch.push(revoke(&mut fixture, 1));
    apply_keys(&fixture, &store, batch).await;
    for _ in 0..2 {
        let revoked = vec![revoke(&mut fixture, 2)];
        apply_keys(&fixture, &store, revoked).await;
    }
    for (key, revoked) in keys.iter().zip([true, true, false]) {
        assert_eq!(read(&access, key).await.map(|key| key.revoked), Some(revoked));
    }
    assert_eq!(list(&access, &fixture).await, [3]);
}

/// A revocation of a number that no key has is a dead letter, and the key that gets the number later is not revoked.
pub async fn a_revocation_of_no_key_is_a_dead_letter(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let early = revoke(&mut fixture, 1);
    let key = issue(&mut fixture, "a");
    apply_keys(&fixture, &store, vec![early.clone(), KeyChange::Issued(key.clone())]).await;
    let letters = store.dead_letters(fixture.partition, 10).await.unwrap();
    assert_eq!(letters.into_iter().map(|letter| letter.source).collect::<Vec<_>>(), [early.source()]);
    assert_eq!(read(&access, &key).await.map(|key| key.revoked), Some(false));
}

/// Lists are cut at their limit, and go on in both directions, past keys that are revoked.
pub async fn keys_are_paged_both_ways(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    create(&mut fixture, &store).await;
    let keys: Vec<_> = (0..5).map(|_| issue(&mut fixture, "key")).collect();
    apply_issued(&fixture, &store, &keys).await;
    let revoked = vec![revoke(&mut fixture, 3)];
    apply_keys(&fixture, &store, revoked).await;
    for (cursor, expected, more) in [
        (Cursor::First, [1, 2].as_slice(), true),
        (Cursor::After(number(2)), &[4, 5], false),
        (Cursor::After(number(5)), &[], false),
        (Cursor::Last, &[5, 4], true),
        (Cursor::Before(number(4)), &[2, 1], false),
    ] {
        let page = access.keys(fixture.token, Page { cursor, limit: 2 }).await.unwrap().unwrap().value;
        let numbers: Vec<_> = page.items.iter().map(|key| key.number.get()).collect();
        assert_eq!((numbers.as_slice(), page.more), (expected, more), "{cursor:?}");
    }
}

/// The list of a known application may be empty; that of an unknown one is none.
pub async fn a_list_of_keys_exists_with_its_application(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    assert_eq!(access.keys(fixture.token, Page::FIRST).await.unwrap(), None);
    create(&mut fixture, &store).await;
    let listed = access.keys(fixture.token, Page::FIRST).await.unwrap();
    assert_eq!(listed.map(|shown| shown.value.items), Some(vec![]));
}

/// A list shows everything that was applied: also the revocations of what it does not show.
pub async fn a_list_of_keys_shows_the_checkpoint(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    create(&mut fixture, &store).await;
    let keys = [issue(&mut fixture, "a")];
    apply_issued(&fixture, &store, &keys).await;
    let revoked = revoke(&mut fixture, 1);
    let position = fixture.position(revoked.source().offset);
    apply_keys(&fixture, &store, vec![revoked]).await;
    let shown = access.keys(fixture.token, Page::FIRST).await.unwrap().unwrap();
    assert!(shown.position.covers(&position), "{}", shown.position);
}

/// A user's tokens are void up to the last event that says so. Other users and other applications are not meant, however similar
/// the names are.
pub async fn the_last_void_of_a_user_counts(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let first = void(&mut fixture, "zoë 🚀");
    let others = ["Zoë 🚀", "zoe 🚀", "zoë 🚀 ", "zoë 🚀  ", " zoë 🚀"].map(|user| void(&mut fixture, user));
    let last = void(&mut fixture, "zoë 🚀");
    let voided = [std::slice::from_ref(&first), &others, std::slice::from_ref(&last)].concat();
    fixture.apply(&store, ViewsChanges { voided, ..ViewsChanges::default() }).await;
    let place = |voided: &VoidedUser| Some(Place { partition: fixture.partition, offset: voided.source.offset });
    for user in others.iter().chain([&last]) {
        assert_eq!(access.voided(fixture.token, &user.user).await.unwrap(), place(user), "{:?}", user.user);
    }
    for unknown in ["nobody", "zoë 🚀   "] {
        assert_eq!(access.voided(fixture.token, &user_id(unknown)).await.unwrap(), None, "{unknown:?}");
    }
    assert_eq!(access.voided(Fixture::new().token, &last.user).await.unwrap(), None);
    let later = void(&mut fixture, "zoë 🚀");
    fixture.apply(&store, ViewsChanges { voided: vec![later.clone()], ..ViewsChanges::default() }).await;
    let place = Place { partition: fixture.partition, offset: later.source.offset };
    assert_eq!(access.voided(fixture.token, &later.user).await.unwrap(), Some(place));
}

/// Reads all changes of the fixture's application since a position. Returns them with the position for the next call.
async fn read_changes(access: &Arc<dyn Access>, fixture: &Fixture, since: &Position) -> (Vec<AccessChange>, Position) {
    let (mut own, mut since) = (Vec::new(), since.clone());
    for _ in 0..MAX_PAGES {
        let AccessChanges { changes, next, more, .. } = access.changes(&since).await.unwrap();
        assert!(changes.len() <= MAX_CHANGES as usize, "a page of {}", changes.len());
        assert!(next.covers(&since), "{next} after {since}");
        since = next;
        own.extend(changes.into_iter().filter(|change| {
            let (AccessChange::KeyRevoked { token, .. } | AccessChange::UserTokensVoided { token, .. }) = change;
            *token == fixture.token
        }));
        if !more {
            return (own, since);
        }
    }
    panic!("the changes do not end");
}

/// Who asks again and again learns of every revocation and every void, once, in the order of the log.
pub async fn changes_are_all_that_came_since(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let keys = [issue(&mut fixture, "a"), issue(&mut fixture, "b")];
    apply_issued(&fixture, &store, &keys).await;
    let begin = access.position().await.unwrap();
    assert!(begin.covers(&fixture.position(keys[1].source.offset)), "{begin}");
    let (user, key) = (void(&mut fixture, "alice"), revoke(&mut fixture, 2));
    let changes = ViewsChanges { keys: vec![key.clone()], voided: vec![user.clone()], ..ViewsChanges::default() };
    fixture.apply(&store, changes).await;
    let place = |offset| Place { partition: fixture.partition, offset };
    let token = fixture.token;
    let expected = [
        AccessChange::UserTokensVoided { token, user: user.user, place: place(user.source.offset) },
        AccessChange::KeyRevoked { token, number: number(2), place: place(key.source().offset) },
    ];
    let (changes, next) = read_changes(&access, &fixture, &begin).await;
    assert_eq!(changes, expected);
    let (changes, next) = read_changes(&access, &fixture, &next).await;
    assert_eq!(changes, []);
    let second = [revoke(&mut fixture, 2), revoke(&mut fixture, 1)];
    apply_keys(&fixture, &store, second.to_vec()).await;
    let place = Place { partition: fixture.partition, offset: second[1].source().offset };
    let (changes, _) = read_changes(&access, &fixture, &next).await;
    assert_eq!(changes, [AccessChange::KeyRevoked { token, number: number(1), place }], "a second revocation is none");
}

/// A position covers what lies before it. So a change that lies at its bound is among those since it.
pub async fn a_change_at_the_position_itself_is_among_them(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let users = [void(&mut fixture, "a"), void(&mut fixture, "b")];
    let since = Position::up_to(fixture.partition, users[1].source.offset);
    fixture.apply(&store, ViewsChanges { voided: users.to_vec(), ..ViewsChanges::default() }).await;
    let (changes, _) = read_changes(&access, &fixture, &since).await;
    let place = Place { partition: fixture.partition, offset: users[1].source.offset };
    assert_eq!(changes, [AccessChange::UserTokensVoided { token: fixture.token, user: user_id("b"), place }]);
}

/// However many changes there are, a page has a bounded number of them, and the pages together have all.
pub async fn changes_come_in_bounded_pages(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let count = MAX_CHANGES + MAX_CHANGES / 2;
    let keys: Vec<_> = (0..count / 2).map(|_| issue(&mut fixture, "key")).collect();
    apply_issued(&fixture, &store, &keys).await;
    let begin = access.position().await.unwrap();
    let (mut keys, mut voided) = (Vec::new(), Vec::new());
    for index in 0..count / 2 {
        keys.push(revoke(&mut fixture, index + 1));
        voided.push(void(&mut fixture, &format!("user {index}")));
    }
    fixture.apply(&store, ViewsChanges { keys, voided, ..ViewsChanges::default() }).await;
    let (changes, _) = read_changes(&access, &fixture, &begin).await;
    let places: Vec<_> = changes
        .iter()
        .map(|change| match change {
            AccessChange::KeyRevoked { place, .. } | AccessChange::UserTokensVoided { place, .. } => *place,
        })
        .collect();
    assert!(places.is_sorted(), "they are not in log order");
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), count as usize);
    assert_eq!(places.len(), count as usize, "some came twice");
}

/// It is known how long ago `views` had everything only once its checkpoint has passed the end that the log had then. The latest such
/// moment counts, whoever notes it first. A note that is written late tells of the moment that it names.
pub async fn a_log_end_is_believed_once_views_has_passed_it(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let keys = [issue(&mut fixture, "a")];
    let reached = async || {
        let position = access.position().await.unwrap();
        access.changes(&position).await.unwrap().reached.get(&fixture.partition).copied()
    };
    let early = now(&store).await;
    store.note_log_end(fixture.partition, Offset(1), early).await.unwrap();
    assert_eq!(reached().await, None, "nothing was applied yet");
    apply_issued(&fixture, &store, &keys).await;
    store.note_log_end(fixture.partition, Offset(2), early).await.unwrap();
    assert_eq!(reached().await, None, "the log has more");
    tokio::time::sleep(A_WHILE).await;
    store.note_log_end(fixture.partition, Offset(1), early).await.unwrap();
    let since = reached().await.unwrap();
    assert!(since >= A_WHILE && since <= now(&store).await.0 - early.0, "{since:?}");
    let late = now(&store).await;
    store.note_log_end(fixture.partition, Offset(1), late).await.unwrap();
    store.note_log_end(fixture.partition, Offset(1), early).await.unwrap();
    let since = reached().await.unwrap();
    assert!(since <= now(&store).await.0 - late.0, "an earlier moment has replaced a later one");
    let empty = Fixture::new();
    store.note_log_end(empty.partition, Offset::START, early).await.unwrap();
    let position = access.position().await.unwrap();
    let known = access.changes(&position).await.unwrap().reached;
    assert!(known.contains_key(&empty.partition), "an empty partition has nothing that is missing");
}

async fn now(store: &Arc<dyn ProjectionStore>) -> StoreTime {
    store.now().await.unwrap().expect("the store of a live generation takes notes")
}

/// A position is reached once `views` has passed it, and not before.
pub async fn readers_of_keys_wait_for_a_position(store: Arc<dyn ProjectionStore>, access: Arc<dyn Access>) {
    let mut fixture = Fixture::new();
    let keys = [issue(&mut fixture, "a")];
    let position = fixture.position(keys[0].source.offset);
    assert!(!access.reached(&position, SHORT_WAIT).await.unwrap());
    apply_issued(&fixture, &store, &keys).await;
    assert!(access.reached(&position, LONG_WAIT).await.unwrap());
    assert!(read(&access, &keys[0]).await.is_some());
}
