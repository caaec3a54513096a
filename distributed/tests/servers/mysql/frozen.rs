//! An owner that freezes in the middle of a batch: another owner takes over within about ten seconds, and the frozen one writes
//! nothing more. The adapter's session settings achieve this.

use std::time::{Duration, Instant};

use distributed::mysql::MySqlProjections;
use events::Offset;
use read_model::{Applied, LastMessage, Projection, ProjectionStore, Views, ViewsChanges};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, number};
use super::server::Database;
use crate::fault_proxy::{FaultProxy, Mode};

/// The session's wait_timeout, and the time that another owner needs to take over on a busy machine.
const TAKEOVER_WAIT: Duration = Duration::from_secs(13);

/// Freezes an owner while it applies a batch, and lets another owner take over.
async fn freeze(database: &Database, mode: Mode, frozen: ViewsChanges) {
    let proxy = FaultProxy::start(database.address()).await;
    let owner = MySqlProjections::new(&database.url_by(&proxy)).unwrap();
    let other = database.projections();
    assert_eq!(owner.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap(), Applied::Done);
    proxy.set(mode);
    let freezing = tokio::spawn(async move { owner.apply_views(checkpoint_move(1, 2), frozen).await });
    proxy.wait_until_muted(1).await;
    let began = Instant::now();
    let bodies = ["by the other".to_owned()];
    assert_eq!(other.apply_views(checkpoint_move(1, 2), messages(chat(1), &bodies)).await.unwrap(), Applied::Done);
    assert!(began.elapsed() < TAKEOVER_WAIT, "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(1), "the frozen owner held no lock");
    assert_eq!(other.checkpoint(Projection::Views, PARTITION).await.unwrap().next, Offset(2));
    assert_eq!(other.message(chat(1), number(1)).await.unwrap().unwrap().value.body, bodies[0]);
    freezing.abort();
}

async fn an_owner_that_freezes_between_two_statements_lets_go() {
    let database = Database::new().await;
    let bodies = ["by the frozen".to_owned()];
    freeze(&database, Mode::MuteAt("INSERT INTO messages"), messages(chat(1), &bodies)).await;
}

async fn an_owner_that_freezes_in_the_middle_of_a_statement_lets_go() {
    let database = Database::new().await;
    let bodies = vec!["x".repeat(64 * 1024); 64];
    freeze(&database, Mode::MuteAfter("INSERT INTO messages", 1024 * 1024), messages(chat(1), &bodies)).await;
}

/// A frozen process that continues finds that it was superseded.
async fn an_owner_that_wakes_finds_the_checkpoint_moved() {
    let database = Database::new().await;
    let (owner, other) = (database.projections(), database.projections());
    assert_eq!(owner.apply_views(checkpoint_move(0, 1), ViewsChanges::default()).await.unwrap(), Applied::Done);
    assert_eq!(other.apply_views(checkpoint_move(1, 2), ViewsChanges::default()).await.unwrap(), Applied::Done);
    let late = messages(chat(1), &["late".to_owned()]);
    assert_eq!(owner.apply_views(checkpoint_move(1, 3), late).await.unwrap(), Applied::Superseded);
    assert!(owner.chat(chat(1), LastMessage::Skip).await.unwrap().is_none());
}

tests!(
    an_owner_that_freezes_between_two_statements_lets_go,
    an_owner_that_freezes_in_the_middle_of_a_statement_lets_go,
    an_owner_that_wakes_finds_the_checkpoint_moved,
);
