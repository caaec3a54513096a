//! Settings and mapping of the indices, and whether an existing index has them.
//!
//! The adapter folds text before the server gets it, so the server only cuts it into terms: each run of three code
//! points is one. A query of three code points or more asks for messages that have a few of its terms, and the adapter
//! compares the messages that are found. Shorter queries use a second field, whose terms are the runs of one and of two
//! code points; such a query is one term. A long text may come as the list of its different terms: so the terms' positions
//! mean nothing.
//!
//! Messages and checkpoints share the index. A checkpoint has no `chat`, and every search filters by one.

use serde_json::{Value, json};

use super::index_version::IndexVersion;

/// Shards of a new index. Each chat is in one shard, so this number bounds how many nodes share the work, not how many
/// chats there can be. Only another generation can have another number.
const SHARDS: u32 = 4;

/// Every write is on the disk before the server acknowledges it: a checkpoint promises that no document before it is
/// lost.
const DURABILITY: &str = "request";

/// Definition of a new index of messages of this version. All writes go through `write_alias`.
pub(super) fn message_index(write_alias: &str, version: IndexVersion) -> Value {
    let mut mappings = mappings(version);
    mappings["_meta"] = json!({ "version": version });
    json!({
        "settings": {"index": {
            "number_of_shards": SHARDS,
            // A second copy as soon as there is a second node.
            "auto_expand_replicas": "0-1",
            // Each batch refreshes its documents before its checkpoint moves. The periodic refresh is for a rare case:
            // while a partition has two owners for a moment, a document may reach a replica after the batch's refresh.
            "refresh_interval": "10s",
            "translog": translog(),
            "analysis": analysis(),
        }},
        "mappings": mappings,
        "aliases": {write_alias: {}},
    })
}

/// The version of an index, which is asked only if the pointer was lost. Earlier releases did not write it.
pub(super) fn find_version(described: &Value) -> IndexVersion {
    let number = described["mappings"]["_meta"]["version"].as_u64();
    number.and_then(|number| u32::try_from(number).ok()).map_or(IndexVersion::FIRST, IndexVersion)
}

/// Definition of a new index for the pointer.
pub(super) fn pointer_index() -> Value {
    let mut mappings = pointer_additions();
    mappings["dynamic"] = json!("strict");
    mappings["properties"]["generation"] = json!({"type": "long"});
    json!({
        "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "translog": translog()}},
        "mappings": mappings,
    })
}

/// What the mapping of a pointer's index lacks if an earlier release has made it. That release reads on beside it.
pub(super) fn pointer_additions() -> Value {
    json!({"properties": {
        "version": {"type": "long"},
        "generations": {"type": "object", "enabled": false},
    }})
}

/// [`DURABILITY`] is the server's default. It is set explicitly because an operator's index template may set another.
fn translog() -> Value {
    json!({"durability": DURABILITY})
}

fn analysis() -> Value {
    // No token_chars, so that every character counts: letters, blanks and signs. No filter, since the text is folded.
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

fn mappings(version: IndexVersion) -> Value {
    let mut mappings = json!({
        "dynamic": "strict",
        // No answer shows these fields, so the server need not store them a second time.
        "_source": {"excludes": ["chat", "folded"]},
        "properties": {
            "chat": {"type": "keyword", "doc_values": false},
            // Numbers are unsigned and have 32 bits; `integer` is signed.
            "number": {"type": "long"},
            "body": {"type": "text", "index": false},
            "folded": {"type": "text", "analyzer": "threes", "norms": false, "fields": {
                "short": {"type": "text", "analyzer": "ones_and_twos", "norms": false, "index_options": "docs"},
            }},
            // Stored, but not indexed: offsets are unsigned and have 64 bits, and no field type has such values.
            "checkpoint": {"type": "object", "enabled": false},
        },
    });
    if version.names_events() {
        // As a checkpoint: nobody searches for it.
        mappings["properties"]["event"] = json!({"type": "object", "enabled": false});
    }
    mappings
}

/// The first difference between our definition and an index as the server describes it. An operator may add settings or
/// choose others, such as the number of shards. The analysis must be equal, since any addition cuts text otherwise.
pub(super) fn find_difference(described: &Value, write_alias: &str) -> Option<String> {
    let ours = json!({"mappings": mappings(find_version(described)), "aliases": {write_alias: {}}});
    let settings = &described["settings"]["index"];
    find_any_difference(&analysis(), &settings["analysis"], "/settings/index/analysis")
        .or_else(|| find_missing(&ours, described, ""))
        .or_else(|| check_durability(&settings["translog"]["durability"]))
}

/// The first leaf of `ours` that `theirs` lacks. Compares texts, since the server describes all settings as texts.
fn find_missing(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => ours.iter().find_map(|(name, value)| {
            find_missing(value, theirs.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"))
        }),
        _ if to_text(ours) == to_text(theirs) => None,
        _ => Some(format!("{path} is {theirs}, not {ours}")),
    }
}

/// The first leaf that one of them has and the other lacks.
fn find_any_difference(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    find_missing(ours, theirs, path).or_else(|| find_surplus(ours, theirs, path))
}

/// The first entry of `theirs` that `ours` lacks.
fn find_surplus(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) else { return None };
    theirs.iter().find_map(|(name, value)| match ours.get(name) {
        Some(ours) => find_surplus(ours, value, &format!("{path}/{name}")),
        None => Some(format!("{path}/{name} is {value}, and should not be there")),
    })
}

/// An index without this setting has the server's default, which is ours.
fn check_durability(theirs: &Value) -> Option<String> {
    let is_ours = theirs.is_null() || to_text(theirs).eq_ignore_ascii_case(DURABILITY);
    (!is_ours).then(|| format!("/settings/index/translog/durability is {theirs}, not {DURABILITY:?}"))
}

fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_index_is_accepted_with_numbers_as_texts_and_more_settings() {
        let mut described = message_index("w", IndexVersion::CURRENT);
        described["settings"]["index"]["uuid"] = json!("x");
        described["settings"]["index"]["analysis"]["tokenizer"]["threes"]["min_gram"] = json!("3");
        assert_eq!(find_difference(&described, "w"), None);
    }

    /// The difference of our index with one value changed.
    fn difference_with(place: &str, value: Value) -> String {
        let mut described = message_index("w", IndexVersion::CURRENT);
        let (parent, name) = place.rsplit_once('/').unwrap();
        described.pointer_mut(parent).unwrap()[name] = value;
        find_difference(&described, "w").unwrap_or_else(|| format!("nothing, with another {place}"))
    }

    #[test]
    fn each_difference_that_changes_searches_is_reported_with_its_path() {
        let analysis = "/settings/index/analysis";
        for (place, value, expected) in [
            ("/tokenizer/threes/max_gram", json!("4"), "is \"4\", not 3"),
            ("/tokenizer/threes/token_chars", json!(["letter"]), "is [\"letter\"], and should not be there"),
            ("/analyzer/threes/filter", json!(["lowercase"]), "is [\"lowercase\"], and should not be there"),
            ("/analyzer/ones_and_twos/char_filter", json!("x"), "is \"x\", and should not be there"),
            ("/filter", json!({"x": {"type": "stop"}}), "is {\"x\":{\"type\":\"stop\"}}, and should not be there"),
        ] {
            let place = format!("{analysis}{place}");
            assert_eq!(difference_with(&place, value), format!("{place} {expected}"));
        }
        assert_eq!(
            difference_with("/mappings/dynamic", json!("true")),
            "/mappings/dynamic is \"true\", not \"strict\""
        );
        assert_eq!(difference_with("/aliases/w", Value::Null), "/aliases/w is null, not {}");
    }

    #[test]
    fn an_index_that_may_lose_acknowledged_documents_is_refused() {
        let durability = "/settings/index/translog/durability";
        assert_eq!(difference_with(durability, json!("async")), format!("{durability} is \"async\", not \"request\""));
        let mut described = message_index("w", IndexVersion::CURRENT);
        for same in [Value::Null, json!("REQUEST")] {
            described["settings"]["index"]["translog"]["durability"] = same;
            assert_eq!(find_difference(&described, "w"), None);
        }
        described["settings"]["index"].as_object_mut().unwrap().remove("translog");
        assert_eq!(find_difference(&described, "w"), None, "created by an earlier version");
    }
}
