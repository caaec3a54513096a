//! Compression, for clients that ask for it.

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

use crate::problem::{self, Problem};

/// Longest answer in bytes that is sent as it is: compressed it would take as many packets.
pub(crate) const MAX_PLAIN_BYTES: u64 = 1024;

/// Adds gzip to answers to GET and HEAD. (What a write answers is short; and who accepts nothing that can be sent gets 406
/// once the work is done, which must not happen to a write.)
#[derive(Clone, Debug)]
pub(crate) struct GzipLayer;

impl<S> Layer<S> for GzipLayer {
    type Service = Gzip<S>;

    fn layer(&self, plain: S) -> Gzip<S> {
        Gzip { plain }
    }
}

fn compressed<S>(plain: S) -> Compressed<S> {
    let long = SizeAbove::new(MAX_PLAIN_BYTES + 1);
    let worth_it = long.and(NotForContentType::SSE).and(has_body as HasBody);
    // Lists are made anew for every request, so speed matters more than the last percent.
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    layer.layer(MapResponse::new(plain, remember_status as Remember))
}

type Compressed<S> = Compression<MapResponse<S, Remember>, WorthIt>;
type Remember = fn(Response) -> Response;
type WorthIt = And<And<SizeAbove, NotForContentType>, HasBody>;
type HasBody = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

fn has_body(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    status != StatusCode::NOT_MODIFIED
}

/// Holds the plain service only, because it is cloned for every request, asked for compression or not.
#[derive(Clone)]
pub(crate) struct Gzip<S> {
    plain: S,
}

impl<S: Service<Request, Response = Response> + Clone> Service<Request> for Gzip<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<
        MapOk<<Compressed<S> as Service<Request>>::Future, fn(Response<CompressionBody<Body>>) -> Response>,
        S::Future,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.plain.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if is_read && request.headers().contains_key(ACCEPT_ENCODING) {
            let next = self.plain.clone();
            let ready = std::mem::replace(&mut self.plain, next);
            Either::Left(compressed(ready).call(request).map_ok(acceptable))
        } else {
            Either::Right(self.plain.call(request))
        }
    }
}

/// Refusals keep their status whatever the client accepts, and 406 is a problem. What comes in has that status, with the
/// headers and the body of the answer that is not acceptable.
fn acceptable(mut response: Response<CompressionBody<Body>>) -> Response {
    let before = response.extensions_mut().remove::<StatusCode>().unwrap_or(StatusCode::OK);
    if response.status() != StatusCode::NOT_ACCEPTABLE || before != StatusCode::OK {
        *response.status_mut() = before;
        return response.map(Body::new);
    }
    let detail = "accept gzip or identity, or send no Accept-Encoding";
    let problem = Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail).into_response();
    let (mut head, _) = response.into_parts();
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
