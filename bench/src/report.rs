//! What a run writes to standard output while it goes on.

use std::io::Write;

use crate::load::Round;
use crate::results::{Comparison, GrowthRow, Value};
use crate::statistics::spread_text;

/// Writes a line. Standard output may be closed, which changes no figure.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Writes the figures of a comparison; `other` names the server beside Tally.
pub(crate) fn say_comparison(comparison: &Comparison, other: &str) {
    say(&describe(comparison, other));
}

pub(crate) fn say_value(value: &Value) {
    say(&format!("{}: {} {}", value.what, spread_text(value.rounds.iter().copied(), value.decimals), value.unit));
}

/// Writes how many times as slow the large size is.
pub(crate) fn say_growth(row: &GrowthRow) {
    let per_second = |rounds: &[Round]| spread_text(rounds.iter().map(|round| round.per_second), 0);
    let (small, large) = (per_second(&row.small_rounds), per_second(&row.large_rounds));
    let slowdown = spread_text(row.slowdown(), 2);
    say(&format!("{:24} {}: {small} /s, {}: {large} /s, {slowdown} times as slow", row.work, row.small, row.large));
}

fn describe(comparison: &Comparison, other: &str) -> String {
    let loop_name = comparison.offered_per_second.map_or("", |_| ", open");
    let name = format!("{} at {}{loop_name}", comparison.work, comparison.connections);
    let line = |who: &str, rounds: &[Round]| {
        let of = |figure: fn(&Round) -> f64, decimals| spread_text(rounds.iter().map(figure), decimals);
        let rate = of(|round| round.per_second, 0);
        let (p50, p99) = (of(|round| round.p50_ms, 2), of(|round| round.p99_ms, 1));
        let load = spread_text(rounds.iter().filter_map(|round| round.generator_us), 0);
        format!("{name:40} {who:6} {rate} /s, p50 {p50} ms, p99 {p99} ms, {load} µs of load\n")
    };
    let ratio = spread_text(comparison.ratios(), 2);
    line(other, &comparison.limit) + &line("tally", &comparison.tally) + &format!("{name:40} {:6} {ratio}", "ratio")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::samples;

    #[test]
    fn a_comparison_has_a_line_for_each_server_and_one_for_their_ratio() {
        let text = describe(&samples::side_by_side().comparisons[0], "limit");
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "POST at 64 limit 20,000 (10,000–30,000) /s, p50 1.00 ms, p99 2.0 ms, 9 µs of load",
            "POST at 64 tally 10,000 (4,000–18,000) /s, p50 1.00 ms, p99 2.0 ms, 9 µs of load",
            "POST at 64 ratio 0.50 (0.40–0.60)",
        ];
        assert_eq!(lines, expected);
    }
}
