//! The search index on a real Elasticsearch.

mod away;
mod fake;
mod fixture;
mod generations;
mod losing;
mod preparing;
pub(crate) mod server;
mod texts;
mod waiting;
mod writing;

tests!(; conformance on server::on_an_index: read_model::search_conformance, read_model::search_generations_conformance;
    modules: away, generations, losing, preparing, texts, waiting, writing);
