//! How much slower requests become when there is a hundred times as much.

mod reads;

use std::path::Path;
use std::time::Duration;

use self::reads::ShapeReads;
use crate::application::Application;
use crate::error::BenchError;
use crate::fill;
use crate::load::{self, Pace, Plan, Round, Workload};
use crate::machine::Machine;
use crate::report::say_growth;
use crate::results::{Growth, GrowthRow};
use crate::statistics::format_figure;
use crate::tally::Tally;
use crate::work::{CHATS, Read};
use crate::workload::{Posting, Sequence};

/// How many times the large size is the small one.
pub(crate) const FACTOR: u64 = 100;
/// Messages of a chat where there are many chats.
pub(crate) const MESSAGES_PER_CHAT: u64 = 100;
/// A page is at most so many items, and such a part of the smallest chat that pages in its middle are full.
const MAX_PAGE: u64 = 100;
const PAGES_PER_CHAT: u64 = 4;
const CONNECTIONS: usize = 64;
/// A round of posts is short, so that the small size stays small.
const POSTS_MEASURED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(crate) struct GrowthSettings {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Messages in many chats.
    pub(crate) messages: u64,
    /// Messages in one chat.
    pub(crate) chat_messages: u64,
}

/// How messages are spread over chats.
#[derive(Debug, Clone, Copy)]
struct Shape {
    chats: u32,
    messages_per_chat: u64,
    /// Items of a page, the same for both sizes.
    page: u64,
}

/// A Tally that was filled.
struct Filled {
    tally: Tally,
    application: Application,
    reads: ShapeReads,
}

pub(crate) fn run(
    program: &Path,
    scratch: &Path,
    root: &Path,
    settings: &GrowthSettings,
) -> Result<Growth, BenchError> {
    let machine = Machine::describe(root);
    let many = |messages: u64| Shape {
        chats: u32::try_from(messages / MESSAGES_PER_CHAT).unwrap_or(u32::MAX),
        messages_per_chat: MESSAGES_PER_CHAT,
        page: MESSAGES_PER_CHAT / PAGES_PER_CHAT,
    };
    let page = MAX_PAGE.min(settings.chat_messages / FACTOR / PAGES_PER_CHAT);
    let one = |messages_per_chat| Shape { chats: 1, messages_per_chat, page };
    let mut rows = measure(program, scratch, settings, many(settings.messages / FACTOR), many(settings.messages))?;
    let (small, large) = (one(settings.chat_messages / FACTOR), one(settings.chat_messages));
    rows.extend(measure(program, scratch, settings, small, large)?);
    Ok(Growth { machine, seconds: settings.measured.as_secs_f64(), rows })
}

/// Measures both sizes in turn.
fn measure(
    program: &Path,
    scratch: &Path,
    settings: &GrowthSettings,
    small: Shape,
    large: Shape,
) -> Result<Vec<GrowthRow>, BenchError> {
    let directory = tempfile::tempdir_in(scratch).map_err(BenchError::file(scratch))?;
    let sizes = [(small, "small"), (large, "large")];
    let mut filled = Vec::new();
    for (shape, name) in sizes {
        filled.push(fill_shape(program, &directory.path().join(name), shape)?);
    }
    let mut rows = Vec::new();
    let row = |work: &str, [small_rounds, large_rounds]: [Vec<Round>; 2]| GrowthRow {
        work: work.to_owned(),
        small: small.describe(),
        large: large.describe(),
        small_rounds,
        large_rounds,
    };
    for read in [Read::One, Read::Page, Read::Rare, Read::Common] {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..settings.rounds {
            for (filled, rounds) in filled.iter().zip(&mut rounds) {
                let (address, mut reading) = (filled.application.addresses.read, filled.reads.reading(read));
                rounds.push(load_for(address, settings.warm_up, settings.measured, &mut reading)?);
            }
        }
        rows.push(row(reads::name(read), rounds));
        rows.last().into_iter().for_each(say_growth);
    }
    // Posts are last, because they change the sizes.
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..settings.rounds {
        for ((filled, rounds), (shape, _)) in filled.iter_mut().zip(&mut rounds).zip(sizes) {
            let application = &mut filled.application;
            let chats = 1..=shape.chats.min(CHATS);
            let mut posting = Posting::new(&application.token, chats.clone(), Sequence::Endless);
            let measured = settings.measured.min(POSTS_MEASURED);
            rounds.push(load_for(application.addresses.write, settings.warm_up, measured, &mut posting)?);
            application.record(chats, posting.acknowledged())?;
            application.await_projections()?;
        }
    }
    rows.push(row("POST", rounds));
    rows.last().into_iter().for_each(say_growth);
    for filled in filled {
        filled.application.check_counts()?;
        filled.tally.process.stop()?;
    }
    Ok(rows)
}

fn fill_shape(program: &Path, data: &Path, shape: Shape) -> Result<Filled, BenchError> {
    let tally = Tally::start(program, data)?;
    let mut application = Application::create(tally.addresses, shape.chats)?;
    let sequence = Sequence::Each { messages: shape.messages_per_chat, rare_every: shape.rare_every() };
    application.fill(1..=shape.chats, fill::CONNECTIONS, sequence)?;
    // Posts to the first chat, after everything that is read from it.
    application.await_projections()?;
    let reads = ShapeReads::fetch(&application, shape)?;
    Ok(Filled { tally, application, reads })
}

fn load_for(
    address: std::net::SocketAddr,
    warm_up: Duration,
    measured: Duration,
    workload: &mut impl Workload,
) -> Result<Round, BenchError> {
    let plan = Plan { address, connections: CONNECTIONS, warm_up, measured, pace: Pace::Closed };
    let loaded = load::run(&plan, workload);
    loaded.map_err(|source| BenchError::Load { work: "growth".to_owned(), server: "tally", source })
}

impl Shape {
    fn describe(&self) -> String {
        let messages = format_figure((u64::from(self.chats) * self.messages_per_chat) as f64, 0);
        match self.chats {
            1 => format!("{messages} in one chat"),
            chats => format!("{messages} in {} chats", format_figure(chats.into(), 0)),
        }
    }

    /// Many chats have one message each with the rare word, and one chat has ten, whatever the size.
    const fn rare_every(&self) -> u64 {
        if self.chats == 1 { self.messages_per_chat / 10 } else { self.messages_per_chat }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rare_word_is_as_frequent_in_a_chat_whatever_the_size() {
        let hits = |chats, messages_per_chat| {
            let shape = Shape { chats, messages_per_chat, page: 25 };
            messages_per_chat / shape.rare_every()
        };
        assert_eq!((hits(100, 100), hits(10_000, 100)), (1, 1));
        assert_eq!((hits(1, 3_000), hits(1, 300_000)), (10, 10));
    }

    #[test]
    fn a_shape_is_told_with_its_sizes() {
        let text = |chats, messages_per_chat| Shape { chats, messages_per_chat, page: 25 }.describe();
        assert_eq!(text(10_000, 100), "1,000,000 in 10,000 chats");
        assert_eq!(text(1, 3_000), "3,000 in one chat");
    }
}
