//! The command line of `projector`, and the execution of its commands.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use distributed::args::{ElasticsearchArgs, KafkaArgs, MysqlArgs};
use distributed::mysql;
use read_model::Projection;
use service::config::{LogArgs, parse_address};
use service::healthcheck::healthcheck;
use service::{shutdown, telemetry};

use crate::deployment::Deployment;
use crate::process::{Config, Process};
use crate::rebuilding;

/// Feeds a projection of Tally from the events in Kafka
///
/// Any number of processes may feed one projection: they share out the partitions of the log among themselves.
#[derive(Debug, Parser)]
#[command(name = "projector", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Feed(FeedArgs),
    /// Make a projection anew from the start of the log while readers use it, and swap the two
    ///
    /// Readers see no error, nothing empty and no step back. It may run beside projectors of this release; upgrade older ones
    /// first. Ctrl-C stops it, and the next start goes on from there. If the new projection cannot show what the current one shows,
    /// the current one stays.
    Rebuild(RebuildArgs),
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
pub struct RebuildArgs {
    /// Projection to make anew, or all of them one after the other
    #[arg(value_name = "PROJECTION", value_parser = rebuilt_parser())]
    pub rebuilt: Rebuilt,
    /// How long to keep what readers used before the swap, 10s at least, since reads that began before still use it
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_keep)]
    pub keep: Duration,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub mysql: MysqlArgs,
    #[command(flatten)]
    pub elasticsearch: ElasticsearchArgs,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// What a rebuild makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilt {
    All,
    One(Projection),
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

/// Longer than any read takes. A read uses one generation from its beginning to its end.
const SHORTEST_KEEP: Duration = Duration::from_secs(10);

fn parse_keep(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(keep) if keep >= SHORTEST_KEEP => Ok(keep),
        Ok(_) => Err("reads that began before the swap may take 10s; write 10s or more".to_owned()),
        Err(error) => Err(format!("{error}; write a duration such as 1m or 2h")),
    }
}

/// Runs the command of the command line.
///
/// # Errors
/// A message that says what to do.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Feed(args) => feed(&args).await,
        Command::Rebuild(args) => {
            telemetry::init(&args.logs.log, args.logs.log_format)?;
            rebuilding::run(&args.config(), shutdown::stop_on_signal()?).await
        }
        Command::Migrate(args) => {
            telemetry::init(&args.logs.log, args.logs.log_format)?;
            mysql::migrate(&args.mysql.mysql_url).await?;
            tracing::info!("the tables are up to date");
            Ok(())
        }
        Command::Healthcheck(args) => {
            let address = args.address().ok_or("name a projection, or an address with --projector-addr")?;
            Ok(healthcheck(address).await?)
        }
    }
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

impl RebuildArgs {
    fn config(&self) -> rebuilding::Config {
        rebuilding::Config {
            projections: match self.rebuilt {
                Rebuilt::All => Projection::ALL.to_vec(),
                Rebuilt::One(projection) => vec![projection],
            },
            keep: self.keep,
            brokers: self.kafka.kafka_brokers.clone(),
            mysql_url: self.mysql.mysql_url.clone(),
            elasticsearch_url: self.elasticsearch.elasticsearch_url.clone(),
        }
    }
}

impl HealthcheckArgs {
    fn address(&self) -> Option<SocketAddr> {
        self.projector_addr.or_else(|| self.projection.map(default_addr))
    }
}

/// The default address of health and metrics.
fn default_addr(projection: Projection) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, Deployment::for_projection(projection).health_port).into()
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

/// Accepts the name of a projection, or `all`.
fn rebuilt_parser() -> impl TypedValueParser<Value = Rebuilt> {
    let all = PossibleValue::new("all").help("All of them");
    PossibleValuesParser::new(projection_names().into_iter().chain([all]))
        .map(|name| Projection::from_name(&name).map_or(Rebuilt::All, Rebuilt::One))
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

    #[test]
    fn a_rebuild_takes_one_projection_or_all_and_keeps_what_reads_need() {
        let config = |arguments: &[&str]| -> Result<rebuilding::Config, ErrorKind> {
            let cli = Cli::try_parse_from([&["projector", "rebuild"], arguments].concat());
            match cli.map_err(|error| error.kind())?.command {
                Command::Rebuild(args) => Ok(args.config()),
                other => panic!("{other:?}"),
            }
        };
        let one = config(&["search"]).unwrap();
        assert_eq!((one.projections, one.keep), (vec![Projection::Search], Duration::from_secs(60)));
        let all = config(&["all", "--keep", "2h"]).unwrap();
        assert_eq!((all.projections, all.keep), (Projection::ALL.to_vec(), Duration::from_secs(7_200)));
        for wrong in [&["all", "--keep", "9s"][..], &["all", "--keep", "x"]] {
            assert_eq!(config(wrong).unwrap_err(), ErrorKind::ValueValidation, "{wrong:?}");
        }
        assert_eq!(config(&["everything"]).unwrap_err(), ErrorKind::InvalidValue);
        assert_eq!(config(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
    }

    fn healthcheck_address(arguments: &[&str]) -> Result<String, ErrorKind> {
        let cli = Cli::try_parse_from([&["projector", "healthcheck"], arguments].concat());
        match cli.map_err(|error| error.kind())?.command {
            Command::Healthcheck(args) => Ok(args.address().unwrap().to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_healthcheck_asks_the_default_address_or_the_given_one() {
        for (fed, address) in [("views", "127.0.0.1:9101"), ("counts", "127.0.0.1:9102"), ("search", "127.0.0.1:9103")]
        {
            assert_eq!(healthcheck_address(&[fed]).unwrap(), address);
        }
        for arguments in [&["--projector-addr", "127.0.0.1:1"][..], &["views", "--projector-addr", "127.0.0.1:1"]] {
            assert_eq!(healthcheck_address(arguments).unwrap(), "127.0.0.1:1");
        }
        assert_eq!(healthcheck_address(&[]), Err(ErrorKind::MissingRequiredArgument));
    }
}
