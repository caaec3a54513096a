//! Who may do what on a system that is open: whoever sends no credential may do everything, and a credential that is sent is checked.

use super::Api;
use crate::access_walk::{System, walk};

/// Every route checks a credential that is sent. A system that requires one is walked by tests of its own.
pub async fn every_route_asks_who_it_is(api: &Api) {
    walk(System { api, root_key: None, is_required: false, token_secret: None }).await;
}
