//! The honest limit: the least that a server of the same promises must do.
//!
//! Posts go through axum to one thread, which commits groups to SQLite with synchronous=FULL. Reads run Tally's own
//! statements on tables like Tally's, in the handler, on a connection of the handler's thread. It validates nothing, projects
//! nothing, and knows one chat to read.

mod fill;
mod reader;
mod routes;
mod sql;
mod writer;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

pub(crate) use sql::COUNT_EVENTS;

/// What the limit writes to standard output, before its address, once it answers.
pub(crate) const UP: &str = "the limit is up: ";
/// The event log.
pub(crate) const LOG_FILE: &str = "log.sqlite";
/// The tables that are read.
const VIEWS_FILE: &str = "views.sqlite";

/// Serves the limit on a port that the system chooses, until standard input ends.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// An empty directory
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The token of the application that is read
    #[arg(long)]
    pub(crate) token: String,
    /// The number of its chat that is read
    #[arg(long)]
    pub(crate) chat: u32,
    /// The messages in that chat
    #[arg(long)]
    pub(crate) messages: u64,
    /// One in so many of them has the rare word
    #[arg(long)]
    pub(crate) rare_every: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("{path} cannot be prepared")]
    Prepare {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the limit cannot serve on 127.0.0.1")]
    Serve(#[source] std::io::Error),
}

pub(crate) fn run(args: &LimitArgs) -> Result<(), LimitError> {
    let views = args.data.join(VIEWS_FILE);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| LimitError::Prepare { path, source }
    };
    fill::fill(&views, args).map_err(at(&views))?;
    let log = args.data.join(LOG_FILE);
    let writer = writer::start(&log).map_err(at(&log))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(LimitError::Serve)?;
    let app = routes::build(routes::Limit::new(writer, views));
    runtime.spawn_blocking(end_with_standard_input);
    runtime.block_on(serve(app)).map_err(LimitError::Serve)
}

async fn serve(app: axum::Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{UP}{}", listener.local_addr()?)?;
    output.flush()?;
    // Without no delay an answer may wait; that only makes the limit slower.
    axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), app).await
}

/// Whoever started the limit holds its standard input open, and so cannot leave it behind.
fn end_with_standard_input() {
    let mut ignored = Vec::new();
    drop(std::io::stdin().read_to_end(&mut ignored));
    std::process::exit(0);
}
