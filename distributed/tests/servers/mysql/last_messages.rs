//! The last messages of chats cost a look-up for each chat, however many messages the chat has.

use events::{ChatKey, ChatNumber, UnixMillis};
use read_model::{Applied, ChatRow, Cursor, LastMessage, MessageRow, Page, ProjectionStore, Views, ViewsChanges};

use super::fixture::{checkpoint_move, number, source_event, token};
use super::server::Database;

const CHATS: u32 = 40;
const MESSAGES: u32 = 500;
/// The statements with last messages.
const STATEMENTS: &str = "%LATERAL%";
/// The row of the chat, that of its counts, the last one of its messages, and the row of a temporary table in which the server keeps
/// the last number, some of them read twice. It is far below [`MESSAGES`].
const MAX_ROWS_A_CHAT: u64 = 10;

async fn a_last_message_is_read_from_the_end_of_its_chat() {
    let database = Database::new().await;
    let store = database.projections();
    let key = |chat| ChatKey { token: token(1), number: ChatNumber::new(chat).unwrap() };
    let mut changes = ViewsChanges::default();
    let mut offset = 0..;
    let mut next = || source_event(offset.next().unwrap());
    for chat in 1..=CHATS {
        let (chat, created_at) = (key(chat), UnixMillis(0));
        changes.chats.push(ChatRow { chat, source: next(), created_at });
        changes.messages.extend((1..=MESSAGES).map(|message| MessageRow {
            chat,
            number: number(message),
            body: format!("{message}"),
            author: None,
            source: next(),
            created_at,
        }));
    }
    assert_eq!(store.apply_views(checkpoint_move(0, 1), changes).await.unwrap(), Applied::Done);
    // So that the plan is that of tables of this size.
    database.run("ANALYZE TABLE chats, messages, chat_counts").await;

    let chat = store.chat(key(7), LastMessage::Show).await.unwrap().unwrap().value;
    assert_eq!(chat.last_message.unwrap().number, number(MESSAGES));
    let (rows, sorted) = database.examined(STATEMENTS).await;
    assert!((1..=MAX_ROWS_A_CHAT).contains(&rows) && sorted == 0, "{rows} rows, {sorted} sorted");

    for page in [Page::FIRST, Page { cursor: Cursor::Last, ..Page::FIRST }] {
        let before = database.examined(STATEMENTS).await.0;
        let list = store.chats(token(1), page, LastMessage::Show).await.unwrap().unwrap().value;
        assert_eq!(list.items.len(), CHATS as usize);
        assert!(list.items.iter().all(|chat| chat.last_message.as_ref().unwrap().number == number(MESSAGES)));
        let (rows, sorted) = database.examined(STATEMENTS).await;
        let rows = rows - before;
        let most = MAX_ROWS_A_CHAT * u64::from(CHATS);
        assert!((u64::from(CHATS)..=most).contains(&rows) && sorted == 0, "{rows} rows, {sorted} sorted");
    }
}

tests!(a_last_message_is_read_from_the_end_of_its_chat);
