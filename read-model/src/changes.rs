//! What a batch of events does to each projection, as data. The projector makes it, the stores carry it out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use events::{ApplicationToken, ChatKey, EventId, MessageNumber, Number, Offset, RequestKey, StreamKey, UnixMillis};

use crate::counts::ChatCounts;

/// Which event a row comes from. The partition is that of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceEvent {
    /// Its identity: the same event met again changes nothing.
    pub event_id: EventId,
    /// Its place in the partition.
    pub offset: Offset,
}

/// What the batch does to `views`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewsChanges {
    /// New applications and names, in log order.
    pub names: Vec<NameChange>,
    /// New chats, in log order; a key may come twice, see [`settle`].
    pub chats: Vec<ChatRow>,
    /// New messages, in log order; a key may come twice, see [`settle`].
    pub messages: Vec<MessageRow>,
    /// Events that could not be shown.
    pub dead_letters: Vec<DeadLetter>,
}

/// An application's name as of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// Which application.
    pub token: ApplicationToken,
    /// The name.
    pub name: String,
    /// The kind of event.
    pub origin: NameOrigin,
    /// The event.
    pub source: SourceEvent,
}

/// Where a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrigin {
    /// The application's creation: its name holds only until there is any other.
    Created,
    /// A rename: that with the highest offset holds.
    Renamed,
}

/// An application as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationRow {
    /// The event that created it; none while only renames were seen.
    pub created_event: Option<EventId>,
    /// Its name.
    pub name: String,
    /// 0 for the name it was created with, for that of a rename the bound behind its offset. The highest holds.
    pub name_rank: u64,
}

/// A rename, known by its application and event.
pub type Rename = (ApplicationToken, EventId);

/// What changes of names make of the rows that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledNames {
    /// The new state of each application that changed.
    pub applications: BTreeMap<ApplicationToken, ApplicationRow>,
    /// Renames that were not known before.
    pub renames: BTreeSet<Rename>,
}

/// A chat that came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    /// Its key.
    pub chat: ChatKey,
    /// The event.
    pub source: SourceEvent,
}

/// A message that came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// The chat that owns it.
    pub chat: ChatKey,
    /// Its number there.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
    /// The event.
    pub source: SourceEvent,
}

/// An event that cannot be shown: it stays in the log, and operators are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub source: SourceEvent,
    /// Why, in words: [`DeadLetter::MAX_REASON_CHARACTERS`] at most.
    pub reason: String,
}

impl DeadLetter {
    /// Longest reason that a store need keep. What is wrong with an event may quote all of it.
    pub const MAX_REASON_CHARACTERS: usize = 1_000;
}

/// What the batch does to `counts`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountsChanges {
    /// The new state of each chat that changed.
    pub chats: BTreeMap<ChatKey, ChatCounts>,
    /// What is added to each application, whose chats come from all partitions.
    pub applications: BTreeMap<ApplicationToken, ApplicationCountsDelta>,
    /// Events of requests that may be sent again, in log order.
    pub requests: Vec<AnsweredRequest>,
}

/// What a request with a key was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The request.
    pub request: RequestKey,
    /// The stream of its event; of an application's creation this is what was reserved.
    pub stream: StreamKey,
    /// The number that was reserved for it, if its kind has one.
    pub number: Option<Number>,
    /// When it was answered, as the writer told.
    pub occurred_at: UnixMillis,
    /// The event.
    pub source: SourceEvent,
}

/// What is added to an application's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplicationCountsDelta {
    /// Whether its creation is among the events.
    pub created: bool,
    /// Chats that were not counted before.
    pub chats: u32,
    /// Highest chat number among the events; 0 for none.
    pub last_chat: u32,
}

/// A message as `search` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDocument {
    /// The chat that owns the message.
    pub chat: ChatKey,
    /// Its number there.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
    /// The same, folded.
    pub folded: String,
}

/// A row that is known by a natural key and comes from one event.
pub trait Keyed {
    /// The natural key.
    type Key: Eq + Hash;
    /// This row's key.
    fn key(&self) -> Self::Key;
    /// The event that the row comes from.
    fn source(&self) -> SourceEvent;
    /// What the row is, for the reason of a dead letter.
    fn describe(&self) -> String;
}

impl Keyed for ChatRow {
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

impl Keyed for MessageRow {
    type Key = (ChatKey, MessageNumber);

    fn key(&self) -> Self::Key {
        (self.chat, self.number)
    }

    fn source(&self) -> SourceEvent {
        self.source
    }

    fn describe(&self) -> String {
        format!("message {} of chat {}", self.number, self.chat)
    }
}

impl<R: Keyed> Keyed for &R {
    type Key = R::Key;

    fn key(&self) -> R::Key {
        (*self).key()
    }

    fn source(&self) -> SourceEvent {
        (*self).source()
    }

    fn describe(&self) -> String {
        (*self).describe()
    }
}

/// Keeps the rows whose key nobody has. `taken` tells the events of the rows that are there already.
///
/// A row of the same event as the one that is there is a duplicate and goes without a word. A row of another event is
/// a second thing under one number: the first in log order keeps it, the second becomes a dead letter.
pub fn settle<R: Keyed>(rows: Vec<R>, taken: &HashMap<R::Key, EventId>, dead_letters: &mut Vec<DeadLetter>) -> Vec<R> {
    let mut taken_here = HashMap::new();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let key = row.key();
        match taken.get(&key).or_else(|| taken_here.get(&key)) {
            None => {
                taken_here.insert(key, row.source().event_id);
                kept.push(row);
            }
            Some(first) if *first == row.source().event_id => {}
            Some(_) => dead_letters.push(DeadLetter {
                source: row.source(),
                reason: format!("another event is {} already", row.describe()),
            }),
        }
    }
    kept
}

/// What `changes`, in log order, make of names. `applications` has the rows that are there, and `known` the renames that were
/// applied before, of those that the changes name.
///
/// A creation gives a name only where there is none yet; a second one becomes a dead letter. The rename that lies highest
/// holds; one that is known changes nothing, wherever it lies now.
pub fn settle_names(
    changes: &[NameChange],
    mut applications: HashMap<ApplicationToken, ApplicationRow>,
    known: &HashSet<Rename>,
    dead_letters: &mut Vec<DeadLetter>,
) -> SettledNames {
    let (mut renames, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for change in changes {
        let rename = (change.token, change.source.event_id);
        let is_changed = match change.origin {
            NameOrigin::Created => create(&mut applications, change, dead_letters),
            NameOrigin::Renamed if known.contains(&rename) || !renames.insert(rename) => false,
            NameOrigin::Renamed => rename_to(&mut applications, change),
        };
        if is_changed {
            changed.insert(change.token);
        }
    }
    applications.retain(|token, _| changed.contains(token));
    SettledNames { applications: applications.into_iter().collect(), renames }
}

/// Takes note of a creation; whether that changes anything.
fn create(
    applications: &mut HashMap<ApplicationToken, ApplicationRow>,
    change: &NameChange,
    dead_letters: &mut Vec<DeadLetter>,
) -> bool {
    let event_id = change.source.event_id;
    let application = applications.entry(change.token).or_insert_with(|| ApplicationRow {
        created_event: None,
        name: change.name.clone(),
        name_rank: 0,
    });
    match application.created_event {
        None => {
            application.created_event = Some(event_id);
            true
        }
        Some(first) if first == event_id => false,
        Some(_) => {
            let reason = format!("another event has created application {:?} already", change.token);
            dead_letters.push(DeadLetter { source: change.source, reason });
            false
        }
    }
}

/// Gives another name, unless there is one from higher up; whether that changes anything.
fn rename_to(applications: &mut HashMap<ApplicationToken, ApplicationRow>, change: &NameChange) -> bool {
    let name_rank = change.source.offset.next().0;
    match applications.get_mut(&change.token) {
        Some(application) if application.name_rank >= name_rank => false,
        Some(application) => {
            (application.name, application.name_rank) = (change.name.clone(), name_rank);
            true
        }
        None => {
            let application = ApplicationRow { created_event: None, name: change.name.clone(), name_rank };
            applications.insert(change.token, application);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use NameOrigin::{Created, Renamed};

    const TOKEN: ApplicationToken = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);

    fn event(id: u128) -> EventId {
        EventId(Uuid::from_u128(id))
    }

    fn change(name: &str, origin: NameOrigin, id: u128, offset: u64) -> NameChange {
        let source = SourceEvent { event_id: event(id), offset: Offset(offset) };
        NameChange { token: TOKEN, name: name.to_owned(), origin, source }
    }

    fn row(created_event: Option<EventId>, name: &str, name_rank: u64) -> ApplicationRow {
        ApplicationRow { created_event, name: name.to_owned(), name_rank }
    }

    /// What becomes of one row, and how many events are parked.
    fn settled(
        before: Option<ApplicationRow>,
        known: &[u128],
        changes: &[NameChange],
    ) -> (Option<ApplicationRow>, usize, usize) {
        let known = known.iter().map(|id| (TOKEN, event(*id))).collect();
        let (applications, mut dead_letters) = (before.map(|row| (TOKEN, row)).into_iter().collect(), Vec::new());
        let mut settled = settle_names(changes, applications, &known, &mut dead_letters);
        (settled.applications.remove(&TOKEN), settled.renames.len(), dead_letters.len())
    }

    #[test]
    fn a_creation_names_only_what_has_no_name() {
        let created = || change("created", Created, 1, 0);
        assert_eq!(settled(None, &[], &[created()]), (Some(row(Some(event(1)), "created", 0)), 0, 0));
        let renamed = row(None, "renamed", 6);
        assert_eq!(settled(Some(renamed), &[], &[created()]), (Some(row(Some(event(1)), "renamed", 6)), 0, 0));
        let in_one_batch = [change("renamed", Renamed, 2, 0), change("created", Created, 1, 1)];
        assert_eq!(settled(None, &[], &in_one_batch), (Some(row(Some(event(1)), "renamed", 1)), 1, 0));
    }

    #[test]
    fn a_second_creation_is_parked_and_the_same_one_is_not() {
        let there = || Some(row(Some(event(1)), "first", 0));
        assert_eq!(settled(there(), &[], &[change("first", Created, 1, 9)]), (None, 0, 0));
        assert_eq!(settled(there(), &[], &[change("second", Created, 2, 9)]), (None, 0, 1));
        let in_one_batch = [change("first", Created, 1, 0), change("second", Created, 2, 1)];
        assert_eq!(settled(None, &[], &in_one_batch), (there(), 0, 1));
    }

    #[test]
    fn the_highest_rename_holds_and_a_known_one_changes_nothing() {
        let there = || Some(row(None, "there", 5));
        assert_eq!(settled(there(), &[], &[change("lower", Renamed, 2, 3)]), (None, 1, 0));
        assert_eq!(settled(there(), &[], &[change("higher", Renamed, 2, 5)]), (Some(row(None, "higher", 6)), 1, 0));
        assert_eq!(settled(there(), &[2], &[change("known", Renamed, 2, 9)]), (None, 0, 0));
        let twice = [change("one", Renamed, 2, 6), change("two", Renamed, 3, 7), change("one", Renamed, 2, 8)];
        assert_eq!(settled(there(), &[], &twice), (Some(row(None, "two", 8)), 2, 0));
    }
}
