//! Operators are told of what is parked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use distributed::mysql::MySqlProjections;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use read_model::{DeadLetter, ProjectionStore, ViewsChanges};

use super::fixture::{checkpoint_move, place};
use super::proxy::{Mode, proxy};
use super::server::Database;

/// COM_QUERY and its text. (How a connection is set up has READ-COMMITTED in it.)
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

/// Whether the batch was committed is not known, and may never be to this process.
async fn who_hears_nothing_of_the_commit_has_told_of_the_dead_letter() {
    let database = Database::new().await;
    let way = proxy(database.address()).await;
    let store = MySqlProjections::new(&database.url_by(&way.address)).unwrap();
    // Of this thread, which the test stays on.
    let told = DeadLetters::default();
    let _recording = metrics::set_default_local_recorder(&told);
    way.set(Mode::MuteAt(COMMIT));
    let letter = DeadLetter { source: place(0), reason: "broken".to_owned() };
    let changes = ViewsChanges { dead_letters: vec![letter], ..ViewsChanges::default() };
    tokio::select! {
        applied = store.apply_views(checkpoint_move(0, 1), changes) => panic!("{applied:?}"),
        () = way.muted(1) => {}
    }
    assert_eq!(told.0.load(Ordering::SeqCst), 1);
}

tests!(who_hears_nothing_of_the_commit_has_told_of_the_dead_letter);
