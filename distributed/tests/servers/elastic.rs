//! The search index on a real Elasticsearch.

mod away;
mod fake;
mod fixture;
mod folding;
mod generations;
mod losing;
mod operating;
mod preparing;
mod released;
pub(crate) mod server;
mod stops;
mod texts;
mod waiting;
mod writing;

pub(crate) use fixture::find_numbers;
pub(crate) use folding::{live_version, make_version_1};
pub(crate) use server::TestServer;

tests!(; conformance on server::on_an_index: read_model::search_conformance, read_model::search_generations_conformance,
    read_model::search_operating_conformance;
    modules: away, folding, generations, losing, operating, preparing, released, stops, texts, waiting, writing);
