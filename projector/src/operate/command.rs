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
    DeadLettersArgs, OperatorCommand, PauseArgs, RebuildArgs, ResumeArgs, StatusArgs, TransferArgs, VerifyArgs,
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
                              3 verify has found a difference, damaged records or dead letters, also if --swap has mended it.";

/// A signal came before the end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Stopped {
    #[error("stopped while {action}; readers use what they used before; the same command {retry_hint}")]
    Step { action: String, retry_hint: &'static str },
    /// Nothing was left to do but to delete.
    #[error("stopped while {action}; readers use what was made anew; the next rebuild deletes the former one")]
    Swapped { action: String },
    /// Another process carries the operation out, and does not stop.
    #[error(
        "no longer waiting, and nothing is stopped: the tally that serves goes on {action}; the same command waits for it again; only a \
         stop of that tally stops it"
    )]
    GoesOn { action: String },
    /// Of a command that has no steps.
    #[error("stopped before it was known whether the command was carried out; give the same command again")]
    AtOnce,
}

impl Stopped {
    /// `runs_elsewhere` says whether another process carries the operation out.
    fn during(step: &Step, operation: Operation, runs_elsewhere: bool) -> Self {
        let action = step.action.clone();
        if action.is_empty() {
            Self::AtOnce
        } else if runs_elsewhere {
            Self::GoesOn { action }
        } else if step.is_swapped {
            Self::Swapped { action }
        } else {
            Self::Step { action, retry_hint: operation.retry_hint() }
        }
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
        OperatorCommand::Resume(ResumeArgs { target, system, logs }) => {
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
        () = stop.cancelled() => Err(Stopped::during(&steps.borrow(), operation, operator.runs_elsewhere()).into()),
    };
    operator.close().await;
    let report = outcome?;
    print_line(&report.text)?;
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCE_EXIT_CODE) })
}

#[cfg(test)]
mod tests {
    use super::super::arguments::Target;
    use super::*;

    const VERIFY: Operation = Operation::Verify { target: Target::Views, swap: true, keep_ms: 0 };
    const REBUILD: Operation = Operation::Rebuild { target: Target::Views, keep_ms: 0 };
    const REBUILD_ALL: Operation = Operation::Rebuild { target: Target::All, keep_ms: 0 };

    fn stopped(step: &Step, operation: Operation, runs_elsewhere: bool) -> String {
        Stopped::during(step, operation, runs_elsewhere).to_string()
    }

    #[test]
    fn a_signal_names_the_step_if_there_is_one() {
        let (steps, _) = watch::channel(Step::none());
        let said = stopped(&steps.borrow(), VERIFY, false);
        assert!(said.starts_with("stopped before it was known"), "{said}");
        let _progress = Step::begin(&steps, "verifying views".to_owned());
        let said = stopped(&steps.borrow(), VERIFY, false);
        assert!(said.starts_with("stopped while verifying views;"), "{said}");
    }

    /// A rebuild keeps its place in the projection that it makes, a verification believes nothing that was there.
    #[test]
    fn a_signal_tells_what_the_same_command_does_then() {
        let (steps, _) = watch::channel(Step::none());
        let _progress = Step::begin(&steps, "at work".to_owned());
        let expected = [
            (REBUILD, "the same command goes on from there"),
            (REBUILD_ALL, "goes on within this projection, and makes those before it again"),
            (VERIFY, "begins from the start"),
        ];
        for (operation, words) in expected {
            let said = stopped(&steps.borrow(), operation, false);
            assert!(said.ends_with(words), "{said}");
        }
        let swapped = Step { is_swapped: true, ..steps.borrow().clone() };
        let said = stopped(&swapped, REBUILD, false);
        assert!(said.contains("readers use what was made anew"), "{said}");
    }

    #[test]
    fn a_signal_does_not_claim_to_stop_what_another_process_does() {
        let (steps, _) = watch::channel(Step::none());
        let _progress = Step::begin(&steps, "making views anew".to_owned());
        let said = stopped(&steps.borrow(), REBUILD, true);
        assert!(said.contains("goes on making views anew") && said.contains("only a stop of that tally"), "{said}");
        assert!(!said.contains("stopped while"), "{said}");
    }
}
