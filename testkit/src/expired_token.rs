//! Makes of the token of a user one that has expired.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// A token is admitted for 60 s after its end, so this is the latest end of one that is not.
const PAST_LEEWAY_S: u64 = 61;

/// Signs the claims of a token again, with an end that has passed.
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
pub(crate) fn expire(token: &str, secret: &str) -> String {
    let [header, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("no token: {token}") };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    claims["exp"] = (now_s - PAST_LEEWAY_S).into();
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.into_bytes()))
}
