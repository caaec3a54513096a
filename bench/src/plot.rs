//! Bar charts as SVG.

use std::fmt::Write;
use std::path::Path;

use crate::error::BenchError;
use crate::load::Round;
use crate::results::{Comparison, GrowthRow, Results};
use crate::statistics::{Spread, format_figure};

const LABEL_WIDTH: f64 = 300.0;
const BARS_WIDTH: f64 = 420.0;
const FIGURE_WIDTH: f64 = 120.0;
const BAR_HEIGHT: f64 = 14.0;
const GAP_HEIGHT: f64 = 10.0;
const TOP_HEIGHT: f64 = 56.0;
/// Of the series, in their order.
const COLOURS: [&str; 2] = ["#9aa5b1", "#2b6cb0"];

/// A chart of horizontal bars. Each row has a bar for each series.
struct Chart<'a> {
    title: &'a str,
    series: [&'a str; 2],
    decimals: usize,
    rows: Vec<(String, [Spread; 2])>,
}

/// Writes the charts of the results into the directory.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<(), BenchError> {
    std::fs::create_dir_all(directory).map_err(BenchError::file(directory))?;
    for (name, chart) in charts(results) {
        let path = directory.join(name);
        std::fs::write(&path, chart.render()).map_err(BenchError::file(path))?;
    }
    Ok(())
}

fn charts(results: &Results) -> Vec<(&'static str, Chart<'static>)> {
    let mut charts = Vec::new();
    if let Some(embedded) = &results.embedded {
        let rows = |is_open: bool, figure: fn(&Round) -> f64| {
            let of_loop = move |comparison: &&Comparison| comparison.offered_per_second.is_some() == is_open;
            embedded.comparisons.iter().filter(of_loop).filter_map(|comparison| row(comparison, figure)).collect()
        };
        let series = ["the limit", "Tally"];
        let title = "Requests/s, closed loop (median, and lowest to highest round)";
        charts.push((
            "throughput.svg",
            Chart { title, series, decimals: 0, rows: rows(false, |round| round.per_second) },
        ));
        let title = "p99 in ms at half of Tally's throughput, open loop";
        charts.push(("latency.svg", Chart { title, series, decimals: 1, rows: rows(true, |round| round.p99_ms) }));
    }
    if let Some(growth) = &results.growth {
        let figures = |rounds: &[Round]| Spread::of(rounds.iter().map(|round| round.per_second));
        let label = |row: &GrowthRow| format!("{}, {}", row.work, row.large);
        let row = |row: &GrowthRow| Some((label(row), [figures(&row.small_rounds)?, figures(&row.large_rounds)?]));
        let rows = growth.rows.iter().filter_map(row).collect();
        let title =
            "Requests/s of Tally with a hundredth of the messages, and with all (median, and lowest to highest round)";
        charts.push(("growth.svg", Chart { title, series: ["a hundredth", "all"], decimals: 0, rows }));
    }
    charts
}

fn row(comparison: &Comparison, figure: fn(&Round) -> f64) -> Option<(String, [Spread; 2])> {
    let limit = Spread::of(comparison.limit.iter().map(figure))?;
    let tally = Spread::of(comparison.tally.iter().map(figure))?;
    Some((format!("{}, {} connections", comparison.work, comparison.connections), [limit, tally]))
}

impl Chart<'_> {
    fn render(&self) -> String {
        let row_height = 2.0 * BAR_HEIGHT + GAP_HEIGHT;
        let (width, height) =
            (LABEL_WIDTH + BARS_WIDTH + FIGURE_WIDTH, TOP_HEIGHT + row_height * self.rows.len() as f64);
        let highest = self.rows.iter().flat_map(|(_, spreads)| spreads).map(|spread| spread.highest);
        let scale = BARS_WIDTH / highest.fold(f64::MIN_POSITIVE, f64::max);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        push_text(&mut svg, 8.0, 18.0, self.title);
        for (index, (name, colour)) in self.series.into_iter().zip(COLOURS).enumerate() {
            let x = LABEL_WIDTH + 110.0 * index as f64;
            push_rect(&mut svg, (x, 30.0), (12.0, 12.0), colour);
            push_text(&mut svg, x + 18.0, 40.0, name);
        }
        for (index, (label, spreads)) in self.rows.iter().enumerate() {
            let top = TOP_HEIGHT + row_height * index as f64;
            push_text(&mut svg, 8.0, top + BAR_HEIGHT + 4.0, label);
            for (index, (spread, colour)) in spreads.iter().zip(COLOURS).enumerate() {
                let y = top + BAR_HEIGHT * index as f64;
                push_rect(&mut svg, (LABEL_WIDTH, y), (spread.median * scale, BAR_HEIGHT - 2.0), colour);
                let from = LABEL_WIDTH + spread.lowest * scale;
                let range = (spread.highest - spread.lowest) * scale;
                push_rect(&mut svg, (from, y + BAR_HEIGHT / 2.0 - 1.5), (range, 1.0), "black");
                let after = LABEL_WIDTH + spread.highest * scale + 6.0;
                push_text(&mut svg, after, y + BAR_HEIGHT - 4.0, &format_figure(spread.median, self.decimals));
            }
        }
        svg + "</svg>\n"
    }
}

fn push_rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn push_text(svg: &mut String, x: f64, y: f64, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{escaped}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::samples;

    #[test]
    fn the_longest_bar_fills_its_width_and_others_are_in_proportion() {
        let results = Results { embedded: Some(samples::side_by_side()), ..Results::default() };
        let charts = charts(&results);
        let svg = charts[0].1.render();
        // The highest round had 30,000 /s, so that the medians of 20,000 and 10,000 /s have two thirds and one.
        for part in
            ["width=\"280.0\" height=\"12.0\" fill=\"#9aa5b1\"", "width=\"140.0\" height=\"12.0\" fill=\"#2b6cb0\""]
        {
            assert!(svg.contains(part), "{part}\nis not in\n{svg}");
        }
        assert!(svg.contains(">POST, 64 connections</text>") && svg.contains(">20,000</text>"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn text_is_escaped() {
        let mut svg = String::new();
        push_text(&mut svg, 0.0, 0.0, "a<b & c");
        assert_eq!(svg, "<text x=\"0.0\" y=\"0.0\">a&lt;b &amp; c</text>\n");
    }
}
