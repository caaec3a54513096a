//! A server and a URL with other settings than ours.

use std::sync::Arc;

use distributed::mysql::{MigrateError, MySqlProjections, migrate};
use read_model::{Applied, DeadLetter, ProjectionStore, Views, ViewsChanges};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};

use super::fixture::{PARTITION, chat, checkpoint_move, messages, messages_from, number, source_event};
use crate::containers::{mysql_url, own_mysql};

/// Longer than the column of the reason.
const TOO_LONG: usize = 70_000;

async fn run(connection: &mut MySqlConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

/// Neither the character set in a URL nor a server without strict mode changes a text silently.
async fn no_setting_changes_a_text() {
    let server = own_mysql().await;
    let url = mysql_url(&server) + "/tally";
    let mut root = url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
    run(&mut root, "SET GLOBAL max_allowed_packet = 8388608").await;
    let refused = migrate(&url).await.unwrap_err();
    assert!(matches!(refused, MigrateError::SmallPackets { found: 8_388_608 }) && refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("--max-allowed-packet=64M"), "{refused}");
    run(&mut root, "SET GLOBAL max_allowed_packet = 16777216").await;
    run(&mut root, "SET GLOBAL sql_mode = ''").await;
    let url = url + "?charset=latin1&collation=latin1_bin";
    migrate(&url).await.unwrap();
    let store = Arc::new(MySqlProjections::new(&url).unwrap());
    let bodies = ["é🚀".to_owned()];
    assert_eq!(store.apply_views(checkpoint_move(0, 1), messages(chat(1), &bodies)).await.unwrap(), Applied::Done);
    assert_eq!(store.message(chat(1), number(1)).await.unwrap().unwrap().value.body, bodies[0]);
    // A batch of the longest messages, with at most 16 MiB for a statement.
    let bodies = vec!["🚀".repeat(16_384); 256];
    assert_eq!(
        store.apply_views(checkpoint_move(1, 2), messages_from(10, chat(2), &bodies)).await.unwrap(),
        Applied::Done
    );
    let letter = DeadLetter { source: source_event(2), reason: "x".repeat(TOO_LONG) };
    let changes = ViewsChanges { dead_letters: vec![letter], ..ViewsChanges::default() };
    assert!(store.apply_views(checkpoint_move(2, 3), changes).await.is_err(), "the reason was cut silently");
    assert_eq!(store.dead_letters(PARTITION, 10).await.unwrap(), []);
    root.close().await.unwrap();
}

tests!(no_setting_changes_a_text);
