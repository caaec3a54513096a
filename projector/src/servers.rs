//! The servers that keep the log and the projections, for the operator's commands.

use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use distributed::args::{ElasticsearchArgs, KafkaArgs, MysqlArgs};
use distributed::elastic::{ElasticGenerations, ElasticIndex};
use distributed::kafka::{Cluster, KafkaLog, PrepareError};
use distributed::mysql::{self, MySqlGenerations, MySqlProjections};
use event_log::{EventLog, MarkerLog};
use read_model::{BackendError, OperateGenerations, Projection, ProjectionStore};
use tokio::sync::{OnceCell, watch};

use crate::deployment::{Backend, Deployment};
use crate::operate::system::{LogFindings, Sizes};
use crate::operate::{Local, OpenOperator, Operator, Purpose, Step, System};
use crate::transfer::{ExportArgs, ImportArgs, TransferEvents, import_and_tell};

/// The addresses of the servers. A command connects only to those that keep its projections, and to Kafka.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    pub elasticsearch: ElasticsearchArgs,
}

/// The servers, each of which is prepared when a command first needs it.
struct Servers {
    log: Arc<KafkaLog>,
    args: ServerArgs,
    mysql: OnceCell<Arc<MySqlGenerations>>,
    elasticsearch: OnceCell<Arc<ElasticGenerations>>,
}

impl OpenOperator for ServerArgs {
    async fn open(&self, _purpose: Purpose) -> Result<Box<dyn Operator>, BackendError> {
        let log = self.open_log().await?;
        let (mysql, elasticsearch) = (OnceCell::new(), OnceCell::new());
        Ok(Box::new(Local(Arc::new(Servers { log, args: self.clone(), mysql, elasticsearch }))))
    }
}

impl TransferEvents for ServerArgs {
    async fn export(&self, args: &ExportArgs) -> Result<(), BackendError> {
        let log = self.open_log().await?;
        let exported = args.run(Arc::clone(&log) as _).await;
        log.close().await;
        Ok(exported?)
    }

    async fn import(&self, args: &ImportArgs) -> Result<(), BackendError> {
        // The topic is created if it is missing.
        let export = args.open().await?;
        let log = self.open_log().await?;
        let imported = import_and_tell(Arc::clone(&log) as _, export).await;
        log.close().await;
        Ok(imported?)
    }
}

impl ServerArgs {
    async fn open_log(&self) -> Result<Arc<KafkaLog>, BackendError> {
        let log = Arc::new(KafkaLog::connect(Cluster::new(&self.kafka.kafka_brokers))?);
        log.prepare().await?;
        Ok(log)
    }
}

impl Servers {
    async fn open_mysql(&self) -> Result<Arc<MySqlGenerations>, BackendError> {
        let url = &self.args.mysql.mysql_url;
        mysql::migrate(url).await?;
        Ok(Arc::new(MySqlGenerations::new(url)?))
    }

    async fn open_elasticsearch(&self) -> Result<Arc<ElasticGenerations>, BackendError> {
        let url = &self.args.elasticsearch.elasticsearch_url;
        ElasticIndex::new(url)?.prepare().await?;
        Ok(Arc::new(ElasticGenerations::new(url)?))
    }
}

#[async_trait]
impl System for Servers {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as _
    }

    async fn marker_log(&self) -> Result<Arc<dyn MarkerLog>, BackendError> {
        match self.log.prepare_to_write().await {
            // Dead letters are listed and shown during an import, too. The log refuses the rest.
            Ok(()) | Err(PrepareError::Importing { .. }) => Ok(Arc::clone(&self.log) as _),
            Err(error) => Err(error.into()),
        }
    }

    async fn views(&self) -> Result<Arc<dyn ProjectionStore>, BackendError> {
        let url = &self.args.mysql.mysql_url;
        mysql::migrate(url).await?;
        Ok(Arc::new(MySqlProjections::new(url)?))
    }

    async fn generations(&self, projection: Projection) -> Result<Arc<dyn OperateGenerations>, BackendError> {
        Ok(match Deployment::for_projection(projection).backend {
            Backend::MySql => Arc::clone(self.mysql.get_or_try_init(|| self.open_mysql()).await?) as _,
            Backend::Elasticsearch => {
                Arc::clone(self.elasticsearch.get_or_try_init(|| self.open_elasticsearch()).await?) as _
            }
        })
    }

    /// Kafka checks its records whenever they are read, and a rebuild reads all of them.
    async fn check_log(&self, _: Purpose, _: &watch::Sender<Step>) -> Result<LogFindings, BackendError> {
        Ok(LogFindings::default())
    }

    fn keeps_former_generations(&self) -> bool {
        true
    }

    fn sizes(&self) -> Result<Option<Sizes>, BackendError> {
        Ok(None)
    }

    async fn close(&self) {
        self.log.close().await;
    }
}
