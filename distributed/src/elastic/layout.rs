//! How an index of messages is made, and whether one that is there is made so.
//!
//! Text comes folded, so that the server only cuts it into pieces: each run of three code points is a term at the
//! position of its first. Such terms at consecutive positions *are* the text, so a phrase of them is found exactly where
//! the text is; that is what queries of three code points and more are. For shorter ones there is a second field whose
//! terms are the runs of one and of two, and the query is one of these terms.
//!
//! Messages and checkpoints share the index. A checkpoint has no `chat`, and every search asks for one.

use serde_json::{Value, json};

/// Shards of a new index. A chat is in one, so this bounds how many nodes can share the work, not how many chats there
/// are. It cannot be changed later but by a next generation.
const SHARDS: u32 = 4;

/// What a new index of messages is made of. `writes` is the alias that everything is written through.
pub(super) fn messages(writes: &str) -> Value {
    json!({
        "settings": {"index": {
            "number_of_shards": SHARDS,
            // A second copy as soon as there is a second node.
            "auto_expand_replicas": "0-1",
            // Each batch refreshes what it wrote, and its checkpoint waits for that. This one heals the rest: a document
            // that a second owner of the partition, since superseded, got onto a replica after that.
            "refresh_interval": "10s",
            "analysis": analysis(),
        }},
        "mappings": mappings(),
        "aliases": {writes: {}},
    })
}

/// What a new index of the pointer is made of.
pub(super) fn pointer() -> Value {
    json!({
        "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}},
        "mappings": {"dynamic": "strict", "properties": {"generation": {"type": "long"}}},
    })
}

fn analysis() -> Value {
    // No token_chars: every character counts, whether letter, blank or sign. No filter: folding has been done.
    json!({
        "tokenizer": {
            "threes": {"type": "ngram", "min_gram": 3, "max_gram": 3},
            "ones_and_twos": {"type": "ngram", "min_gram": 1, "max_gram": 2},
        },
        "analyzer": {
            "threes": {"type": "custom", "tokenizer": "threes"},
            "ones_and_twos": {"type": "custom", "tokenizer": "ones_and_twos"},
        },
    })
}

fn mappings() -> Value {
    json!({
        "dynamic": "strict",
        // What is only searched for is not kept a second time.
        "_source": {"excludes": ["chat", "folded"]},
        "properties": {
            "chat": {"type": "keyword", "doc_values": false},
            // Numbers have 32 bits without a sign: more than `integer` has.
            "number": {"type": "long"},
            "body": {"type": "text", "index": false},
            "folded": {"type": "text", "analyzer": "threes", "norms": false, "fields": {
                "short": {"type": "text", "analyzer": "ones_and_twos", "norms": false, "index_options": "docs"},
            }},
            // Kept and never looked into: offsets have 64 bits without a sign, which no type has.
            "checkpoint": {"type": "object", "enabled": false},
        },
    })
}

/// The first thing in which an index differs from ours, given what the server tells about it. What it has beyond ours,
/// such as another number of shards, is its operator's.
pub(super) fn difference(described: &Value, writes: &str) -> Option<String> {
    let ours = json!({
        "settings": {"index": {"analysis": analysis()}},
        "mappings": mappings(),
        "aliases": {writes: {}},
    });
    missing(&ours, described, "")
}

/// The first leaf of `ours` that `theirs` has not. The server tells settings as texts, hence the comparison of texts.
fn missing(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => ours.iter().find_map(|(name, value)| {
            missing(value, theirs.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"))
        }),
        _ if text(ours) == text(theirs) => None,
        _ => Some(format!("{path} is {theirs}, not {ours}")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_ours_with_numbers_as_texts_and_more_beside() {
        let mut described = messages("w");
        described["settings"]["index"]["uuid"] = json!("x");
        described["settings"]["index"]["analysis"]["tokenizer"]["threes"]["min_gram"] = json!("3");
        assert_eq!(difference(&described, "w"), None);
    }

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let mut described = messages("w");
        described["settings"]["index"]["analysis"]["tokenizer"]["threes"]["max_gram"] = json!("4");
        let difference = difference(&described, "w");
        assert_eq!(difference.as_deref(), Some("/settings/index/analysis/tokenizer/threes/max_gram is \"4\", not 3"));
    }
}
