//! The feed on tables that programs of an earlier release write, too, and what its statements cost.

use events::{ApplicationToken, ChatKey, ChatNumber, Offset, Position, UnixMillis};
use read_model::{
    Applied, BuildStore, ChatRow, Feed, FeedError, FeedSelection, MessageRow, Projection, ProjectionStore, Swap,
    ViewsChanges,
};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, number, source_event, token};
use super::server::{Database, NothingToCatchUp};

fn all_of(token: ApplicationToken) -> FeedSelection {
    FeedSelection { token, application: true, chats: None }
}

async fn told(feed: &dyn Feed, token: ApplicationToken) -> Result<Vec<u64>, FeedError> {
    let page = feed.page(&all_of(token), &Position::default(), 100).await?;
    let told = page.map(|page| page.events.iter().map(|event| event.place.offset.0).collect());
    Ok(told.unwrap_or_default())
}

/// What a program of an earlier release does with the checkpoint of its batch.
const FORMER_BATCH: &str = "UPDATE checkpoints SET next_offset = next_offset + 1 WHERE projection = 'views'";

/// A projector of the release before writes whichever generation is live, without its feed. Nobody is told less for it: the feed says that
/// it is being made, whoever writes afterwards, until views was made anew.
async fn a_gap_that_the_release_before_has_left_is_noticed_and_mended() {
    let database = Database::new().await;
    let (store, generations) = (database.projections(), database.operated());
    let first = messages(chat(1), &["x".into()]);
    assert_eq!(store.apply_views(checkpoint_move(0, 2), first.clone()).await.unwrap(), Applied::Done);
    assert_eq!(told(&*store, token(1)).await.unwrap(), [0, 1]);

    database.run(FORMER_BATCH).await;
    let is_being_made = async || {
        let (page, end) = (told(&*store, token(1)).await, store.end().await);
        let (tail, passed) =
            (store.tail(&Position::default(), 1).await, store.passed(&Position::default(), LONG_WAIT).await);
        matches!(
            (page, end, tail, passed),
            (
                Err(FeedError::BeingMade),
                Err(FeedError::BeingMade),
                Err(FeedError::BeingMade),
                Err(FeedError::BeingMade)
            )
        )
    };
    assert!(is_being_made().await);
    assert!(generations.live(Projection::Views).await.unwrap().version < Projection::Views.version());
    let later = ViewsChanges {
        messages: vec![MessageRow { number: number(3), source: source_event(3), ..first.messages[0].clone() }],
        ..ViewsChanges::default()
    };
    assert_eq!(store.apply_views(checkpoint_move(3, 4), later.clone()).await.unwrap(), Applied::Done);
    assert!(is_being_made().await, "a later batch hides the gap");

    let build = generations.begin(Projection::Views).await.unwrap();
    let BuildStore::Tables(built) = generations.writer(&build).unwrap() else { panic!("no tables") };
    let lost = ViewsChanges {
        messages: vec![MessageRow { number: number(2), source: source_event(2), ..first.messages[0].clone() }],
        ..ViewsChanges::default()
    };
    for (from, to, changes) in [(0, 2, first), (2, 3, lost), (3, 4, later)] {
        assert_eq!(built.apply_views(checkpoint_move(from, to), changes).await.unwrap(), Applied::Done);
    }
    let differences = generations.compare(&build, &NothingToCatchUp).await.unwrap().unwrap();
    assert!(differences.iter().all(|difference| difference.table != "feed"), "{differences:?}");
    assert_eq!(generations.swap(&build, &NothingToCatchUp).await.unwrap(), Swap::Done);
    assert_eq!(told(&*store, token(1)).await.unwrap(), [0, 1, 2, 3]);
    assert_eq!(generations.live(Projection::Views).await.unwrap().version, Projection::Views.version());
}

/// `verify` finds a row of the feed that is missing, and one that should not be there.
async fn a_comparison_covers_the_feed() {
    let database = Database::new().await;
    let (store, generations) = (database.projections(), database.operated());
    let changes = messages(chat(1), &["x".into(), "y".into()]);
    assert_eq!(store.apply_views(checkpoint_move(0, 3), changes.clone()).await.unwrap(), Applied::Done);
    let build = generations.begin(Projection::Views).await.unwrap();
    let BuildStore::Tables(built) = generations.writer(&build).unwrap() else { panic!("no tables") };
    assert_eq!(built.apply_views(checkpoint_move(0, 3), changes).await.unwrap(), Applied::Done);
    assert_eq!(generations.compare(&build, &NothingToCatchUp).await.unwrap(), Some(Vec::new()));
    database.run("UPDATE feed SET created_at_ms = created_at_ms + 1 WHERE log_offset = 2 AND generation = 1").await;
    let differences = generations.compare(&build, &NothingToCatchUp).await.unwrap().unwrap();
    let [difference] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!((difference.table, difference.missing, difference.unexpected), ("feed", 1, 1));
}

const LONG_WAIT: std::time::Duration = std::time::Duration::from_secs(10);
const CHATS: u32 = 20;
const MESSAGES: u32 = 500;
const LIMIT: u32 = 10;
/// The rows of a page, one more for each part of the index that it asks, and what each round asks for in vain.
const MAX_ROWS: u64 = 8 * LIMIT as u64;
/// The statements that read the feed. What each round of a page examines counts.
const STATEMENTS: &str = "%FROM feed %";

/// Of an application among others, of one of its chats, and of the end of all.
async fn a_page_of_the_feed_reads_little_more_than_it_tells() {
    let database = Database::new().await;
    let store = database.projections();
    let mut changes = ViewsChanges::default();
    let mut offset = 0;
    let mut next = || {
        offset += 1;
        source_event(offset - 1)
    };
    let key = |byte, number| ChatKey { token: token(byte), number: ChatNumber::new(number).unwrap() };
    let created_at = UnixMillis(0);
    for byte in [1, 2] {
        changes.chats.extend((1..=CHATS).map(|number| ChatRow { chat: key(byte, number), source: next(), created_at }));
    }
    for message in 1..=MESSAGES {
        for chat in (1..=CHATS).flat_map(|number| [key(1, number), key(2, number)]) {
            let (number, body, source) = (number(message), "x".to_owned(), next());
            changes.messages.push(MessageRow { chat, number, body, author: None, source, created_at });
        }
    }
    assert_eq!(store.apply_views(checkpoint_move(0, offset), changes).await.unwrap(), Applied::Done);
    database.run("ANALYZE TABLE feed, chats, messages").await;
    let middle = Position::up_to(PARTITION, Offset(offset / 2));
    let of_chats = FeedSelection { application: false, chats: Some([key(1, 7).number].into()), ..all_of(token(1)) };
    for selection in [Some(all_of(token(1))), Some(of_chats), None] {
        let before = database.examined(STATEMENTS).await.0;
        let page = match &selection {
            Some(selection) => store.page(selection, &middle, LIMIT).await.unwrap().unwrap(),
            None => store.tail(&middle, LIMIT).await.unwrap(),
        };
        assert!(page.more && page.events.len() == LIMIT as usize, "{page:?}");
        let (rows, sorted) = database.examined(STATEMENTS).await;
        let rows = rows - before;
        assert!((1..=MAX_ROWS).contains(&rows) && sorted == 0, "{rows} rows, {sorted} sorted, for {selection:?}");
    }
}

tests!(
    a_gap_that_the_release_before_has_left_is_noticed_and_mended,
    a_comparison_covers_the_feed,
    a_page_of_the_feed_reads_little_more_than_it_tells,
);
