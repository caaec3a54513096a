//! All SQL of the limit. Where Tally's changes, change it here.

/// As Tally's log, with what only posts without a key need.
pub(super) const LOG_SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA cache_size = -16000;
    CREATE TABLE events (
        log_offset INTEGER PRIMARY KEY,
        event_id BLOB NOT NULL,
        event_type TEXT NOT NULL,
        version INTEGER NOT NULL,
        occurred_at_ms INTEGER NOT NULL,
        stream TEXT NOT NULL,
        number INTEGER,
        request_key BLOB,
        request_values BLOB,
        data BLOB NOT NULL,
        epoch INTEGER,
        traceparent TEXT
    ) STRICT";

pub(super) const INSERT_EVENT: &str = "
    INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, number, data)
    VALUES (?1, ?2, 'MessagePosted', 1, ?3, ?4, ?5, ?6)";

pub(crate) const COUNT_EVENTS: &str = "SELECT count(*) FROM events";

/// As Tally's views and search.
pub(super) const VIEWS_SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE chats (
        ordinal INTEGER PRIMARY KEY,
        token BLOB NOT NULL,
        number INTEGER NOT NULL,
        created_event BLOB,
        UNIQUE (token, number)
    ) STRICT;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        event_id BLOB NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE search_messages (
        id INTEGER PRIMARY KEY,
        body TEXT NOT NULL,
        folded TEXT NOT NULL
    ) STRICT;
    CREATE VIRTUAL TABLE search_trigrams USING fts5 (
        folded,
        content = '',
        columnsize = 0,
        tokenize = 'trigram case_sensitive 1'
    )";

pub(super) const INSERT_CHAT: &str =
    "INSERT INTO chats (ordinal, token, number, created_event) VALUES (1, ?1, ?2, zeroblob(16))";
pub(super) const INSERT_MESSAGE: &str = "INSERT INTO messages (id, event_id, body) VALUES (?1, ?2, ?3)";
pub(super) const INSERT_SEARCH_MESSAGE: &str = "INSERT INTO search_messages (id, body, folded) VALUES (?1, ?2, ?2)";
pub(super) const INSERT_TRIGRAMS: &str = "INSERT INTO search_trigrams (rowid, folded) VALUES (?1, ?2)";

pub(super) const OPEN_VIEWS: &str = "PRAGMA query_only = 1; PRAGMA cache_size = -16000";

pub(super) const SELECT_MESSAGE: &str = "
    SELECT body FROM chats JOIN messages ON id = (ordinal << 32) | ?1
    WHERE token = ?2 AND chats.number = ?3 AND created_event IS NOT NULL";

pub(super) const SELECT_ORDINAL: &str =
    "SELECT ordinal FROM chats WHERE token = ?1 AND number = ?2 AND created_event IS NOT NULL";

pub(super) const SELECT_PAGE: &str =
    "SELECT id & 4294967295, body FROM messages WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3";

pub(super) const SEARCH: &str = "
    SELECT id & 4294967295, body FROM search_trigrams JOIN search_messages ON id = search_trigrams.rowid
    WHERE search_trigrams MATCH ?5 AND search_trigrams.rowid > ?2 AND search_trigrams.rowid < ?3
    AND instr(search_messages.folded, ?1) > 0 ORDER BY search_trigrams.rowid LIMIT ?4";
