//! The command line of `projector`, and the execution of its commands.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use distributed::args::{KafkaArgs, MysqlArgs};
use distributed::mysql;
use read_model::Projection;
use service::config::{LogArgs, parse_address};
use service::healthcheck::healthcheck;
use service::{shutdown, telemetry};

use crate::deployment::Deployment;
use crate::operate::command::EXIT_CODES;
use crate::operate::{self, OperatorCommand};
use crate::process::{Config, Process};
use crate::servers::ServerArgs;

/// Feeds a projection of Tally from the events in Kafka
///
/// Any number of processes may feed one projection: they share out the partitions of the log among themselves.
#[derive(Debug, Parser)]
#[command(name = "projector", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Feed(FeedArgs),
    #[command(flatten)]
    Operate(OperatorCommand<ServerArgs>),
    /// Bring the tables in MySQL up to date (views and counts do so at their start, too)
    Migrate(MigrateArgs),
    /// Ask a projector whether it is ready; exit code 0 if it is
    Healthcheck(HealthcheckArgs),
}

/// Arguments of the subcommands that feed. Each projection has a subcommand of its name.
#[derive(Debug, Clone)]
pub struct FeedArgs {
    pub config: Config,
    pub logs: LogArgs,
}

/// The arguments that the feeding subcommands share.
#[derive(Debug, Args)]
struct SharedArgs {
    #[arg(long, env = "TALLY_PROJECTOR_ADDR", value_name = "ADDRESS:PORT", help = projector_addr_help(),
        value_parser = parse_address)]
    projector_addr: Option<SocketAddr>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub struct HealthcheckArgs {
    /// Projection of the projector to ask, which listens on its default address on this machine
    #[arg(value_name = "PROJECTION", required_unless_present = "projector_addr", value_parser = projection_parser())]
    pub projection: Option<Projection>,
    /// Address and port of the projector's health and metrics
    #[arg(long, env = "TALLY_PROJECTOR_ADDR", value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub projector_addr: Option<SocketAddr>,
}

/// Runs the command of the command line.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli.command {
        Command::Feed(args) => feed(&args).await?,
        Command::Operate(command) => return operate::command::run(command).await,
        Command::Migrate(args) => {
            telemetry::init(&args.logs.log, args.logs.log_format)?;
            mysql::migrate(&args.mysql.mysql_url).await?;
            tracing::info!("the tables are up to date");
        }
        Command::Healthcheck(args) => {
            let address = args.address().ok_or("name a projection, or an address with --projector-addr")?;
            healthcheck(address).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn feed(args: &FeedArgs) -> Result<(), Box<dyn Error>> {
    telemetry::init(&args.logs.log, args.logs.log_format)?;
    let stop = shutdown::stop_on_signal()?;
    let process = Process::start(&args.config, stop).await?;
    tracing::info!("projector {} is up; health on http://{}", args.config.projection.name(), process.addr());
    process.wait().await?;
    tracing::info!("stopped");
    Ok(())
}

impl HealthcheckArgs {
    fn address(&self) -> Option<SocketAddr> {
        self.projector_addr.or_else(|| self.projection.map(default_addr))
    }
}

/// The default address of health and metrics.
fn default_addr(projection: Projection) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, Deployment::for_projection(projection).operator_port).into()
}

fn projector_addr_help() -> String {
    let describe = |projection| format!("{} for {}", default_addr(projection).port(), projection.name());
    format!("Address and port of health and metrics; by default port {}", Projection::ALL.map(describe).join(", "))
}

/// Accepts the name of a projection.
fn projection_parser() -> impl TypedValueParser<Value = Projection> {
    PossibleValuesParser::new(projection_names())
        .try_map(|name| Projection::from_name(&name).ok_or("no projection has this name"))
}

fn projection_names() -> [PossibleValue; 3] {
    Projection::ALL.map(|projection| {
        let backend = Deployment::for_projection(projection).backend;
        PossibleValue::new(projection.name()).help(format!("In {}", backend.name()))
    })
}

// Written by hand, since a derive would name every projection again.
impl Subcommand for FeedArgs {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        command.subcommands(Projection::ALL.map(|projection| {
            let Deployment { about, backend, .. } = Deployment::for_projection(projection);
            let subcommand = SharedArgs::augment_args(clap::Command::new(projection.name()));
            backend.augment_args(subcommand).about(about)
        }))
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Projection::from_name(name).is_some()
    }
}

impl FromArgMatches for FeedArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let subcommand = matches.subcommand().and_then(|(name, matches)| Some((Projection::from_name(name)?, matches)));
        let (projection, matches) = subcommand.ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))?;
        let SharedArgs { projector_addr, kafka, logs } = SharedArgs::from_arg_matches(matches)?;
        let config = Config {
            projection,
            addr: projector_addr.unwrap_or_else(|| default_addr(projection)),
            brokers: kafka.kafka_brokers,
            store_url: Deployment::for_projection(projection).backend.parse_url(matches)?,
        };
        Ok(Self { config, logs })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthcheck_address(arguments: &[&str]) -> Result<String, ErrorKind> {
        let cli = Cli::try_parse_from([&["projector", "healthcheck"], arguments].concat());
        match cli.map_err(|error| error.kind())?.command {
            Command::Healthcheck(args) => Ok(args.address().unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_healthcheck_asks_the_default_address_or_the_given_one() {
        for (fed, address) in [("views", "127.0.0.1:8071"), ("counts", "127.0.0.1:8072"), ("search", "127.0.0.1:8073")]
        {
            assert_eq!(healthcheck_address(&[fed]).unwrap(), address);
        }
        for arguments in [&["--projector-addr", "127.0.0.1:1"][..], &["views", "--projector-addr", "127.0.0.1:1"]] {
            assert_eq!(healthcheck_address(arguments).unwrap(), "127.0.0.1:1");
        }
        assert_eq!(healthcheck_address(&[]), Err(ErrorKind::MissingRequiredArgument));
    }
}
