//! Whether each document of an index is found by its own folded text.

use elasticsearch::http::Method;
use read_model::FoldingVersion;
use read_model::folding::fold;
use read_model::trigrams::distinct_trigrams;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{BULK_TIMEOUT, Body, ElasticClient, ErrorCause, Request};
use super::document_scroll::Document;
use super::error::ElasticError;
use super::index_names::IndexNames;

/// Most trigrams of one question. The server takes 1,024 conditions in one.
const TRIGRAMS_PER_QUESTION: usize = 1_000;
/// Most questions of one request.
const QUESTIONS_PER_REQUEST: usize = 100;

/// Asks whether a document has some of the terms of its own text, and belongs to its chat.
struct Question<'a> {
    document: &'a Document,
    field: &'static str,
    terms: Vec<String>,
}

#[derive(Deserialize)]
struct Reply {
    responses: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    timed_out: bool,
    hits: Option<Hits>,
    error: Option<ErrorCause>,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
}

/// Counts the documents that searches of their own chat for their own text would not find. The index is folded by `folding`.
pub(super) async fn count_not_found(
    client: &ElasticClient,
    names: &IndexNames,
    folding: FoldingVersion,
    documents: Vec<Document>,
) -> Result<u64, ElasticError> {
    // Folding many texts takes a while.
    let splitting = tokio::task::spawn_blocking(move || {
        let split: Vec<_> = documents.iter().map(|document| split_text(document, folding)).collect();
        (documents, split)
    });
    let (documents, split) = splitting.await.map_err(ElasticError::Fold)?;
    let questions: Vec<_> = documents
        .iter()
        .zip(split)
        .flat_map(|(document, (field, groups))| {
            groups.into_iter().map(move |terms| Question { document, field, terms })
        })
        .collect();
    let mut not_found = std::collections::BTreeSet::new();
    for chunk in questions.chunks(QUESTIONS_PER_REQUEST) {
        let found = ask(client, names, chunk).await?;
        let missed = chunk.iter().zip(found).filter(|(_, found)| !found);
        not_found.extend(missed.map(|(question, _)| question.document.id.as_str()));
    }
    Ok(not_found.len() as u64)
}

/// The field in which a text's terms are, and the terms in groups. Of a text that nothing is left of when it is folded, none.
fn split_text(document: &Document, folding: FoldingVersion) -> (&'static str, Vec<Vec<String>>) {
    let folded = fold(folding, document.source["body"].as_str().unwrap_or_default());
    match folded.chars().count() {
        0 => ("folded", Vec::new()),
        1 | 2 => ("folded.short", vec![vec![folded]]),
        _ => {
            let trigrams = distinct_trigrams(&folded);
            ("folded", trigrams.chunks(TRIGRAMS_PER_QUESTION).map(<[String]>::to_vec).collect())
        }
    }
}

/// Whether each question finds its document.
async fn ask(
    client: &ElasticClient,
    names: &IndexNames,
    questions: &[Question<'_>],
) -> Result<Vec<bool>, ElasticError> {
    let path = format!("{}/_msearch", names.index);
    let lines: String = questions.iter().map(Question::to_lines).collect();
    let query = [("filter_path", "responses.timed_out,responses.hits.total,responses.error,error")];
    let body = Body::Lines(lines.into_bytes());
    let request = Request { method: Method::Post, path: &path, query: &query, body, timeout: BULK_TIMEOUT };
    let Reply { responses } = client.fetch_json(request).await?;
    if responses.len() != questions.len() {
        let reason = format!("{} answers to {} questions", responses.len(), questions.len());
        return Err(ElasticError::Unreadable { reason });
    }
    let mut found = Vec::with_capacity(responses.len());
    for Answer { timed_out, hits, error } in responses {
        match (hits, error) {
            (_, Some(cause)) => return Err(cause.to_error(200)),
            (Some(hits), None) if !timed_out => found.push(hits.total.value > 0),
            _ => return Err(ElasticError::Unreachable { reason: "the server gave up a search halfway".to_owned() }),
        }
    }
    Ok(found)
}

impl Question<'_> {
    /// Two lines: where to search, and for what.
    fn to_lines(&self) -> String {
        let Document { id, routing, .. } = self.document;
        let terms = self.terms.iter().map(|term| json!({"term": {(self.field): term}}));
        let document = [json!({"ids": {"values": [id]}}), json!({"term": {"chat": routing}})];
        let filter: Vec<Value> = document.into_iter().chain(terms).collect();
        let search = json!({"size": 0, "query": {"bool": {"filter": filter}}});
        let shard = json!({"routing": routing, "allow_partial_search_results": false});
        format!("{shard}\n{search}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> (&'static str, Vec<Vec<String>>) {
        let document = Document {
            id: "x:1:1".to_owned(),
            routing: Some("x:1".to_owned()),
            source: json!({"number": 1, "body": body}),
        };
        split_text(&document, FoldingVersion::CURRENT)
    }

    #[test]
    fn a_text_is_looked_for_by_all_its_terms_in_groups_that_the_server_takes() {
        assert_eq!(split("Añ"), ("folded.short", vec![vec!["an".to_owned()]]));
        assert_eq!(split("Abcd"), ("folded", vec![vec!["abc".to_owned(), "bcd".to_owned()]]));
        assert_eq!(split("\u{200b}"), ("folded", vec![]));
        let long: String = (0..3_000).filter_map(|offset| char::from_u32(0x4e00 + offset)).collect();
        let (field, groups) = split(&long);
        assert_eq!((field, groups.iter().map(Vec::len).collect::<Vec<_>>()), ("folded", vec![1_000, 1_000, 998]));
    }
}
