//! How a marker looks in the table of events: a row without a stream, whose data names the record that it is about.

use std::time::{SystemTime, UNIX_EPOCH};

use events::{Epoch, Marker, Offset, RecordId, UnixMillis};
use rusqlite::{Result, Row};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sqlite::decode_event_id;

/// The stream of a marker. No event has it.
pub(super) const NO_STREAM: &str = "";
/// The version of the data.
pub(super) const VERSION: u16 = 1;

/// A marker that is to be appended.
#[derive(Debug)]
pub(super) struct NewMarker {
    pub(super) id: Uuid,
    pub(super) marker: Marker,
    pub(super) occurred_at: UnixMillis,
    pub(super) data: Vec<u8>,
}

impl NewMarker {
    pub(super) fn new(marker: Marker) -> Self {
        // A clock before 1970 gives 1970: nothing depends on a marker's time.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let occurred_at = UnixMillis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
        let data = marker.subject().map_or_else(|| json!({}), |offset| json!({"offset": offset.0}));
        Self { id: Uuid::now_v7(), marker, occurred_at, data: data.to_string().into_bytes() }
    }
}

/// Decodes a row with the columns of events, if it is a marker. `Some(None)` if it is one that no release writes.
pub(super) fn decode(row: &Row) -> Result<Option<Option<(RecordId, Marker)>>> {
    if row.get_ref(5)?.as_str()? != NO_STREAM {
        return Ok(None);
    }
    let epoch = row.get::<_, Option<i64>>(9)?.map(|epoch| Epoch(epoch.cast_unsigned()));
    let data: Value = serde_json::from_slice(row.get_ref(11)?.as_blob()?).unwrap_or_default();
    let subject = data["offset"].as_u64().map(Offset);
    let marker = Marker::from_parts(row.get_ref(2)?.as_str()?, epoch, subject);
    let id = decode_event_id(row, 1)?.into();
    Ok(Some(marker.map(|marker| (id, marker))))
}
