//! Rebuilds from logs of all kinds: the new generation answers as the live one, or the live one stays.

use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog};
use distributed::mysql::{MySqlGenerations, MySqlProjections};
use event_log::{EventLog, MarkerLog};
use events::{
    ChatCreated, ChatKey, Epoch, Event, EventId, KnownRecord, Marker, MessageNumber, MessagePosted, Offset,
    PartitionId, Record, RecordId, UnixMillis,
};
use projector::counts::CountsSink;
use projector::dead_letters::{self, DeadLettersCommand};
use projector::feed::FeedError;
use projector::rebuild::{Progress, RebuildError, Rebuilt, rebuild};
use projector::search::SearchSink;
use projector::views::ViewsSink;
use projector::{Feed, ProjectionSink};
use rdkafka::message::{Header, OwnedHeaders};
use read_model::{
    Applied, BuildStore, Checkpoint, CheckpointMove, CountsChanges, DeadLetter, GenerationNumber, Generations,
    GenerationsError, LastMessage, MessageView, Page, Projection, ProjectionStore, SearchIndex, SearchText, Views,
    ViewsChanges,
};
use thiserror_ext::AsReport;
use tokio::sync::watch;
use uuid::Uuid;

use crate::elastic::server::{TestServer, on_an_index};
use crate::kafka::support::{fresh, fresh_chat, only_bound, open_at, send, server};
use crate::mysql::server::Database;

/// Most dead letters of a test.
const MANY: u32 = 100;

/// A log of its own, with its projections.
struct Projected {
    cluster: Cluster,
    log: Arc<KafkaLog>,
    database: Database,
    store: Arc<MySqlProjections>,
    elastic: Arc<TestServer>,
    index: Arc<dyn SearchIndex>,
}

/// What readers see of a chat, and what nobody sees.
#[derive(Debug, PartialEq)]
struct Shown {
    messages: Vec<MessageView>,
    found: Vec<MessageView>,
    messages_count: u64,
    dead_letters: Vec<DeadLetter>,
}

async fn with_projections(test: impl AsyncFnOnce(Projected)) {
    on_an_index(async |elastic| {
        let (cluster, database) = (fresh(server().await), Database::new().await);
        let log = open_at(&cluster).await;
        let (store, index) = (database.projections(), elastic.index());
        test(Projected { cluster, log, database, store, elastic, index }).await;
    })
    .await;
}

impl Projected {
    /// Feeds every projection up to the log's end.
    async fn project(&self) {
        let sinks: [Arc<dyn ProjectionSink>; 3] = [
            Arc::new(ViewsSink(Arc::clone(&self.store) as _)),
            Arc::new(CountsSink(Arc::clone(&self.store) as _)),
            Arc::new(SearchSink(Arc::clone(&self.index))),
        ];
        for sink in sinks {
            for (partition, end) in self.log.end().await.unwrap().bounds() {
                let feed = Feed::new(Arc::clone(&self.log) as _, Arc::clone(&sink), partition);
                feed.catch_up(end, |_| {}).await.unwrap();
            }
        }
    }

    fn generations(&self, projection: Projection) -> Arc<dyn Generations> {
        match projection {
            Projection::Views | Projection::Counts => Arc::new(MySqlGenerations::new(&self.database.url()).unwrap()),
            Projection::Search => self.elastic.search_generations(),
        }
    }

    async fn rebuild(&self, projection: Projection) -> Result<Rebuilt, RebuildError> {
        let (progress, _) = watch::channel(Progress::default());
        rebuild(Arc::clone(&self.log) as _, self.generations(projection), projection, Duration::ZERO, &progress).await
    }

    async fn shown(&self, chat: ChatKey) -> Shown {
        let partition = self.log.partitions().partition_of(&chat.into());
        let found = self.index.search(chat, &SearchText::new("body").unwrap(), Page::FIRST).await.unwrap();
        Shown {
            messages: self.store.messages(chat, Page::FIRST).await.unwrap().unwrap().value.items,
            found: found.value.items,
            messages_count: self.store.chat(chat, LastMessage::Skip).await.unwrap().unwrap().value.messages_count,
            dead_letters: self.store.dead_letters(partition, MANY).await.unwrap(),
        }
    }
}

fn encode(event: &Event) -> Record {
    Record::encode(event, EventId(Uuid::now_v7()), UnixMillis(1_782_898_200_123)).unwrap()
}

fn created(chat: ChatKey) -> Record {
    encode(&Event::ChatCreated(ChatCreated { token: chat.token, number: chat.number }))
}

fn posted(chat: ChatKey, number: u32, body: &str) -> Record {
    let number = MessageNumber::new(number).unwrap();
    encode(&Event::MessagePosted(MessagePosted {
        token: chat.token,
        chat_number: chat.number,
        number,
        body: body.to_owned(),
        author: None,
    }))
}

/// Appends a chat whose log has gaps, an event twice, void ones, two under one number, and data that is no event.
async fn append_oddities(projected: &Projected) -> ChatKey {
    let (log, chat) = (&projected.log, fresh_chat());
    let partition = log.partitions().partition_of(&chat.into());
    let twice = posted(chat, 2, "body twice");
    let in_epoch = |record: Record, epoch| Record { epoch: Some(Epoch(epoch)), ..record };
    for record in [created(chat), twice.clone(), posted(chat, 5, "body after a gap"), twice] {
        log.append(record).await.unwrap();
    }
    log.append_marker(partition, Marker::EpochStarted(Epoch(7))).await.unwrap();
    for record in [
        in_epoch(posted(chat, 6, "body of an epoch that has ended"), 6),
        in_epoch(posted(chat, 6, "body of the epoch"), 7),
        posted(chat, 5, "body under a number that is taken"),
    ] {
        log.append(record).await.unwrap();
    }
    send(&projected.cluster, partition, None, Some("from a console"), OwnedHeaders::new()).await;
    log.append(posted(chat, 7, "body at the end")).await.unwrap();
    chat
}

async fn an_empty_log_makes_empty_projections() {
    with_projections(async |projected| {
        for projection in Projection::ALL {
            let rebuilt = projected.rebuild(projection).await.unwrap();
            assert_eq!(rebuilt, Rebuilt { projection, generation: GenerationNumber(2), events: 0 });
        }
        let chat = fresh_chat();
        projected.log.append(created(chat)).await.unwrap();
        projected.log.append(posted(chat, 1, "body")).await.unwrap();
        projected.project().await;
        assert_eq!(projected.shown(chat).await.messages_count, 1);
    })
    .await;
}

async fn a_rebuild_shows_and_hides_what_was_shown_and_hidden() {
    with_projections(async |projected| {
        let chat = append_oddities(&projected).await;
        projected.project().await;
        let before = projected.shown(chat).await;
        assert_eq!((before.messages.len(), before.dead_letters.len(), before.messages_count), (4, 2, 4));
        assert_eq!(before.messages, before.found);
        for projection in Projection::ALL {
            let rebuilt = projected.rebuild(projection).await.unwrap();
            assert_eq!(rebuilt.events, 10);
        }
        // The adapter of searches looks at its pointer once a second.
        testkit::polling::eventually("the new generations", async || {
            let shown = projected.shown(chat).await;
            if shown == before { Ok(()) } else { Err(shown) }
        })
        .await;
        projected.log.append(posted(chat, 8, "body of a writer that goes on")).await.unwrap();
        projected.project().await;
        let after = projected.shown(chat).await;
        assert_eq!((after.messages.len(), after.dead_letters, after.messages_count), (5, before.dead_letters, 5));
    })
    .await;
}

async fn a_rebuild_that_would_hide_what_is_shown_leaves_it() {
    with_projections(async |projected| {
        let chat = append_oddities(&projected).await;
        projected.project().await;
        // As if the live views had been made by a program that can read what this one cannot.
        projected.database.run("DELETE FROM dead_letters WHERE reason LIKE 'this is no event%'").await;
        let before = projected.shown(chat).await;
        let refused = projected.rebuild(Projection::Views).await.unwrap_err();
        assert!(matches!(&refused, RebuildError::DeadLetters { letters, .. } if letters.len() == 1), "{refused}");
        let report = refused.to_report_string();
        assert!(report.contains("offset 8: this is no event"), "{report}");
        assert_eq!(projected.shown(chat).await, before);
        let next = projected.generations(Projection::Views).begin(Projection::Views).await.unwrap();
        assert_eq!(next.generation, GenerationNumber(3), "what could not be shown was kept");
    })
    .await;
}

async fn a_rebuild_that_cannot_read_all_of_the_log_leaves_the_live_generation() {
    with_projections(async |projected| {
        let chat = append_oddities(&projected).await;
        projected.project().await;
        let before = projected.shown(chat).await;
        let newer = Record { event_type: "ChatArchived".to_owned(), ..created(chat) };
        projected.log.append(newer).await.unwrap();
        for projection in Projection::ALL {
            let refused = projected.rebuild(projection).await.unwrap_err();
            let RebuildError::Feed { source, .. } = &refused else { panic!("{refused}") };
            assert!(matches!(source, FeedError::TooNew(_)) && source.is_lasting(), "{refused}");
            assert_eq!(projected.shown(chat).await, before);
        }
    })
    .await;
}

/// Whatever is newer about them: the JSON, the kind of event, or what no event of this release looks like.
async fn parked_records_are_dead_letters_of_every_replay() {
    with_projections(async |projected| {
        let chat = fresh_chat();
        let log = &projected.log;
        let partition = only_bound(&log.append(created(chat)).await.unwrap()).0;
        for newer in [
            Record { version: 3, ..posted(chat, 1, "a body of the next version") },
            Record { event_type: "ChatArchived".to_owned(), ..created(chat) },
        ] {
            log.append(newer).await.unwrap();
        }
        let attributes =
            [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/tally"), ("ce_type", "EpochPaused")];
        let headers = attributes
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        send(&projected.cluster, partition, None, None, headers).await;
        log.append(posted(chat, 2, "body")).await.unwrap();
        let run = async |command| dead_letters::run(&command, &**log, &*projected.store).await;
        for offset in [3, 1, 2] {
            run(DeadLettersCommand::Park { partition: partition.0, offset }).await.unwrap();
        }
        projected.project().await;
        let before = projected.shown(chat).await;
        assert_eq!(before.messages.len(), 1);
        // `counts` reads headers only, so it has counted the message of the newer version.
        assert_eq!(before.messages_count, 2);
        let offsets: Vec<_> = before.dead_letters.iter().map(|letter| letter.source.offset.0).collect();
        assert_eq!(offsets, [1, 2, 3]);
        run(DeadLettersCommand::Discard { partition: partition.0, offset: 2 }).await.unwrap();
        projected.project().await;
        let after = projected.shown(chat).await;
        assert_eq!(after.dead_letters, [before.dead_letters[0].clone(), before.dead_letters[2].clone()]);
        for projection in Projection::ALL {
            projected.rebuild(projection).await.unwrap();
        }
        // The adapter of searches looks at its pointer once a second.
        testkit::polling::eventually("the new generations", async || {
            let shown = projected.shown(chat).await;
            if shown == after { Ok(()) } else { Err(shown) }
        })
        .await;
    })
    .await;
}

/// A log that lost its end, or another one, lacks what the live generation has passed.
async fn a_rebuild_from_a_log_that_lacks_a_checkpoint_leaves_the_live_generation() {
    with_projections(async |projected| {
        let beyond = CheckpointMove {
            partition: PartitionId(3),
            from: Offset::START,
            to: Checkpoint { next: Offset(1_000), ..Checkpoint::START },
        };
        projected.store.apply_views(beyond, ViewsChanges::default()).await.unwrap();
        let refused = projected.rebuild(Projection::Views).await.unwrap_err().to_report_string();
        assert!(refused.contains("offset 1000 of partition 3 lies beyond the log's end"), "{refused}");
        assert_eq!(projected.store.checkpoint(Projection::Views, PartitionId(3)).await.unwrap(), beyond.to);
    })
    .await;
}

/// A generation that was begun from another log is not gone on with, and a new one is begun the next time.
async fn a_build_that_the_log_does_not_contain_is_begun_anew() {
    with_projections(async |projected| {
        let generations = projected.generations(Projection::Counts);
        let build = generations.begin(Projection::Counts).await.unwrap();
        let BuildStore::Tables(built) = generations.writer(&build).unwrap() else { panic!("an index") };
        let beyond = CheckpointMove {
            partition: PartitionId(3),
            from: Offset::START,
            to: Checkpoint { next: Offset(1_000), ..Checkpoint::START },
        };
        assert_eq!(built.apply_counts(beyond, CountsChanges::default()).await.unwrap(), Applied::Done);
        projected.database.run("UPDATE generations SET owned_until = UTC_TIMESTAMP(6)").await;
        let refused = projected.rebuild(Projection::Counts).await.unwrap_err().to_report_string();
        assert!(refused.contains("offset 1000 of partition 3 lies beyond the log's end"), "{refused}");
        assert_eq!(projected.rebuild(Projection::Counts).await.unwrap().generation, GenerationNumber(3));
    })
    .await;
}

/// The same for one that has grown beyond the checkpoint since.
async fn a_build_of_other_records_is_begun_anew() {
    with_projections(async |projected| {
        let chat = fresh_chat();
        let partition = only_bound(&projected.log.append(created(chat)).await.unwrap()).0;
        projected.log.append(posted(chat, 1, "body")).await.unwrap();
        for (projection, number) in [(Projection::Counts, 2), (Projection::Search, 2)] {
            let generations = projected.generations(projection);
            let build = generations.begin(projection).await.unwrap();
            let record = Some(KnownRecord { offset: Offset(0), id: RecordId(Uuid::now_v7()) });
            let to = Checkpoint { next: Offset(1), record, ..Checkpoint::START };
            let other = CheckpointMove { partition, from: Offset::START, to };
            match generations.writer(&build).unwrap() {
                BuildStore::Tables(built) => built.apply_counts(other, CountsChanges::default()).await.unwrap(),
                BuildStore::Index(built) => built.index(other, vec![]).await.unwrap(),
            };
            generations.release(&build).await;
            projected.database.run("UPDATE generations SET owned_until = UTC_TIMESTAMP(6)").await;
            let refused = testkit::polling::eventually("the end of the lease", async || {
                match projected.rebuild(projection).await.unwrap_err() {
                    RebuildError::Generations(GenerationsError::Busy(_)) => Err("busy"),
                    refused => Ok(refused.to_report_string()),
                }
            })
            .await;
            assert!(refused.contains("offset 0 of partition") && refused.contains("has another record"), "{refused}");
            assert_eq!(projected.rebuild(projection).await.unwrap().generation, GenerationNumber(number + 1));
        }
    })
    .await;
}

tests!(
    a_build_of_other_records_is_begun_anew,
    parked_records_are_dead_letters_of_every_replay,
    a_rebuild_from_a_log_that_lacks_a_checkpoint_leaves_the_live_generation,
    a_build_that_the_log_does_not_contain_is_begun_anew,
    an_empty_log_makes_empty_projections,
    a_rebuild_shows_and_hides_what_was_shown_and_hidden,
    a_rebuild_that_would_hide_what_is_shown_leaves_it,
    a_rebuild_that_cannot_read_all_of_the_log_leaves_the_live_generation,
);
