//! The messages that are posted: varied words, the same in every run.

/// Bytes, and characters, of every body.
pub(crate) const BODY_BYTES: usize = 62;
/// A word of every fourth body.
pub(crate) const COMMON: &str = "please";
/// A word of the few bodies that are asked for it.
pub(crate) const RARE: &str = "zugzwang";
/// One body in so many has the common word.
const COMMON_EVERY: u64 = 4;

/// Different bodies of one load; afterwards they come again.
pub(crate) const POOL: u64 = 1 << 14;
/// Different bodies with the rare word.
pub(crate) const RARE_POOL: u64 = 16;

/// None of these words has the common or the rare word as a part.
const WORDS: [&str; 128] = [
    "a", "about", "account", "address", "after", "again", "all", "already", "always", "an", "and", "another", "answer",
    "any", "are", "as", "ask", "at", "back", "be", "because", "been", "before", "bring", "but", "by", "call", "can",
    "change", "check", "city", "code", "colour", "come", "could", "customer", "day", "delivery", "did", "do", "door",
    "drive", "each", "early", "email", "evening", "every", "family", "few", "first", "for", "friend", "from", "garden",
    "get", "give", "good", "had", "has", "have", "hello", "help", "here", "how", "if", "in", "invoice", "is", "it",
    "just", "kitchen", "know", "last", "later", "letter", "light", "list", "look", "made", "many", "maybe", "meeting",
    "money", "morning", "my", "name", "new", "next", "night", "no", "not", "now", "number", "of", "on", "open", "or",
    "order", "our", "package", "phone", "price", "question", "quick", "ready", "right", "school", "send", "ship", "so",
    "somebody", "soon", "still", "thanks", "that", "the", "then", "ticket", "to", "tomorrow", "train", "until", "very",
    "week", "what", "when", "with", "yes",
];

/// The body of a chat's message, counted from 0. One in `rare_every`, in the middle, has the rare word.
pub(crate) fn in_chat(message: u64, rare_every: u64) -> String {
    if is_rare(message, rare_every) { rare(message % RARE_POOL) } else { plain(message % POOL) }
}

/// Whether a chat's message, counted from 0, has the rare word.
pub(crate) fn is_rare(message: u64, rare_every: u64) -> bool {
    message % rare_every == rare_every / 2
}

/// The body with this index.
pub(crate) fn plain(index: u64) -> String {
    fill(if index.is_multiple_of(COMMON_EVERY) { COMMON } else { "hi" }, index)
}

/// A body with the rare word, and without the common one.
pub(crate) fn rare(index: u64) -> String {
    fill(RARE, index)
}

fn fill(first_word: &str, index: u64) -> String {
    let mut state = index;
    let mut body = String::from(first_word);
    while body.len() < BODY_BYTES {
        let random = next_random(&mut state);
        body.push(' ');
        // Numbers, such as of orders, make texts that no list of words has.
        if random.is_multiple_of(16) {
            body.push_str(&(random >> 32).to_string()[..4]);
        } else {
            body.push_str(WORDS[(random >> 32) as usize % WORDS.len()]);
        }
    }
    body.truncate(BODY_BYTES - 1);
    body.push('.');
    body
}

/// SplitMix64, which gives unlike numbers even from seeds that follow each other.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BODIES: u64 = 20_000;

    #[test]
    fn bodies_have_one_length_and_need_no_escape() {
        for index in 0..BODIES {
            for body in [plain(index), rare(index)] {
                assert_eq!(body.len(), BODY_BYTES, "{body}");
                assert_eq!(serde_json::to_string(&body).unwrap(), format!("\"{body}\""));
                assert_eq!(body, body.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn bodies_differ() {
        let bodies: HashSet<_> = (0..BODIES).map(plain).collect();
        assert_eq!(bodies.len() as u64, BODIES);
    }

    #[test]
    fn only_the_intended_bodies_have_the_common_and_the_rare_word() {
        for index in 0..BODIES {
            assert_eq!(plain(index).contains(COMMON), index % 4 == 0, "{}", plain(index));
            assert!(!plain(index).contains(RARE));
            assert!(rare(index).contains(RARE) && !rare(index).contains(COMMON));
        }
    }
}
