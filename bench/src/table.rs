//! The Markdown tables of the results, between two markers of README.md (a few rows) and docs/performance.md (all).

use std::path::Path;

use crate::access;
use crate::error::BenchError;
use crate::feed;
use crate::load::Round;
use crate::machine::Machine;
use crate::results::{Comparison, Figures, Growth, GrowthRow, Results, SideBySide, Value};
use crate::statistics::{Spread, format_figure, spread_text};
use crate::work::CHATS;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
/// Connections of the rows that README shows.
const SUMMARY_CONNECTIONS: usize = 64;

/// Writes the tables into the documents of the repository.
pub(crate) fn write(results: &Results, root: &Path) -> Result<(), BenchError> {
    write_into(&root.join("README.md"), &render_summary(results))?;
    write_into(&root.join("docs/performance.md"), &render(results))
}

fn write_into(path: &Path, tables: &str) -> Result<(), BenchError> {
    let text = std::fs::read_to_string(path).map_err(BenchError::file(path))?;
    let missing = || BenchError::Wrong(format!("{} must have lines {BEGIN} and {END}", path.display()));
    let replaced = replace_between_markers(&text, tables).ok_or_else(missing)?;
    std::fs::write(path, replaced).map_err(BenchError::file(path))
}

fn replace_between_markers(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}{END}{after}"))
}

/// The throughput of one process at [`SUMMARY_CONNECTIONS`].
fn render_summary(results: &Results) -> String {
    let Some(embedded) = &results.embedded else {
        return String::new();
    };
    let machine = embedded.machine.to_text();
    let mut text = format!(
        "\nOne process, {SUMMARY_CONNECTIONS} connections; {machine}:\n\n| work | Tally | of the limit |\n|---|---|---|\n"
    );
    let is_shown = |comparison: &&Comparison| {
        comparison.connections == SUMMARY_CONNECTIONS && comparison.offered_per_second.is_none()
    };
    for comparison in embedded.comparisons.iter().filter(is_shown) {
        let median = |values: Vec<f64>, decimals| {
            Spread::of(values).map_or_else(String::new, |spread| format_figure(spread.median, decimals))
        };
        let tally = median(comparison.tally.iter().map(|round| round.per_second).collect(), 0);
        text += &format!("| {} | {tally} /s | {} |\n", comparison.work, median(comparison.ratios().collect(), 2));
    }
    if let Some(feed) = &results.feed {
        text += &render_latencies(feed);
    }
    text + "\n"
}

/// How soon whoever follows hears of a post.
fn render_latencies(Figures { machine, values }: &Figures) -> String {
    let latencies = values.iter().filter(|value| value.what.starts_with(feed::LATENCY));
    format!("\nHow soon a follower hears of a post; {}:\n", machine.to_text()) + &render_values("feed", latencies)
}

fn render(results: &Results) -> String {
    let mut text = String::new();
    if let Some(embedded) = &results.embedded {
        text += &render_side_by_side("One process", "the limit", embedded);
        text += "\n![throughput](../bench/plots/throughput.svg)\n![latency](../bench/plots/latency.svg)\n";
    }
    if let Some(growth) = &results.growth {
        text += &render_growth(growth);
        text += "\n![growth](../bench/plots/growth.svg)\n";
    }
    if let Some(servers) = &results.servers {
        text += &render_side_by_side("Three programs on servers", "bare", servers);
    }
    if let Some(rebuild) = &results.rebuild {
        text += &format!("\n**Rebuilds in one process**: {}; median (lowest–highest).\n", rebuild.machine.to_text());
        text += &render_values("rebuilds while a client reads", &rebuild.values);
    }
    for (title, feed) in [("Feed of one process", &results.feed), ("Feed of three programs", &results.feed_servers)] {
        if let Some(feed) = feed {
            text += &format!("\n**{title}**: {}; median (lowest–highest).\n", feed.machine.to_text());
            text += &render_values("followers", &feed.values);
        }
    }
    let access =
        format!("POST to {CHATS} chats over {} connections; revocations under light load", access::CONNECTIONS);
    for (title, figures) in [
        ("Credentials, one process", &results.access),
        ("Credentials, three programs on servers", &results.access_servers),
    ] {
        if let Some(Figures { machine, values }) = figures {
            text += &format!("\n**{title}**: {}; median (lowest–highest).\n", machine.to_text());
            text += &render_values(&access, values);
        }
    }
    text + "\n"
}

fn render_side_by_side(title: &str, other: &str, run: &SideBySide) -> String {
    let rounds = run.comparisons.first().map_or(0, |comparison| comparison.tally.len());
    let mut text = render_title(title, &run.machine, rounds, run.seconds);
    let (open, closed): (Vec<_>, Vec<_>) =
        run.comparisons.iter().partition(|comparison| comparison.offered_per_second.is_some());
    text += &format!("\n| throughput, closed loop | {other} | Tally | ratio |\n|---|---|---|---|\n");
    text.extend(closed.into_iter().map(closed_row));
    if !open.is_empty() {
        text += &format!("\n| p50, p99, p99.9, open loop | {other} | Tally |\n|---|---|---|\n");
        text.extend(open.into_iter().map(open_row));
    }
    text + &render_values("other figures", &run.values)
}

fn render_values<'a>(title: &str, values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = format!("\n| {title} | |\n|---|---|\n");
    for value in values {
        let figures = spread_text(value.rounds.iter().copied(), value.decimals);
        text += format!("| {} | {figures} {}", value.what, value.unit).trim_end();
        text += " |\n";
    }
    text
}

fn render_title(title: &str, machine: &Machine, rounds: usize, seconds: f64) -> String {
    let machine = machine.to_text();
    format!("\n**{title}**: {machine}; {rounds} rounds of {seconds} s, in turn; median (lowest–highest).\n")
}

fn render_growth(growth: &Growth) -> String {
    let rounds = growth.rows.first().map_or(0, |row| row.large_rounds.len());
    let mut text = render_title("Growth", &growth.machine, rounds, growth.seconds);
    text += "\n| 64 connections | few messages | a hundred times as many | times as slow |\n|---|---|---|---|\n";
    for row in &growth.rows {
        let GrowthRow { work, small, large, small_rounds, large_rounds } = row;
        let slowdown = row.slowdown().map_or_else(|| "–".to_owned(), |slowdown| format_figure(slowdown, 2));
        let (few, many) = (per_second(small_rounds), per_second(large_rounds));
        text += &format!("| {work} | {small}: {few} | {large}: {many} | {slowdown} |\n");
    }
    text
}

fn per_second(rounds: &[Round]) -> String {
    spread_text(rounds.iter().map(|round| round.per_second), 0) + " /s"
}

fn closed_row(comparison: &Comparison) -> String {
    let Comparison { work, connections, .. } = comparison;
    let (limit, tally) = (per_second(&comparison.limit), per_second(&comparison.tally));
    let ratio = spread_text(comparison.ratios(), 2);
    format!("| {work}, {connections} connections | {limit} | {tally} | {ratio} |\n")
}

fn open_row(comparison: &Comparison) -> String {
    let Comparison { work, connections, .. } = comparison;
    let latencies = |rounds: &[Round]| {
        let of = |latency: fn(&Round) -> f64| spread_text(rounds.iter().map(latency), 1);
        format!("{}, {}, {} ms", of(|round| round.p50_ms), of(|round| round.p99_ms), of(|round| round.p999_ms))
    };
    let (limit, tally) = (latencies(&comparison.limit), latencies(&comparison.tally));
    let offered = format_figure(comparison.offered_per_second.unwrap_or_default(), 0);
    format!("| {work}, {offered} /s over {connections} connections | {limit} | {tally} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::samples;

    #[test]
    fn the_table_has_medians_and_spreads() {
        let embedded = Some(samples::side_by_side());
        let text = render(&Results { embedded, growth: Some(samples::growth()), ..Results::default() });
        let closed =
            "| POST, 64 connections | 20,000 (10,000–30,000) /s | 10,000 (4,000–18,000) /s | 0.50 (0.40–0.60) |";
        let open = "| POST, 5,000 /s over 64 connections | 1.0, 2.0, 3.0 ms | 1.0, 2.0, 3.0 ms |";
        let value = "| bytes on disk a message | 615 bytes |";
        let growth =
            "| GET one | 3000 in one chat: 2,600 (900–3,000) /s | 300000 in one chat: 2,000 (1,000–2,500) /s | 1.30 |";
        for line in
            [closed, open, value, growth, "2 cores, 4 GiB, Linux 6.1, commit abc, 2026-01-02; 3 rounds of 5 s, in turn"]
        {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_summary_has_a_row_for_each_closed_load() {
        let text = render_summary(&Results { embedded: Some(samples::side_by_side()), ..Results::default() });
        let rows: Vec<_> = text.lines().filter(|line| line.contains("/s")).collect();
        assert_eq!(rows, ["| POST | 10,000 /s | 0.50 |"]);
        assert_eq!(render_summary(&Results::default()), "");
    }

    #[test]
    fn the_summary_says_how_soon_followers_hear_of_a_post() {
        let value = |what: String| Value { what, unit: "ms".to_owned(), decimals: 1, rounds: vec![1.0, 3.0, 2.0] };
        let values = vec![value(format!("{}, p50", feed::LATENCY)), value("memory".to_owned())];
        let side_by_side = samples::side_by_side();
        let feed = Some(Figures { machine: side_by_side.machine.clone(), values });
        let text = render_summary(&Results { embedded: Some(side_by_side), feed, ..Results::default() });
        assert!(text.contains("| 201 to listener, p50 | 2.0 (1.0–3.0) ms |"), "{text}");
        assert!(!text.contains("memory"), "{text}");
    }

    #[test]
    fn the_table_has_what_access_costs() {
        let ratio = Value { what: "with a key".to_owned(), unit: String::new(), decimals: 2, rounds: vec![0.97] };
        let access = Some(Figures { machine: samples::side_by_side().machine, values: vec![ratio] });
        let text = render(&Results { access: access.clone(), access_servers: access, ..Results::default() });
        for line in
            ["**Credentials, one process**", "**Credentials, three programs on servers**", "| with a key | 0.97 |"]
        {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let replaced = replace_between_markers(&text, "new\n").unwrap();
        assert_eq!(replaced, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace_between_markers(&replaced, "new\n").unwrap(), replaced);
        for broken in ["", BEGIN, END, "no marker"] {
            assert_eq!(replace_between_markers(broken, "new\n"), None);
        }
    }
}
