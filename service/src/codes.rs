//! Codes of problems: one list for each API, from which the descriptions for OpenAPI have their enumeration.

use axum::http::StatusCode;

/// Tells a kind of problem from all others, for programs. A code never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub name: &'static str,
    /// The status of every problem with this code.
    pub status: StatusCode,
    /// When it is answered, in some words for people.
    pub meaning: &'static str,
}

/// Defines codes, each as a constant, and the list of all of them. The comment of a code is its meaning.
#[macro_export]
macro_rules! define_codes {
    (
        $(#[$about:meta])* pub static $list:ident;
        $($(#[doc = $meaning:literal])+ $code:ident = $status:ident $name:literal;)+
    ) => {
        $(
            $(#[doc = $meaning])+
            pub const $code: $crate::codes::Code = $crate::codes::Code {
                name: $name,
                status: ::axum::http::StatusCode::$status,
                meaning: concat!($($meaning),+).trim_ascii(),
            };
        )+
        $(#[$about])*
        pub static $list: &[$crate::codes::Code] = &[$($code),+];
    };
}

define_codes! {
    /// What any port answers.
    pub static CODES;
    /// A parameter of the query is malformed, unknown or repeated
    MALFORMED_QUERY = BAD_REQUEST "malformed-query";
    /// The head of the request is not HTTP/1.1
    MALFORMED_REQUEST = BAD_REQUEST "malformed-request";
    /// There is not one header Host
    MALFORMED_HOST = BAD_REQUEST "malformed-host";
    /// The path names something that does not exist
    NOT_FOUND = NOT_FOUND "not-found";
    /// The port does not have the method for this route; see Allow
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed";
    /// The client accepts neither gzip nor an answer without compression
    NOT_ACCEPTABLE = NOT_ACCEPTABLE "not-acceptable";
    /// The server does not answer to this name
    UNKNOWN_HOST = MISDIRECTED_REQUEST "unknown-host";
    /// The head of the request is too large
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head-too-large";
    /// A fault of the server; whether the request was carried out is unknown
    INTERNAL_ERROR = INTERNAL_SERVER_ERROR "internal-error";
    /// Too many requests at once
    OVERLOADED = SERVICE_UNAVAILABLE "overloaded";
    /// The process is stopping
    DRAINING = SERVICE_UNAVAILABLE "draining";
    /// The request took too long; whether it was carried out is unknown
    TIMED_OUT = SERVICE_UNAVAILABLE "timed-out";
    /// Parts that the port needs are not ready
    NOT_READY = SERVICE_UNAVAILABLE "not-ready";
}

/// The codes of bodies.
pub mod bodies {
    define_codes! {
        /// What a port that reads bodies answers too.
        pub static BODY_CODES;
        /// The body is not JSON
        MALFORMED_JSON = BAD_REQUEST "malformed-json";
        /// The body did not arrive in time
        REQUEST_TIMEOUT = REQUEST_TIMEOUT "request-timeout";
        /// The body is too large
        BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body-too-large";
        /// The Content-Type is not JSON
        UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type";
        /// The body has a Content-Encoding
        UNSUPPORTED_CONTENT_ENCODING = UNSUPPORTED_MEDIA_TYPE "unsupported-content-encoding";
        /// A field is missing or not acceptable; `errors` says which and why
        INVALID_FIELDS = UNPROCESSABLE_ENTITY "invalid-fields";
    }
}
