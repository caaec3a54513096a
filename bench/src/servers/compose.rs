//! The servers, in the composition's containers under a project name of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::programs::{ELASTICSEARCH, SERVERS};
use crate::error::BenchError;
use crate::http;
use crate::process::Process;

/// Longest run of a command of Compose.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
const PROJECT: &str = "tally-bench";
/// What the search projection has in Elasticsearch.
const INDICES: [&str; 2] = ["tally-search-1", "tally-search-pointer"];
const MAKE_DATABASE_ANEW: &str = "DROP DATABASE tally; CREATE DATABASE tally";

/// The running servers. They are removed with their data when the value is dropped.
pub(super) struct Compose {
    root: PathBuf,
}

impl Compose {
    pub(super) fn up(root: &Path) -> Result<Self, BenchError> {
        let compose = Self { root: root.to_owned() };
        compose.start()?;
        Ok(compose)
    }

    /// Removes the servers with their data, and starts others.
    pub(super) fn make_anew(&self) -> Result<(), BenchError> {
        self.remove()?;
        self.start()
    }

    fn start(&self) -> Result<(), BenchError> {
        self.run(&["up", "--detach", "--quiet-pull", "--wait", "kafka", "redis", "mysql", "elasticsearch"])
    }

    fn remove(&self) -> Result<(), BenchError> {
        self.run(&["down", "--volumes", "--timeout", "10"])
    }

    /// Deletes what stopped projectors have written.
    pub(super) fn delete_projections(&self) -> Result<(), BenchError> {
        self.run(&["exec", "-T", "mysql", "mysql", "-uroot", "-ptally", "-e", MAKE_DATABASE_ANEW])?;
        for index in INDICES {
            // It may be absent.
            http::delete(ELASTICSEARCH, &format!("/{index}"), "", &[200, 404])?;
        }
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> Result<(), BenchError> {
        let mut command = Command::new("docker");
        command.current_dir(&self.root).arg("compose").args(["--env-file", ".env.example"]);
        if self.root.join("target/stack.env").exists() {
            command.args(["--env-file", "target/stack.env"]);
        }
        for (server, port) in SERVERS {
            command.env(format!("TALLY_{server}_PORT"), port.to_string());
        }
        command.args(arguments).env("COMPOSE_PROJECT_NAME", PROJECT).stdout(Stdio::null());
        Ok(Process::start(&mut command)?.wait(COMMAND_DEADLINE)?)
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        // Where nothing was started, there is nothing to remove.
        drop(self.remove());
    }
}
