//! Runs the commands.

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use access::AuthMode;
use clap::CommandFactory;
use projector::operate;
use service::config::LogFormat;
use service::healthcheck::{NotReady, healthcheck};
use service::local_client::LocalClientError;
use service::program::print_line;
use service::{shutdown, telemetry};

use crate::cli::{Cli, Command};
use crate::config::{Config, PortArgs};
use crate::process::Process;

/// Runs the command of the command line.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve))) {
        Command::Serve(config) => serve(&config).await?,
        Command::Operate(command) => return operate::command::run(command).await,
        Command::Healthcheck(ports) => print_line(&check_health(&ports).await?)?,
        Command::Completions { shell } => {
            // The generator would panic at a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tally", &mut script);
            print_line(String::from_utf8(script)?.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// No tally was found at an address.
#[derive(Debug, thiserror::Error)]
#[error(
    "no tally is found: if it listens elsewhere, name its ports with --write-addr and --read-addr, as at its start"
)]
struct NotFound(#[source] LocalClientError);

/// Asks both ports whether they are ready. Returns what to print.
async fn check_health(ports: &PortArgs) -> Result<String, Box<dyn Error>> {
    let (write, read) = (ports.write.write_addr, ports.read.read_addr);
    for address in [write, read] {
        healthcheck(address).await.map_err(|error| -> Box<dyn Error> {
            match error {
                NotReady::NoAnswer(source) => NotFound(source).into(),
                NotReady::Reported { .. } => error.into(),
            }
        })?;
    }
    Ok(format!("tally is ready: writes on http://{write}, reads on http://{read}"))
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    telemetry::init(&config.logs.log, config.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(config, stop).await?;
    let addresses = [process.write_addr(), process.read_addr(), process.operator_addr()];
    let access = describe_access(process.auth_mode());
    let is_for_terminal = stderr().is_terminal() && config.logs.log_format != LogFormat::Json;
    tracing::info!("{}", describe(addresses, access, &config.data.data, is_for_terminal));
    process.wait().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Says who may do what.
const fn describe_access(mode: AuthMode) -> &'static str {
    match mode {
        AuthMode::Open | AuthMode::OpenOnLoopback => "open to whoever reaches it",
        AuthMode::Required => "required: requests need a key",
    }
}

/// Says where everything is: in lines for people at a terminal, and in one line elsewhere.
fn describe(addresses: [SocketAddr; 3], access: &str, data: &Path, is_for_terminal: bool) -> String {
    let ([write, read, operator], data) = (addresses, data.display());
    if is_for_terminal {
        format!(
            "tally is up\n  write     http://{write}\n  read      http://{read}\n  docs      http://{read}/docs/\n  \
             operator  http://{operator}\n  access    {access}\n  data      {data}"
        )
    } else {
        format!(
            "tally is up: writes on http://{write}, reads on http://{read}, operator's port on http://{operator}, access {access}, data in {data}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_lines_of_their_own_and_programs_get_one_line() {
        let addresses = [8080, 3000, 8070].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let lines = describe(addresses, describe_access(AuthMode::Required), Path::new("./data"), true);
        let expected = [
            "tally is up",
            "  write     http://127.0.0.1:8080",
            "  read      http://127.0.0.1:3000",
            "  docs      http://127.0.0.1:3000/docs/",
            "  operator  http://127.0.0.1:8070",
            "  access    required: requests need a key",
            "  data      ./data",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        let line = describe(addresses, describe_access(AuthMode::OpenOnLoopback), Path::new("./data"), false);
        assert!(line.lines().count() == 1 && line.contains("access open to whoever reaches it,"), "{line}");
    }
}
