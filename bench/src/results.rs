//! The figures of all runs, as `bench/results.json` keeps them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::load::Round;
use crate::machine::Machine;

/// The last run of each kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) embedded: Option<Embedded>,
}

/// Tally in one process, beside its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Embedded {
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
    pub(crate) limit: Vec<Round>,
    pub(crate) tally: Vec<Round>,
}

impl Comparison {
    /// Tally's throughput by the limit's, of each round.
    pub(crate) fn ratios(&self) -> impl Iterator<Item = f64> {
        self.limit.iter().zip(&self.tally).map(|(limit, tally)| tally.per_second / limit.per_second)
    }
}

/// A figure of Tally alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) decimals: usize,
    pub(crate) rounds: Vec<f64>,
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
        Round { answers: 5 * per_second as u64, per_second, p50_ms: 1.0, p99_ms: 2.0, p999_ms: 3.0 }
    }

    pub(crate) fn embedded() -> Embedded {
        Embedded {
            machine: Machine {
                cores: 2,
                memory_mib: 4_096,
                kernel: "6.1".to_owned(),
                date: "2026-01-02T03:04:05Z".to_owned(),
                commit: "abc".to_owned(),
            },
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
        let results = Results { embedded: Some(samples::embedded()) };
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Results::read(&path), Err(BenchError::Results { .. })));
    }

    #[test]
    fn a_ratio_is_of_the_two_runs_of_one_round() {
        let comparison = &samples::embedded().comparisons[0];
        assert_eq!(comparison.ratios().collect::<Vec<_>>(), [0.5, 0.4, 0.6]);
    }
}
