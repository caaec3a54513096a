//! The credential that a request sends, before anybody knows whose it is.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use events::KeyHash;

use crate::root_key::digest;
use crate::secret::{PREFIX, SentSecret};

/// Longest credential in bytes. A token of a user with all the chats that it may list is far shorter.
pub(crate) const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// What a request sends to say who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent<'a> {
    Nothing,
    Credential(&'a str),
    Malformed,
}

/// By which a credential is remembered. Whoever reads the memory of a process does not find credentials there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fingerprint {
    /// That of a key. One key has many texts, because its secret may name any place. All of them are remembered once.
    Key(KeyHash),
    /// SHA-256 of any other text.
    Text([u8; 32]),
}

/// A credential, taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Credential<'a> {
    pub(crate) text: &'a str,
    /// SHA-256 of the text.
    pub(crate) digest: [u8; 32],
    /// What it says if it is the secret of a key.
    pub(crate) secret: Option<SentSecret>,
}

impl<'a> Credential<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, digest: digest(text), secret: SentSecret::parse(text) }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.secret.map_or(Fingerprint::Text(self.digest), |secret| Fingerprint::Key(secret.hash))
    }
}

/// Reads the credential of a request.
///
/// Another scheme than Bearer is passed over: a proxy in front may ask for it. What has no scheme is malformed, because it is
/// probably a credential whose sender forgot the scheme. So are two headers, whatever their schemes: no two readers would agree on
/// which one counts.
pub(crate) fn read_credential(headers: &HeaderMap) -> Sent<'_> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Sent::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Sent::Malformed,
    };
    let Ok(value) = value.to_str() else {
        return Sent::Malformed;
    };
    let Some((scheme, rest)) = value.split_once([' ', '\t']) else {
        return Sent::Malformed;
    };
    if scheme.is_empty() || scheme.starts_with(PREFIX) {
        return Sent::Malformed;
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Sent::Nothing;
    }
    // RFC 9110 has spaces behind the scheme, and no tabs.
    let is_separated_by_tab = value.as_bytes().get(scheme.len()) == Some(&b'\t');
    let credential = rest.trim_matches(' ');
    let is_one_word = !credential.is_empty() && !credential.contains([' ', '\t']);
    if is_separated_by_tab || !is_one_word || credential.len() > MAX_CREDENTIAL_BYTES {
        return Sent::Malformed;
    }
    Sent::Credential(credential)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use events::{Offset, PartitionId, Place};

    use super::*;
    use crate::secret::Secret;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_credential_is_what_follows_bearer() {
        for (values, sent) in [
            (&[][..], Sent::Nothing),
            (&["Basic eDp5"], Sent::Nothing),
            (&["Basic\teDp5"], Sent::Nothing),
            (&["Bearer x"], Sent::Credential("x")),
            (&["bearer   x "], Sent::Credential("x")),
            (&[""], Sent::Malformed),
            (&["Bearer"], Sent::Malformed),
            (&["Bearer "], Sent::Malformed),
            (&["Bearer x y"], Sent::Malformed),
            (&["Bearer\tx"], Sent::Malformed),
            (&["Bearer \tx"], Sent::Malformed),
            (&["Bearer x\ty"], Sent::Malformed),
            (&["tally_abc"], Sent::Malformed),
            (&["tally_abc x"], Sent::Malformed),
            (&["eyJhbGciOiJIUzI1NiJ9.e30.x"], Sent::Malformed),
        ] {
            assert_eq!(read_credential(&headers(values)), sent, "{values:?}");
        }
        let long = format!("Bearer {}", "x".repeat(MAX_CREDENTIAL_BYTES + 1));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, long.parse().unwrap())]);
        assert_eq!(read_credential(&headers), Sent::Malformed);
    }

    #[test]
    fn two_headers_are_malformed_whatever_their_schemes() {
        for values in
            [["Bearer x", "Bearer y"], ["Bearer x", "Bearer x"], ["Bearer x", "Basic y"], ["Basic x", "Basic y"]]
        {
            assert_eq!(read_credential(&headers(&values)), Sent::Malformed, "{values:?}");
        }
    }

    #[test]
    fn all_texts_of_a_key_have_one_fingerprint() {
        let (secret, other) = (Secret::generate(), Secret::generate());
        let text = |secret: Secret, offset| {
            secret.at(Place { partition: PartitionId(0), offset: Offset(offset) }).into_string()
        };
        let fingerprint = |text: String| Credential::new(&text).fingerprint();
        assert_eq!(fingerprint(text(secret, 1)), fingerprint(text(secret, 2)));
        assert_ne!(fingerprint(text(secret, 1)), fingerprint(text(other, 1)));
        assert_ne!(fingerprint("a.b.c".to_owned()), fingerprint("a.b.d".to_owned()));
    }
}
