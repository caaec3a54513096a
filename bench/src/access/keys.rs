//! Keys of an application, and tokens of its users.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::json;

use crate::http::{self, BASE, CallError};

/// Issues and revokes the keys of an application.
pub(super) struct Keys {
    address: SocketAddr,
    application: String,
    /// Has the credential of whoever issues and revokes.
    fields: String,
}

#[derive(Deserialize)]
pub(super) struct IssuedKey {
    pub(super) number: u64,
    pub(super) secret: String,
}

#[derive(Deserialize)]
struct Minted {
    access_token: String,
}

impl Keys {
    pub(super) fn new(address: SocketAddr, token: &str, fields: String) -> Self {
        Self { address, application: format!("{BASE}/{token}"), fields }
    }

    pub(super) fn issue(&self, scope: &str) -> Result<IssuedKey, CallError> {
        let body = json!({"key": {"name": "bench", "scopes": [scope]}}).to_string();
        http::post(self.address, &format!("{}/keys", self.application), &self.fields, &body, 201)
    }

    pub(super) fn revoke(&self, number: u64) -> Result<(), CallError> {
        http::delete(self.address, &format!("{}/keys/{number}", self.application), &self.fields, &[204])
    }

    /// Mints a token with which a user posts to all chats.
    pub(super) fn mint(&self, user: &str, seconds: u64) -> Result<String, CallError> {
        let token = json!({"user": user, "all_chats": true, "scopes": ["write"], "expires_in": seconds});
        let body = json!({"user_token": token}).to_string();
        let path = format!("{}/user_tokens", self.application);
        let Minted { access_token } = http::post(self.address, &path, &self.fields, &body, 200)?;
        Ok(access_token)
    }
}
