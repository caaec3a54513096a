//! What the rows of the feed tell.

use std::collections::HashMap;

use events::{ApplicationToken, ChatNumber, MessageNumber, Place, UnixMillis};
use read_model::{FeedEvent, Happening};
use rusqlite::{Connection, Result, Row};

use super::feed_streams::{FeedApplication, RowPlace};
use super::ordinals::Ordinal;
use super::read_views::decode_message;
use crate::sqlite::{decode_number, decode_token, prepare};

/// A row of the feed.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRow {
    pub(super) place: RowPlace,
    pub(super) application: FeedApplication,
    /// `None` for an event of the application itself.
    pub(super) chat: Option<Ordinal>,
    /// `None` for the creation of a chat.
    pub(super) number: Option<MessageNumber>,
}

pub(super) fn decode_row(row: &Row) -> Result<StoredRow> {
    Ok(StoredRow {
        place: RowPlace(row.get(0)?),
        application: FeedApplication(row.get(1)?),
        chat: row.get::<_, Option<i64>>(2)?.map(Ordinal),
        number: match row.get::<_, Option<i64>>(3)? {
            Some(_) => Some(MessageNumber(decode_number(row, 3)?)),
            None => None,
        },
    })
}

/// Loads what rows tell, and remembers the applications and chats that it has loaded.
#[derive(Default)]
pub(super) struct Contents {
    applications: HashMap<FeedApplication, ApplicationToken>,
    chats: HashMap<i64, FoundChat>,
}

#[derive(Clone, Copy)]
struct FoundChat {
    token: ApplicationToken,
    number: ChatNumber,
    created_at: UnixMillis,
}

impl Contents {
    /// The event of a row, and its bytes of text.
    pub(super) fn load(&mut self, connection: &Connection, row: StoredRow) -> Result<(FeedEvent, usize)> {
        let place = Place { partition: row.place.partition(), offset: row.place.offset() };
        let Some(ordinal) = row.chat else {
            let token = self.load_application(connection, row.application)?;
            let (created_at, happening, text_bytes) = load_name(connection, row.place)?;
            return Ok((FeedEvent { place, created_at, token, happening }, text_bytes));
        };
        let FoundChat { token, number: chat, created_at } = self.load_chat(connection, ordinal)?;
        let Some(number) = row.number else {
            return Ok((FeedEvent { place, created_at, token, happening: Happening::ChatCreated { chat } }, 0));
        };
        let mut select =
            prepare(connection, "SELECT id & 4294967295, created_at_ms, author, body FROM messages WHERE id = ?")?;
        let (created_at, message) = select.query_row([ordinal.row_id(number)], |row| {
            Ok((UnixMillis(row.get::<_, i64>(1)?.cast_unsigned()), decode_message(row, 0)?))
        })?;
        let text_bytes = message.text_bytes();
        let happening = Happening::MessageCreated { chat, number, body: message.body, author: message.author };
        Ok((FeedEvent { place, created_at, token, happening }, text_bytes))
    }

    fn load_application(&mut self, connection: &Connection, ordinal: FeedApplication) -> Result<ApplicationToken> {
        if let Some(token) = self.applications.get(&ordinal) {
            return Ok(*token);
        }
        let mut select = prepare(connection, "SELECT token FROM feed_applications WHERE ordinal = ?")?;
        let token = select.query_row([ordinal.0], |row| decode_token(row, 0))?;
        self.applications.insert(ordinal, token);
        Ok(token)
    }

    fn load_chat(&mut self, connection: &Connection, ordinal: Ordinal) -> Result<FoundChat> {
        if let Some(chat) = self.chats.get(&ordinal.0) {
            return Ok(*chat);
        }
        let mut select = prepare(connection, "SELECT token, number, created_at_ms FROM chats WHERE ordinal = ?")?;
        let chat = select.query_row([ordinal.0], |row| {
            let (token, number) = (decode_token(row, 0)?, ChatNumber(decode_number(row, 1)?));
            Ok(FoundChat { token, number, created_at: UnixMillis(row.get::<_, i64>(2)?.cast_unsigned()) })
        })?;
        self.chats.insert(ordinal.0, chat);
        Ok(chat)
    }
}

/// The name that an application was given at this place, when, and its bytes.
fn load_name(connection: &Connection, place: RowPlace) -> Result<(UnixMillis, Happening, usize)> {
    let mut select = prepare(connection, "SELECT is_creation, created_at_ms, name FROM feed_names WHERE place = ?")?;
    select.query_row([place.0], |row| {
        let (created_at, name): (_, String) = (UnixMillis(row.get::<_, i64>(1)?.cast_unsigned()), row.get(2)?);
        let text_bytes = name.len();
        let happening =
            if row.get(0)? { Happening::ApplicationCreated { name } } else { Happening::ApplicationRenamed { name } };
        Ok((created_at, happening, text_bytes))
    })
}
