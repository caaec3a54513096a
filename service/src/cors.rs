//! Cross-origin requests (CORS): tells browsers which origins' pages may call the API.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LINK, LOCATION,
    ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::{self, AllowOrigin, Cors};

use crate::config::CorsOrigins;
use crate::request_id::X_REQUEST_ID;

/// How long a browser may cache the answer to a preflight request.
pub const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Adds CORS headers for the configured origins. Without origins it does nothing.
///
/// A router has two. [`CorsLayer::for_answers`] is the outermost layer, and adds headers to every answer to another method than OPTIONS,
/// refusals included. [`CorsLayer::for_preflights`] answers preflights of whatever path, which need no credential. It is further inside, so that
/// its answers get the headers that every answer has. A preflight that is refused because of its host does not get so far, and the browser
/// refuses it as well.
#[derive(Clone)]
pub(crate) struct CorsLayer {
    cors: Option<Arc<cors::CorsLayer>>,
    requests: Requests,
}

/// The requests that a layer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Requests {
    Preflights,
    /// All but OPTIONS.
    Others,
    /// Those that ask for the methods of a route, and for nothing that CORS is about.
    Neither,
}

impl CorsLayer {
    /// The layer that answers preflights.
    pub(crate) fn for_preflights(origins: &CorsOrigins) -> Self {
        Self { cors: layer(origins).map(Arc::new), requests: Requests::Preflights }
    }

    /// The layer that adds headers to all other answers.
    pub(crate) fn for_answers(origins: &CorsOrigins) -> Self {
        Self { cors: layer(origins).map(Arc::new), requests: Requests::Others }
    }

    /// Adds the headers to an answer that passes no layer, because its request could not be parsed.
    pub(crate) async fn complete(&self, origin: Option<HeaderValue>, answer: Response) -> Response {
        let Some(cors) = &self.cors else {
            return answer;
        };
        let mut request = Request::default();
        request.headers_mut().extend(origin.map(|origin| (ORIGIN, origin)));
        let mut answer = Some(answer);
        let answering = service_fn(move |_: Request| ready(Ok::<_, Infallible>(answer.take().unwrap_or_default())));
        match cors.layer(answering).oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

fn layer(origins: &CorsOrigins) -> Option<cors::CorsLayer> {
    let allowed = match origins.as_slice() {
        [] => return None,
        [origin] if origins.is_any() => AllowOrigin::exact(origin.clone()),
        listed => AllowOrigin::list(listed.iter().cloned()),
    };
    let name = HeaderName::from_static;
    let request_headers = [
        AUTHORIZATION,
        CONTENT_TYPE,
        name("idempotency-key"),
        name("await-position"),
        name("last-event-id"),
        name("prefer"),
        IF_NONE_MATCH,
        name("traceparent"),
        X_REQUEST_ID,
    ];
    let response_headers =
        [LOCATION, LINK, name("log-position"), ETAG, RETRY_AFTER, ALLOW, WWW_AUTHENTICATE, X_REQUEST_ID];
    let layer = cors::CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(METHODS)
        .allow_headers(request_headers)
        .expose_headers(response_headers)
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}

impl<S> Layer<S> for CorsLayer {
    type Service = MaybeCors<S>;

    fn layer(&self, inner: S) -> MaybeCors<S> {
        MaybeCors { cors: self.cors.clone(), requests: self.requests, inner }
    }
}

/// axum clones this for every request, hence the `Arc`.
#[derive(Clone)]
pub(crate) struct MaybeCors<S> {
    cors: Option<Arc<cors::CorsLayer>>,
    requests: Requests,
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
            Some(cors) if kind(request.method(), request.headers()) == self.requests => {
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                Either::Left(cors.layer(ready).call(request))
            }
            _ => Either::Right(self.inner.call(request)),
        }
    }
}

/// tower-http's layer would answer every OPTIONS request with 200, so it gets only those that are preflights.
fn kind(method: &Method, headers: &HeaderMap) -> Requests {
    if *method != Method::OPTIONS {
        Requests::Others
    } else if headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        Requests::Preflights
    } else {
        Requests::Neither
    }
}
