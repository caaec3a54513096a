//! The principal of a request: who made it, as far as its credential says.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use events::{Actor, ApplicationToken, Author, ChatNumber, KeyNumber, Scope, UserId};
use service::codes::INTERNAL_ERROR;
use service::problem::Problem;

use crate::refusal::Refusal;

/// Who made a request. The layer of [`mod@crate::guard`] puts it into each request that it admits; handlers extract it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The server is open, and no credential was sent.
    Anonymous,
    /// Whoever has the root key.
    Root,
    Key(KeyGrant),
    User(Arc<UserGrant>),
}

/// What a key of an application permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyGrant {
    pub token: ApplicationToken,
    pub number: KeyNumber,
    /// The highest scope of the key.
    pub scope: Scope,
}

/// What a token of a user permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGrant {
    pub token: ApplicationToken,
    /// Also the author of what the user posts.
    pub user: UserId,
    /// [`Scope::Read`] or [`Scope::Write`].
    pub scope: Scope,
    pub chats: Chats,
    /// The key that minted the token.
    pub minted_by: KeyNumber,
}

/// The chats of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chats {
    /// Every chat of the application, later ones too.
    All,
    /// These alone, in order.
    Listed(Box<[ChatNumber]>),
}

impl Chats {
    pub fn have(&self, chat: ChatNumber) -> bool {
        match self {
            Self::All => true,
            Self::Listed(chats) => chats.binary_search(&chat).is_ok(),
        }
    }
}

impl Principal {
    /// The application to which the principal is confined; `None` if it is confined to none.
    pub fn application(&self) -> Option<ApplicationToken> {
        match self {
            Self::Anonymous | Self::Root => None,
            Self::Key(grant) => Some(grant.token),
            Self::User(grant) => Some(grant.token),
        }
    }

    /// The chats that the principal may see, if not all chats of the application.
    pub fn listed_chats(&self) -> Option<&[ChatNumber]> {
        match self {
            Self::User(grant) => match &grant.chats {
                Chats::Listed(chats) => Some(chats),
                Chats::All => None,
            },
            Self::Anonymous | Self::Root | Self::Key(_) => None,
        }
    }

    /// The author of a message that the principal posts, where a client has sent this one. What a user posts is from that user.
    ///
    /// # Errors
    /// [`Refusal::OtherAuthor`].
    pub fn author(&self, sent: Option<Author>) -> Result<Option<Author>, Refusal> {
        match (self, sent) {
            (Self::User(grant), Some(other)) if other.as_str() != grant.user.as_str() => Err(Refusal::OtherAuthor),
            (Self::User(grant), _) => Ok(Some(grant.user.as_author())),
            (Self::Anonymous | Self::Root | Self::Key(_), sent) => Ok(sent),
        }
    }

    /// What the log keeps of the principal with an event.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Self::Anonymous => None,
            Self::Root => Some(Actor::Root),
            Self::Key(grant) => Some(Actor::Key(grant.number)),
            Self::User(grant) => Some(Actor::User(grant.user.clone())),
        }
    }
}

/// A handler without the layer in front of it has no principal. It answers 500: a mistake in the composition opens nothing.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a route is served without the layer that decides who may use it");
            let detail = "the server does not know who may use this route";
            Problem::new(INTERNAL_ERROR, detail)
        })
    }
}
