//! Writes a batch to `views` in the same way for every database. An adapter contributes SQL only.

use std::collections::{BTreeSet, HashMap, HashSet};

use events::{ApplicationToken, ChatKey, EventId, KeyNumber, Offset, PartitionId};

use crate::access_rows::{
    KeyChange, KeyEvent, KeyRow, RevokedKey, VoidedUser, issuing_events, last_of_each_user, resolve_keys, tokens_of,
};
use crate::changes::{
    ApplicationRow, ChatRow, DeadLetter, MessageKey, MessageRow, NameChange, NameOrigin, Rename, ViewsChanges,
};
use crate::conflicts::{keep_first_of_each_key, resolve_conflicts, resolve_names};
use crate::dead_letter::report_dead_letters;
use crate::feed_rows::{FeedRow, Kept, tell};

/// The statements of [`write_views`], inside the transaction of one batch.
///
/// No method resolves a conflict: the rows that an insert gets are free of conflicts, apart from those of
/// [`ViewsTransaction::insert_messages`]. For an empty slice a method runs no statement.
pub trait ViewsTransaction: Send {
    /// The adapter's own error.
    type Error: Send;

    /// Whether readers use the generation that is written.
    fn is_live(&self) -> bool;

    /// Loads the stored rows of the applications in these changes.
    fn load_applications(
        &mut self,
        changes: &[NameChange],
    ) -> impl Future<Output = Result<Vec<ApplicationRow>, Self::Error>> + Send;

    /// Returns those renames that are stored already.
    fn load_renames(&mut self, renames: &[Rename])
    -> impl Future<Output = Result<HashSet<Rename>, Self::Error>> + Send;

    /// Inserts each application, or replaces its row.
    fn upsert_applications(
        &mut self,
        applications: &[ApplicationRow],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Inserts renames.
    fn insert_renames(&mut self, renames: &[Rename]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns those chats that are stored already, each with the event that created it. No chat is asked for twice.
    fn load_chats(
        &mut self,
        chats: &[ChatKey],
    ) -> impl Future<Output = Result<HashMap<ChatKey, EventId>, Self::Error>> + Send;

    /// Inserts chats.
    fn insert_chats(&mut self, chats: &[&ChatRow]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Inserts the messages whose key is free, and returns the other keys, each with the event that holds it. No two of
    /// the messages have the same key.
    ///
    /// One method does both, because a database that can skip conflicting rows needs no read before the insert.
    fn insert_messages(
        &mut self,
        messages: &[&MessageRow],
    ) -> impl Future<Output = Result<HashMap<MessageKey, EventId>, Self::Error>> + Send;

    /// Inserts rows of the feed, in log order. Their chats and messages are stored. A generation of a version without a feed gets none.
    fn insert_feed(&mut self, rows: &[FeedRow<'_>]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the last number of a key of each of these applications that has keys.
    fn load_last_keys(
        &mut self,
        tokens: &[ApplicationToken],
    ) -> impl Future<Output = Result<HashMap<ApplicationToken, KeyNumber>, Self::Error>> + Send;

    /// Returns those events whose keys are stored already.
    fn load_issued_keys(
        &mut self,
        events: &[KeyEvent],
    ) -> impl Future<Output = Result<HashSet<KeyEvent>, Self::Error>> + Send;

    /// Inserts keys.
    fn insert_keys(&mut self, keys: &[KeyRow<'_>]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Marks those of these keys as revoked that are not. All of them are stored.
    fn revoke_keys(&mut self, revoked: &[RevokedKey]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Inserts each user, or replaces the place of the last event.
    fn void_users(&mut self, voided: &[&VoidedUser]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Inserts dead letters of the partition.
    fn insert_dead_letters(
        &mut self,
        partition: PartitionId,
        dead_letters: &[DeadLetter],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Marks those dead letters at these offsets of the partition that are stored as discarded.
    fn discard_dead_letters(
        &mut self,
        partition: PartitionId,
        discarded: &[Offset],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Writes a batch: names, chats, messages, the feed, keys and dead letters. An event that loses a conflict becomes a dead letter.
///
/// Reports the dead letters of the live generation to operators; see [`report_dead_letters`]. A generation that is made anew meets those
/// again that the live one has reported, and that operators may have discarded since; one that is new there keeps it from being swapped.
/// The caller commits afterwards.
///
/// # Errors
/// The first error of a statement. The caller rolls the transaction back.
pub async fn write_views<T: ViewsTransaction>(
    transaction: &mut T,
    partition: PartitionId,
    changes: &ViewsChanges,
) -> Result<(), T::Error> {
    let mut dead_letters = changes.dead_letters.clone();
    let kept = Kept {
        names: write_names(transaction, &changes.names, &mut dead_letters).await?,
        ..write_chats(transaction, changes, &mut dead_letters).await?
    };
    transaction.insert_feed(&tell(&kept)).await?;
    write_keys(transaction, &changes.keys, &mut dead_letters).await?;
    transaction.void_users(&last_of_each_user(&changes.voided)).await?;
    transaction.insert_dead_letters(partition, &dead_letters).await?;
    transaction.discard_dead_letters(partition, &changes.discarded).await?;
    if transaction.is_live() {
        dead_letters.retain(|letter| !changes.discarded.contains(&letter.source.offset));
        report_dead_letters(partition, &dead_letters);
    }
    Ok(())
}

/// Writes chats and messages, and returns those that were new.
async fn write_chats<'a, T: ViewsTransaction>(
    transaction: &mut T,
    changes: &'a ViewsChanges,
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<Kept<'a>, T::Error> {
    let chats = changes.chats.iter().map(|row| row.chat).chain(changes.messages.iter().map(|row| row.chat));
    let chats: BTreeSet<_> = chats.collect();
    let created = transaction.load_chats(&Vec::from_iter(chats)).await?;
    let new_chats = resolve_conflicts(&changes.chats, &created, dead_letters);
    transaction.insert_chats(&new_chats).await?;
    let messages = keep_first_of_each_key(&changes.messages);
    let taken = transaction.insert_messages(&messages).await?;
    // The messages without a conflict are stored by now. This call only collects the dead letters.
    resolve_conflicts(&changes.messages, &taken, dead_letters);
    let (created, taken) = (created.into_keys().collect(), taken.into_keys().collect());
    Ok(Kept { names: Vec::new(), chats: new_chats, messages, created, taken })
}

/// Writes names, and returns the changes that were new.
async fn write_names<'a, T: ViewsTransaction>(
    transaction: &mut T,
    changes: &'a [NameChange],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<Vec<&'a NameChange>, T::Error> {
    let stored = transaction.load_applications(changes).await?;
    let renames = changes.iter().filter(|change| change.origin == NameOrigin::Renamed);
    let renames: Vec<Rename> = renames.map(|change| (change.token, change.source.event_id)).collect();
    let applied_renames = transaction.load_renames(&renames).await?;
    let resolved = resolve_names(changes, stored, &applied_renames, dead_letters);
    transaction.upsert_applications(&resolved.applications).await?;
    transaction.insert_renames(&resolved.renames).await?;
    Ok(resolved.new)
}

async fn write_keys<T: ViewsTransaction>(
    transaction: &mut T,
    changes: &[KeyChange],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), T::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let last = transaction.load_last_keys(&tokens_of(changes)).await?;
    let known = transaction.load_issued_keys(&issuing_events(changes)).await?;
    let resolved = resolve_keys(changes, last, known, dead_letters);
    transaction.insert_keys(&resolved.issued).await?;
    transaction.revoke_keys(&resolved.revoked).await
}
