//! How each projection runs as a process on servers.

use std::error::Error;
use std::sync::Arc;

use clap::{ArgMatches, Args, FromArgMatches};
use distributed::args::{ElasticsearchArgs, MysqlArgs};
use distributed::elastic::{ElasticGenerations, ElasticIndex};
use distributed::mysql::{MySqlGenerations, MySqlProjections};
use read_model::{BuildStore, OperateGenerations, Pauses, Projection};

use crate::feeder::PrepareServer;
use crate::sink::{ProjectionSink, make_sink};
use crate::upgrade::Upgrade;

/// The settings that differ between projections.
pub(crate) struct Deployment {
    /// The help of its subcommand.
    pub(crate) about: &'static str,
    /// The default port of the operator, with health and metrics.
    pub(crate) operator_port: u16,
    /// The server that keeps it.
    pub(crate) backend: Backend,
}

/// A client of the server that keeps a projection.
pub(crate) struct Client {
    pub(crate) sink: Arc<dyn ProjectionSink>,
    pub(crate) server: Arc<dyn PrepareServer>,
    pub(crate) pauses: Arc<dyn Pauses>,
    pub(crate) upgrade: Upgrade,
}

/// The server that keeps a projection.
pub(crate) enum Backend {
    MySql,
    Elasticsearch,
}

impl Deployment {
    pub(crate) const fn for_projection(projection: Projection) -> Self {
        match projection {
            Projection::Views => Self {
                about: "Feed applications, chats and messages into MySQL until Ctrl-C or SIGTERM",
                operator_port: 8071,
                backend: Backend::MySql,
            },
            Projection::Counts => Self {
                about: "Feed the counts of chats and messages into MySQL until Ctrl-C or SIGTERM",
                operator_port: 8072,
                backend: Backend::MySql,
            },
            Projection::Search => Self {
                about: "Feed the search index in Elasticsearch until Ctrl-C or SIGTERM",
                operator_port: 8073,
                backend: Backend::Elasticsearch,
            },
        }
    }
}

impl Backend {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::Elasticsearch => "Elasticsearch",
        }
    }

    /// Adds the flag with the server's URL.
    pub(crate) fn augment_args(&self, command: clap::Command) -> clap::Command {
        match self {
            Self::MySql => MysqlArgs::augment_args(command),
            Self::Elasticsearch => ElasticsearchArgs::augment_args(command),
        }
    }

    /// Parses the server's URL from the command line.
    pub(crate) fn parse_url(&self, matches: &ArgMatches) -> Result<String, clap::Error> {
        Ok(match self {
            Self::MySql => MysqlArgs::from_arg_matches(matches)?.mysql_url,
            Self::Elasticsearch => ElasticsearchArgs::from_arg_matches(matches)?.elasticsearch_url,
        })
    }

    /// Makes a client for the server at `url`, which keeps `projection`, without connecting yet.
    pub(crate) fn make_client(&self, projection: Projection, url: &str) -> Result<Client, Box<dyn Error>> {
        let (sink, server, generations): (_, Arc<dyn PrepareServer>, Arc<dyn OperateGenerations>) = match self {
            Self::MySql => {
                let store = Arc::new(MySqlProjections::new(url)?);
                let sink = make_sink(projection, BuildStore::Tables(Arc::clone(&store) as _));
                (sink, store, Arc::new(MySqlGenerations::new(url)?))
            }
            Self::Elasticsearch => {
                let index = Arc::new(ElasticIndex::new(url)?);
                let sink = make_sink(projection, BuildStore::Index(Arc::clone(&index) as _));
                (sink, index, Arc::new(ElasticGenerations::new(url)?))
            }
        };
        let upgrade = Upgrade { projection, generations: Arc::clone(&generations) };
        Ok(Client { sink, server, pauses: generations, upgrade })
    }
}
