//! The arguments of every API.

use clap::Args;

use super::{Connections, Cors, HostsArgs};

/// The arguments of every API, beside its address.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    #[command(flatten)]
    pub cors: Cors,
    #[command(flatten)]
    pub connections: Connections,
    #[command(flatten)]
    pub hosts: HostsArgs,
}
