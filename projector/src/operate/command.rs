//! Runs the operator's subcommands.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use read_model::BackendError;
use service::config::LogArgs;
use service::program::print_line;
use service::{shutdown, telemetry};
use tokio::sync::watch;

use super::arguments::{
    DeadLettersArgs, OperatorCommand, PauseArgs, RebuildArgs, StatusArgs, TransferArgs, VerifyArgs,
};
use super::operation::{Operation, Step};
use super::system::{OpenOperator, Purpose};
use super::watch as status;
use crate::progress;
use crate::transfer::TransferEvents;

/// The exit code of a verification that has found a difference, damaged records or dead letters.
const DIFFERENCE_EXIT_CODE: u8 = 3;

/// The exit codes, for the help of a program.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 could not be done (standard error says why), 2 wrong usage, \
                              3 verify has found a difference, damaged records or dead letters.";

/// A signal came before the end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Stopped {
    #[error("stopped while {action}; readers use what they used before; the same command goes on from there")]
    Step { action: String },
    /// Of a command that has no steps.
    #[error("stopped before it was known whether the command was carried out; give the same command again")]
    AtOnce,
}

impl Stopped {
    fn during(step: &Step) -> Self {
        if step.action.is_empty() { Self::AtOnce } else { Self::Step { action: step.action.clone() } }
    }
}

/// Runs a subcommand.
///
/// # Errors
/// A message that says what to do.
pub async fn run<S: OpenOperator + TransferEvents + Args>(
    command: OperatorCommand<S>,
) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        OperatorCommand::Status(args) => show_status(&args).await,
        OperatorCommand::Verify(VerifyArgs { target, swap, keep, system, logs }) => {
            operate(&system, &logs, Operation::Verify { target, swap, keep_ms: to_millis(keep.keep) }).await
        }
        OperatorCommand::Rebuild(RebuildArgs { target, keep, system, logs }) => {
            operate(&system, &logs, Operation::Rebuild { target, keep_ms: to_millis(keep.keep) }).await
        }
        OperatorCommand::Pause(PauseArgs { target, system, logs }) => {
            operate(&system, &logs, Operation::Pause { target, is_paused: true }).await
        }
        OperatorCommand::Resume(PauseArgs { target, system, logs }) => {
            operate(&system, &logs, Operation::Pause { target, is_paused: false }).await
        }
        OperatorCommand::Export(TransferArgs { transfer, system, logs }) => {
            telemetry::init(&logs.log, logs.log_format)?;
            system.export(&transfer).await.map_err(to_error)?;
            Ok(ExitCode::SUCCESS)
        }
        OperatorCommand::Import(TransferArgs { transfer, system, logs }) => {
            telemetry::init(&logs.log, logs.log_format)?;
            system.import(&transfer).await.map_err(to_error)?;
            Ok(ExitCode::SUCCESS)
        }
        OperatorCommand::DeadLetters(DeadLettersArgs { command, system, logs }) => {
            operate(&system, &logs, Operation::DeadLetters(command)).await
        }
    }
}

fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn show_status<S: OpenOperator + Args>(args: &StatusArgs<S>) -> Result<ExitCode, Box<dyn Error>> {
    let operator = args.system.open(Purpose::Look).await.map_err(to_error)?;
    let projections = args.target.projections();
    let shown = if args.watch {
        status::watch(&*operator, &projections, args.json, &shutdown::stop_on_signal()?).await
    } else {
        status::show(&*operator, &projections, args.json).await
    };
    operator.close().await;
    shown.map_err(to_error)?;
    Ok(ExitCode::SUCCESS)
}

fn to_error(error: BackendError) -> Box<dyn Error> {
    error
}

async fn operate(system: &impl OpenOperator, logs: &LogArgs, operation: Operation) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::init(&logs.log, logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let operator = system.open(operation.purpose()).await.map_err(to_error)?;
    let (steps, shown) = watch::channel(Step::none());
    let outcome = tokio::select! {
        outcome = operator.run(operation, &steps) => outcome.map_err(to_error),
        never = progress::show_steps(shown) => match never {},
        () = stop.cancelled() => Err(Stopped::during(&steps.borrow()).into()),
    };
    operator.close().await;
    let report = outcome?;
    print_line(&report.text)?;
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCE_EXIT_CODE) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_names_the_step_if_there_is_one() {
        let (steps, _) = watch::channel(Step::none());
        let stopped = Stopped::during(&steps.borrow()).to_string();
        assert!(stopped.starts_with("stopped before it was known"), "{stopped}");
        let _progress = Step::begin(&steps, "verifying views".to_owned());
        let stopped = Stopped::during(&steps.borrow()).to_string();
        assert!(stopped.starts_with("stopped while verifying views;"), "{stopped}");
    }
}
