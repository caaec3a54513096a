//! The data directory: it has one owner at a time, and damaged, foreign or missing files are refused or made anew.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;
use std::time::{Duration, Instant};

use embedded::{DataDir, OpenError};
use event_log::EventLog;
use events::{ApplicationToken, ChatApplicationCreated, Event, EventId, Offset, PartitionId, Record, UnixMillis};
use read_model::{
    Checkpoint, CheckpointMove, Generations, NameChange, NameOrigin, Projection, ProjectionStore, SourceEvent, Views,
    ViewsChanges,
};
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: ApplicationToken = ApplicationToken::from_bytes([7; ApplicationToken::BYTES]);
const PARTITION: PartitionId = PartitionId(0);

/// Creates projections with one application, and closes them.
async fn create_projections(log_id: Uuid, path: &Path) {
    let data_dir = DataDir::open(path).unwrap();
    let projections = data_dir.open_projections(log_id).unwrap();
    let source = SourceEvent { event_id: EventId(Uuid::nil()), offset: Offset::START };
    let created = NameChange {
        token: TOKEN,
        name: "app".into(),
        origin: NameOrigin::Created,
        source,
        occurred_at: UnixMillis(0),
    };
    let checkpoint_move = CheckpointMove {
        partition: PARTITION,
        from: Offset::START,
        to: Checkpoint { next: Offset(1), ..Checkpoint::START },
    };
    projections
        .apply_views(checkpoint_move, ViewsChanges { names: vec![created], ..ViewsChanges::default() })
        .await
        .unwrap();
    projections.close().await.unwrap();
}

/// Whether the projections still have their application.
async fn are_kept(log_id: Uuid, path: &Path) -> bool {
    let data_dir = DataDir::open(path).unwrap();
    let projections = data_dir.open_projections(log_id).unwrap();
    let checkpoint = projections.checkpoint(Projection::Views, PARTITION).await.unwrap();
    let application = projections.application(TOKEN).await.unwrap();
    assert_eq!(checkpoint.next == Offset(1), application.is_some(), "rows and checkpoint go together");
    projections.close().await.unwrap();
    application.is_some()
}

#[tokio::test]
async fn a_directory_has_one_owner_at_a_time() {
    let directory = TempDir::new().unwrap();
    let owner = DataDir::open(directory.path().join("made/if/missing")).unwrap();
    let refused = DataDir::open(owner.path()).unwrap_err();
    let message = refused.to_string();
    assert!(message.contains(&std::process::id().to_string()) && message.contains("--data"), "{message}");
    let path = owner.path().to_owned();
    drop(owner);
    assert!(DataDir::open(path).is_ok());
}

#[test]
fn a_directory_has_one_owner_although_its_lock_file_was_deleted() {
    let directory = TempDir::new().unwrap();
    let owner = DataDir::open(directory.path()).unwrap();
    std::fs::remove_file(directory.path().join("tally.lock")).unwrap();
    for _ in 0..2 {
        let refused = DataDir::open(directory.path()).unwrap_err();
        assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    }
    drop(owner);
    assert!(DataDir::open(directory.path()).is_ok());
}

/// Earlier releases lock the lock file alone.
#[test]
fn a_directory_that_an_earlier_release_owns_is_refused() {
    let directory = TempDir::new().unwrap();
    let lock = std::fs::File::create(directory.path().join("tally.lock")).unwrap();
    lock.lock().unwrap();
    let refused = DataDir::open(directory.path()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(lock);
    assert!(DataDir::open(directory.path()).is_ok());
}

/// The files that others may read, or write.
#[cfg(unix)]
fn files_of_others(directory: &Path) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let is_open = |path: &std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0;
    files.filter(is_open).collect()
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_but_the_owner_may_read_the_data() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("data");
    let data_dir = DataDir::open(&path).unwrap();
    let log = data_dir.open_log().unwrap();
    let projections = data_dir.open_projections(log.log_id()).unwrap();
    projections.begin(Projection::Search).await.unwrap();
    let event = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    log.append(Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(1)).unwrap()).await.unwrap();
    assert!(path.join("log.sqlite-wal").exists() && path.join("log.sqlite-shm").exists());
    assert_eq!(files_of_others(&path), [] as [&Path; 0]);
    assert_eq!(files_of_others(parent.path()), [] as [&Path; 0], "the directory itself");
    projections.close().await.unwrap();
    log.close().await;
    assert!(path.join("projections/views-1.sqlite-clean").exists());
    assert_eq!(files_of_others(&path), [] as [&Path; 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn files_of_earlier_releases_are_taken_from_others_at_the_start() {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new().unwrap();
    let files =
        ["log.sqlite", "log.sqlite-wal", "log.sqlite-clean", "tally.lock"].map(|name| directory.path().join(name));
    for file in &files {
        std::fs::write(file, "").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    let somebodys = directory.path().join("somebody's");
    std::fs::write(&somebodys, "").unwrap();
    std::fs::set_permissions(&somebodys, std::fs::Permissions::from_mode(0o664)).unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    assert_eq!(files_of_others(data_dir.path()), [somebodys]);
}

#[tokio::test]
async fn a_log_that_was_lost_is_refused_and_not_made_anew() {
    let directory = TempDir::new().unwrap();
    create_projections(Uuid::new_v4(), directory.path()).await;
    let data_dir = DataDir::open(directory.path()).unwrap();
    let refused = data_dir.open_log().unwrap_err();
    assert!(matches!(refused, OpenError::LogLost { applied: 1, .. }), "{refused}");
    assert!(!data_dir.log_path().exists(), "an empty log was left behind");
}

/// Projections that cannot be read may have been made from events that the log has lost.
#[tokio::test]
async fn an_empty_log_beside_projections_that_cannot_be_read_is_refused() {
    // The first releases kept all projections in one file.
    for views in ["projections/views-1.sqlite", "views.sqlite"] {
        let directory = TempDir::new().unwrap();
        let views = directory.path().join(views);
        std::fs::create_dir_all(views.parent().unwrap()).unwrap();
        std::fs::write(&views, "not a database at all, but a text of some length").unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let refused = data_dir.open_log().unwrap_err();
        assert!(matches!(refused, OpenError::LogPerhapsLost { .. }), "{refused}");
        assert!(refused.to_string().contains("delete the directory projections"), "{refused}");
        assert!(!data_dir.log_path().exists());
        std::fs::remove_file(&views).unwrap();
        let log = data_dir.open_log().unwrap();
        std::fs::write(&views, "left by an earlier release").unwrap();
        let projections = data_dir.open_projections(log.log_id()).unwrap();
        data_dir.delete_former_projections(&projections, &log).unwrap();
        projections.close().await.unwrap();
        assert!(!views.exists(), "nothing refers to {}", views.display());
        log.close().await;
    }
}

#[tokio::test]
async fn nothing_is_read_or_written_after_the_close() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    let projections = data_dir.open_projections(log.log_id()).unwrap();
    let event = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    log.append(Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(1)).unwrap()).await.unwrap();
    projections.close().await.unwrap();
    log.close().await;
    let limit = event_log::ReadLimit { records: 10, wait: Duration::ZERO };
    assert!(log.read(PARTITION, Offset::START, limit).await.is_err());
    assert!(log.check(|_| {}).await.is_err());
    assert!(projections.checkpoint(Projection::Views, PARTITION).await.is_err());
    let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset::START, to: Checkpoint::START };
    assert!(projections.apply_views(checkpoint_move, ViewsChanges::default()).await.is_err());
    for file in ["log.sqlite-wal", "projections/views-1.sqlite-wal"] {
        assert!(!directory.path().join(file).exists(), "{file}: a connection was opened again");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = DataDir::open(file.path().join("below a file")).unwrap_err();
    assert!(matches!(refused, OpenError::Directory { .. }), "{refused}");
    assert!(refused.to_string().contains("--data"), "{refused}");
}

#[tokio::test]
async fn the_log_is_the_same_after_it_was_closed() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let log = data_dir.open_log().unwrap();
    let event = Event::ChatApplicationCreated(ChatApplicationCreated { token: TOKEN, name: "app".into() });
    let record = Record::encode(&event, EventId(Uuid::now_v7()), UnixMillis(1)).unwrap();
    let position = log.append(record.clone()).await.unwrap();
    let log_id = log.log_id();
    log.close().await;
    let refused = log.append(record.clone()).await.unwrap_err();
    assert!(matches!(refused, event_log::AppendError::Closed), "{refused}");

    let log = data_dir.open_log().unwrap();
    assert_eq!(log.log_id(), log_id);
    assert_eq!(log.end().await.unwrap(), position);
    let limit = event_log::ReadLimit { records: 10, wait: std::time::Duration::ZERO };
    let read = log.read(PARTITION, Offset::START, limit).await.unwrap();
    assert_eq!(read.events.into_iter().map(|recorded| recorded.record).collect::<Vec<_>>(), [record]);
}

#[tokio::test]
async fn a_log_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.sqlite");
    std::fs::write(&path, "not a database, but somebody's data").unwrap();
    let refused = DataDir::open(directory.path()).unwrap().open_log().unwrap_err();
    assert!(matches!(refused, OpenError::Log { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"not a database, but somebody's data");
}

#[tokio::test]
async fn projections_are_kept_from_one_start_to_the_next() {
    let (directory, log_id) = (TempDir::new().unwrap(), Uuid::new_v4());
    create_projections(log_id, directory.path()).await;
    assert!(are_kept(log_id, directory.path()).await);
}

#[tokio::test]
async fn projections_of_another_log_are_made_anew() {
    let directory = TempDir::new().unwrap();
    create_projections(Uuid::new_v4(), directory.path()).await;
    assert!(!are_kept(Uuid::new_v4(), directory.path()).await);
}

#[tokio::test]
async fn projections_that_were_deleted_or_damaged_are_made_anew() {
    let log_id = Uuid::new_v4();
    let damages: [fn(&Path); 3] = [
        |path| std::fs::remove_file(path).unwrap(),
        |path| std::fs::write(path, "not a database at all, but a text of some length").unwrap(),
        |path| std::fs::write(path, "").unwrap(),
    ];
    for damage in damages {
        let directory = TempDir::new().unwrap();
        create_projections(log_id, directory.path()).await;
        damage(&directory.path().join("projections/views-1.sqlite"));
        assert!(!are_kept(log_id, directory.path()).await);
    }
}

/// Overwrites the middle of a file, as a broken disk does.
fn overwrite_middle(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn overwritten_projections_are_found_beside_the_requests_and_made_anew_by_the_next_start() {
    let (directory, log_id) = (TempDir::new().unwrap(), Uuid::new_v4());
    create_projections(log_id, directory.path()).await;
    overwrite_middle(&directory.path().join("projections/views-1.sqlite"));
    let data_dir = DataDir::open(directory.path()).unwrap();
    let projections = data_dir.open_projections(log_id).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while projections.check_whole().is_ok() {
        assert!(Instant::now() < deadline, "the damage is not found");
        tokio::task::yield_now().await;
    }
    projections.close().await.unwrap();
    drop(data_dir);
    assert!(!are_kept(log_id, directory.path()).await);
}

/// The advice to restore loses what was written after the copy, so only damage gets it.
#[test]
fn only_damage_gets_the_advice_to_restore() {
    let directory = TempDir::new().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    std::fs::create_dir(data_dir.log_path()).unwrap();
    let not_a_file = data_dir.open_log().unwrap_err().to_string();
    assert!(!not_a_file.contains("restore"), "{not_a_file}");
    std::fs::remove_dir(data_dir.log_path()).unwrap();
    std::fs::write(data_dir.log_path(), "not a database, but somebody's data").unwrap();
    let damaged = data_dir.open_log().unwrap_err().to_string();
    assert!(damaged.contains("restore"), "{damaged}");
}

#[tokio::test]
async fn a_path_that_looks_like_a_uri_or_is_no_utf_8_is_a_path() {
    let directory = TempDir::new().unwrap();
    let mut names = vec![std::ffi::OsString::from("file:x?mode=memory")];
    #[cfg(target_os = "linux")]
    names.push(std::os::unix::ffi::OsStringExt::from_vec(b"not utf-8: \xff".to_vec()));
    for name in names {
        let path = directory.path().join(name);
        let data_dir = DataDir::open(&path).unwrap();
        data_dir.open_log().unwrap().close().await;
        assert!(data_dir.log_path().is_file(), "{}", path.display());
    }
}
