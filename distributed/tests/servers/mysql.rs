//! The projections on a real MySQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::mysql::{MigrateError, MySqlCounts, MySqlProjections, migrate};
use distributed::numbers::TakenNumbers;
use events::{
    ApplicationToken, ChatKey, ChatNumber, Epoch, EventId, MessageNumber, Offset, PartitionId, Position, RequestKey,
    UnixMillis,
};
use read_model::{
    AnsweredRequest, ApplicationCountsDelta, Applied, ChatCounts, ChatRow, Checkpoint, CountsChanges, LogPlace,
    MessageRow, NameChange, NameOrigin, Page, Projection, ProjectionStore, Step, Views, ViewsChanges,
    conformance as suite,
};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, MySqlConnection};
use uuid::Uuid;

use crate::containers;

const PARTITION: PartitionId = PartitionId(0);

/// A database of its own.
struct Database {
    url: String,
}

impl Database {
    /// Without tables.
    async fn empty() -> Self {
        let (server, name) = (containers::mysql().await, format!("test_{}", Uuid::new_v4().simple()));
        let options: MySqlConnectOptions = server.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        // A name that is made up here; statements that define things take no parameters.
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Self { url: format!("{server}/{name}") }
    }

    async fn new() -> Self {
        let database = Self::empty().await;
        migrate(&database.url).await.unwrap();
        database
    }

    fn projections(&self) -> Arc<MySqlProjections> {
        Arc::new(MySqlProjections::new(&self.url).unwrap())
    }

    async fn connect(&self) -> MySqlConnection {
        self.url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
    }

    async fn run(&self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.connect().await).await.unwrap();
    }
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(async fn $name() {
            let database = Database::new().await;
            let (store, views) = (database.projections(), database.projections());
            suite::$name(store, views).await;
        })+
    };
}

conforms!(
    a_chat_seen_late_is_shown_with_its_messages,
    a_stale_step_writes_nothing,
    application_counts_add_up,
    chat_counts_come_back,
    checkpoints_move_with_their_batches,
    duplicates_change_nothing,
    of_two_owners_one_applies_a_step,
    the_highest_name_holds,
    the_second_of_two_events_under_one_key_is_parked,
    a_position_is_waited_for,
    chats_are_known_by_the_nearest_row,
    chats_without_counts_have_no_messages,
    lists_are_cut_by_size,
    lists_are_walked_both_ways,
    texts_come_back_to_the_byte,
    what_is_not_there_is_none,
);

fn token(byte: u8) -> ApplicationToken {
    ApplicationToken::from_bytes([byte; 16])
}

fn chat(byte: u8) -> ChatKey {
    ChatKey { token: token(byte), number: ChatNumber::new(1).unwrap() }
}

fn place(offset: u64) -> LogPlace {
    LogPlace { event_id: EventId(Uuid::now_v7()), offset: Offset(offset) }
}

fn step(partition: PartitionId, from: u64, to: u64) -> Step {
    let to = Checkpoint { next: Offset(to), ..Checkpoint::START };
    Step { partition, from: Offset(from), to }
}

fn messages(bodies: &[String]) -> ViewsChanges {
    let messages = (1..).zip(bodies).map(|(number, body)| MessageRow {
        chat: chat(1),
        number: MessageNumber::new(number).unwrap(),
        body: body.clone(),
        place: place(number.into()),
    });
    let chats = vec![ChatRow { chat: chat(1), place: place(0) }];
    ViewsChanges { chats, messages: messages.collect(), ..ViewsChanges::default() }
}

async fn a_batch_of_the_longest_messages_is_applied() {
    let database = Database::new().await;
    let store = database.projections();
    let bodies = vec!["🚀".repeat(16_384); 512];
    assert_eq!(store.apply_views(step(PARTITION, 0, 513), messages(&bodies)).await.unwrap(), Applied::Done);
    let last = store.message(chat(1), MessageNumber::new(512).unwrap()).await.unwrap().unwrap();
    assert!(last.body == bodies[511]);
}

/// Two partitions add to the same applications at once, in batches of many.
async fn partitions_that_share_applications_get_past_each_other() {
    const ROUNDS: u64 = 30;
    let database = Database::new().await;
    let applications = |created| {
        let delta = ApplicationCountsDelta { created, chats: 1, last_chat: 1 };
        (0..200).map(|byte| (token(byte), delta)).collect()
    };
    let partitions = (0..4).map(|partition| {
        let store = database.projections();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let changes = CountsChanges { applications: applications(round == 0), ..CountsChanges::default() };
                let step = step(PartitionId(partition), round, round + 1);
                assert_eq!(store.apply_counts(step, changes).await.unwrap(), Applied::Done);
            }
        })
    });
    for partition in partitions.collect::<Vec<_>>() {
        partition.await.unwrap();
    }
    let counts = MySqlCounts::new(&database.url).unwrap();
    assert_eq!(counts.last_chat(token(7)).await.unwrap(), Some(1));
    let mut connection = database.connect().await;
    let total: u64 = sqlx::query_scalar("SELECT CAST(sum(chats_count) AS UNSIGNED) FROM application_counts")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(total, 200 * 4 * ROUNDS);
}

/// A process that was frozen in the middle of a batch holds its checkpoint's row; it loses it in time.
async fn a_frozen_owner_lets_go() {
    let database = Database::new().await;
    let store = database.projections();
    assert_eq!(store.apply_views(step(PARTITION, 0, 1), ViewsChanges::default()).await.unwrap(), Applied::Done);
    let mut frozen = database.connect().await;
    for statement in ["SET SESSION wait_timeout = 8", "BEGIN", "SELECT * FROM checkpoints FOR UPDATE"] {
        sqlx::raw_sql(statement).execute(&mut frozen).await.unwrap();
    }
    let began = Instant::now();
    let applied = store.apply_views(step(PARTITION, 1, 2), ViewsChanges::default()).await.unwrap();
    assert_eq!(applied, Applied::Done);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(1), "it was not held at all");
}

async fn a_writer_stays_with_its_generation_and_readers_follow_the_pointer() {
    let database = Database::new().await;
    let (old, readers) = (database.projections(), database.projections());
    let named = |name: &str, offset| {
        let change =
            NameChange { token: token(1), name: name.into(), origin: NameOrigin::Renamed, place: place(offset) };
        ViewsChanges { names: vec![change], ..ViewsChanges::default() }
    };
    old.apply_views(step(PARTITION, 0, 1), named("old", 0)).await.unwrap();
    database.run("UPDATE projections SET generation = 2 WHERE name = 'views'").await;
    assert_eq!(readers.applications(Page::FIRST).await.unwrap().items, []);
    assert!(!readers.reached(Projection::Views, &Position::of(PARTITION, Offset(1)), Duration::ZERO).await.unwrap());
    let new = database.projections();
    assert_eq!(new.checkpoint(Projection::Views, PARTITION).await.unwrap(), Checkpoint::START);
    new.apply_views(step(PARTITION, 0, 1), named("new", 0)).await.unwrap();
    old.apply_views(step(PARTITION, 1, 2), named("zombie", 1)).await.unwrap();
    let shown = readers.application(token(1)).await.unwrap().unwrap();
    assert_eq!(shown.name, "new");
    assert_eq!(new.checkpoint(Projection::Views, PARTITION).await.unwrap().next, Offset(1));
}

async fn the_number_server_is_told_what_the_log_has() {
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url).unwrap());
    assert_eq!(counts.last_chat(token(1)).await.unwrap(), None);
    assert_eq!(counts.last_message(chat(1)).await.unwrap(), None);
    let mut seen = ChatCounts::default();
    seen.see(MessageNumber::new(5).unwrap());
    let early = CountsChanges { chats: [(chat(1), seen.clone())].into(), ..CountsChanges::default() };
    store.apply_counts(step(PARTITION, 0, 1), early).await.unwrap();
    assert_eq!(counts.last_message(chat(1)).await.unwrap(), None, "messages do not make a chat");
    seen.created = true;
    let created = ApplicationCountsDelta { created: true, chats: 0, last_chat: 0 };
    let changes = CountsChanges {
        chats: [(chat(1), seen)].into(),
        applications: [(token(1), created)].into(),
        ..CountsChanges::default()
    };
    let to = Checkpoint { next: Offset(2), epoch: Epoch(7) };
    store.apply_counts(Step { partition: PARTITION, from: Offset(1), to }, changes).await.unwrap();
    assert_eq!(counts.last_message(chat(1)).await.unwrap(), Some(5));
    assert_eq!(counts.last_chat(token(1)).await.unwrap(), Some(0));
    assert_eq!(counts.checkpoints().await.unwrap(), [(PARTITION, to)].into());
}

async fn answered_requests_are_found_and_forgotten_in_time() {
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let database = Database::new().await;
    let (store, counts) = (database.projections(), MySqlCounts::new(&database.url).unwrap());
    let request = RequestKey::new(&["messages"], "key", &["x"]);
    let answered = |number, day: u64, offset| AnsweredRequest {
        request,
        stream: chat(1).into(),
        number: events::Number::new(number),
        occurred_at: UnixMillis(day * DAY),
        place: place(offset),
    };
    let first = answered(1, 10, 0);
    let changes = CountsChanges { requests: vec![first, first], ..CountsChanges::default() };
    store.apply_counts(step(PARTITION, 0, 1), changes).await.unwrap();
    let found = counts.answered(&request.key, UnixMillis(9 * DAY)).await.unwrap().unwrap();
    assert_eq!((found.request, found.number, found.stream), (request, first.number, first.stream));
    assert_eq!(found.position, Position::of(PARTITION, Offset(1)));
    assert_eq!(counts.answered(&request.key, UnixMillis(10 * DAY)).await.unwrap(), None, "it is too old");
    // Used again after it was forgotten: the newer answer counts.
    let changes = CountsChanges { requests: vec![answered(2, 12, 1)], ..CountsChanges::default() };
    store.apply_counts(step(PARTITION, 1, 2), changes).await.unwrap();
    let found = counts.answered(&request.key, UnixMillis(9 * DAY)).await.unwrap().unwrap();
    assert_eq!(found.number, events::Number::new(2));
    let other = RequestKey::new(&["messages"], "another", &["x"]);
    let late = AnsweredRequest { request: other, ..answered(3, 16, 2) };
    let changes = CountsChanges { requests: vec![late], ..CountsChanges::default() };
    store.apply_counts(step(PARTITION, 2, 3), changes).await.unwrap();
    assert_eq!(counts.answered(&request.key, UnixMillis(0)).await.unwrap(), None, "both were removed");
    assert!(counts.answered(&other.key, UnixMillis(0)).await.unwrap().is_some());
}

async fn any_number_may_migrate_at_once_and_again() {
    let database = Database::empty().await;
    let migrating = (0..4).map(|_| migrate(&database.url));
    for migrated in futures_util::future::join_all(migrating).await {
        migrated.unwrap();
    }
    migrate(&database.url).await.unwrap();
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 99, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
    let refused = migrate(&database.url).await.unwrap_err();
    assert!(matches!(refused, MigrateError::OtherTally(_)) && refused.is_lasting(), "{refused}");
}

async fn a_server_that_is_away_fails_soon_and_works_again() {
    let server = containers::own_mysql().await;
    let url = containers::mysql_url(&server) + "/tally";
    migrate(&url).await.unwrap();
    let store = Arc::new(MySqlProjections::new(&url).unwrap());
    store.apply_views(step(PARTITION, 0, 1), messages(&["there".to_owned()])).await.unwrap();
    server.container.stop_with_timeout(Some(20)).await.unwrap();
    let began = Instant::now();
    assert!(store.chat(chat(1)).await.is_err());
    assert!(Arc::clone(&store).check().await.is_err());
    assert!(store.apply_views(step(PARTITION, 1, 2), ViewsChanges::default()).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    server.container.start().await.unwrap();
    containers::ready("MySQL", async || Arc::clone(&store).check().await.ok()).await;
    assert!(store.chat(chat(1)).await.unwrap().is_some());
    assert_eq!(store.apply_views(step(PARTITION, 1, 2), ViewsChanges::default()).await.unwrap(), Applied::Done);
}

tests!(
    a_chat_seen_late_is_shown_with_its_messages,
    a_stale_step_writes_nothing,
    application_counts_add_up,
    chat_counts_come_back,
    checkpoints_move_with_their_batches,
    duplicates_change_nothing,
    of_two_owners_one_applies_a_step,
    the_highest_name_holds,
    the_second_of_two_events_under_one_key_is_parked,
    a_position_is_waited_for,
    chats_are_known_by_the_nearest_row,
    chats_without_counts_have_no_messages,
    lists_are_cut_by_size,
    lists_are_walked_both_ways,
    texts_come_back_to_the_byte,
    what_is_not_there_is_none,
    a_batch_of_the_longest_messages_is_applied,
    partitions_that_share_applications_get_past_each_other,
    a_frozen_owner_lets_go,
    a_writer_stays_with_its_generation_and_readers_follow_the_pointer,
    the_number_server_is_told_what_the_log_has,
    answered_requests_are_found_and_forgotten_in_time,
    any_number_may_migrate_at_once_and_again,
    a_server_that_is_away_fails_soon_and_works_again,
);
