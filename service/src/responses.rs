//! Responses that many routes share, for the OpenAPI documents. Each type's doc comment is its description there.

use utoipa::IntoResponses;

use crate::codes::{MALFORMED_QUERY, NOT_READY};
use crate::problem::ProblemBody;

/// The client's copy is current (If-None-Match)
#[derive(IntoResponses)]
#[response(
    status = 304,
    headers(("Log-Position" = String, description = "Send it as Await-Position with a read that must not show less than this answer"))
)]
pub struct NotModified;

/// A malformed parameter, header or body
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
pub struct Malformed(pub ProblemBody);

/// A malformed parameter or header
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json", example = json!(ProblemBody::of(MALFORMED_QUERY)))]
pub struct MalformedHead(pub ProblemBody);

/// The path names something that does not exist
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub struct NotFound(pub ProblemBody);

/// A temporary condition; see Retry-After
#[derive(IntoResponses)]
#[response(status = 503, content_type = "application/problem+json")]
pub struct Unavailable(pub ProblemBody);

/// The port is not ready: send no requests. `parts` says which parts it needs are not ready, and why
#[derive(IntoResponses)]
#[response(status = 503, content_type = "application/problem+json", example = json!(ProblemBody::of(NOT_READY).with_part("views", "starting")))]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NotReady(ProblemBody);

/// The ways to reject a JSON body, beside [`Malformed`].
#[derive(IntoResponses)]
pub enum BodyProblems {
    /// The body did not arrive in time
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(ProblemBody),
    /// The body is larger than 256 KiB
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// A field is missing or not acceptable
    #[response(status = 422, content_type = "application/problem+json")]
    InvalidFields(ProblemBody),
}
