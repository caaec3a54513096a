//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::access::{AccessSettings, BOUND_OF_REVOCATION};
use crate::embedded::Settings;
use crate::feed::FeedSettings;
use crate::growth::GrowthSettings;
use crate::limit::LimitArgs;
use crate::rebuild::RebuildSettings;
use crate::servers::ServersSettings;
use crate::work::ReadChat;

/// Measures Tally beside its limit, on this machine only
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures Tally in one process, and writes bench/results.json, the plots and the tables of the documents
    Embedded(EmbeddedArgs),
    /// Measures how requests slow down when there is a hundred times as much, and writes the same files
    Growth(GrowthArgs),
    /// Measures Tally's three programs on Kafka, Redis, MySQL and Elasticsearch (needs `make stack`), and writes the same files
    Servers(ServersArgs),
    /// Measures rebuilds of Tally in one process, and writes the same files
    Rebuild(RebuildArgs),
    /// Measures the feed: latencies, many streams, and what they cost those who write; and writes the same files
    Feed(FeedArgs),
    /// Measures what keys and users' tokens cost those who post, and the revocation delay; and writes the same files
    Access(AccessArgs),
    /// Runs every load for a moment, and checks the answers. Measures and writes nothing
    Short(ProgramArgs),
    /// Writes the plots and the tables of the documents from bench/results.json
    Table,
    /// Serves the limit, for the other commands
    #[command(hide = true)]
    Limit(LimitArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// The program to measure; by default the one beside this program
    #[arg(long)]
    pub(crate) tally: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EmbeddedArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Rounds of each load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) rounds: u8,
    /// Seconds of each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Messages in the chat that is read
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(400..=1_000_000))]
    pub(crate) read_messages: u64,
    /// The fewest messages that Tally has when it is killed
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    pub(crate) messages_at_kill: u64,
    /// Seconds without a request before memory is read
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=600))]
    pub(crate) idle_seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct GrowthArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Rounds of each load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) rounds: u8,
    /// Seconds of each round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Messages in many chats, 100 in each
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..=100_000_000))]
    pub(crate) messages: u64,
    /// Messages in one chat
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    pub(crate) chat_messages: u64,
}

impl GrowthArgs {
    pub(crate) fn settings(&self) -> GrowthSettings {
        GrowthSettings {
            rounds: self.rounds.into(),
            warm_up: Duration::from_millis(200),
            measured: Duration::from_secs(self.seconds),
            messages: self.messages,
            chat_messages: self.chat_messages,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Rebuilds of each projection
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) rounds: u8,
    /// Messages
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) messages: u64,
}

impl RebuildArgs {
    pub(crate) fn settings(&self) -> RebuildSettings {
        RebuildSettings { rounds: self.rounds.into(), messages: self.messages }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ServersArgs {
    /// Rounds of each load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) rounds: u8,
    /// Seconds of each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// The fewest messages that are replayed, rebuilt, exported and imported
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    pub(crate) messages: u64,
}

impl ServersArgs {
    pub(crate) fn settings(&self) -> ServersSettings {
        ServersSettings {
            rounds: self.rounds.into(),
            measured: Duration::from_secs(self.seconds),
            messages: self.messages,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FeedArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Measures the three programs on Kafka, Redis, MySQL and Elasticsearch, instead of one process (needs `make stack`)
    #[arg(long)]
    pub(crate) servers: bool,
    /// Rounds of each load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) rounds: u8,
    /// Seconds of each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// The most streams at once
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(200..=10_000))]
    pub(crate) streams: u64,
}

/// Streams beside none and the most.
const SOME_STREAMS: usize = 100;

impl FeedArgs {
    pub(crate) fn settings(&self) -> FeedSettings {
        FeedSettings {
            rounds: self.rounds.into(),
            measured: Duration::from_secs(self.seconds),
            streams: usize::try_from(self.streams).unwrap_or(usize::MAX),
            some_streams: SOME_STREAMS,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// Measures the programs on Kafka, Redis, MySQL and Elasticsearch, instead of one process (needs `make stack`)
    #[arg(long)]
    pub(crate) servers: bool,
    /// Rounds of posts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=20))]
    pub(crate) rounds: u8,
    /// Seconds of each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// Keys that are revoked, one after another
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) revocations: u8,
}

impl AccessArgs {
    pub(crate) fn settings(&self) -> AccessSettings {
        AccessSettings {
            rounds: self.rounds.into(),
            measured: Duration::from_secs(self.seconds),
            revocations: self.revocations.into(),
            min_use: BOUND_OF_REVOCATION,
        }
    }
}

/// Messages with the rare word in the chat that is read.
const RARE_MESSAGES: u64 = 10;

impl EmbeddedArgs {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            rounds: self.rounds.into(),
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(self.seconds),
            read_chat: read_chat(self.read_messages),
            idle: Duration::from_secs(self.idle_seconds),
            messages_at_kill: self.messages_at_kill,
        }
    }
}

/// Sizes that need few seconds even for a debug build.
pub(crate) fn short_settings() -> Settings {
    Settings {
        rounds: 1,
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(500),
        read_chat: read_chat(400),
        idle: Duration::ZERO,
        messages_at_kill: 0,
    }
}

/// The same for the feed.
pub(crate) fn short_feed_settings() -> FeedSettings {
    FeedSettings { rounds: 1, measured: Duration::from_millis(500), streams: 200, some_streams: SOME_STREAMS }
}

/// The same for access. A revoked key is used until it is refused.
pub(crate) fn short_access_settings() -> AccessSettings {
    AccessSettings { rounds: 1, measured: Duration::from_millis(500), revocations: 1, min_use: Duration::ZERO }
}

fn read_chat(messages: u64) -> ReadChat {
    ReadChat { messages, rare_every: messages / RARE_MESSAGES }
}
