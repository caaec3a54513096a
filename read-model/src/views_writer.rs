//! Writes a batch to `views` in the same way for every database. An adapter contributes SQL only.

use std::collections::{HashMap, HashSet};

use events::{ChatKey, EventId, Offset, PartitionId};

use crate::changes::{
    ApplicationRow, ChatRow, DeadLetter, MessageKey, MessageRow, NameChange, NameOrigin, Rename, ViewsChanges,
};
use crate::conflicts::{keep_first_of_each_key, resolve_conflicts, resolve_names};
use crate::dead_letter::report_dead_letters;

/// The statements of [`write_views`], inside the transaction of one batch.
///
/// No method resolves a conflict: the rows that an insert gets are free of conflicts, apart from those of
/// [`ViewsTransaction::insert_messages`]. For an empty slice a method runs no statement.
pub trait ViewsTransaction: Send {
    /// The adapter's own error.
    type Error: Send;

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

    /// Returns those chats that are stored already, each with the event that created it.
    fn load_chats(
        &mut self,
        chats: &[ChatRow],
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

/// Writes a batch: names, chats, messages and dead letters. An event that loses a conflict becomes a dead letter.
///
/// Reports the dead letters to operators; see [`report_dead_letters`]. The caller commits afterwards.
///
/// # Errors
/// The first error of a statement. The caller rolls the transaction back.
pub async fn write_views<T: ViewsTransaction>(
    transaction: &mut T,
    partition: PartitionId,
    changes: &ViewsChanges,
) -> Result<(), T::Error> {
    let mut dead_letters = changes.dead_letters.clone();
    write_names(transaction, &changes.names, &mut dead_letters).await?;
    let holders = transaction.load_chats(&changes.chats).await?;
    let new_chats = resolve_conflicts(&changes.chats, &holders, &mut dead_letters);
    transaction.insert_chats(&new_chats).await?;
    let holders = transaction.insert_messages(&keep_first_of_each_key(&changes.messages)).await?;
    // The messages without a conflict are stored by now. This call only collects the dead letters.
    resolve_conflicts(&changes.messages, &holders, &mut dead_letters);
    transaction.insert_dead_letters(partition, &dead_letters).await?;
    transaction.discard_dead_letters(partition, &changes.discarded).await?;
    report_dead_letters(partition, &dead_letters);
    Ok(())
}

async fn write_names<T: ViewsTransaction>(
    transaction: &mut T,
    changes: &[NameChange],
    dead_letters: &mut Vec<DeadLetter>,
) -> Result<(), T::Error> {
    let stored = transaction.load_applications(changes).await?;
    let renames = changes.iter().filter(|change| change.origin == NameOrigin::Renamed);
    let renames: Vec<Rename> = renames.map(|change| (change.token, change.source.event_id)).collect();
    let applied_renames = transaction.load_renames(&renames).await?;
    let resolved = resolve_names(changes, stored, &applied_renames, dead_letters);
    transaction.upsert_applications(&resolved.applications).await?;
    transaction.insert_renames(&resolved.renames).await
}
