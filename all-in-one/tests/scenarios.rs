//! The scenario suite on the embedded topology, or on the running system that the environment names.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use all_in_one::Process;
use all_in_one::cli::Cli;
use clap::Parser;
use projector::Fatal;
use tempfile::TempDir;
use testkit::scenarios::Api;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The system that a scenario runs against.
enum System {
    /// Started for one test, on its own directory and ports.
    Started { api: Api, stop: CancellationToken, process: JoinHandle<Result<(), Fatal>>, _directory: TempDir },
    /// Named by the environment.
    Running(Api),
}

async fn start() -> System {
    if let Some(api) = Api::from_env() {
        return System::Running(api);
    }
    let directory = TempDir::new().unwrap();
    let data = directory.path().to_str().unwrap();
    let ports = ["--write-addr", "--read-addr", "--operator-addr"].into_iter().flat_map(|flag| [flag, "127.0.0.1:0"]);
    let arguments = ["tally", "--data", data].into_iter().chain(ports);
    let stop = CancellationToken::new();
    let process = Process::start(&Cli::parse_from(arguments).serve, stop.clone()).await.unwrap();
    let api = Api::new(&format!("http://{}", process.write_addr()), &format!("http://{}", process.read_addr()));
    System::Started { api, stop, process: tokio::spawn(process.wait()), _directory: directory }
}

impl System {
    fn api(&self) -> &Api {
        match self {
            Self::Started { api, .. } | Self::Running(api) => api,
        }
    }

    async fn stop(self) {
        if let Self::Started { stop, process, .. } = self {
            stop.cancel();
            process.await.unwrap().unwrap();
        }
    }
}

testkit::scenarios!(start);
