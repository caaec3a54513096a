//! The log refuses a number that is not above its counter, whatever the sequencer gave.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use embedded::{DataDir, SqliteLog, SqliteSequencer};
use event_log::{AppendError, EventLog, ReadLimit, Sequencer};
use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatKey, ChatNumber, Event, EventId, MessageNumber,
    MessagePosted, Offset, PartitionId, Position, Record, StreamKey, UnixMillis,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);

fn chat(number: u32) -> ChatNumber {
    ChatNumber::new(number).unwrap()
}

fn record(event: &Event) -> Record {
    Record::encode(event, EventId(Uuid::now_v7()), UnixMillis(1)).unwrap()
}

fn chat_created(number: u32) -> Record {
    record(&Event::ChatCreated(ChatCreated { token: TOKEN, number: chat(number) }))
}

fn message(chat_number: u32, number: u32) -> Record {
    let (chat_number, number) = (chat(chat_number), MessageNumber::new(number).unwrap());
    record(&Event::MessagePosted(MessagePosted {
        token: TOKEN,
        chat_number,
        number,
        body: "hello".into(),
        author: None,
    }))
}

/// A log with an application, chats 1 and 3, and messages 1 and 4 in chat 1.
async fn open_log(directory: &TempDir) -> (DataDir, SqliteLog) {
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    let created = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    for record in [record(&created), chat_created(1), chat_created(3), message(1, 1), message(1, 4)] {
        log.append(record).await.unwrap();
    }
    (data_dir, log)
}

async fn read_ids(log: &SqliteLog, from: Offset) -> Vec<EventId> {
    let limit = ReadLimit { records: 100, wait: Duration::ZERO };
    let batch = log.read(PartitionId(0), from, limit).await.unwrap();
    assert_eq!(batch.unreadable, []);
    batch.events.iter().map(|recorded| recorded.record.event_id).collect()
}

#[tokio::test]
async fn a_number_that_is_not_above_its_counter_is_refused() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open_log(&directory).await;
    let end = log.end().await.unwrap();
    for (forged, number, last) in
        [(message(1, 4), 4, 4), (message(1, 2), 2, 4), (chat_created(3), 3, 3), (chat_created(2), 2, 3)]
    {
        let refused = log.append(forged).await.unwrap_err();
        let AppendError::NumberTaken { number: refused_number, last: refused_last } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((refused_number, refused_last), (number, last));
        assert!(refused.to_string().contains(&format!("{number} is not above {last}")), "{refused}");
    }
    assert_eq!(log.end().await.unwrap(), end, "nothing was appended");
    let parent = StreamKey::Chat(ChatKey { token: TOKEN, number: chat(1) });
    assert_eq!(SqliteSequencer::new(&log).reserve(parent, None).await.unwrap().value().get(), 5, "numbers go on");
    log.close().await;
}

/// Appends of one moment share a transaction: only the forged one fails.
#[tokio::test]
async fn a_refused_append_leaves_the_others_of_its_group_alone() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open_log(&directory).await;
    let end = log.end().await.unwrap().bound(PartitionId(0));
    let records = [message(1, 5), message(1, 5), message(1, 3), message(1, 6), message(3, 1), message(3, 1)];
    let [first, doubled, low, second, third, again] = &records;
    let append = |record: &Record| log.append(record.clone());
    let answers =
        tokio::join!(append(first), append(doubled), append(low), append(second), append(third), append(again));
    let answers: Vec<_> = <[_; 6]>::from(answers).into();
    let good: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, false, true, true, false]);
    let positions: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    let offsets = (1..=3).map(|index| Position::up_to(PartitionId(0), Offset(end.0 + index)));
    assert_eq!(positions, offsets.collect::<Vec<_>>());
    let appended = [&records[0], &records[3], &records[4]].map(|record| record.event_id);
    assert_eq!(read_ids(&log, end).await, appended);
    log.close().await;
}

/// Something else has written to the log. The sequencer notices at the refusal, without a restart.
#[tokio::test]
async fn after_a_refusal_numbers_go_on_above_those_of_the_log() {
    let directory = TempDir::new().unwrap();
    let (_data_dir, log) = open_log(&directory).await;
    let sequencer = SqliteSequencer::new(&log);
    let parent = StreamKey::Chat(ChatKey { token: TOKEN, number: chat(1) });
    let reserve = async || sequencer.reserve(parent, None).await.unwrap().value().get();
    assert_eq!(reserve().await, 5);
    log.append(message(1, 9)).await.unwrap();
    let taken = reserve().await;
    assert!(matches!(log.append(message(1, taken)).await, Err(AppendError::NumberTaken { number: 6, last: 9 })));
    assert_eq!(reserve().await, 10);
    assert_eq!(reserve().await, 11, "a number that was reserved and is not in the log is not given again");
    log.close().await;
}
