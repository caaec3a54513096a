//! The search index on a real Elasticsearch.

pub(crate) mod away;
mod fake;
mod fixture;
pub(crate) mod generations;
pub(crate) mod losing;
pub(crate) mod preparing;
mod proxy;
mod server;
pub(crate) mod texts;
pub(crate) mod waiting;
pub(crate) mod writing;

use self::server::on_an_index;

macro_rules! conforms {
    ($($check:ident),+ $(,)?) => {
        $(async fn $check() {
            on_an_index(async |here| read_model::conformance::$check(here.index()).await).await;
        })+
    };
}

conforms!(
    a_search_stays_within_its_chat,
    an_indexed_position_is_waited_for,
    documents_are_never_overwritten,
    every_substring_and_nothing_else_is_found,
    noncharacters_mean_themselves,
    results_are_paged,
    special_characters_mean_themselves,
    the_index_keeps_its_checkpoint,
);

tests!(
    a_search_stays_within_its_chat,
    an_indexed_position_is_waited_for,
    documents_are_never_overwritten,
    every_substring_and_nothing_else_is_found,
    noncharacters_mean_themselves,
    results_are_paged,
    special_characters_mean_themselves,
    the_index_keeps_its_checkpoint,
);
