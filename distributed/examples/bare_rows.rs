//! The yardstick of `scripts/bench-servers` for a replay: the messages that are in MySQL already, put once more into a
//! table, or an index, made like Tally's own, with nothing but multi-row statements or `_bulk`.
//!
//! `bare_rows MYSQL_URL ELASTICSEARCH_URL` says how long each took. No checkpoint, no generation, no comparison: what is
//! left is what the servers need for the same rows, as many statements or requests at once as the log has partitions.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use distributed::kafka::PARTITIONS;
use futures_util::{StreamExt, TryStreamExt, stream};
use read_model::folding::fold;
use serde_json::{Value, json};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{MySql, QueryBuilder};

/// Rows of one statement, and documents of one request: as in the projector's batches.
const ROWS_A_STATEMENT: usize = 512;
const DOCUMENTS_A_REQUEST: usize = 1_000;
const INDEX: &str = "bare-rows";
/// The index whose settings are taken over.
const TALLYS_INDEX: &str = "tally-search-1";

type Error = Box<dyn std::error::Error>;

#[derive(sqlx::FromRow)]
struct Row {
    generation: u32,
    token: Vec<u8>,
    chat_number: u32,
    number: u32,
    event_id: Vec<u8>,
    body: String,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [mysql, elasticsearch] = &arguments[..] else { panic!("usage: bare_rows MYSQL_URL ELASTICSEARCH_URL") };
    let at_once = usize::from(PARTITIONS.get());
    let pool = MySqlPoolOptions::new().max_connections(PARTITIONS.get().into()).connect(mysql).await?;
    let rows: Vec<Row> = sqlx::query_as("SELECT generation, token, chat_number, number, event_id, body FROM messages")
        .fetch_all(&pool)
        .await?;
    tell("MySQL, multi-row INSERT", rows.len(), into_mysql(&pool, &rows, at_once).await?);
    tell("Elasticsearch, _bulk", rows.len(), into_elasticsearch(elasticsearch, &rows, at_once).await?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
#[expect(clippy::cast_precision_loss, reason = "there are fewer rows than a float counts")]
fn tell(how: &str, rows: usize, seconds: f64) {
    println!("bare {how}: {rows} rows in {seconds:.1} s, {:.0} /s", rows as f64 / seconds);
}

/// How many seconds it took.
async fn into_mysql(pool: &MySqlPool, rows: &[Row], at_once: usize) -> Result<f64, Error> {
    sqlx::query("DROP TABLE IF EXISTS bare_rows").execute(pool).await?;
    sqlx::query("CREATE TABLE bare_rows LIKE messages").execute(pool).await?;
    let began = Instant::now();
    let statements = stream::iter(rows.chunks(ROWS_A_STATEMENT).map(|rows| insert(pool, rows)));
    statements.buffer_unordered(at_once).try_collect::<()>().await?;
    let seconds = began.elapsed().as_secs_f64();
    sqlx::query("DROP TABLE bare_rows").execute(pool).await?;
    Ok(seconds)
}

async fn insert(pool: &MySqlPool, rows: &[Row]) -> Result<(), sqlx::Error> {
    let mut insert =
        QueryBuilder::<MySql>::new("INSERT INTO bare_rows (generation, token, chat_number, number, event_id, body) ");
    insert.push_values(rows, |mut values, row| {
        values.push_bind(row.generation).push_bind(&row.token).push_bind(row.chat_number);
        values.push_bind(row.number).push_bind(&row.event_id).push_bind(&row.body);
    });
    insert.build().execute(pool).await.map(drop)
}

/// How many seconds it took, with the one refresh at the end.
async fn into_elasticsearch(url: &str, rows: &[Row], at_once: usize) -> Result<f64, Error> {
    let client = reqwest::Client::new();
    let described: Value = client.get(format!("{url}/{TALLYS_INDEX}")).send().await?.error_for_status()?.json().await?;
    let Value::Object(index) = &described[TALLYS_INDEX]["settings"]["index"] else { panic!("no index {TALLYS_INDEX}") };
    let taken_over = ["analysis", "number_of_shards", "auto_expand_replicas", "refresh_interval"];
    let settings: Value = taken_over.iter().map(|name| ((*name).to_owned(), index[*name].clone())).collect();
    let made_of = json!({"settings": {"index": settings}, "mappings": described[TALLYS_INDEX]["mappings"]});
    // It may be there from a run before, or not.
    client.delete(format!("{url}/{INDEX}")).send().await?;
    client.put(format!("{url}/{INDEX}")).json(&made_of).send().await?.error_for_status()?;
    let (client, bulk) = (Arc::new(client), format!("{url}/{INDEX}/_bulk?filter_path=errors"));
    let began = Instant::now();
    let requests = stream::iter(rows.chunks(DOCUMENTS_A_REQUEST).map(|rows| send(&client, &bulk, rows)));
    requests.buffer_unordered(at_once).try_collect::<()>().await?;
    client.post(format!("{url}/{INDEX}/_refresh")).send().await?.error_for_status()?;
    let seconds = began.elapsed().as_secs_f64();
    client.delete(format!("{url}/{INDEX}")).send().await?.error_for_status()?;
    Ok(seconds)
}

async fn send(client: &reqwest::Client, bulk: &str, rows: &[Row]) -> Result<(), Error> {
    let mut lines = String::new();
    for row in rows {
        let mut chat = row.token.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        write!(chat, ":{}", row.chat_number)?;
        let action = json!({"create": {"_id": format!("{chat}:{}", row.number), "routing": chat}});
        let source = json!({"chat": chat, "number": row.number, "body": row.body, "folded": fold(&row.body)});
        writeln!(lines, "{action}\n{source}")?;
    }
    let request = client.post(bulk).header("Content-Type", "application/x-ndjson").body(lines);
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    if answer["errors"] == json!(false) { Ok(()) } else { Err(format!("documents were refused: {answer}").into()) }
}
