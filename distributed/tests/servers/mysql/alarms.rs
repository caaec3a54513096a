//! Operators are told of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use distributed::mysql::MySqlProjections;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use read_model::{DeadLetter, ProjectionStore, ViewsChanges};

use super::fixture::{checkpoint_move, source_event};
use super::server::Database;
use crate::fault_proxy::{FaultProxy, Mode};

/// COM_QUERY and its text. (The statements that set a connection up contain READ-COMMITTED.)
const COMMIT: &str = "\u{3}COMMIT";

/// Counts dead letters and nothing else.
#[derive(Default)]
struct DeadLetters(Arc<AtomicU64>);

impl Recorder for DeadLetters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == "tally_dead_letters_total" { Counter::from_arc(Arc::clone(&self.0)) } else { Counter::noop() }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The process may never learn whether the batch was committed.
async fn a_dead_letter_is_counted_although_the_commit_is_not_answered() {
    let database = Database::new().await;
    let proxy = FaultProxy::start(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&proxy)).unwrap();
    // The recorder is this thread's. The test does not leave the thread.
    let counted = DeadLetters::default();
    let _recording = metrics::set_default_local_recorder(&counted);
    proxy.set(Mode::MuteAt(COMMIT));
    let letter = DeadLetter { source: source_event(0), reason: "broken".to_owned() };
    let changes = ViewsChanges { dead_letters: vec![letter], ..ViewsChanges::default() };
    tokio::select! {
        applied = store.apply_views(checkpoint_move(0, 1), changes) => panic!("{applied:?}"),
        () = proxy.wait_until_muted(1) => {}
    }
    assert_eq!(counted.0.load(Ordering::SeqCst), 1);
}

tests!(a_dead_letter_is_counted_although_the_commit_is_not_answered);
