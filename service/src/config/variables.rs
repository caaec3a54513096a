//! The environment variables of the product.

/// The prefix of every variable of the product.
const PREFIX: &str = "TALLY_";

/// A variable that has the product's prefix but is unknown. It is probably misspelt, and would have no effect.
#[derive(Debug, thiserror::Error)]
#[error("the environment has {0}, which Tally does not know; correct or unset it (--help lists the variables)")]
pub struct UnknownVariable(String);

/// Refuses an environment with a misspelt variable. `known` lists every variable of the product, one a line.
///
/// # Errors
/// [`UnknownVariable`] names the first in alphabetical order.
pub fn refuse_unknown_variables(known: &str) -> Result<(), UnknownVariable> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    refuse_unknown(known, names)
}

pub(super) fn refuse_unknown(known: &str, names: impl Iterator<Item = String>) -> Result<(), UnknownVariable> {
    let is_unknown = |name: &String| name.starts_with(PREFIX) && !known.lines().any(|line| line == name);
    names.filter(is_unknown).min().map_or(Ok(()), |name| Err(UnknownVariable(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_refused_by_name() {
        let known = include_str!("../../../variables.txt");
        let names = |names: &[&str]| refuse_unknown(known, names.iter().map(ToString::to_string));
        assert!(names(&["PATH", "TALLY_DATA", "TALLYHO", "TALLY_KAFKA_BROKERS"]).is_ok());
        let refused = names(&["TALLY_DATA", "TALLY_DATTA"]).unwrap_err();
        assert!(refused.to_string().contains("TALLY_DATTA"), "{refused}");
    }
}
