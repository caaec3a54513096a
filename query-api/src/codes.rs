//! The codes of the problems that only the read API answers.

use service::define_codes;

define_codes! {
    /// The codes, beside those of [`service`] and [`access`].
    pub static CODES;
    /// Await-Position or Last-Event-ID is malformed
    MALFORMED_POSITION = BAD_REQUEST "malformed-position";
    /// The log does not have the position
    POSITION_UNKNOWN = CONFLICT "position-unknown";
    /// A projection has not come as far as the awaited position in time
    PROJECTION_BEHIND = SERVICE_UNAVAILABLE "projection-behind";
    /// The credential, or its application, has as many streams and waiting requests as it may have
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS "too-many-streams";
    /// Search is not available now
    SEARCH_UNAVAILABLE = SERVICE_UNAVAILABLE "search-unavailable";
}
