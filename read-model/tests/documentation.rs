//! The tables of `docs/search.md` are true.

use read_model::folding::fold;
use read_model::{FoldingVersion, SearchText};

const PAGE: &str = include_str!("../../docs/search.md");

/// The two texts of each row of the table below a heading.
fn rows(heading: &str) -> Vec<(String, String)> {
    let section = PAGE.split("\n## ").find_map(|section| section.strip_prefix(heading)).expect("a section");
    let rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('`').skip(1).step_by(2).map(decode).collect::<Vec<_>>());
    cells.filter_map(|texts| <[String; 2]>::try_from(texts).ok().map(Into::into)).collect()
}

/// Replaces `⟨U+00AD⟩` by the character.
fn decode(text: &str) -> String {
    let mut parts = text.split("⟨U+");
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code_point, rest) = part.split_once('⟩').expect("⟩ after ⟨");
        decoded.extend(u32::from_str_radix(code_point, 16).ok().and_then(char::from_u32));
        decoded.push_str(rest);
    }
    decoded
}

fn finds(query: &str, message: &str) -> bool {
    let text = SearchText::new(query).expect("a text to search for");
    text.folded(FoldingVersion::V2).is_in(&fold(FoldingVersion::V2, message))
}

#[test]
fn the_documented_texts_are_treated_alike() {
    let rows = rows("What version 2 treats alike");
    assert_eq!(rows.len(), 44);
    for (message, query) in rows {
        assert!(finds(&query, &message), "{query} is in {message}");
        assert_eq!(fold(FoldingVersion::V2, &message), fold(FoldingVersion::V2, &query));
    }
}

#[test]
fn the_documented_texts_are_kept_apart() {
    let rows = rows("What version 2 keeps apart");
    assert_eq!(rows.len(), 19);
    for (message, query) in rows {
        assert!(!finds(&query, &message), "{query} is not in {message}");
    }
}
