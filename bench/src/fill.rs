//! Loads that fill Tally, and are not measured.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::BenchError;
use crate::load::{self, Pace, Plan, Workload};

/// Connections of a load that need not be in order.
pub(crate) const CONNECTIONS: usize = 128;
/// Longest time of a load.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// Sends a workload until it ends.
pub(crate) fn run(address: SocketAddr, connections: usize, workload: &mut impl Workload) -> Result<(), BenchError> {
    let plan = Plan { address, connections, warm_up: Duration::ZERO, measured: DEADLINE, pace: Pace::Closed };
    let loaded = load::run(&plan, workload);
    loaded.map(drop).map_err(|source| BenchError::Load { work: "fill".to_owned(), server: "tally", source })
}
