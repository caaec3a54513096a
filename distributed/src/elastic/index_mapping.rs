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

/// When a write is on the disk: before it is acknowledged. A checkpoint says that what lies before it cannot be lost.
const DURABILITY: &str = "request";

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
            "translog": translog(),
            "analysis": analysis(),
        }},
        "mappings": mappings(),
        "aliases": {writes: {}},
    })
}

/// What a new index of the pointer is made of.
pub(super) fn pointer() -> Value {
    json!({
        "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "translog": translog()}},
        "mappings": {"dynamic": "strict", "properties": {"generation": {"type": "long"}}},
    })
}

/// What is acknowledged is on the disk. It is the default, but a template of the operator's may say otherwise.
fn translog() -> Value {
    json!({"durability": DURABILITY})
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
/// such as another number of shards, is its operator's; but for how text is cut, where anything more cuts otherwise.
pub(super) fn difference(described: &Value, writes: &str) -> Option<String> {
    let ours = json!({"mappings": mappings(), "aliases": {writes: {}}});
    let settings = &described["settings"]["index"];
    other(&analysis(), &settings["analysis"], "/settings/index/analysis")
        .or_else(|| missing(&ours, described, ""))
        .or_else(|| less_durable(&settings["translog"]["durability"]))
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

/// The first leaf that one of them has and the other has not.
fn other(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    missing(ours, theirs, path).or_else(|| surplus(ours, theirs, path))
}

/// The first thing in `theirs` that `ours` has not.
fn surplus(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else { return None };
    theirs.iter().find_map(|(name, value)| match ours.get(name) {
        Some(ours) => surplus(ours, value, &format!("{path}/{name}")),
        None => Some(format!("{path}/{name} is {value}, and should not be there")),
    })
}

/// An index that was made without saying when has the same, by default.
fn less_durable(theirs: &Value) -> Option<String> {
    let is_ours = theirs.is_null() || text(theirs).eq_ignore_ascii_case(DURABILITY);
    (!is_ours).then(|| format!("/settings/index/translog/durability is {theirs}, not {DURABILITY:?}"))
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

    /// What is told of ours with one thing changed.
    fn changed(place: &str, value: Value) -> String {
        let mut described = messages("w");
        let (parent, name) = place.rsplit_once('/').unwrap();
        described.pointer_mut(parent).unwrap()[name] = value;
        difference(&described, "w").unwrap_or_else(|| format!("nothing, with another {place}"))
    }

    #[test]
    fn each_thing_that_finds_otherwise_is_told_with_its_place() {
        let analysis = "/settings/index/analysis";
        for (place, value, expected) in [
            ("/tokenizer/threes/max_gram", json!("4"), "is \"4\", not 3"),
            ("/tokenizer/threes/token_chars", json!(["letter"]), "is [\"letter\"], and should not be there"),
            ("/analyzer/threes/filter", json!(["lowercase"]), "is [\"lowercase\"], and should not be there"),
            ("/analyzer/ones_and_twos/char_filter", json!("x"), "is \"x\", and should not be there"),
            ("/filter", json!({"x": {"type": "stop"}}), "is {\"x\":{\"type\":\"stop\"}}, and should not be there"),
        ] {
            let place = format!("{analysis}{place}");
            assert_eq!(changed(&place, value), format!("{place} {expected}"));
        }
        assert_eq!(changed("/mappings/dynamic", json!("true")), "/mappings/dynamic is \"true\", not \"strict\"");
        assert_eq!(changed("/aliases/w", Value::Null), "/aliases/w is null, not {}");
    }

    #[test]
    fn an_index_that_may_lose_what_it_acknowledged_is_not_ours() {
        let durability = "/settings/index/translog/durability";
        assert_eq!(changed(durability, json!("async")), format!("{durability} is \"async\", not \"request\""));
        let mut described = messages("w");
        for same in [Value::Null, json!("REQUEST")] {
            described["settings"]["index"]["translog"]["durability"] = same;
            assert_eq!(difference(&described, "w"), None);
        }
        described["settings"]["index"].as_object_mut().unwrap().remove("translog");
        assert_eq!(difference(&described, "w"), None, "made by an earlier version");
    }
}
