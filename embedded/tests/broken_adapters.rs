//! The conformance suites find what they are for: each check fails on an adapter with one fault.
//!
//! A fault is put between a check and the real adapters, which pass all of them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod databases;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use databases::{index, log, open, sequencer, spoil, store, views};
use event_log::conformance as log_suite;
use event_log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit, Reservation, ReserveError, Sequencer, Ticket};
use events::{
    ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Number, Offset, PartitionId, Position, Record,
    RequestKey, StreamKey, UnixMillis,
};
use read_model::conformance as read_suite;
use read_model::folding::fold;
use read_model::{
    ApplicationView, Applied, ChatCounts, ChatView, Checkpoint, CheckpointMove, CountsChanges, Cursor, DeadLetter,
    MessageView, NameOrigin, Page, Projection, ProjectionStore, SearchDocument, SearchError, SearchIndex, SearchText,
    Slice, StoreError, Views, ViewsChanges, ViewsError,
};
use uuid::Uuid;

/// A test that a check fails, given the expression that runs it on an adapter with a fault.
macro_rules! finds {
    ($databases:ident: $($check:ident => $run:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        #[should_panic]
        async fn $check() {
            let $databases = open().await;
            $run.await;
        })+
    };
}

finds! { databases:
    records_come_back_to_the_byte => log_suite::records_come_back_to_the_byte(broken_log(&databases, LogFault::ForgetsTheTime));
    reading_starts_where_it_is_asked_to => log_suite::reading_starts_where_it_is_asked_to(broken_log(&databases, LogFault::ReadsFromTheStart));
    the_number_of_records_is_bounded => log_suite::the_number_of_records_is_bounded(broken_log(&databases, LogFault::IgnoresTheLimit));
    end_covers_every_answered_append => log_suite::end_covers_every_answered_append(broken_log(&databases, LogFault::EndLagsBehind));
    the_end_is_waited_at_and_left_when_a_record_comes => log_suite::the_end_is_waited_at_and_left_when_a_record_comes(broken_log(&databases, LogFault::NeverWaits));
    the_wait_at_the_end_is_bounded => log_suite::the_wait_at_the_end_is_bounded(broken_log(&databases, LogFault::NeverWaits));
    reading_beyond_the_end_is_refused => log_suite::reading_beyond_the_end_is_refused(broken_log(&databases, LogFault::TakesBeyondForTheEnd));
    appends_at_once_are_all_there_once => log_suite::appends_at_once_are_all_there_once(broken_log(&databases, LogFault::LosesAnAppend));
    writers_in_turn_lie_in_turn => log_suite::writers_in_turn_lie_in_turn(broken_log(&databases, LogFault::SwapsNeighbours));
    concurrent_readers_see_one_order => log_suite::concurrent_readers_see_one_order(broken_log(&databases, LogFault::MovesRecords));
    what_is_no_record_is_told_and_passed => log_suite::what_is_no_record_is_told_and_passed(
        broken_log(&databases, LogFault::HidesTheUnreadable), async |_| spoil(&databases).await);

    unknown_parents_have_no_numbers => log_suite::unknown_parents_have_no_numbers(log(&databases), broken_sequencer(&databases, SequencerFault::KnowsEverybody));
    numbers_are_dense_and_ascending => log_suite::numbers_are_dense_and_ascending(log(&databases), broken_sequencer(&databases, SequencerFault::Skips));
    parents_are_counted_apart => log_suite::parents_are_counted_apart(log(&databases), broken_sequencer(&databases, SequencerFault::CountsAllTogether));
    reservations_at_once_are_all_different => log_suite::reservations_at_once_are_all_different(log(&databases), broken_sequencer(&databases, SequencerFault::Repeats));
    cold_counters_continue_after_the_log => log_suite::cold_counters_continue_after_the_log(
        log(&databases), sequencer(&databases), async || broken_sequencer(&databases, SequencerFault::CountsAllTogether));

    a_key_is_given_its_number_again => log_suite::a_key_is_given_its_number_again(
        log(&databases), broken_sequencer(&databases, SequencerFault::ForgetsRequests), async || sequencer(&databases));
    a_key_is_given_its_token_again => log_suite::a_key_is_given_its_token_again(log(&databases), broken_sequencer(&databases, SequencerFault::ForgetsRequests));
    a_key_with_other_values_is_refused => log_suite::a_key_with_other_values_is_refused(log(&databases), broken_sequencer(&databases, SequencerFault::ForgetsRequests));
    one_key_at_once_is_one_number => log_suite::one_key_at_once_is_one_number(log(&databases), broken_sequencer(&databases, SequencerFault::ForgetsRequests));

    a_chat_seen_late_is_shown_with_its_messages => on_store(&databases, StoreFault::DropsEarlyMessages, read_suite::a_chat_seen_late_is_shown_with_its_messages);
    a_stale_step_writes_nothing => on_store(&databases, StoreFault::AppliesStaleSteps, read_suite::a_stale_step_writes_nothing);
    application_counts_add_up => on_store(&databases, StoreFault::ForgetsApplications, read_suite::application_counts_add_up);
    chat_counts_come_back => on_store(&databases, StoreFault::ForgetsChatCounts, read_suite::chat_counts_come_back);
    checkpoints_move_with_their_batches => on_store(&databases, StoreFault::CheckpointStays, read_suite::checkpoints_move_with_their_batches);
    duplicates_change_nothing => on_store(&databases, StoreFault::ForgetsIdentities, read_suite::duplicates_change_nothing);
    long_names_and_reasons_are_kept => on_store(&databases, StoreFault::CutsTexts, read_suite::long_names_and_reasons_are_kept);
    names_in_one_batch_are_as_in_several => on_store(&databases, StoreFault::LastNameHolds, read_suite::names_in_one_batch_are_as_in_several);
    of_two_owners_one_applies_a_step => on_store(&databases, StoreFault::AppliesStaleSteps, read_suite::of_two_owners_one_applies_a_step);
    the_highest_name_holds => on_store(&databases, StoreFault::LastNameHolds, read_suite::the_highest_name_holds);
    the_second_of_two_events_under_one_key_is_parked => on_store(&databases, StoreFault::HidesDeadLetters, read_suite::the_second_of_two_events_under_one_key_is_parked);

    a_position_is_waited_for => on_views(&databases, ViewsFault::NeverWaits, read_suite::a_position_is_waited_for);
    chats_are_known_by_the_nearest_row => on_views(&databases, ViewsFault::TakesEmptyForAbsent, read_suite::chats_are_known_by_the_nearest_row);
    chats_without_counts_have_no_messages => on_views(&databases, ViewsFault::HidesUncountedChats, read_suite::chats_without_counts_have_no_messages);
    lists_are_cut_by_size => on_views(&databases, ViewsFault::IgnoresSize, read_suite::lists_are_cut_by_size);
    lists_are_walked_both_ways => on_views(&databases, ViewsFault::NeverHasMore, read_suite::lists_are_walked_both_ways);
    texts_come_back_to_the_byte => on_views(&databases, ViewsFault::Trims, read_suite::texts_come_back_to_the_byte);
    what_is_not_there_is_none => on_views(&databases, ViewsFault::TakesAbsentForEmpty, read_suite::what_is_not_there_is_none);

    a_search_stays_within_its_chat => read_suite::a_search_stays_within_its_chat(broken_index(&databases, SearchFault::OneForAllChats));
    an_indexed_position_is_waited_for => read_suite::an_indexed_position_is_waited_for(broken_index(&databases, SearchFault::NeverWaits));
    documents_are_never_overwritten => read_suite::documents_are_never_overwritten(broken_index(&databases, SearchFault::KeepsEverything));
    every_substring_and_nothing_else_is_found => read_suite::every_substring_and_nothing_else_is_found(broken_index(&databases, SearchFault::PrefixesOnly));
    noncharacters_mean_themselves => read_suite::noncharacters_mean_themselves(broken_index(&databases, SearchFault::ReplacesNoncharacters));
    results_are_paged => read_suite::results_are_paged(broken_index(&databases, SearchFault::IgnoresTheCursor));
    special_characters_mean_themselves => read_suite::special_characters_mean_themselves(broken_index(&databases, SearchFault::PercentMeansAnything));
    the_index_keeps_its_checkpoint => read_suite::the_index_keeps_its_checkpoint(broken_index(&databases, SearchFault::CheckpointStays));
}

#[derive(PartialEq)]
enum LogFault {
    ForgetsTheTime,
    ReadsFromTheStart,
    IgnoresTheLimit,
    EndLagsBehind,
    NeverWaits,
    TakesBeyondForTheEnd,
    LosesAnAppend,
    SwapsNeighbours,
    MovesRecords,
    HidesTheUnreadable,
}

struct BrokenLog {
    log: Arc<dyn EventLog>,
    fault: LogFault,
    calls: AtomicU64,
}

fn broken_log(databases: &databases::Databases, fault: LogFault) -> Arc<dyn EventLog> {
    Arc::new(BrokenLog { log: log(databases), fault, calls: AtomicU64::new(0) })
}

#[async_trait]
impl EventLog for BrokenLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fault == LogFault::LosesAnAppend && call == 100 {
            return Ok(self.log.end().await.unwrap());
        }
        self.log.append(record).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let from = if self.fault == LogFault::ReadsFromTheStart { Offset::START } else { from };
        let limit = match self.fault {
            LogFault::IgnoresTheLimit => ReadLimit { records: u32::MAX, ..limit },
            _ => limit,
        };
        if self.fault == LogFault::NeverWaits && from >= self.log.end().await?.bound(partition) {
            return Ok(LogBatch::empty(from));
        }
        let mut read = match self.log.read(partition, from, limit).await {
            Err(ReadError::BeyondEnd { .. }) if self.fault == LogFault::TakesBeyondForTheEnd => LogBatch::empty(from),
            read => read?,
        };
        match self.fault {
            LogFault::ForgetsTheTime => {
                read.events.iter_mut().for_each(|recorded| recorded.record.occurred_at = UnixMillis(0));
            }
            LogFault::HidesTheUnreadable => read.unreadable.clear(),
            LogFault::SwapsNeighbours => read.events.chunks_mut(2).for_each(|pair| {
                if let [one, other] = pair {
                    std::mem::swap(&mut one.record, &mut other.record);
                }
            }),
            LogFault::MovesRecords => {
                let call = self.calls.fetch_add(1, Ordering::SeqCst);
                read.events.iter_mut().for_each(|recorded| recorded.record.occurred_at = UnixMillis(call));
            }
            _ => {}
        }
        Ok(read)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let end = self.log.end().await?;
        match self.fault {
            LogFault::EndLagsBehind => {
                Ok(Position::up_to(PartitionId(0), Offset(end.bound(PartitionId(0)).0.saturating_sub(1))))
            }
            _ => Ok(end),
        }
    }
}

#[derive(PartialEq)]
enum SequencerFault {
    KnowsEverybody,
    ForgetsRequests,
    Skips,
    CountsAllTogether,
    Repeats,
}

struct BrokenSequencer {
    sequencer: Arc<dyn Sequencer>,
    fault: SequencerFault,
    last: AtomicU32,
}

fn broken_sequencer(databases: &databases::Databases, fault: SequencerFault) -> Arc<dyn Sequencer> {
    Arc::new(BrokenSequencer { sequencer: sequencer(databases), fault, last: AtomicU32::new(0) })
}

#[async_trait]
impl Sequencer for BrokenSequencer {
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let request = match self.fault {
            SequencerFault::ForgetsRequests => None,
            _ => request,
        };
        let reservation = self.sequencer.reserve(parent, request).await;
        let number = match self.fault {
            SequencerFault::KnowsEverybody => 1,
            SequencerFault::ForgetsRequests => return reservation,
            SequencerFault::Skips => 2 * reservation?.value().get(),
            SequencerFault::CountsAllTogether => self.last.fetch_add(1, Ordering::SeqCst) + 1,
            SequencerFault::Repeats => reservation?.value().get().div_ceil(2),
        };
        Ok(Reservation::new(Number::new(number).unwrap(), ()))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        match self.fault {
            SequencerFault::ForgetsRequests => Ok(Reservation::new(fresh, ())),
            _ => self.sequencer.reserve_token(fresh, request).await,
        }
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        Ok(self.fault == SequencerFault::KnowsEverybody || self.sequencer.exists(parent).await?)
    }

    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError> {
        self.sequencer.open(parent, ticket).await
    }
}

#[derive(PartialEq)]
enum StoreFault {
    DropsEarlyMessages,
    AppliesStaleSteps,
    ForgetsApplications,
    ForgetsChatCounts,
    CheckpointStays,
    CutsTexts,
    ForgetsIdentities,
    LastNameHolds,
    HidesDeadLetters,
}

struct BrokenStore {
    store: Arc<dyn ProjectionStore>,
    fault: StoreFault,
    names: AtomicU64,
}

async fn on_store<F: Future<Output = ()>>(
    databases: &databases::Databases,
    fault: StoreFault,
    check: impl Fn(Arc<dyn ProjectionStore>, Arc<dyn Views>) -> F,
) {
    let store = BrokenStore { store: store(databases), fault, names: AtomicU64::new(1_000) };
    check(Arc::new(store), views(databases)).await;
}

impl BrokenStore {
    async fn checkpoint_move(&self, projection: Projection, checkpoint_move: CheckpointMove) -> CheckpointMove {
        if self.fault != StoreFault::AppliesStaleSteps {
            return checkpoint_move;
        }
        let from = self.store.checkpoint(projection, checkpoint_move.partition).await.unwrap().next;
        CheckpointMove {
            from,
            to: Checkpoint { next: checkpoint_move.to.next.max(from), ..checkpoint_move.to },
            ..checkpoint_move
        }
    }

    fn damage(&self, changes: &mut ViewsChanges) {
        match self.fault {
            StoreFault::DropsEarlyMessages if changes.chats.is_empty() => changes.messages.clear(),
            StoreFault::CutsTexts => changes.names.iter_mut().for_each(|change| change.name.truncate(1 << 16)),
            StoreFault::ForgetsIdentities => {
                changes.messages.iter_mut().for_each(|row| row.source.event_id = EventId(Uuid::new_v4()));
            }
            StoreFault::LastNameHolds => changes.names.iter_mut().for_each(|change| {
                change.origin = NameOrigin::Renamed;
                change.source.event_id = EventId(Uuid::new_v4());
                change.source.offset = Offset(self.names.fetch_add(1, Ordering::SeqCst));
            }),
            _ => {}
        }
    }
}

#[async_trait]
impl ProjectionStore for BrokenStore {
    async fn checkpoint(&self, projection: Projection, partition: PartitionId) -> Result<Checkpoint, StoreError> {
        match self.fault {
            StoreFault::CheckpointStays => Ok(Checkpoint::START),
            _ => self.store.checkpoint(projection, partition).await,
        }
    }

    async fn apply_views(
        &self,
        checkpoint_move: CheckpointMove,
        mut changes: ViewsChanges,
    ) -> Result<Applied, StoreError> {
        self.damage(&mut changes);
        self.store.apply_views(self.checkpoint_move(Projection::Views, checkpoint_move).await, changes).await
    }

    async fn chat_counts(&self, chats: &[ChatKey]) -> Result<HashMap<ChatKey, ChatCounts>, StoreError> {
        let mut counts = self.store.chat_counts(chats).await?;
        if self.fault == StoreFault::ForgetsChatCounts {
            counts.values_mut().for_each(|counts| *counts = ChatCounts::default());
        }
        Ok(counts)
    }

    async fn apply_counts(
        &self,
        checkpoint_move: CheckpointMove,
        mut changes: CountsChanges,
    ) -> Result<Applied, StoreError> {
        if self.fault == StoreFault::ForgetsApplications {
            changes.applications.clear();
        }
        let checkpoint_move = self.checkpoint_move(Projection::Counts, checkpoint_move).await;
        let applied = self.store.apply_counts(checkpoint_move, changes).await?;
        Ok(if self.fault == StoreFault::AppliesStaleSteps { Applied::Done } else { applied })
    }

    async fn dead_letters(&self, partition: PartitionId, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let dead_letters = self.store.dead_letters(partition, limit).await?;
        Ok(if self.fault == StoreFault::HidesDeadLetters { Vec::new() } else { dead_letters })
    }
}

#[derive(PartialEq)]
enum ViewsFault {
    NeverWaits,
    TakesEmptyForAbsent,
    TakesAbsentForEmpty,
    HidesUncountedChats,
    IgnoresSize,
    NeverHasMore,
    Trims,
}

struct BrokenViews {
    views: Arc<dyn Views>,
    fault: ViewsFault,
}

async fn on_views<F: Future<Output = ()>>(
    databases: &databases::Databases,
    fault: ViewsFault,
    check: impl Fn(Arc<dyn ProjectionStore>, Arc<dyn Views>) -> F,
) {
    check(store(databases), Arc::new(BrokenViews { views: views(databases), fault })).await;
}

impl BrokenViews {
    fn list<T>(&self, slice: Option<Slice<T>>) -> Option<Slice<T>> {
        match (&self.fault, slice) {
            (ViewsFault::TakesEmptyForAbsent, Some(slice)) if slice.items.is_empty() => None,
            (ViewsFault::TakesAbsentForEmpty, None) => Some(Slice { items: Vec::new(), more: false }),
            (ViewsFault::NeverHasMore, Some(slice)) => Some(Slice { more: false, ..slice }),
            (_, slice) => slice,
        }
    }
}

#[async_trait]
impl Views for BrokenViews {
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError> {
        match self.fault {
            ViewsFault::NeverWaits => Ok(true),
            _ => self.views.reached(projection, position, within).await,
        }
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError> {
        self.views.application(token).await
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError> {
        self.views.applications(page).await
    }

    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError> {
        let view = self.views.chat(chat).await?;
        Ok(view.filter(|view| self.fault != ViewsFault::HidesUncountedChats || view.messages_count > 0))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError> {
        Ok(self.list(self.views.chats(token, page).await?))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError> {
        let mut view = self.views.message(chat, number).await?;
        if let (ViewsFault::Trims, Some(view)) = (&self.fault, &mut view) {
            view.body = view.body.trim().to_owned();
        }
        Ok(view)
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError> {
        let mut slice = self.list(self.views.messages(chat, page).await?);
        if let (ViewsFault::IgnoresSize, Some(slice)) = (&self.fault, &mut slice) {
            while slice.more {
                let cursor = Cursor::After(slice.items.last().unwrap().number);
                let next = self.views.messages(chat, Page { cursor, ..page }).await?.unwrap();
                slice.items.extend(next.items);
                slice.more = next.more;
            }
        }
        Ok(slice)
    }
}

#[derive(PartialEq)]
enum SearchFault {
    NeverWaits,
    OneForAllChats,
    KeepsEverything,
    PrefixesOnly,
    IgnoresTheCursor,
    PercentMeansAnything,
    ReplacesNoncharacters,
    CheckpointStays,
}

struct BrokenIndex {
    index: Arc<dyn SearchIndex>,
    fault: SearchFault,
    numbers: AtomicU32,
}

fn broken_index(databases: &databases::Databases, fault: SearchFault) -> Arc<dyn SearchIndex> {
    Arc::new(BrokenIndex { index: index(databases), fault, numbers: AtomicU32::new(1_000) })
}

impl BrokenIndex {
    fn chat(&self, chat: ChatKey) -> ChatKey {
        match self.fault {
            SearchFault::OneForAllChats => ChatKey { number: ChatNumber::new(1).unwrap(), ..chat },
            _ => chat,
        }
    }
}

fn replaced(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[async_trait]
impl SearchIndex for BrokenIndex {
    fn batch_size(&self) -> u32 {
        self.index.batch_size()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        match self.fault {
            SearchFault::CheckpointStays => Ok(Checkpoint::START),
            _ => self.index.checkpoint(partition).await,
        }
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        mut documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        for document in &mut documents {
            document.chat = self.chat(document.chat);
            if self.fault == SearchFault::KeepsEverything {
                document.number = MessageNumber::new(self.numbers.fetch_add(1, Ordering::SeqCst)).unwrap();
            }
            if self.fault == SearchFault::ReplacesNoncharacters {
                document.folded = replaced(&document.folded);
            }
        }
        self.index.index(checkpoint_move, documents).await
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        match self.fault {
            SearchFault::NeverWaits => Ok(true),
            _ => self.index.reached(position, within).await,
        }
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError> {
        let page = match self.fault {
            SearchFault::IgnoresTheCursor => Page { cursor: Cursor::First, ..page },
            _ => page,
        };
        let text = match self.fault {
            SearchFault::PercentMeansAnything => {
                SearchText::new(&text.as_str().replace('%', "")).unwrap_or_else(|| text.clone())
            }
            SearchFault::ReplacesNoncharacters => SearchText::new(&replaced(text.as_str())).unwrap(),
            _ => text.clone(),
        };
        let mut slice = self.index.search(self.chat(chat), &text, page).await?;
        if self.fault == SearchFault::PrefixesOnly {
            slice.items.retain(|message| fold(&message.body).starts_with(text.as_str()));
        }
        Ok(slice)
    }
}
