//! The search index: an FTS5 index of trigrams that finds candidates. The texts of the candidates, which the projection
//! `views` has, decide.
//!
//! - **Nothing but trigrams is stored.** An index with `detail=none` knows which documents have a trigram, not where. A
//!   search asks for a trigram of its text, or a few, then reads the candidates' messages, folds and compares them.
//! - **A small chat is searched without the index**, because to look up a trigram in a large index costs more.
//! - **A document that is indexed twice** changes nothing, because a trigram's documents are a set. If two events have one
//!   number, the second adds trigrams to the document, so a search may read one more candidate that does not match.
//! - **A search is bounded**, whatever the chat and the text: see [`Bounds`]. It ends its page early, and the next page goes
//!   on from there.
//!
//! One or two characters have no trigram, so for these every message is a candidate.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, Offset, PartitionId, Position};
use memchr::memmem::Finder;
use read_model::page::SliceBuilder;
use read_model::{
    Applied, Checkpoint, CheckpointMove, Cursor, FoldedText, FoldingVersion, MessageView, Page, Projection,
    SearchDocument, SearchError, SearchIndex, SearchPage, SearchText, Shown, Slice, folding, trigrams,
};
use rusqlite::{Connection, OptionalExtension, Result};

use super::extents::{DocumentId, Extent, Part, Run};
use super::generation_store::GenerationStore;
use super::ordinals::{FoundChat, Ordinal, find_chat};
use super::read_views::decode_message;
use super::{CONCURRENT_SEARCHES, SqliteProjections};
use crate::sqlite::{decode_number, prepare};

/// The version that has folded the documents of every generation. No release had this layout with an earlier version, so a generation
/// need not keep a number. A later version needs one, or another layout.
const FOLDING: FoldingVersion = FoldingVersion::CURRENT;
/// The most messages of one batch. A larger batch is cheaper for each message, but readers wait longer to see it, and so does a swap.
pub(super) const MESSAGES_PER_BATCH: u32 = 512;
/// Separates the texts of a document: a character for private use. Which texts one batch adds to a document depends on where
/// batches end, and so do the trigrams with this character. So `verify` ignores them.
pub(crate) const SEPARATOR: char = '\u{10fffd}';
/// A text that is longer has grown when it was folded: before, it has at most 16,384 characters of four bytes.
const MIN_LONG_BYTES: usize = 64 * 1024;
/// Index pages that one merge writes. A longer merge would keep the next batch waiting.
const PAGES_PER_MERGE: u32 = 64;
/// Merges after a batch; as many as keep up with the batches.
pub(super) const MERGES_PER_BATCH: u32 = 2;
/// The most trigrams of a text that a search asks for.
const TRIGRAMS_PER_SEARCH: usize = 5;
/// Bytes of folded text without a hit that a search examines before it asks for more than one trigram.
const BYTES_IN_VAIN: usize = 8 * 1024;
/// Candidates that follow each other are read together, up to this many.
const MESSAGES_PER_READ: i64 = 64;
/// What one search examines at most: messages, bytes of folded text, and extents.
const BOUNDS: Bounds = Bounds { messages: 20_000, folded_bytes: 1024 * 1024, extents: 16 };
/// If a page asks for at most so many numbers, reading all of their messages costs less than asking the index, whose every
/// trigram has the documents of all chats. docs/performance.md has the figures.
const SCANNED_NUMBERS: u32 = 512;
/// Bytes of folded text without a hit that such a search examines before it asks the index, which costs less for long messages.
const SCANNED_BYTES: usize = 32 * 1024;

/// Writes the trigrams of a batch.
pub(super) fn write_documents(connection: &Connection, messages: &[SearchDocument]) -> Result<()> {
    let mut extents = HashMap::new();
    let mut folded = String::new();
    let mut documents: BTreeMap<DocumentId, (String, String)> = BTreeMap::new();
    for SearchDocument { chat, number, body, .. } in messages {
        let part = Part::of(*number);
        let extent: &Extent = match extents.entry((*chat, part)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Extent::find_or_create(connection, *chat, part)?),
        };
        let document = extent.document_of(number.get().into());
        let (texts, _) = documents.entry(document).or_insert_with(|| (String::new(), extent.chat_trigram()));
        if !texts.is_empty() {
            texts.push(SEPARATOR);
        }
        folding::fold_into(FOLDING, body, &mut folded);
        texts.push_str(&to_indexed(&folded));
    }
    let mut insert = prepare(connection, "INSERT INTO search_trigrams (rowid, folded, chat) VALUES (?, ?, ?)")?;
    // In the order of row ids: FTS5 writes a segment whenever a row id is not higher than the one before.
    for (document, (texts, chat)) in documents {
        insert.execute((document.0, texts, chat))?;
    }
    Ok(())
}

/// What the index needs to know of a folded text: its trigrams. Of a text that folding has made long, which repeats itself, it
/// does not get all repeats.
fn to_indexed(folded: &str) -> Cow<'_, str> {
    if folded.len() >= MIN_LONG_BYTES {
        let pieces = trigrams::without_repeats(folded, SEPARATOR);
        if pieces.len() < folded.len() {
            return pieces.into();
        }
    }
    folded.into()
}

/// Merges some of the index's segments. Returns whether there were any to merge.
pub(super) fn merge_segments(connection: &Connection) -> Result<bool> {
    let before = connection.total_changes();
    prepare(connection, "INSERT INTO search_trigrams (search_trigrams, rank) VALUES ('merge', ?)")?
        .execute([PAGES_PER_MERGE])?;
    // The statement itself is one change: <https://www.sqlite.org/fts5.html#the_merge_command>.
    Ok(connection.total_changes() - before >= 2)
}

/// What a search may still examine.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    messages: u32,
    folded_bytes: usize,
    extents: u32,
}

/// A search that is running.
struct Search<'a> {
    connection: &'a Connection,
    ordinal: Ordinal,
    partition: PartitionId,
    text: &'a FoldedText,
    finder: Finder<'a>,
    /// The folded text of the message that is being examined. The next one uses the same memory.
    folded: String,
    cursor: Cursor<MessageNumber>,
    found: SliceBuilder<MessageView>,
    /// The last event of those that posted the messages that are found.
    last_event: Option<Offset>,
    left: Bounds,
    /// `None` if only the bounds end the search.
    patience: Option<Patience>,
    examined_to: Option<MessageNumber>,
}

/// How much text without a hit is examined before another way of searching may cost less.
#[derive(Debug, Clone, Copy)]
struct Patience {
    folded_bytes: usize,
    left: usize,
}

/// Why a search ends before it has examined everything.
enum End {
    /// The page was full, and a further message matched.
    PageIsFull,
    /// The bounds were reached.
    BoundsReached,
    /// The patience is at its end.
    TooMuchInVain,
}

fn search(
    connection: &Connection,
    chat: ChatKey,
    text: &FoldedText,
    page: Page<MessageNumber>,
    bounds: Bounds,
) -> Result<Shown<SearchPage>> {
    let Some(FoundChat { ordinal, partition, .. }) = find_chat(connection, chat)? else {
        let page = SearchPage { items: Vec::new(), examined_to: None };
        return Ok(Shown { value: page, position: Position::default() });
    };
    let mut search = Search {
        connection,
        ordinal,
        partition,
        text,
        finder: Finder::new(text.as_str()),
        folded: String::new(),
        cursor: page.cursor,
        found: Slice::builder(page.limit),
        last_event: None,
        left: bounds,
        patience: None,
        examined_to: None,
    };
    let flow = if text.has_trigrams() { search.find(chat)? } else { search.examine(search.numbers())? };
    let examined_to = search.examined_to;
    let position = search.position();
    let page = match flow {
        ControlFlow::Continue(()) => search.found.finish(false).into(),
        ControlFlow::Break(End::PageIsFull) => search.found.finish(true).into(),
        ControlFlow::Break(End::BoundsReached | End::TooMuchInVain) => {
            SearchPage { items: search.found.finish(false).items, examined_to }
        }
    };
    Ok(Shown { value: page, position })
}

impl Search<'_> {
    /// Covers the messages that are found.
    fn position(&self) -> Position {
        self.last_event.map_or_else(Position::default, |offset| Position::up_to(self.partition, offset.next()))
    }

    /// Examines all messages if there are few, and else those that the index names.
    fn find(&mut self, chat: ChatKey) -> Result<ControlFlow<End>> {
        let numbers = self.numbers();
        let Some(last) = self.find_last(&numbers)? else {
            return Ok(ControlFlow::Continue(()));
        };
        if last - numbers.start < SCANNED_NUMBERS.into() {
            let flow = self.with_patience(SCANNED_BYTES, |search| search.examine(numbers))?;
            if !matches!(flow, ControlFlow::Break(End::TooMuchInVain)) {
                return Ok(flow);
            }
        }
        self.find_candidates(chat)
    }

    /// The highest of these numbers that a message has.
    fn find_last(&self, numbers: &Range<i64>) -> Result<Option<i64>> {
        let sql = "SELECT id & 4294967295 FROM messages WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1";
        let row_ids = (self.ordinal.row_id_of(numbers.start), self.ordinal.row_id_of(numbers.end));
        prepare(self.connection, sql)?.query_row(row_ids, |row| row.get(0)).optional()
    }

    /// Examines messages until so many bytes of folded text in a row have no hit. Then the page goes on after these messages.
    fn with_patience(
        &mut self,
        folded_bytes: usize,
        examine: impl FnOnce(&mut Self) -> Result<ControlFlow<End>>,
    ) -> Result<ControlFlow<End>> {
        self.patience = Some(Patience { folded_bytes, left: folded_bytes });
        let flow = examine(self)?;
        self.patience = None;
        if let (ControlFlow::Break(End::TooMuchInVain), Some(number)) = (&flow, self.examined_to) {
            self.cursor = if self.cursor.descends() { Cursor::Before(number) } else { Cursor::After(number) };
        }
        Ok(flow)
    }

    /// Examines the documents that have the text's trigrams, in the order of the page.
    fn find_candidates(&mut self, chat: ChatKey) -> Result<ControlFlow<End>> {
        let descends = self.cursor.descends();
        let numbers = self.numbers();
        let first = if descends { numbers.end - 1 } else { numbers.start };
        let first = u32::try_from(first.max(1)).ok().and_then(MessageNumber::new);
        let Some(first) = first else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut extents = Extent::list(self.connection, chat, Part::of(first), descends, self.left.extents + 1)?;
        let has_more = extents.len() > self.left.extents as usize;
        extents.truncate(self.left.extents as usize);
        for run in Run::split(&extents, descends) {
            if let ControlFlow::Break(end) = self.find_candidates_in(run)? {
                return Ok(ControlFlow::Break(end));
            }
            // The index has shown that the rest of the run does not match.
            let numbers = run.numbers();
            let last = if descends { numbers.start } else { numbers.end - 1 };
            self.examined_to = u32::try_from(last.max(1)).ok().and_then(MessageNumber::new);
        }
        Ok(if has_more { ControlFlow::Break(End::BoundsReached) } else { ControlFlow::Continue(()) })
    }

    /// Examines the documents of a run that have one trigram of the text. If too much of their text has no hit, then those that
    /// have several. Looking up a trigram in the whole index costs much more than examining a few documents in vain.
    fn find_candidates_in(&mut self, run: Run) -> Result<ControlFlow<End>> {
        let trigrams = self.text.select_trigrams(TRIGRAMS_PER_SEARCH);
        // Words that begin or end alike often differ in the middle.
        if let Some(middle) = trigrams.get(trigrams.len() / 2).map(|trigram| quote(trigram)) {
            let flow = self.with_patience(BYTES_IN_VAIN, |search| search.examine_documents(run, &middle))?;
            if !matches!(flow, ControlFlow::Break(End::TooMuchInVain)) {
                return Ok(flow);
            }
        }
        self.examine_documents(run, &match_all(run, &trigrams))
    }

    /// Examines the documents of a run that match an expression of FTS5.
    fn examine_documents(&mut self, run: Run, expression: &str) -> Result<ControlFlow<End>> {
        let sql = if self.cursor.descends() {
            "SELECT rowid FROM search_trigrams WHERE search_trigrams MATCH ? AND rowid >= ? AND rowid <= ? \
             ORDER BY rowid DESC"
        } else {
            "SELECT rowid FROM search_trigrams WHERE search_trigrams MATCH ? AND rowid >= ? AND rowid <= ? \
             ORDER BY rowid"
        };
        let Some((first, last)) = run.documents(&self.numbers()) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut statement = prepare(self.connection, sql)?;
        let mut rows = statement.query((expression, first.0, last.0))?;
        let mut candidates = 0..0;
        while let Some(row) = rows.next()? {
            let document = run.numbers_of(DocumentId(row.get(0)?));
            candidates = match join(&candidates, &document) {
                Some(joined) => joined,
                None => {
                    if let ControlFlow::Break(end) = self.examine(candidates)? {
                        return Ok(ControlFlow::Break(end));
                    }
                    document
                }
            };
        }
        self.examine(candidates)
    }

    /// Compares the messages with these numbers, in the order of the page, as far as the page asks for them.
    fn examine(&mut self, numbers: Range<i64>) -> Result<ControlFlow<End>> {
        let sql = if self.cursor.descends() {
            "SELECT log_offset, id & 4294967295, created_at_ms, author, body FROM messages \
             WHERE id >= ? AND id < ? ORDER BY id DESC"
        } else {
            "SELECT log_offset, id & 4294967295, created_at_ms, author, body FROM messages \
             WHERE id >= ? AND id < ? ORDER BY id"
        };
        let asked = self.numbers();
        let (start, end) = (asked.start.max(numbers.start), asked.end.min(numbers.end));
        if start >= end {
            return Ok(ControlFlow::Continue(()));
        }
        let mut statement = prepare(self.connection, sql)?;
        let mut rows = statement.query((self.ordinal.row_id_of(start), self.ordinal.row_id_of(end)))?;
        while let Some(row) = rows.next()? {
            if self.left.messages == 0 || self.left.folded_bytes == 0 {
                return Ok(ControlFlow::Break(End::BoundsReached));
            }
            if self.patience.is_some_and(|patience| patience.left == 0) {
                return Ok(ControlFlow::Break(End::TooMuchInVain));
            }
            let number = MessageNumber(decode_number(row, 1)?);
            let body = row.get_ref(4)?.as_str()?;
            folding::fold_into(self.text.version(), body, &mut self.folded);
            let is_hit = self.finder.find(self.folded.as_bytes()).is_some();
            if is_hit {
                if self.found.is_full() {
                    return Ok(ControlFlow::Break(End::PageIsFull));
                }
                let message = decode_message(row, 1)?;
                let text_bytes = message.text_bytes();
                self.found.push(message, text_bytes);
                self.last_event = self.last_event.max(Some(Offset(row.get::<_, i64>(0)?.cast_unsigned())));
            }
            self.left.messages -= 1;
            self.left.folded_bytes = self.left.folded_bytes.saturating_sub(self.folded.len());
            if let Some(Patience { folded_bytes, left }) = &mut self.patience {
                *left = if is_hit { *folded_bytes } else { left.saturating_sub(self.folded.len()) };
            }
            self.examined_to = Some(number);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The numbers that the page asks for.
    fn numbers(&self) -> Range<i64> {
        let all = 1..i64::from(u32::MAX) + 1;
        match self.cursor {
            Cursor::First | Cursor::Last => all,
            Cursor::After(number) => i64::from(number.get()) + 1..all.end,
            Cursor::Before(number) => all.start..number.get().into(),
        }
    }
}

/// Joins the numbers of two documents that follow each other in either direction, up to [`MESSAGES_PER_READ`] numbers.
fn join(one: &Range<i64>, next: &Range<i64>) -> Option<Range<i64>> {
    let joined = one.start.min(next.start)..one.end.max(next.end);
    let touches = one.end == next.start || next.end == one.start;
    (touches && joined.end - joined.start <= MESSAGES_PER_READ).then_some(joined)
}

/// The documents of a chat that have all of these trigrams, in FTS5's query language. The chat's trigram comes first, because
/// FTS5 looks for the next match of the first one, and then whether the others match there too.
fn match_all(run: Run, trigrams: &[String]) -> String {
    let chat = quote(&run.chat_trigram());
    trigrams.iter().fold(chat, |all, trigram| all + " AND " + &quote(trigram))
}

/// Within quotes only the quote is special.
fn quote(trigram: &str) -> String {
    format!("\"{}\"", trigram.replace('"', "\"\""))
}

#[async_trait]
impl SearchIndex for SqliteProjections {
    fn batch_size(&self) -> u32 {
        MESSAGES_PER_BATCH
    }

    fn concurrent_searches(&self) -> usize {
        CONCURRENT_SEARCHES
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        SearchIndex::checkpoint(&self.store(Projection::Search), partition).await
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        let apply = async |store: GenerationStore| store.index(checkpoint_move, documents).await;
        self.apply_live(Projection::Search, checkpoint_move, apply).await
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        Ok(self.progress.wait_until_reached(Projection::Search, position, within).await)
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        let text = text.folded(FOLDING).clone();
        self.read_on(&self.searches, move |connection| search(connection, chat, &text, page, BOUNDS))
            .await
            .map_err(|error| SearchError::Search(error.into()))
    }
}
