//! The figures of all runs, as `bench/results.json` keeps them.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::load::Round;
use crate::machine::Machine;
use crate::statistics::Spread;

/// The last run of each kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Tally in one process, beside its limit.
    pub(crate) embedded: Option<SideBySide>,
    pub(crate) growth: Option<Growth>,
    /// Tally's three programs on their servers, beside bare programs.
    pub(crate) servers: Option<SideBySide>,
    /// Rebuilds of Tally in one process.
    #[serde(default)]
    pub(crate) rebuild: Option<Figures>,
    /// The feed of Tally in one process.
    #[serde(default)]
    pub(crate) feed: Option<Figures>,
    /// The feed of Tally's three programs.
    #[serde(default)]
    pub(crate) feed_servers: Option<Figures>,
    /// What access costs Tally in one process.
    #[serde(default)]
    pub(crate) access: Option<Figures>,
    /// What access costs Tally's programs on servers.
    #[serde(default)]
    pub(crate) access_servers: Option<Figures>,
}

/// Figures without another server beside Tally.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) values: Vec<Value>,
}

/// Tally beside another server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SideBySide {
    pub(crate) machine: Machine,
    pub(crate) seconds: f64,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) values: Vec<Value>,
}

/// The rounds of one work on both servers, in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) work: String,
    pub(crate) connections: usize,
    /// The rate of an open loop; none for a closed one.
    pub(crate) offered_per_second: Option<f64>,
    /// The server beside Tally.
    pub(crate) limit: Vec<Round>,
    pub(crate) tally: Vec<Round>,
}

impl Comparison {
    /// Tally's throughput by the limit's, of each round.
    pub(crate) fn ratios(&self) -> impl Iterator<Item = f64> {
        self.limit.iter().zip(&self.tally).map(|(limit, tally)| tally.per_second / limit.per_second)
    }
}

/// A figure that has no other beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) decimals: usize,
    pub(crate) rounds: Vec<f64>,
}

impl Value {
    /// How many of something each round did in a second.
    pub(crate) fn rate(what: &str, rounds: Vec<f64>) -> Self {
        Self { what: what.to_owned(), unit: "/s".to_owned(), decimals: 0, rounds }
    }

    pub(crate) fn seconds(what: &str, rounds: &[Duration]) -> Self {
        let rounds = rounds.iter().map(Duration::as_secs_f64).collect();
        Self { what: what.to_owned(), unit: "s".to_owned(), decimals: 2, rounds }
    }

    pub(crate) fn milliseconds(what: &str, rounds: &[Duration]) -> Self {
        let rounds = rounds.iter().map(|round| 1_000.0 * round.as_secs_f64()).collect();
        Self { what: what.to_owned(), unit: "ms".to_owned(), decimals: 1, rounds }
    }
}

/// Tally with much beside Tally with a hundredth of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) machine: Machine,
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<GrowthRow>,
}

/// The rounds of one work on both sizes, in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GrowthRow {
    pub(crate) work: String,
    pub(crate) small: String,
    pub(crate) large: String,
    pub(crate) small_rounds: Vec<Round>,
    pub(crate) large_rounds: Vec<Round>,
}

impl GrowthRow {
    /// How many times as slow the large size is: the ratio of the medians of the throughput.
    pub(crate) fn slowdown(&self) -> Option<f64> {
        let median = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.per_second));
        Some(median(&self.small_rounds)?.median / median(&self.large_rounds)?.median)
    }
}

impl Results {
    /// Reads the file; a missing one has no results.
    pub(crate) fn read(path: &Path) -> Result<Self, BenchError> {
        match std::fs::read(path) {
            Ok(json) => {
                serde_json::from_slice(&json).map_err(|source| BenchError::Results { path: path.to_owned(), source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(BenchError::file(path)(error)),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), BenchError> {
        let json = serde_json::to_string_pretty(self);
        let json = json.map_err(|source| BenchError::Results { path: path.to_owned(), source })?;
        std::fs::write(path, json + "\n").map_err(BenchError::file(path))
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn round(per_second: f64) -> Round {
        let answers = 5 * per_second as u64;
        Round { answers, per_second, p50_ms: 1.0, p99_ms: 2.0, p999_ms: 3.0, generator_us: Some(9.0) }
    }

    fn machine() -> Machine {
        Machine {
            cores: 2,
            memory_mib: 4_096,
            kernel: "6.1".to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
            commit: "abc".to_owned(),
        }
    }

    pub(crate) fn growth() -> Growth {
        Growth {
            machine: machine(),
            seconds: 5.0,
            rows: vec![GrowthRow {
                work: "GET one".to_owned(),
                small: "3000 in one chat".to_owned(),
                large: "300000 in one chat".to_owned(),
                small_rounds: vec![round(3_000.0), round(2_600.0), round(900.0)],
                large_rounds: vec![round(2_000.0), round(2_500.0), round(1_000.0)],
            }],
        }
    }

    pub(crate) fn side_by_side() -> SideBySide {
        SideBySide {
            machine: machine(),
            seconds: 5.0,
            comparisons: vec![
                Comparison {
                    work: "POST".to_owned(),
                    connections: 64,
                    offered_per_second: None,
                    limit: vec![round(20_000.0), round(10_000.0), round(30_000.0)],
                    tally: vec![round(10_000.0), round(4_000.0), round(18_000.0)],
                },
                Comparison {
                    work: "POST".to_owned(),
                    connections: 64,
                    offered_per_second: Some(5_000.0),
                    limit: vec![round(5_000.0)],
                    tally: vec![round(5_000.0)],
                },
            ],
            values: vec![Value {
                what: "bytes on disk a message".to_owned(),
                unit: "bytes".to_owned(),
                decimals: 0,
                rounds: vec![615.0],
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        assert_eq!(Results::read(&path).unwrap(), Results::default());
        let results =
            Results { embedded: Some(samples::side_by_side()), growth: Some(samples::growth()), ..Results::default() };
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Results::read(&path), Err(BenchError::Results { .. })));
    }

    #[test]
    fn a_ratio_is_of_the_two_runs_of_one_round() {
        let comparison = &samples::side_by_side().comparisons[0];
        assert_eq!(comparison.ratios().collect::<Vec<_>>(), [0.5, 0.4, 0.6]);
    }

    #[test]
    fn a_slowdown_is_of_the_medians() {
        let mut row = samples::growth().rows.remove(0);
        assert_eq!(row.slowdown(), Some(1.3));
        row.large_rounds.clear();
        assert_eq!(row.slowdown(), None);
    }
}
