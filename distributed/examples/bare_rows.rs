//! Measures how fast bare MySQL and Elasticsearch take the messages of a replay. `bench servers` compares
//! Tally's replay with it.
//!
//! `bare_rows MYSQL_URL ELASTICSEARCH_URL` copies the messages that MySQL has, and the rows of the feed, into second tables by
//! multi-row INSERT, and the messages into a second index by `_bulk`, all made like Tally's own. It prints how long each copy
//! took. It moves no checkpoint and compares no rows, so it shows the time that the servers alone need for the same rows. It
//! sends as many statements or requests at once as the log has partitions.

use std::fmt::Write;
use std::time::{Duration, Instant};

use distributed::kafka::PARTITIONS;
use futures_util::{StreamExt, TryStreamExt, stream};
use read_model::folding::{FoldingVersion, fold};
use serde_json::{Value, json};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{MySql, QueryBuilder};

/// As many rows as in a batch of the projector.
const ROWS_PER_STATEMENT: usize = 512;
/// As many documents as in a request of the projector.
const DOCUMENTS_PER_REQUEST: usize = 1_000;
/// How often a request is sent that the server has no room for.
const MAX_ATTEMPTS: u32 = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const INDEX: &str = "bare-rows";
/// The index whose settings and mapping are copied.
const TALLY_INDEX: &str = "tally-search-1";

type Error = Box<dyn std::error::Error>;

#[derive(sqlx::FromRow)]
struct Row {
    generation: u32,
    token: Vec<u8>,
    chat_number: u32,
    number: u32,
    event_id: Vec<u8>,
    body: String,
    log_offset: u64,
    created_at_ms: u64,
    author: Option<String>,
}

#[derive(sqlx::FromRow)]
struct FeedRow {
    generation: u32,
    partition_id: u16,
    log_offset: u64,
    token: Vec<u8>,
    chat_number: u32,
    number: u32,
    kind: u8,
    created_at_ms: u64,
    text_bytes: u32,
    name: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [mysql, elasticsearch] = &arguments[..] else { panic!("usage: bare_rows MYSQL_URL ELASTICSEARCH_URL") };
    let concurrency = usize::from(PARTITIONS.get());
    let pool = MySqlPoolOptions::new().max_connections(PARTITIONS.get().into()).connect(mysql).await?;
    let rows: Vec<Row> = sqlx::query_as("SELECT generation, token, chat_number, number, event_id, body, log_offset, created_at_ms, author FROM messages").fetch_all(&pool).await?;
    let feed: Vec<FeedRow> = sqlx::query_as("SELECT generation, partition_id, log_offset, token, chat_number, number, kind, created_at_ms, text_bytes, name FROM feed").fetch_all(&pool).await?;
    let seconds = copy_into_mysql(&pool, &rows, &feed, concurrency).await?;
    print_rate("MySQL, multi-row INSERT", rows.len(), seconds);
    let seconds = copy_into_elasticsearch(elasticsearch, &rows, concurrency).await?;
    print_rate("Elasticsearch, _bulk", rows.len(), seconds);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
#[expect(clippy::cast_precision_loss, reason = "there are fewer rows than a float counts")]
fn print_rate(how: &str, rows: usize, seconds: f64) {
    println!("bare {how}: {rows} rows in {seconds:.1} s, {:.0} /s", rows as f64 / seconds);
}

/// Copies the rows into new tables. Returns the seconds that this took.
async fn copy_into_mysql(pool: &MySqlPool, rows: &[Row], feed: &[FeedRow], concurrency: usize) -> Result<f64, Error> {
    sqlx::query("DROP TABLE IF EXISTS bare_rows, bare_feed").execute(pool).await?;
    sqlx::query("CREATE TABLE bare_rows LIKE messages").execute(pool).await?;
    sqlx::query("CREATE TABLE bare_feed LIKE feed").execute(pool).await?;
    let began = Instant::now();
    let statements = stream::iter(rows.chunks(ROWS_PER_STATEMENT).map(|rows| insert(pool, rows)));
    statements.buffer_unordered(concurrency).try_collect::<()>().await?;
    let statements = stream::iter(feed.chunks(ROWS_PER_STATEMENT).map(|rows| insert_feed(pool, rows)));
    statements.buffer_unordered(concurrency).try_collect::<()>().await?;
    let seconds = began.elapsed().as_secs_f64();
    sqlx::query("DROP TABLE bare_rows, bare_feed").execute(pool).await?;
    Ok(seconds)
}

async fn insert(pool: &MySqlPool, rows: &[Row]) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<MySql>::new(
        "INSERT INTO bare_rows (generation, token, chat_number, number, event_id, body, log_offset, created_at_ms, author) ",
    );
    insert.push_values(rows, |mut values, row| {
        values.push_bind(row.generation).push_bind(&row.token).push_bind(row.chat_number);
        values.push_bind(row.number).push_bind(&row.event_id).push_bind(&row.body);
        values.push_bind(row.log_offset).push_bind(row.created_at_ms).push_bind(&row.author);
    });
    insert.build().execute(pool).await.map(drop)
}

async fn insert_feed(pool: &MySqlPool, rows: &[FeedRow]) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::<MySql>::new(
        "INSERT INTO bare_feed (generation, partition_id, log_offset, token, chat_number, number, kind, created_at_ms, \
         text_bytes, name) ",
    );
    insert.push_values(rows, |mut values, row| {
        values.push_bind(row.generation).push_bind(row.partition_id).push_bind(row.log_offset);
        values.push_bind(&row.token).push_bind(row.chat_number).push_bind(row.number).push_bind(row.kind);
        values.push_bind(row.created_at_ms).push_bind(row.text_bytes).push_bind(&row.name);
    });
    insert.build().execute(pool).await.map(drop)
}

/// Copies the rows into a new index. Returns the seconds that this took, including one refresh at the end.
async fn copy_into_elasticsearch(url: &str, rows: &[Row], concurrency: usize) -> Result<f64, Error> {
    let client = reqwest::Client::new();
    let described: Value = client.get(format!("{url}/{TALLY_INDEX}")).send().await?.error_for_status()?.json().await?;
    let Value::Object(index) = &described[TALLY_INDEX]["settings"]["index"] else { panic!("no index {TALLY_INDEX}") };
    let copied_settings = ["analysis", "number_of_shards", "auto_expand_replicas", "refresh_interval"];
    let settings: Value = copied_settings.iter().map(|name| ((*name).to_owned(), index[*name].clone())).collect();
    let definition = json!({"settings": {"index": settings}, "mappings": described[TALLY_INDEX]["mappings"]});
    // An earlier run may have left the index behind.
    client.delete(format!("{url}/{INDEX}")).send().await?;
    client.put(format!("{url}/{INDEX}")).json(&definition).send().await?.error_for_status()?;
    let bulk = format!("{url}/{INDEX}/_bulk?filter_path=errors");
    let began = Instant::now();
    let requests = stream::iter(rows.chunks(DOCUMENTS_PER_REQUEST).map(|rows| send(&client, &bulk, rows)));
    requests.buffer_unordered(concurrency).try_collect::<()>().await?;
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
        // The server searches no member of the event, so any partition will do.
        let mut event = json!({"partition": 0, "offset": row.log_offset, "created_at_ms": row.created_at_ms});
        if let Some(author) = &row.author {
            event["author"] = json!(author);
        }
        let folded = fold(FoldingVersion::CURRENT, &row.body);
        let source = json!({"chat": chat, "number": row.number, "body": row.body, "folded": folded, "event": event});
        writeln!(lines, "{action}\n{source}")?;
    }
    let mut attempts = 0;
    let reply = loop {
        let request = client.post(bulk).header("Content-Type", "application/x-ndjson").body(lines.clone());
        let reply = request.send().await?;
        attempts += 1;
        // The server has no room at the moment, which Tally bears in the same way.
        if reply.status() != reqwest::StatusCode::TOO_MANY_REQUESTS || attempts == MAX_ATTEMPTS {
            break reply.error_for_status()?;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    let answer: Value = reply.json().await?;
    if answer["errors"] == json!(false) { Ok(()) } else { Err(format!("documents were refused: {answer}").into()) }
}
