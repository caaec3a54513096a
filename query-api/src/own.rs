//! Lists that show a principal what is its own, and nothing else.

use access::Principal;
use events::{ApplicationToken, ChatKey, ChatNumber};
use futures_util::{StreamExt, stream};
use read_model::{ApplicationView, ChatView, Cursor, LastMessage, Page, Shown, Slice};

use crate::answer::Answer;
use crate::await_position::AwaitPosition;
use crate::queries::{APPLICATION, Queries, QueryError, VIEWS_AND_COUNTS};

/// Most chats that one request reads at once.
const READS_AT_ONCE: usize = 8;

impl Queries {
    /// The applications that the principal may see: all of them, or its own as a list of one. The list is empty while `views` does not
    /// show that one: a list is never unknown.
    pub(crate) async fn applications_of(
        &self,
        principal: &Principal,
        wait: &AwaitPosition,
        page: Page<ApplicationToken>,
    ) -> Result<Answer<Slice<ApplicationView>>, QueryError> {
        let Some(own) = principal.application() else {
            return self.applications(wait, page).await;
        };
        let shown = match self.application_of(principal, wait, own).await {
            Err(QueryError::Unknown(_)) => {
                // An empty list has a position, too. It comes with the shortest page.
                let others = self.applications(wait, Page { limit: 1, ..page }).await?;
                return Ok(others.map(|_| Slice { items: Vec::new(), more: false }));
            }
            shown => shown?,
        };
        let is_in_page = !keys_in(page.cursor, &[own]).is_empty();
        Ok(shown.map(|view| Slice { items: if is_in_page { vec![view] } else { Vec::new() }, more: false }))
    }

    /// The application as the principal may see it: with all of its chats counted, or those that a token of a user lists.
    pub(crate) async fn application_of(
        &self,
        principal: &Principal,
        wait: &AwaitPosition,
        token: ApplicationToken,
    ) -> Result<Answer<ApplicationView>, QueryError> {
        let Some(listed) = principal.listed_chats() else {
            return self.application(wait, token).await;
        };
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        let application = self.views.application(token).await.map_err(QueryError::Views)?;
        let Shown { value, mut position } = application.ok_or(APPLICATION)?;
        let reads = listed.iter().map(|number| self.views.find_chat(ChatKey { token, number: *number }));
        let reads: Vec<_> = reads.collect();
        let mut reading = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut chats_count = 0;
        while let Some(read) = reading.next().await {
            if let Some(created) = read.map_err(QueryError::Views)? {
                chats_count += 1;
                position.merge(&created);
            }
        }
        self.answer(wait, Shown { value: ApplicationView { chats_count, ..value }, position }).await
    }

    /// The chats that the principal may see: all chats of the application, or those that a token of a user lists.
    pub(crate) async fn chats_of(
        &self,
        principal: &Principal,
        wait: &AwaitPosition,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Answer<Slice<ChatView>>, QueryError> {
        match principal.listed_chats() {
            None => self.chats(wait, token, page, last_message).await,
            Some(listed) => self.listed_chats(listed, wait, token, page, last_message).await,
        }
    }

    /// Reads each chat that a token lists: there are few, and a database need not know of them. One that does not exist is passed over.
    async fn listed_chats(
        &self,
        listed: &[ChatNumber],
        wait: &AwaitPosition,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Answer<Slice<ChatView>>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        // An empty list has a position, too.
        let application = self.views.application(token).await.map_err(QueryError::Views)?;
        let mut position = application.map(|shown| shown.position);
        let numbers = keys_in(page.cursor, listed);
        let reads = numbers.into_iter().map(|number| self.views.chat(ChatKey { token, number }, last_message));
        let reads: Vec<_> = reads.collect();
        let mut reading = stream::iter(reads).buffered(READS_AT_ONCE);
        let (mut slice, mut more) = (Slice::builder(page.limit), false);
        while let Some(read) = reading.next().await {
            let Some(Shown { value, position: covered }) = read.map_err(QueryError::Views)? else { continue };
            if slice.is_full() {
                more = true;
                break;
            }
            position.get_or_insert_default().merge(&covered);
            let text_bytes = value.last_message.as_ref().map_or(0, |message| message.body.len());
            slice.push(value, text_bytes);
        }
        let position = position.ok_or(APPLICATION)?;
        self.answer(wait, Shown { value: slice.finish(more), position }).await
    }
}

/// The keys of a list that lie behind the cursor, in its direction. `sorted` are all keys, the lowest first.
fn keys_in<K: Copy + Ord>(cursor: Cursor<K>, sorted: &[K]) -> Vec<K> {
    let is_in = |key: &K| match cursor {
        Cursor::First | Cursor::Last => true,
        Cursor::After(after) => *key > after,
        Cursor::Before(before) => *key < before,
    };
    let mut keys: Vec<K> = sorted.iter().copied().filter(is_in).collect();
    if cursor.descends() {
        keys.reverse();
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use access::principal::{Chats, KeyGrant, UserGrant};
    use embedded::DataDir;
    use events::{EventId, KeyNumber, Offset, PartitionId, Scope, UnixMillis, UserId};
    use read_model::{
        Applied, ChatRow, Checkpoint, CheckpointMove, NameChange, NameOrigin, ProjectionStore, SourceEvent,
        ViewsChanges,
    };
    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;

    const SHOWN: ApplicationToken = ApplicationToken::from_bytes([9; ApplicationToken::BYTES]);
    const WAIT: AwaitPosition = AwaitPosition { position: None, timeout: Duration::ZERO };

    /// Queries of projections that show one application, with the chats 1 and 2.
    async fn queries(directory: &TempDir) -> Queries {
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = data_dir.open_log().unwrap();
        let projections = Arc::new(data_dir.open_projections(log.log_id()).unwrap());
        let source =
            |offset: u64| SourceEvent { event_id: EventId(Uuid::from_u128(offset.into())), offset: Offset(offset) };
        let name = NameChange {
            token: SHOWN,
            name: "shown".to_owned(),
            origin: NameOrigin::Created,
            source: source(0),
            occurred_at: UnixMillis(0),
        };
        let row =
            |number: u32| ChatRow { chat: chat(number), source: source(number.into()), created_at: UnixMillis(0) };
        let changes = ViewsChanges { names: vec![name], chats: vec![row(1), row(2)], ..ViewsChanges::default() };
        let to = Checkpoint { next: Offset(3), ..Checkpoint::START };
        let checkpoint_move = CheckpointMove { partition: PartitionId(0), from: Offset::START, to };
        assert_eq!(projections.apply_views(checkpoint_move, changes).await.unwrap(), Applied::Done);
        Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new())
    }

    fn chat(number: u32) -> ChatKey {
        ChatKey { token: SHOWN, number: ChatNumber::new(number).unwrap() }
    }

    #[tokio::test]
    async fn the_list_of_an_application_that_is_not_shown_yet_is_empty() {
        let directory = TempDir::new().unwrap();
        let queries = queries(&directory).await;
        let token = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);
        let grant = KeyGrant { token, number: KeyNumber::new(1).unwrap(), scope: Scope::Read };
        let listed = queries.applications_of(&Principal::Key(grant), &WAIT, Page::FIRST).await.unwrap();
        assert_eq!(listed.value, Slice { items: Vec::new(), more: false });
        assert_eq!(listed.position.position.bound(PartitionId(0)), Offset(3));
    }

    #[tokio::test]
    async fn the_chats_that_a_token_lists_are_counted_if_they_exist() {
        let directory = TempDir::new().unwrap();
        let queries = queries(&directory).await;
        for (listed, count) in [(&[1][..], 1), (&[1, 2, 7], 2), (&[7], 0)] {
            let user = Principal::User(Arc::new(UserGrant {
                token: SHOWN,
                user: UserId::new("u".to_owned()).unwrap(),
                scope: Scope::Read,
                chats: Chats::Listed(listed.iter().map(|number| chat(*number).number).collect()),
                minted_by: KeyNumber::new(1).unwrap(),
            }));
            let shown = queries.application_of(&user, &WAIT, SHOWN).await.unwrap();
            assert_eq!(shown.value.chats_count, count, "{listed:?}");
            let applications = queries.applications_of(&user, &WAIT, Page::FIRST).await.unwrap();
            assert_eq!(applications.value.items, [shown.value], "{listed:?}");
        }
    }

    #[test]
    fn a_page_of_listed_keys_lies_behind_its_cursor() {
        for (cursor, keys) in [
            (Cursor::First, &[1, 5, 9][..]),
            (Cursor::Last, &[9, 5, 1]),
            (Cursor::After(1), &[5, 9]),
            (Cursor::After(4), &[5, 9]),
            (Cursor::After(9), &[]),
            (Cursor::Before(9), &[5, 1]),
            (Cursor::Before(1), &[]),
        ] {
            assert_eq!(keys_in(cursor, &[1, 5, 9]), keys, "{cursor:?}");
        }
    }
}
