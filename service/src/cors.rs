//! Cross-origin requests (CORS): tells browsers which origins' pages may call the API.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LINK, LOCATION, ORIGIN,
    RETRY_AFTER,
};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service};
use tower_http::cors::{self, AllowOrigin, Cors};

use crate::config::CorsOrigins;

/// How long a browser may cache the answer to a preflight request.
pub const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH];

/// Adds CORS headers for the configured origins. Without origins it does nothing.
#[derive(Clone)]
pub(crate) struct CorsLayer(Option<Arc<cors::CorsLayer>>);

impl CorsLayer {
    pub(crate) fn new(origins: &CorsOrigins) -> Self {
        let allowed = match origins.as_slice() {
            [] => return Self(None),
            [origin] if origins.is_any() => AllowOrigin::exact(origin.clone()),
            listed => AllowOrigin::list(listed.iter().cloned()),
        };
        let name = HeaderName::from_static;
        let request_headers = [
            CONTENT_TYPE,
            name("idempotency-key"),
            name("await-position"),
            name("prefer"),
            IF_NONE_MATCH,
            name("traceparent"),
        ];
        let layer = cors::CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods(METHODS)
            .allow_headers(request_headers)
            .expose_headers([LOCATION, LINK, name("log-position"), ETAG, RETRY_AFTER, ALLOW])
            .max_age(PREFLIGHT_MAX_AGE);
        Self(Some(Arc::new(layer)))
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = MaybeCors<S>;

    fn layer(&self, inner: S) -> MaybeCors<S> {
        MaybeCors { cors: self.0.clone(), inner }
    }
}

/// axum clones this for every request, hence the `Arc`.
#[derive(Clone)]
pub(crate) struct MaybeCors<S> {
    cors: Option<Arc<cors::CorsLayer>>,
    inner: S,
}

impl<S: Service<Request, Response = Response> + Clone> Service<Request> for MaybeCors<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<<Cors<S> as Service<Request>>::Future, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match &self.cors {
            // tower-http's layer would answer every OPTIONS request with 200, so it gets preflights only.
            Some(cors) if *request.method() != Method::OPTIONS || is_preflight(request.headers()) => {
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                Either::Left(cors.layer(ready).call(request))
            }
            _ => Either::Right(self.inner.call(request)),
        }
    }
}

fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
