//! Keys: the query, and the items of its answer.

use std::sync::Arc;

use events::{ApplicationToken, KeyNumber, Scopes, rfc3339};
use read_model::{Access, AccessKey, Page, Slice};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::await_position::AwaitPosition;
use crate::paging::ListItem;
use crate::queries::{APPLICATION, Queries, QueryError, VIEWS};

/// A key
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "number": 1,
    "name": "backend",
    "scopes": ["write"],
    "created_at": "2026-07-01T09:30:00.123Z",
    "expires_at": null
}))]
pub(crate) struct Key {
    /// Its number within the application.
    #[schema(value_type = u32, minimum = 1)]
    number: KeyNumber,
    /// Its name for people.
    name: String,
    /// What it may do.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    /// When it was issued, in UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: Option<String>,
    /// From when on it is of no use, in UTC; null if it has no end.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    expires_at: Option<String>,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(as = Scope, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum ScopeName {
    Read,
    Write,
    Admin,
}

impl From<AccessKey> for Key {
    fn from(AccessKey { number, name, scopes, created_at, expires_at, .. }: AccessKey) -> Self {
        let (created_at, expires_at) = (rfc3339::format(created_at), expires_at.and_then(rfc3339::format));
        Self { number, name, scopes, created_at, expires_at }
    }
}

impl ListItem for Key {
    type Key = KeyNumber;

    fn key(&self) -> KeyNumber {
        self.number
    }
}

/// Lists keys.
#[derive(Clone)]
pub(crate) struct KeyQueries {
    queries: Queries,
    access: Arc<dyn Access>,
}

impl KeyQueries {
    /// `access` reads the same projections as `queries`.
    pub(crate) fn new(queries: Queries, access: Arc<dyn Access>) -> Self {
        Self { queries, access }
    }

    pub(crate) async fn keys(
        &self,
        wait: &AwaitPosition,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Answer<Slice<Key>>, QueryError> {
        self.queries.await_projections(&VIEWS, wait).await?;
        let keys = self.access.keys(token, page).await.map_err(QueryError::Access)?.ok_or(APPLICATION)?;
        let shown = keys.map(|keys| Slice { items: keys.items.into_iter().map(Key::from).collect(), more: keys.more });
        self.queries.answer(wait, shown).await
    }
}
