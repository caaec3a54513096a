//! Medians and spreads of a few rounds, and their text.

/// The median of some figures with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest })
    }

    /// "12,000 (11,000–13,000)"; only the median if the spread has no width at this precision.
    pub(crate) fn to_text(self, decimals: usize) -> String {
        let text = |figure| format_figure(figure, decimals);
        let (median, lowest, highest) = (text(self.median), text(self.lowest), text(self.highest));
        if lowest == highest { median } else { format!("{median} ({lowest}–{highest})") }
    }
}

/// The text of `Spread::of`, or a dash without figures.
pub(crate) fn spread_text(figures: impl IntoIterator<Item = f64>, decimals: usize) -> String {
    Spread::of(figures).map_or_else(|| "–".to_owned(), |spread| spread.to_text(decimals))
}

/// Formats a figure with thousands separated by commas.
pub(crate) fn format_figure(figure: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", figure.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut separated = String::from(if figure < 0.0 { "-" } else { "" });
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            separated.push(',');
        }
        separated.push(digit);
    }
    separated + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_middle_figures() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, lowest: 3.0, highest: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, lowest: 1.0, highest: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, lowest: 1.0, highest: 9.0 }));
    }

    #[test]
    fn figures_have_separators_and_the_wanted_decimals() {
        let cases = [(0.0, 0, "0"), (999.5, 0, "1,000"), (1_234_567.0, 0, "1,234,567"), (1_234.56, 1, "1,234.6")];
        for (figure, decimals, expected) in cases {
            assert_eq!(format_figure(figure, decimals), expected);
        }
        assert_eq!(format_figure(-1_234.0, 0), "-1,234");
    }

    #[test]
    fn a_spread_is_shown_only_if_it_has_a_width() {
        assert_eq!(spread_text([1_200.0, 900.0, 1_000.0], 0), "1,000 (900–1,200)");
        assert_eq!(spread_text([1.001, 1.002], 2), "1.00");
        assert_eq!(spread_text([], 2), "–");
    }
}
