//! How each projection runs as a process on servers.

use std::error::Error;
use std::sync::Arc;

use clap::{ArgMatches, Args, FromArgMatches};
use distributed::args::{ElasticsearchArgs, MysqlArgs};
use distributed::elastic::{ElasticGenerations, ElasticIndex};
use distributed::mysql::MySqlProjections;
use read_model::Projection;

use crate::counts::CountsSink;
use crate::feeder::PrepareServer;
use crate::search::SearchSink;
use crate::sink::ProjectionSink;
use crate::upgrade::FoldingUpgrade;
use crate::views::ViewsSink;

/// The settings that differ between projections.
pub(crate) struct Deployment {
    /// The help of its subcommand.
    pub(crate) about: &'static str,
    /// The default port of health and metrics.
    pub(crate) health_port: u16,
    /// The server that keeps it.
    pub(crate) backend: Backend,
}

/// A client of the server that keeps a projection.
pub(crate) struct Client {
    pub(crate) sink: Arc<dyn ProjectionSink>,
    pub(crate) server: Arc<dyn PrepareServer>,
    pub(crate) upgrade: Option<FoldingUpgrade>,
}

/// The server that keeps a projection, and how a client of that server becomes the projection's sink.
pub(crate) enum Backend {
    MySql(fn(Arc<MySqlProjections>) -> Arc<dyn ProjectionSink>),
    Elasticsearch(fn(Arc<ElasticIndex>) -> Arc<dyn ProjectionSink>),
}

impl Deployment {
    pub(crate) const fn for_projection(projection: Projection) -> Self {
        match projection {
            Projection::Views => Self {
                about: "Feed applications, chats and messages into MySQL until Ctrl-C or SIGTERM",
                health_port: 9101,
                backend: Backend::MySql(|store| Arc::new(ViewsSink(store))),
            },
            Projection::Counts => Self {
                about: "Feed the counts of chats and messages into MySQL until Ctrl-C or SIGTERM",
                health_port: 9102,
                backend: Backend::MySql(|store| Arc::new(CountsSink(store))),
            },
            Projection::Search => Self {
                about: "Feed the search index in Elasticsearch until Ctrl-C or SIGTERM",
                health_port: 9103,
                backend: Backend::Elasticsearch(|index| Arc::new(SearchSink(index))),
            },
        }
    }
}

impl Backend {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::MySql(_) => "MySQL",
            Self::Elasticsearch(_) => "Elasticsearch",
        }
    }

    /// Adds the flag with the server's URL.
    pub(crate) fn augment_args(&self, command: clap::Command) -> clap::Command {
        match self {
            Self::MySql(_) => MysqlArgs::augment_args(command),
            Self::Elasticsearch(_) => ElasticsearchArgs::augment_args(command),
        }
    }

    /// Parses the server's URL from the command line.
    pub(crate) fn parse_url(&self, matches: &ArgMatches) -> Result<String, clap::Error> {
        Ok(match self {
            Self::MySql(_) => MysqlArgs::from_arg_matches(matches)?.mysql_url,
            Self::Elasticsearch(_) => ElasticsearchArgs::from_arg_matches(matches)?.elasticsearch_url,
        })
    }

    /// Makes a client for the server at `url`, without connecting yet.
    pub(crate) fn make_client(&self, url: &str) -> Result<Client, Box<dyn Error>> {
        Ok(match self {
            Self::MySql(make_sink) => {
                let store = Arc::new(MySqlProjections::new(url)?);
                Client { sink: make_sink(Arc::clone(&store)), server: store, upgrade: None }
            }
            Self::Elasticsearch(make_sink) => {
                let index = Arc::new(ElasticIndex::new(url)?);
                let generations = Arc::new(ElasticGenerations::new(url)?);
                let upgrade = Some(FoldingUpgrade { index: Arc::clone(&index), generations });
                Client { sink: make_sink(Arc::clone(&index)), server: index, upgrade }
            }
        })
    }
}
