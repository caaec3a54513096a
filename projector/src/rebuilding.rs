//! The command `rebuild` on servers: makes projections anew from Kafka, in a process of its own, beside the projectors.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::{ElasticGenerations, ElasticIndex};
use distributed::kafka::{Cluster, KafkaLog};
use distributed::mysql::{self, MySqlGenerations};
use event_log::EventLog;
use read_model::{Generations, Projection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::progress::show;
use crate::rebuild::{Progress, Rebuilt, rebuild};

/// What to make anew, and the servers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The projections, which are made anew one after the other.
    pub projections: Vec<Projection>,
    /// How long former generations are kept.
    pub keep: Duration,
    /// Brokers of the Kafka that keeps the event log.
    pub brokers: String,
    /// URL of the MySQL that keeps `views` and `counts`.
    pub mysql_url: String,
    /// URL of the Elasticsearch that keeps `search`.
    pub elasticsearch_url: String,
}

/// A signal came before the end.
#[derive(Debug, thiserror::Error)]
#[error("stopped before {} was made anew; readers use the former one; the next rebuild goes on from here", .0.name())]
struct Stopped(Projection);

/// Makes the projections anew, waits for `keep` and deletes what readers used before. `stop` ends it: another run goes on with a
/// generation that is not complete, and deletes what this one has kept.
///
/// # Errors
/// A message that says what to do. Readers use what they used before.
pub async fn run(config: &Config, stop: CancellationToken) -> Result<(), Box<dyn Error>> {
    let log = Arc::new(KafkaLog::connect(Cluster::new(&config.brokers))?);
    log.prepare().await?;
    let mut rebuilt = Vec::new();
    for &projection in &config.projections {
        let generations = open_generations(projection, config).await?;
        let done = tokio::select! {
            done = rebuild_and_show(Arc::clone(&log) as _, &generations, projection, config.keep) => done?,
            () = stop.cancelled() => return Err(Stopped(projection).into()),
        };
        tracing::info!(
            events = done.events,
            generation = done.generation.0,
            "{} was made anew, and readers use it",
            projection.name()
        );
        rebuilt.push((projection, generations));
    }
    log.close().await;
    let keep = humantime::format_duration(config.keep);
    tracing::info!(
        "what readers used before is kept for {keep} and then deleted; a stop leaves it to the next rebuild"
    );
    if stop.run_until_cancelled(tokio::time::sleep(config.keep)).await.is_some() {
        for (projection, generations) in rebuilt {
            generations.delete_former(projection, config.keep).await?;
        }
    }
    Ok(())
}

/// Prepares the server of a projection.
async fn open_generations(projection: Projection, config: &Config) -> Result<Arc<dyn Generations>, Box<dyn Error>> {
    match projection {
        Projection::Views | Projection::Counts => {
            mysql::migrate(&config.mysql_url).await?;
            Ok(Arc::new(MySqlGenerations::new(&config.mysql_url)?))
        }
        Projection::Search => {
            ElasticIndex::new(&config.elasticsearch_url)?.prepare().await?;
            Ok(Arc::new(ElasticGenerations::new(&config.elasticsearch_url)?))
        }
    }
}

async fn rebuild_and_show(
    log: Arc<dyn EventLog>,
    generations: &Arc<dyn Generations>,
    projection: Projection,
    keep: Duration,
) -> Result<Rebuilt, Box<dyn Error>> {
    let (progress, shown) = watch::channel(Progress::default());
    let action = format!("making {} anew", projection.name());
    tokio::select! {
        rebuilt = rebuild(log, Arc::clone(generations), projection, keep, &progress) => Ok(rebuilt?),
        never = show(&action, shown) => match never {},
    }
}
