//! The address of Redis.

use clap::Args;

use super::server_url::ServerUrl;
use crate::sequencer::check_url;

/// The address of Redis.
#[derive(Debug, Clone, Args)]
pub struct RedisArgs {
    /// Redis that gives the numbers: one primary, version 7.0 or later, maxmemory-policy noeviction
    #[arg(
        long,
        env = "TALLY_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        value_parser = ServerUrl(|url| check_url(url).map(|()| url.to_owned()).map_err(|error| error.to_string()))
    )]
    pub redis_url: String,
}
