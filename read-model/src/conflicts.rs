//! Decides which of several events under one key a store keeps. The functions are pure and need no database.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use events::{ApplicationToken, ChatKey, EventId};

use crate::changes::{
    ApplicationRow, ChatRow, DeadLetter, MessageKey, MessageRow, NameChange, NameOrigin, Rename, SourceEvent,
};

/// A row with a natural key that comes from one event.
pub(crate) trait KeyedRow {
    type Key: Eq + Hash;
    fn key(&self) -> Self::Key;
    fn source(&self) -> SourceEvent;
    /// Names the row in the reason of a dead letter.
    fn describe(&self) -> String;
}

impl KeyedRow for ChatRow {
    type Key = ChatKey;

    fn key(&self) -> ChatKey {
        self.chat
    }

    fn source(&self) -> SourceEvent {
        self.source
    }

    fn describe(&self) -> String {
        format!("chat {}", self.chat)
    }
}

impl KeyedRow for MessageRow {
    type Key = MessageKey;

    fn key(&self) -> MessageKey {
        (self.chat, self.number)
    }

    fn source(&self) -> SourceEvent {
        self.source
    }

    fn describe(&self) -> String {
        format!("message {} of chat {}", self.number, self.chat)
    }
}

/// Keeps the first row of each key, in log order.
pub(crate) fn keep_first_of_each_key<R: KeyedRow>(rows: &[R]) -> Vec<&R> {
    let mut keys = HashSet::with_capacity(rows.len());
    rows.iter().filter(|row| keys.insert(row.key())).collect()
}

/// Keeps the rows whose key is free. `holders` has the event of each row that the store has already.
///
/// A row of the same event as the stored row is a duplicate and is dropped. A row of another event is a conflict: the
/// first event in log order keeps the key, and the other becomes a dead letter.
pub(crate) fn resolve_conflicts<'a, R: KeyedRow>(
    rows: &'a [R],
    holders: &HashMap<R::Key, EventId>,
    dead_letters: &mut Vec<DeadLetter>,
) -> Vec<&'a R> {
    let mut holders_in_batch = HashMap::with_capacity(rows.len());
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let key = row.key();
        let source = row.source();
        match holders.get(&key).or_else(|| holders_in_batch.get(&key)) {
            None => {
                holders_in_batch.insert(key, source.event_id);
                kept.push(row);
            }
            Some(holder) if *holder == source.event_id => {}
            Some(_) => {
                let reason = format!("another event is {} already", row.describe());
                dead_letters.push(DeadLetter { source, reason });
            }
        }
    }
    kept
}

/// The rows that a batch of name changes has to write, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResolvedNames<'a> {
    /// The new state of each application that changed.
    pub(crate) applications: Vec<ApplicationRow>,
    /// Renames that the store did not know.
    pub(crate) renames: Vec<Rename>,
    /// The changes that were new, in log order: the creation, and each rename once.
    pub(crate) new: Vec<&'a NameChange>,
}

/// Applies name changes, in log order, to the stored rows. `applied_renames` are those renames among the changes that
/// the store has applied before.
///
/// A creation sets the name only if the application has none yet; a second creation becomes a dead letter. The rename
/// with the highest offset wins. A rename that was applied before changes nothing, even if it lies at a higher offset
/// now.
pub(crate) fn resolve_names<'a>(
    changes: &'a [NameChange],
    stored: Vec<ApplicationRow>,
    applied_renames: &HashSet<Rename>,
    dead_letters: &mut Vec<DeadLetter>,
) -> ResolvedNames<'a> {
    let mut applications: BTreeMap<_, _> = stored.into_iter().map(|row| (row.token, row)).collect();
    let mut renames = BTreeSet::new();
    let mut changed = HashSet::new();
    let mut new = Vec::new();
    for change in changes {
        let rename = (change.token, change.source.event_id);
        let (is_new, is_changed) = match change.origin {
            NameOrigin::Created => {
                let is_created = create_application(&mut applications, change, dead_letters);
                (is_created, is_created)
            }
            NameOrigin::Renamed if applied_renames.contains(&rename) || !renames.insert(rename) => (false, false),
            NameOrigin::Renamed => (true, rename_application(&mut applications, change)),
        };
        if is_new {
            new.push(change);
        }
        if is_changed {
            changed.insert(change.token);
        }
    }
    applications.retain(|token, _| changed.contains(token));
    ResolvedNames { applications: applications.into_values().collect(), renames: renames.into_iter().collect(), new }
}

/// Records a creation; returns whether the application changed.
fn create_application(
    applications: &mut BTreeMap<ApplicationToken, ApplicationRow>,
    change: &NameChange,
    dead_letters: &mut Vec<DeadLetter>,
) -> bool {
    let event_id = change.source.event_id;
    let application = applications.entry(change.token).or_insert_with(|| new_application(change, 0));
    match application.created_event {
        None => {
            application.created_event = Some(event_id);
            application.created_at = Some(change.occurred_at);
            application.last_event = application.last_event.max(Some(change.source.offset));
            true
        }
        Some(creator) if creator == event_id => false,
        Some(_) => {
            let reason = format!("another event has created application {:?} already", change.token);
            dead_letters.push(DeadLetter { source: change.source, reason });
            false
        }
    }
}

/// Sets another name, unless the current name comes from a higher offset; returns whether the application changed.
fn rename_application(applications: &mut BTreeMap<ApplicationToken, ApplicationRow>, change: &NameChange) -> bool {
    let name_rank = change.source.offset.next().0;
    match applications.get_mut(&change.token) {
        Some(application) if application.name_rank >= name_rank => false,
        Some(application) => {
            application.name.clone_from(&change.name);
            application.name_rank = name_rank;
            application.last_event = application.last_event.max(Some(change.source.offset));
            true
        }
        None => {
            applications.insert(change.token, new_application(change, name_rank));
            true
        }
    }
}

/// An application as its first event leaves it, apart from `created_event` and `created_at`.
fn new_application(change: &NameChange, name_rank: u64) -> ApplicationRow {
    ApplicationRow {
        token: change.token,
        created_event: None,
        created_at: None,
        last_event: Some(change.source.offset),
        name: change.name.clone(),
        name_rank,
    }
}

#[cfg(test)]
mod tests {
    use events::{ChatNumber, Number, Offset, UnixMillis};
    use uuid::Uuid;

    use super::*;
    use NameOrigin::{Created, Renamed};

    const TOKEN: ApplicationToken = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);

    fn event(id: u128) -> EventId {
        EventId(Uuid::from_u128(id))
    }

    fn change(name: &str, origin: NameOrigin, id: u128, offset: u64) -> NameChange {
        let source = SourceEvent { event_id: event(id), offset: Offset(offset) };
        NameChange { token: TOKEN, name: name.to_owned(), origin, source, occurred_at: at(offset) }
    }

    /// The time of the event at this offset.
    fn at(offset: u64) -> UnixMillis {
        UnixMillis(1_000 + offset)
    }

    /// A row whose creation lies at the offset `created`, and whose last event at `last`.
    fn row(created: Option<u64>, last: u64, name: &str, name_rank: u64) -> ApplicationRow {
        ApplicationRow {
            token: TOKEN,
            created_event: created.map(|_| event(1)),
            created_at: created.map(at),
            last_event: Some(Offset(last)),
            name: name.to_owned(),
            name_rank,
        }
    }

    /// Returns the row to write, if it changed, the number of new renames and the number of dead letters. Each change that is neither a
    /// dead letter nor known is new.
    fn resolve(
        stored: Option<ApplicationRow>,
        applied_renames: &[u128],
        changes: &[NameChange],
    ) -> (Option<ApplicationRow>, usize, usize) {
        let applied_renames = applied_renames.iter().map(|id| (TOKEN, event(*id))).collect();
        let mut dead_letters = Vec::new();
        let mut resolved = resolve_names(changes, Vec::from_iter(stored), &applied_renames, &mut dead_letters);
        let renamed = resolved.new.iter().filter(|change| change.origin == Renamed).count();
        assert_eq!(renamed, resolved.renames.len(), "each new rename is told once");
        (resolved.applications.pop(), resolved.renames.len(), dead_letters.len())
    }

    #[test]
    fn a_creation_names_only_an_unnamed_application() {
        let created = || change("created", Created, 1, 0);
        assert_eq!(resolve(None, &[], &[created()]), (Some(row(Some(0), 0, "created", 0)), 0, 0));
        let renamed = row(None, 5, "renamed", 6);
        assert_eq!(resolve(Some(renamed), &[], &[created()]), (Some(row(Some(0), 5, "renamed", 6)), 0, 0));
        let in_one_batch = [change("renamed", Renamed, 2, 0), change("created", Created, 1, 1)];
        assert_eq!(resolve(None, &[], &in_one_batch), (Some(row(Some(1), 1, "renamed", 1)), 1, 0));
    }

    #[test]
    fn a_second_creation_is_a_dead_letter_and_the_same_one_is_not() {
        let stored = || Some(row(Some(0), 0, "first", 0));
        assert_eq!(resolve(stored(), &[], &[change("first", Created, 1, 9)]), (None, 0, 0));
        assert_eq!(resolve(stored(), &[], &[change("second", Created, 2, 9)]), (None, 0, 1));
        let in_one_batch = [change("first", Created, 1, 0), change("second", Created, 2, 1)];
        assert_eq!(resolve(None, &[], &in_one_batch), (stored(), 0, 1));
    }

    #[test]
    fn the_highest_rename_wins_and_an_applied_one_changes_nothing() {
        let stored = || Some(row(None, 4, "stored", 5));
        assert_eq!(resolve(stored(), &[], &[change("lower", Renamed, 2, 3)]), (None, 1, 0));
        assert_eq!(resolve(stored(), &[], &[change("higher", Renamed, 2, 5)]), (Some(row(None, 5, "higher", 6)), 1, 0));
        assert_eq!(resolve(stored(), &[2], &[change("known", Renamed, 2, 9)]), (None, 0, 0));
        let twice = [change("one", Renamed, 2, 6), change("two", Renamed, 3, 7), change("one", Renamed, 2, 8)];
        assert_eq!(resolve(stored(), &[], &twice), (Some(row(None, 7, "two", 8)), 2, 0));
    }

    fn chat_row(id: u128) -> ChatRow {
        let chat = ChatKey { token: TOKEN, number: ChatNumber(Number::new(1).unwrap()) };
        ChatRow { chat, source: SourceEvent { event_id: event(id), offset: Offset(0) }, created_at: at(0) }
    }

    #[test]
    fn the_stored_event_keeps_its_key_and_its_duplicates_are_dropped() {
        let rows = [chat_row(2), chat_row(1), chat_row(2)];
        let mut dead_letters = Vec::new();
        assert_eq!(resolve_conflicts(&rows, &HashMap::new(), &mut dead_letters), [&rows[0]]);
        assert_eq!(dead_letters.iter().map(|letter| letter.source).collect::<Vec<_>>(), [rows[1].source]);
        assert_eq!(keep_first_of_each_key(&rows), [&rows[0]]);

        let holders = HashMap::from([(rows[0].chat, event(1))]);
        dead_letters.clear();
        assert_eq!(resolve_conflicts(&rows, &holders, &mut dead_letters), [&rows[0]; 0]);
        assert_eq!(
            dead_letters.iter().map(|letter| letter.source).collect::<Vec<_>>(),
            [rows[0].source, rows[2].source]
        );
    }
}
