//! The address of Elasticsearch.

use clap::Args;

use super::server_url::ServerUrl;
use crate::elastic::check_url;

/// The address of Elasticsearch.
#[derive(Debug, Clone, Args)]
pub struct ElasticsearchArgs {
    /// Elasticsearch that keeps the projection search, version 7.17
    #[arg(
        long,
        env = "TALLY_ELASTICSEARCH_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9200",
        hide_env_values = true,
        value_parser = ServerUrl(|url| check_url(url).map(|()| url.to_owned()).map_err(|error| error.to_string()))
    )]
    pub elasticsearch_url: String,
}
