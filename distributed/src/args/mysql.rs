//! The address of MySQL.

use clap::Args;

use super::server_url::ServerUrl;
use crate::mysql::check_url;

/// The address of MySQL.
#[derive(Debug, Clone, Args)]
pub struct MysqlArgs {
    /// MySQL that keeps the projections views and counts, version 8.0.19 or later
    #[arg(
        long,
        env = "TALLY_MYSQL_URL",
        value_name = "URL",
        default_value = "mysql://tally:tally@127.0.0.1:3306/tally",
        hide_env_values = true,
        value_parser = ServerUrl(|url| check_url(url).map_err(|error| error.to_string()))
    )]
    pub mysql_url: String,
}
