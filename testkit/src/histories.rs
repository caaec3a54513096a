//! Generates logs as applications could have written them: streams in any interleaving, with gaps and duplicates.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use events::{
    ApplicationToken, Author, ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, ChatNumber, Event, EventId,
    KeyHash, KeyIssued, KeyNumber, KeyRevoked, MessageNumber, MessagePosted, Offset, PartitionId, Record,
    RecordedEvent, Scope, Scopes, UnixMillis, UserId, UserTokensVoided,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

/// The events of one stream, in order.
pub type Stream = Vec<Record>;

const APPLICATIONS: u8 = 3;
const CHATS_AN_APPLICATION: u32 = 3;
const MAX_MESSAGES_A_CHAT: usize = 8;

/// The streams of a few applications: their names, keys, chats and messages. The numbers of a chat's messages have gaps and are a
/// little out of order.
pub fn streams() -> impl Strategy<Value = Vec<Stream>> {
    let applications: Vec<_> = (1..=APPLICATIONS).map(|byte| application(token(byte))).collect();
    applications.prop_map(|streams| streams.concat())
}

/// One log of all the streams, interleaved at random. Each stream keeps its order. Some records occur twice, the second
/// anywhere behind the first.
pub fn log_of(streams: Vec<Stream>) -> impl Strategy<Value = Vec<Record>> {
    let owners: Vec<usize> = streams.iter().enumerate().flat_map(|(owner, stream)| vec![owner; stream.len()]).collect();
    let count = owners.len();
    (Just(owners).prop_shuffle(), vec((any::<u16>(), any::<u16>()), 0..=count / 4)).prop_map(
        move |(owners, duplicates)| {
            let mut rest: Vec<_> = streams.iter().map(|stream| stream.iter()).collect();
            let mut log: Vec<Record> = owners.iter().filter_map(|owner| rest[*owner].next().cloned()).collect();
            for (index, distance) in duplicates {
                if !log.is_empty() {
                    let first = usize::from(index) % log.len();
                    let again = first + 1 + usize::from(distance) % (log.len() - first);
                    log.insert(again, log[first].clone());
                }
            }
            log
        },
    )
}

/// Streams, one log of them, and where the log is cut into batches.
pub type History = (Vec<Stream>, Vec<Record>, Vec<u16>);

/// A few histories, the same in every run. They are for tests on servers, where each history takes long.
pub fn samples(count: usize) -> Vec<History> {
    let histories = streams().prop_flat_map(|streams| {
        let log = log_of(streams.clone());
        (Just(streams), log, vec(any::<u16>(), 0..6))
    });
    let mut runner = TestRunner::deterministic();
    let sample = |_| match histories.new_tree(&mut runner) {
        Ok(tree) => tree.current(),
        Err(reason) => panic!("no history: {reason}"),
    };
    (0..count).map(sample).collect()
}

/// The records of a partition with their offsets.
pub fn placed(log: Vec<Record>, partition: PartitionId) -> Vec<RecordedEvent> {
    (0..).map(Offset).zip(log).map(|(offset, record)| RecordedEvent { partition, offset, record }).collect()
}

/// Cuts a log into batches at these places, taken modulo its length.
pub fn batches<'a>(log: &'a [RecordedEvent], cuts: &[u16]) -> Vec<&'a [RecordedEvent]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| usize::from(*cut) % (log.len() + 1)).collect();
    places.extend([0, log.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &log[pair[0]..pair[1]]).filter(|batch| !batch.is_empty()).collect()
}

/// A token that is the same in every run.
pub fn token(byte: u8) -> ApplicationToken {
    ApplicationToken::from_bytes([byte; ApplicationToken::BYTES])
}

/// A record of an event. Its id is a hash of the event, so equal events are equal records.
pub fn record(event: &Event) -> Record {
    let mut hasher = DefaultHasher::new();
    format!("{event:?}").hash(&mut hasher);
    let id = EventId(Uuid::from_u128(hasher.finish().into()));
    match Record::encode(event, id, UnixMillis(0)) {
        Ok(record) => record,
        Err(error) => panic!("{event:?} cannot be encoded: {error}"),
    }
}

fn application(token: ApplicationToken) -> impl Strategy<Value = Vec<Stream>> {
    let names = vec("[a-zé🚀]{1,8}", 1..5).prop_map(move |names| name_stream(token, names));
    let chats: Vec<_> =
        (1..=CHATS_AN_APPLICATION).filter_map(ChatNumber::new).map(|chat| chat_stream(token, chat)).collect();
    (names, chats).prop_map(|(names, mut chats)| {
        chats.push(names);
        chats
    })
}

fn name_stream(token: ApplicationToken, names: Vec<String>) -> Stream {
    let events = names.into_iter().zip(0..).flat_map(|(name, index)| {
        // With the index, two renames to the same name are different events.
        let name = format!("{name} {index}");
        let named = if index == 0 {
            Event::ChatApplicationCreated(ChatApplicationCreated { token, name })
        } else {
            Event::ChatApplicationRenamed(ChatApplicationRenamed { token, name })
        };
        std::iter::once(named).chain(access_events(token, index))
    });
    events.map(|event| record(&event)).collect()
}

/// A new key, and every second time the revocation of the one before and a user whose tokens are voided.
fn access_events(token: ApplicationToken, index: u8) -> Vec<Event> {
    let mut hash = [index; KeyHash::BYTES];
    hash[..ApplicationToken::BYTES].copy_from_slice(token.as_bytes());
    let issued = Scopes::new([Scope::Read]).ok().map(|scopes| {
        let name = format!("key {index}");
        Event::KeyIssued(KeyIssued { token, name, scopes, expires_at: None, hash: KeyHash(hash) })
    });
    let earlier = KeyNumber::new(index.into()).filter(|_| index % 2 == 1);
    let revoked = earlier.map(|number| Event::KeyRevoked(KeyRevoked { token, number }));
    let user = UserId::new("alice".to_owned()).ok().filter(|_| revoked.is_some());
    let voided = user.map(|user| Event::UserTokensVoided(UserTokensVoided { token, user }));
    issued.into_iter().chain(revoked).chain(voided).collect()
}

fn chat_stream(token: ApplicationToken, chat: ChatNumber) -> impl Strategy<Value = Stream> {
    let numbers = vec(1..=(2 * MAX_MESSAGES_A_CHAT as u32), 0..=MAX_MESSAGES_A_CHAT);
    let text = ("[a-cé🚀ﬁ ]{1,12}", option::of("[a-cé🚀]{1,8}"));
    (numbers, vec(text, MAX_MESSAGES_A_CHAT)).prop_map(move |(numbers, texts)| {
        let mut stream = vec![record(&Event::ChatCreated(ChatCreated { token, number: chat }))];
        let messages: BTreeMap<_, _> = numbers.iter().zip(texts).collect();
        // Neighbours change places, as concurrent posts do.
        let mut messages: Vec<_> = messages.into_iter().collect();
        messages.chunks_mut(2).for_each(<[_]>::reverse);
        stream.extend(messages.into_iter().filter_map(|(number, (body, author))| {
            let number = MessageNumber::new(*number)?;
            let author = author.and_then(|author| Author::new(author).ok());
            Some(record(&Event::MessagePosted(MessagePosted { token, chat_number: chat, number, body, author })))
        }));
        stream
    })
}
