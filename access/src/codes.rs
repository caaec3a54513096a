//! The codes of refusals.

use service::define_codes;

define_codes! {
    /// What the layer in front of the routes of both APIs answers.
    pub static CODES;
    /// No credential, where one is required
    CREDENTIAL_MISSING = UNAUTHORIZED "credential-missing";
    /// The credential is malformed, unknown, revoked or voided
    INVALID_TOKEN = UNAUTHORIZED "invalid-token";
    /// The credential has expired
    TOKEN_EXPIRED = UNAUTHORIZED "token-expired";
    /// The credential does not permit this; the challenge says what does
    INSUFFICIENT_SCOPE = FORBIDDEN "insufficient-scope";
    /// The server is open for its own machine alone, and the request came through a proxy
    PROXIED_WHILE_OPEN = FORBIDDEN "proxied-while-open";
    /// The server does not know enough of the log to check the credential
    ACCESS_BEHIND = SERVICE_UNAVAILABLE "access-behind";
    /// The views, which have the keys too, cannot be read now
    VIEWS_UNAVAILABLE = SERVICE_UNAVAILABLE "views-unavailable";
}

/// The codes of refusals that only the write API answers.
pub mod writes {
    use service::define_codes;

    define_codes! {
        /// What only the write API answers.
        pub static CODES;
        /// A user posts in the name of another
        OTHER_AUTHOR = FORBIDDEN "other-author";
        /// The server has no secret to sign tokens of users with
        NO_TOKEN_SECRETS = NOT_IMPLEMENTED "no-token-secrets";
    }
}
