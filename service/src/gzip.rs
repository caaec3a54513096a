//! Compression of responses, for clients that accept gzip.

use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use tower::util::MapResponse;
use tower::{Layer, Service};
use tower_http::CompressionLevel;
use tower_http::compression::predicate::{And, NotForContentType, SizeAbove};
use tower_http::compression::{Compression, CompressionBody, CompressionLayer, Predicate};

use crate::codes::NOT_ACCEPTABLE;
use crate::problem::{self, Problem};
use crate::request_id::{RequestId, X_REQUEST_ID};

/// Longest body in bytes that is sent uncompressed: compression would not save a packet.
pub(crate) const MAX_PLAIN_BYTES: u64 = 1024;

/// Compresses responses to GET and HEAD. Responses to writes are left alone for two reasons: they are short, and the layer
/// answers 406 to a client that accepts no encoding only after the handler has run, which would hide a write that was done.
#[derive(Clone, Debug)]
pub(crate) struct GzipLayer;

impl<S> Layer<S> for GzipLayer {
    type Service = Gzip<S>;

    fn layer(&self, inner: S) -> Gzip<S> {
        Gzip { inner }
    }
}

fn compress<S>(inner: S) -> Compressed<S> {
    let long = SizeAbove::new(MAX_PLAIN_BYTES + 1);
    let should_compress = long.and(NotForContentType::SSE).and(has_body as HasBody);
    // Lists are compressed anew for every request, so speed matters more than the last percent of size.
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(should_compress);
    layer.layer(MapResponse::new(inner, remember_status as RememberStatus))
}

type Compressed<S> = Compression<MapResponse<S, RememberStatus>, ShouldCompress>;
type RememberStatus = fn(Response) -> Response;
type ShouldCompress = And<And<SizeAbove, NotForContentType>, HasBody>;
type HasBody = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

fn has_body(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    status != StatusCode::NOT_MODIFIED
}

/// Holds the inner service only, because axum clones it for every request, whether or not the client accepts gzip.
#[derive(Clone)]
pub(crate) struct Gzip<S> {
    inner: S,
}

impl<S: Service<Request, Response = Response> + Clone> Service<Request> for Gzip<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<
        MapOk<<Compressed<S> as Service<Request>>::Future, fn(Response<CompressionBody<Body>>) -> Response>,
        S::Future,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read && request.headers().contains_key(ACCEPT_ENCODING) {
            let next = self.inner.clone();
            let ready = std::mem::replace(&mut self.inner, next);
            Either::Left(compress(ready).call(request).map_ok(restore_status))
        } else {
            Either::Right(self.inner.call(request))
        }
    }
}

/// tower-http sets 406 on a response that the client does not accept, and keeps its headers and body. This restores the
/// status of an error, so that the client learns what is wrong, and turns the 406 of a success into a problem.
fn restore_status(mut response: Response<CompressionBody<Body>>) -> Response {
    let original = response.extensions_mut().remove::<StatusCode>().unwrap_or(StatusCode::OK);
    if response.status() != StatusCode::NOT_ACCEPTABLE || original != StatusCode::OK {
        *response.status_mut() = original;
        return response.map(Body::new);
    }
    let detail = "accept gzip or identity, or send no Accept-Encoding";
    let mut problem = Problem::new(NOT_ACCEPTABLE, detail).into_response();
    let (mut head, _) = response.into_parts();
    if let Some(id) = head.headers.get(X_REQUEST_ID).and_then(RequestId::parse) {
        problem::add_request_id(&mut problem, &id);
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(ETAG);
    head.headers.insert(CONTENT_TYPE, problem::PROBLEM_JSON);
    Response::from_parts(head, problem.into_body())
}

fn remember_status(mut response: Response) -> Response {
    let status = response.status();
    response.extensions_mut().insert(status);
    response
}
