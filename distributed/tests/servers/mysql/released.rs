//! Programs of the release before and of this one on the same tables, before and after projections were made anew.
//!
//! The statements are those of the release before, so they must not be changed with the code.

use std::sync::Arc;

use distributed::mysql::migrate;
use events::{Offset, Position, UnixMillis};
use read_model::{
    Applied, BuildStore, ChatCounts, CountsChanges, LastMessage, MessageView, OperateGenerations, Page, Projection,
    ProjectionStore, Swap, Views,
};
use sqlx::{MySqlConnection, Row};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, number, token};
use super::server::{Database, NothingToCatchUp};

const MESSAGE: &str = "SELECT m.body FROM chats AS v JOIN messages AS m \
    ON m.generation = v.generation AND m.token = v.token AND m.chat_number = v.number \
    WHERE v.generation = (SELECT generation FROM projections WHERE name = 'views') \
    AND v.token = ? AND v.number = ? AND m.number = ?";
const CHAT: &str = "SELECT v.number, CAST(coalesce(c.messages_count, 0) AS UNSIGNED) FROM chats AS v \
    LEFT JOIN chat_counts AS c ON c.token = v.token AND c.number = v.number \
    AND c.generation = (SELECT generation FROM projections WHERE name = 'counts') \
    WHERE v.generation = (SELECT generation FROM projections WHERE name = 'views') \
    AND v.token = ? AND v.number = ?";
const INSERT_CHAT: &str = "INSERT INTO chats (generation, token, number, created_event) VALUES (?, ?, 1, token)";
const INSERT_MESSAGE: &str =
    "INSERT INTO messages (generation, token, chat_number, number, event_id, body) VALUES (?, ?, 1, ?, token, ?)";
const UPSERT_COUNTS: &str = "INSERT INTO chat_counts \
    (generation, token, number, created, last_number, gaps, messages_count) VALUES (?, ?, 1, TRUE, ?, '', ?) \
    AS new ON DUPLICATE KEY UPDATE created = new.created, last_number = new.last_number, gaps = new.gaps, \
    messages_count = new.messages_count";

/// The release before, which feeds and reads whichever generation is live.
struct Released(MySqlConnection);

impl Released {
    async fn generation(&mut self, projection: Projection) -> u32 {
        let live = sqlx::query_scalar("SELECT generation FROM projections WHERE name = ?").bind(projection.name());
        live.fetch_one(&mut self.0).await.unwrap()
    }

    async fn move_checkpoint(&mut self, projection: Projection, next: u64) {
        let generation = self.generation(projection).await;
        let moved = sqlx::query(
            "INSERT INTO checkpoints (next_offset, epoch, projection, generation, partition_id) VALUES (?, 0, ?, ?, ?) \
             AS new ON DUPLICATE KEY UPDATE next_offset = new.next_offset",
        );
        let moved = moved.bind(next).bind(projection.name()).bind(generation).bind(PARTITION.0);
        moved.execute(&mut self.0).await.unwrap();
    }

    async fn write_chat(&mut self) {
        let generation = self.generation(Projection::Views).await;
        let chat = sqlx::query(INSERT_CHAT).bind(generation).bind(token(1).as_bytes().to_vec());
        chat.execute(&mut self.0).await.unwrap();
    }

    async fn write_message(&mut self, number: u32, body: &str) {
        let generation = self.generation(Projection::Views).await;
        let message = sqlx::query(INSERT_MESSAGE).bind(generation).bind(token(1).as_bytes().to_vec());
        message.bind(number).bind(body.to_owned()).execute(&mut self.0).await.unwrap();
    }

    async fn count(&mut self, messages: u32) {
        let generation = self.generation(Projection::Counts).await;
        let counts = sqlx::query(UPSERT_COUNTS).bind(generation).bind(token(1).as_bytes().to_vec());
        counts.bind(messages).bind(messages).execute(&mut self.0).await.unwrap();
    }

    async fn read(&mut self, wanted: u32) -> (u64, String) {
        let chat = sqlx::query(CHAT).bind(token(1).as_bytes().to_vec()).bind(1).fetch_one(&mut self.0).await.unwrap();
        let message = sqlx::query_scalar(MESSAGE).bind(token(1).as_bytes().to_vec()).bind(1).bind(wanted);
        (chat.get(1), message.fetch_one(&mut self.0).await.unwrap())
    }
}

fn up_to(offset: u64) -> Position {
    Position::up_to(PARTITION, Offset(offset))
}

fn counts(numbers: &[u32], last_event: u64) -> CountsChanges {
    let mut counts = ChatCounts::default();
    counts.created = true;
    counts.last_event = Some(Offset(last_event));
    numbers.iter().for_each(|seen| counts.see(number(*seen)));
    CountsChanges { chats: [(chat(1), counts)].into(), ..CountsChanges::default() }
}

async fn is_earlier(generations: &Arc<dyn OperateGenerations>, projection: Projection) -> bool {
    generations.live(projection).await.unwrap().version < projection.version()
}

/// Such rows do not name their events. The checkpoints that are read after them cover these.
async fn rows_of_the_release_before_show_the_checkpoints() {
    let database = Database::new().await;
    let (mut released, views) = (Released(database.connect().await), database.projections());
    released.write_chat().await;
    released.move_checkpoint(Projection::Views, 1).await;
    let list = views.messages(chat(1), Page::FIRST).await.unwrap().unwrap();
    assert_eq!((list.value.items.len(), list.position), (0, up_to(1)));
    assert_eq!(views.find_chat(chat(1)).await.unwrap(), Some(up_to(1)));

    released.write_message(1, "x").await;
    released.move_checkpoint(Projection::Views, 5).await;
    assert_eq!(views.chat(chat(1), LastMessage::Skip).await.unwrap().unwrap().position, up_to(5), "nothing is counted");
    released.count(1).await;
    released.move_checkpoint(Projection::Counts, 7).await;
    assert_eq!(views.chat(chat(1), LastMessage::Skip).await.unwrap().unwrap().position, up_to(7));
    assert_eq!(views.chats(token(1), Page::FIRST, LastMessage::Skip).await.unwrap().unwrap().position, up_to(7));
    assert_eq!(views.message(chat(1), number(1)).await.unwrap().unwrap().position, up_to(5));
    assert_eq!(views.messages(chat(1), Page::FIRST).await.unwrap().unwrap().position, up_to(5));

    released.move_checkpoint(Projection::Views, 9).await;
    let shown = views.chat(chat(1), LastMessage::Show).await.unwrap().unwrap();
    assert_eq!((shown.value.created_at, shown.position), (None, up_to(9)), "such rows have no time");
    let last = MessageView { number: number(1), body: "x".into(), author: None, created_at: None };
    assert_eq!(shown.value.last_message, Some(last));
}

/// During a rolling upgrade both releases feed one generation. A place that this one has written is not that of a later count.
async fn a_count_that_the_release_before_has_raised_shows_the_checkpoint() {
    let database = Database::new().await;
    let (mut released, store) = (Released(database.connect().await), database.projections());
    assert_eq!(
        store.apply_views(checkpoint_move(0, 3), messages(chat(1), &["x".into()])).await.unwrap(),
        Applied::Done
    );
    assert_eq!(store.apply_counts(checkpoint_move(0, 3), counts(&[1], 1)).await.unwrap(), Applied::Done);
    let position = async || store.chat(chat(1), LastMessage::Skip).await.unwrap().unwrap().position;
    assert_eq!(position().await, up_to(2));

    released.count(2).await;
    released.move_checkpoint(Projection::Counts, 9).await;
    assert_eq!(position().await, up_to(9), "the place is that of the former count");
    assert_eq!(store.chat_counts(&[chat(1)]).await.unwrap().chats[&chat(1)].last_event, None);

    assert_eq!(store.apply_counts(checkpoint_move(9, 12), counts(&[1, 2, 3], 11)).await.unwrap(), Applied::Done);
    assert_eq!(position().await, up_to(12));
}

/// The release before goes on with the tables of this one: its readers at once, and its projectors when they start again. What these
/// write is shown with the checkpoints.
async fn the_release_before_goes_on_after_a_swap() {
    let database = Database::new().await;
    let (mut released, views) = (Released(database.connect().await), database.projections());
    database.run("DELETE FROM generations").await;
    released.write_chat().await;
    released.write_message(1, "x").await;
    released.count(1).await;
    for projection in [Projection::Views, Projection::Counts] {
        released.move_checkpoint(projection, 3).await;
    }
    let generations = database.operated();
    for projection in [Projection::Views, Projection::Counts] {
        assert!(is_earlier(&generations, projection).await);
        let build = generations.begin(projection).await.unwrap();
        let BuildStore::Tables(store) = generations.writer(&build).unwrap() else { panic!("no tables") };
        let applied = match projection {
            Projection::Views => store.apply_views(checkpoint_move(0, 3), messages(chat(1), &["x".into()])).await,
            _ => store.apply_counts(checkpoint_move(0, 3), counts(&[1], 1)).await,
        };
        assert_eq!(applied.unwrap(), Applied::Done);
        if projection == Projection::Counts {
            let differences = generations.compare(&build, &NothingToCatchUp).await.unwrap();
            assert_eq!(differences, Some(Vec::new()), "what version 1 does not have is no difference");
        }
        assert_eq!(generations.swap(&build, &NothingToCatchUp).await.unwrap(), Swap::Done);
        assert!(!is_earlier(&generations, projection).await);
    }
    assert_eq!(released.read(1).await, (1, "x".to_owned()));
    assert_eq!(
        views.chat(chat(1), LastMessage::Skip).await.unwrap().unwrap().position,
        up_to(2),
        "the rows name their events"
    );

    released.write_message(2, "y").await;
    released.move_checkpoint(Projection::Views, 4).await;
    released.count(2).await;
    released.move_checkpoint(Projection::Counts, 5).await;
    assert_eq!(released.read(2).await, (2, "y".to_owned()));
    assert_eq!(views.chat(chat(1), LastMessage::Skip).await.unwrap().unwrap().position, up_to(5));
    assert_eq!(views.message(chat(1), number(1)).await.unwrap().unwrap().position, up_to(2));
    assert_eq!(views.message(chat(1), number(2)).await.unwrap().unwrap().position, up_to(4));
    let last = views.chat(chat(1), LastMessage::Show).await.unwrap().unwrap();
    assert_eq!((last.value.last_message.unwrap().created_at, last.value.created_at), (None, Some(UnixMillis(0))));
    assert_eq!(last.position, up_to(5));
}

/// A database of the release before has rows of version 1. One without rows needs no rebuild.
async fn a_database_gets_the_version_of_its_rows() {
    let database = Database::new().await;
    let generations = database.operated();
    for projection in [Projection::Views, Projection::Counts] {
        assert!(!is_earlier(&generations, projection).await, "{projection:?}");
    }
    database.run("DELETE FROM generations").await;
    database.run("DELETE FROM _tally_expansions WHERE version = 34").await;
    Released(database.connect().await).move_checkpoint(Projection::Views, 1).await;
    migrate(&database.url()).await.unwrap();
    assert!(is_earlier(&generations, Projection::Views).await);
    assert!(!is_earlier(&generations, Projection::Counts).await);
}

/// What another version has begun is given up once its owner is away: its rows are not mixed with others.
async fn a_build_of_another_version_is_begun_anew() {
    let database = Database::new().await;
    let generations = database.operated();
    let left = generations.begin(Projection::Views).await.unwrap();
    database.run("UPDATE generations SET version = 1 WHERE owner IS NOT NULL").await;
    assert!(generations.begin(Projection::Views).await.is_err(), "its owner is there");
    database.run("UPDATE generations SET owned_until = UTC_TIMESTAMP(6) WHERE owner IS NOT NULL").await;
    let build = generations.begin(Projection::Views).await.unwrap();
    assert!(build.generation > left.generation, "{build:?}");
    generations.delete_former(Projection::Views, std::time::Duration::ZERO).await.unwrap();
    let kept: Vec<u32> = sqlx::query_scalar("SELECT generation FROM generations WHERE projection = 'views' ORDER BY 1")
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(kept, [1, build.generation.0], "the live one, and the one that is built");
}

tests!(
    rows_of_the_release_before_show_the_checkpoints,
    a_count_that_the_release_before_has_raised_shows_the_checkpoint,
    the_release_before_goes_on_after_a_swap,
    a_database_gets_the_version_of_its_rows,
    a_build_of_another_version_is_begun_anew,
);
