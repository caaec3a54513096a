//! Chats, documents and batches.

use distributed::elastic::ElasticIndex;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Offset, PartitionId, UnixMillis};
use read_model::{Applied, Checkpoint, CheckpointMove, Page, SearchDocument, SearchIndex, SearchText};
use uuid::Uuid;

pub(crate) const PARTITION: PartitionId = PartitionId(3);

pub(crate) fn chat() -> ChatKey {
    let token = ApplicationToken::from_bytes(Uuid::new_v4().into_bytes());
    ChatKey { token, number: ChatNumber::new(7).unwrap() }
}

pub(crate) fn document(chat: ChatKey, number: u32, body: &str) -> SearchDocument {
    SearchDocument {
        chat,
        number: MessageNumber::new(number).unwrap(),
        body: body.into(),
        author: None,
        offset: Offset(number.into()),
        created_at: UnixMillis(1_782_898_200_123),
    }
}

/// These texts as the messages 1, 2, 3 … of a chat.
pub(crate) fn documents<T: AsRef<str>>(chat: ChatKey, texts: &[T]) -> Vec<SearchDocument> {
    (1..).zip(texts).map(|(number, text)| document(chat, number, text.as_ref())).collect()
}

pub(crate) fn checkpoint_move(from: u64, to: u64) -> CheckpointMove {
    CheckpointMove {
        partition: PARTITION,
        from: Offset(from),
        to: Checkpoint { next: Offset(to), ..Checkpoint::START },
    }
}

/// Indexes documents as the next batch.
pub(crate) async fn add(index: &ElasticIndex, documents: Vec<SearchDocument>) {
    let from = index.checkpoint(PARTITION).await.unwrap().next.0;
    assert_eq!(index.index(checkpoint_move(from, from + 1), documents).await.unwrap(), Applied::Done);
}

/// Searches a chat. Returns the numbers of the messages on the first page.
pub(crate) async fn find_numbers(index: &ElasticIndex, chat: ChatKey, pattern: &str) -> Vec<u32> {
    let slice = index.search(chat, &SearchText::new(pattern).unwrap(), Page::FIRST).await.unwrap().value;
    slice.items.iter().map(|message| message.number.get()).collect()
}
