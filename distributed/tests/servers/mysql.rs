//! The projections on a real MySQL.

mod alarms;
mod counts;
mod feeds;
mod fixture;
mod frozen;
mod generations;
mod histories;
mod last_messages;
mod locks;
mod migrating;
mod released;
pub(crate) mod server;
mod settings;
mod silence;
mod sizes;
mod tables;

tests!(; conformance on server::on_a_database: read_model::store_conformance, read_model::views_conformance,
    read_model::access_conformance, read_model::feed_conformance, read_model::generations_conformance, read_model::operating_conformance;
    modules: alarms, counts, feeds, frozen, generations, histories, last_messages, locks, migrating, released, settings, silence, sizes, tables);
