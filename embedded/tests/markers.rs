//! Markers in the embedded log: they are read as they were appended, among events, and take part in its checks.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use embedded::DataDir;
use event_log::{EventLog, Identified, MarkerLog, ReadLimit};
use events::{
    ApplicationToken, ChatApplicationCreated, Epoch, Event, EventId, Marker, Offset, PartitionId, Record, UnixMillis,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

const PARTITION: PartitionId = PartitionId(0);
const MARKERS: [Marker; 4] = [
    Marker::EpochClaimed,
    Marker::EpochStarted(Epoch(7)),
    Marker::DeadLetterParked(Offset(1)),
    Marker::DeadLetterDiscarded(Offset(2)),
];

fn created(number: u8) -> Record {
    let created = ChatApplicationCreated { token: ApplicationToken::from_bytes([number; 16]), name: "x".into() };
    Record::encode(&Event::ChatApplicationCreated(created), EventId(Uuid::now_v7()), UnixMillis(1)).unwrap()
}

#[tokio::test]
async fn markers_are_read_as_they_were_appended() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    log.append(created(1)).await.unwrap();
    for (offset, marker) in (1..).zip(MARKERS) {
        assert_eq!(log.append_marker(PARTITION, marker).await.unwrap(), Offset(offset));
    }
    log.append(created(2)).await.unwrap();
    assert!(log.append_marker(PartitionId(1), Marker::EpochClaimed).await.is_err());
    log.close().await;
    let log = data_dir.open_log().unwrap();
    let batch = log.read(PARTITION, Offset::START, ReadLimit { records: 10, wait: Duration::ZERO }).await.unwrap();
    assert_eq!(batch.markers.iter().map(|marker| marker.marker).collect::<Vec<_>>(), MARKERS);
    assert_eq!(batch.events.iter().map(|event| event.offset.0).collect::<Vec<_>>(), [0, 5]);
    assert_eq!((batch.unreadable.len(), batch.next), (0, Offset(6)));
    let id = batch.markers[2].id;
    assert_eq!(log.identify(PARTITION, Offset(3)).await.unwrap(), Identified::Record(id));
    assert!(log.check(|_| {}).await.unwrap().is_good());
}

/// A changed marker is damage like that of an event, even if its checksum is that of the change.
#[tokio::test]
async fn a_changed_marker_is_damaged() {
    for change in ["data = CAST('{\"offset\":9}' AS BLOB)", "event_type = 'EpochPaused'", "epoch = 1"] {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = data_dir.open_log().unwrap();
        log.append_marker(PARTITION, Marker::DeadLetterParked(Offset(1))).await.unwrap();
        log.close().await;
        let connection = Connection::open(data_dir.log_path()).unwrap();
        assert_eq!(connection.execute(&format!("UPDATE events SET {change}"), ()).unwrap(), 1);
        drop(connection);
        let log = data_dir.open_log().unwrap();
        let batch = log.read(PARTITION, Offset::START, ReadLimit { records: 10, wait: Duration::ZERO }).await.unwrap();
        assert_eq!((batch.markers.len(), batch.unreadable.len()), (0, 1), "{change}");
        assert_eq!(log.identify(PARTITION, Offset(0)).await.unwrap(), Identified::Damaged, "{change}");
    }
}
