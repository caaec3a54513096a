//! Bounds how many lines are logged, however often something happens.
//!
//! While a server is away, the same lines would come many times a second, from every loop and every request that needs it.
//! Each kind of line is written once a minute. The others are counted, and at the end of the minute a line says how many
//! there were. Lines of the levels debug and trace are left alone: whoever asks for them wants all of them.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::request_log;

/// Time between two summaries.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// How many kinds of lines of one place in the code are written in an interval. Lines of one place differ in their reasons,
/// say; without a bound, whoever can choose such a reason could fill the log.
const MAX_KINDS: usize = 4;
/// The same of panics. They come from everywhere, but all are written by one place: the panic hook.
const MAX_PANIC_KINDS: usize = 100;
/// The target of the lines that the panic hook writes.
pub(super) const PANIC_TARGET: &str = concat!(module_path!(), "::panic");
/// Lines are compared, and a summary's example is cut, after this many characters.
const MAX_CHARACTERS: usize = 300;

/// Counts the lines of the current interval. Clones share the counts.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<Identifier, Lines>>>);

/// The lines of one place in the code.
struct Lines {
    metadata: &'static Metadata<'static>,
    /// The kinds that were written.
    kinds: Vec<String>,
    left_out: u64,
    /// The first line that was left out.
    example: String,
}

impl Repeats {
    /// Whether a line is to be written. Counts it otherwise.
    fn admit(&self, event: &Event<'_>) -> bool {
        let text = format_fields(event);
        let kind = to_kind(&text);
        let mut places = self.0.lock();
        let metadata = event.metadata();
        let lines = places.entry(metadata.callsite()).or_insert_with(|| Lines {
            metadata,
            kinds: Vec::new(),
            left_out: 0,
            example: String::new(),
        });
        let max_kinds = if metadata.target() == PANIC_TARGET { MAX_PANIC_KINDS } else { MAX_KINDS };
        if lines.kinds.len() < max_kinds && !lines.kinds.contains(&kind) {
            lines.kinds.push(kind);
            return true;
        }
        if lines.left_out == 0 {
            lines.example = text;
        }
        lines.left_out += 1;
        false
    }

    /// Writes how many lines were left out, and begins a new interval.
    pub(super) fn summarize(&self) {
        // The summaries pass through this layer too, so the lock must be free again.
        let places = std::mem::take(&mut *self.0.lock());
        for Lines { metadata, left_out, example, .. } in places.into_values().filter(|lines| lines.left_out > 0) {
            let from = metadata.target();
            match *metadata.level() {
                Level::ERROR => tracing::error!(more = left_out, from, example, "… and {left_out} more such lines"),
                Level::WARN => tracing::warn!(more = left_out, from, example, "… and {left_out} more such lines"),
                _ => tracing::info!(more = left_out, from, example, "… and {left_out} more such lines"),
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_never_left_out = [module_path!(), request_log::TARGET].contains(&metadata.target());
        is_never_left_out || *metadata.level() > Level::INFO || self.admit(event)
    }
}

/// Replaces each run of digits by one, so that lines that differ in a number, such as an offset or a duration, are of one kind.
fn to_kind(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    for character in text.chars() {
        let character = if character.is_ascii_digit() { '0' } else { character };
        if character != '0' || !kind.ends_with('0') {
            kind.push(character);
        }
    }
    kind
}

/// The field with the id of the request that a line is about. Lines that differ in nothing else are repeats.
const REQUEST_ID: &str = "request_id";

/// The message and the fields of a line, without the id of its request.
fn format_fields(event: &Event<'_>) -> String {
    let mut text = FieldsText(String::new());
    event.record(&mut text);
    match text.0.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => text.0[..end].to_owned(),
        None => text.0,
    }
}

struct FieldsText(String);

impl Visit for FieldsText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let before = if self.0.is_empty() { "" } else { " " };
        // A string takes any text.
        let _never = match field.name() {
            REQUEST_ID => Ok(()),
            "message" => write!(self.0, "{before}{value:?}"),
            name => write!(self.0, "{before}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    /// Keeps the lines that are written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(format_fields(event));
        }
    }

    fn written_by(test: impl FnOnce(&Repeats)) -> Vec<String> {
        let (repeats, written) = (Repeats::default(), Written::default());
        let subscriber = registry().with(repeats.clone()).with(written.clone());
        tracing::subscriber::with_default(subscriber, || test(&repeats));
        let lines = written.0.lock();
        lines.clone()
    }

    fn bake(oven: u32, reason: &str) {
        tracing::warn!(oven, reason, "no cake");
    }

    #[test]
    fn a_line_is_written_once_and_its_repeats_are_counted_until_the_summary() {
        let lines = written_by(|repeats| {
            for oven in 0..100 {
                bake(oven, "no gas");
            }
            tracing::info!("the day is over");
            repeats.summarize();
            bake(7, "no gas");
            repeats.summarize();
        });
        assert_eq!(
            lines,
            [
                "no cake oven=0 reason=\"no gas\"",
                "the day is over",
                &*format!(
                    "… and 99 more such lines more=99 from={:?} example=\"no cake oven=1 reason=\\\"no gas\\\"\"",
                    module_path!()
                ),
                "no cake oven=7 reason=\"no gas\"",
            ]
        );
    }

    #[test]
    fn other_reasons_are_written_but_not_without_a_bound() {
        let lines = written_by(|repeats| {
            for reason in ["no gas", "no flour", "no gas"] {
                bake(1, reason);
            }
            for length in 1..=100 {
                bake(1, &"x".repeat(length));
            }
            repeats.summarize();
        });
        assert_eq!(lines.len(), MAX_KINDS + 1, "{lines:?}");
        assert!(lines[1].contains("no flour") && lines[MAX_KINDS].contains("more=99"), "{lines:?}");
    }

    #[test]
    fn the_id_of_a_request_makes_no_other_line() {
        let lines = written_by(|repeats| {
            for request_id in ["one", "two", "three"] {
                tracing::warn!(request_id, reason = "no gas", "no cake");
            }
            repeats.summarize();
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn the_request_log_is_written_in_full() {
        let lines = written_by(|repeats| {
            for _ in 0..100 {
                tracing::info!(target: request_log::TARGET, route = "/cake", "answered");
            }
            repeats.summarize();
        });
        assert_eq!(lines.len(), 100);
    }

    #[test]
    fn details_are_all_written() {
        let lines = written_by(|_| {
            for _ in 0..100 {
                tracing::debug!("an egg");
            }
        });
        assert_eq!(lines.len(), 100);
    }
}
