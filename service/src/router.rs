//! Builds the router of an API: limits, fallbacks, and layers around its routes.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tokio::sync::Semaphore;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::conditional::Precondition;
use crate::config::{AllowedHosts, CorsOrigins};
use crate::cors::CorsLayer;
use crate::docs;
use crate::gzip::GzipLayer;
use crate::health::{self, Readiness};
use crate::metrics::{self, Metrics, RequestMetrics, method_label};
use crate::problem::{Problem, shorten};
use crate::security_headers;
use crate::serve::AnswerBytes;

/// Most requests in progress at once; one more is 503.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 4_096;
/// Longest time for one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct RouterConfig {
    pub readiness: Readiness,
    pub other_port: OtherPort,
    pub cors_origins: CorsOrigins,
    pub hosts: AllowedHosts,
    /// Counts the requests, and serves /metrics.
    pub metrics: Metrics,
}

/// The other port of the API, for clients at the wrong one.
#[derive(Clone, Copy, Debug)]
pub struct OtherPort {
    /// A sentence that says which port to use.
    pub hint: &'static str,
    /// The routes that the other port has with these methods, and this one has not.
    pub routes: &'static [(&'static str, &'static [Method])],
}

impl OtherPort {
    /// For a process whose routes are all on one port.
    pub const NONE: Self = Self { hint: "", routes: &[] };

    fn answers(&self, method: &Method, route: &str) -> bool {
        self.routes.iter().any(|(other_route, methods)| *other_route == route && methods.contains(method))
    }
}

/// Adds limits, fallbacks, layers, health, metrics and documentation to the routes of an API.
pub fn build_router(routes: impl Into<OpenApiRouter>, config: RouterConfig) -> Router {
    let bounds = Bounds { slots: Arc::new(Semaphore::new(MAX_REQUESTS_IN_FLIGHT)), timeout: REQUEST_TIMEOUT };
    build_bounded_router(bounds, routes.into(), config)
}

fn build_bounded_router(bounds: Bounds, routes: OpenApiRouter, config: RouterConfig) -> Router {
    let RouterConfig { readiness, other_port, cors_origins, hosts, metrics } = config;
    // The first layer is the outermost.
    let layers = (
        GzipLayer,
        from_fn_with_state(Arc::new((hosts, RequestMetrics::new(metrics.clone()))), finish_response),
        CorsLayer::new(&cors_origins),
        MapResponseLayer::new(IntoResponse::into_response),
        CatchPanicLayer::custom(panic_response),
    );
    // A request for a route of the other port is answered 405, which names that port, instead of 404.
    let routes = other_port.routes.iter().fold(routes, |routes, (route, _)| routes.route(route, MethodRouter::new()));
    let (routes, description) = routes
        .layer(from_fn_with_state(bounds, enforce_bounds))
        .merge(health::routes(readiness.clone()))
        .merge(metrics::routes(metrics, readiness))
        .split_for_parts();
    routes
        .merge(docs::routes(description))
        .method_not_allowed_fallback(move |method: Method, route: MatchedPath| async move {
            answer_other_method(&other_port, &method, route.as_str())
        })
        .fallback(answer_other_path)
        .layer(layers)
}

/// Refuses requests to other hosts, completes every response and records its request. This is one function, because each layer
/// of this kind costs several allocations a request.
async fn finish_response(
    State(state): State<Arc<(AllowedHosts, RequestMetrics)>>,
    request: Request,
    next: Next,
) -> Response {
    let (hosts, requests) = &*state;
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let precondition = Precondition::from_request(request.method(), request.headers());
    let mut response = match hosts.refuse(request.version(), request.uri(), request.headers()) {
        Some(problem) => problem.into_response(),
        None => precondition.apply(next.run(request).await).await,
    };
    security_headers::add(response.headers_mut());
    if let Some(bytes) = response.body().size_hint().exact() {
        response.extensions_mut().insert(AnswerBytes(bytes));
    }
    let route = route.as_ref().map(MatchedPath::as_str);
    requests.record(method, route, response.status(), started.elapsed());
    response
}

/// Answers a method that a route does not have. axum adds Allow.
fn answer_other_method(other_port: &OtherPort, method: &Method, route: &str) -> Response {
    if *method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let shown = shorten(method.as_str());
    let detail = if other_port.answers(method, route) {
        format!("{shown} is not answered here. {}", other_port.hint)
    } else {
        format!("no port answers {shown} for this path; the header Allow has the methods that this port answers")
    };
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail).into_response()
}

async fn answer_other_path(method: Method, uri: Uri) -> Response {
    // `OPTIONS *` asks about the server as a whole.
    if method == Method::OPTIONS && uri.path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::not_found("there is no such route; /docs lists the routes").into_response()
}

#[derive(Clone)]
struct Bounds {
    slots: Arc<Semaphore>,
    timeout: Duration,
}

async fn enforce_bounds(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Ok(_slot) = bounds.slots.try_acquire() else {
        return Problem::unavailable("overloaded", "too many requests at once; try again").into_response();
    };
    match tokio::time::timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("timed-out", "the request took too long; whether it was carried out is unknown")
            .into_response(),
    }
}

/// The panic hook has already logged the panic, see [`crate::telemetry::init`].
pub(crate) fn panic_response(_panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = "the server failed; whether the request was carried out is unknown";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", detail).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{ALLOW, HOST, HeaderValue, RETRY_AFTER};
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    const OTHER_PORT: OtherPort =
        OtherPort { hint: "Go there.", routes: &[("/here", &[Method::POST]), ("/elsewhere", &[Method::POST])] };

    async fn answer(bounds: Bounds, method: Method, path: &str) -> (Response<()>, serde_json::Value) {
        let routes = Router::new()
            .route("/here", get(async || "x"))
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/stuck", get(std::future::pending::<()>));
        let config = RouterConfig {
            readiness: Readiness::new(),
            other_port: OTHER_PORT,
            cors_origins: CorsOrigins::default(),
            hosts: AllowedHosts::default(),
            metrics: Metrics::isolated().unwrap(),
        };
        let app = build_bounded_router(bounds, routes.into(), config);
        let request = Request::builder().method(method).uri(path).header(HOST, "x").body(Body::empty()).unwrap();
        let (head, body) = app.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&body).unwrap_or_default())
    }

    fn bounds(slots: usize) -> Bounds {
        Bounds { slots: Arc::new(Semaphore::new(slots)), timeout: Duration::from_millis(10) }
    }

    #[tokio::test]
    async fn an_unknown_path_is_404() {
        let (response, problem) = answer(bounds(1), Method::GET, "/nowhere").await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (404, &"not-found".into()));
    }

    #[tokio::test]
    async fn a_wrong_method_is_405_with_what_is_allowed_and_where_to_go() {
        for (path, allow) in [("/here", "GET,HEAD"), ("/elsewhere", "")] {
            let (response, problem) = answer(bounds(1), Method::POST, path).await;
            assert_eq!(response.status(), 405);
            assert_eq!(response.headers()[ALLOW], allow);
            assert_eq!(problem["detail"], "POST is not answered here. Go there.");
            let (response, problem) = answer(bounds(1), Method::DELETE, path).await;
            assert_eq!(
                (response.status().as_u16(), &response.headers()[ALLOW]),
                (405, &HeaderValue::from_static(allow))
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with("no port answers DELETE") && !detail.contains("Go there."), "{detail}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_500_without_its_message() {
        let (response, problem) = answer(bounds(1), Method::GET, "/panic").await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (500, &"internal-error".into()));
        assert!(!problem.to_string().contains("on purpose"));
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_503() {
        let (response, problem) = answer(bounds(1), Method::GET, "/stuck").await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (503, &"timed-out".into()));
    }

    #[tokio::test]
    async fn one_request_too_many_is_503_but_health_is_answered() {
        let (response, problem) = answer(bounds(0), Method::GET, "/here").await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (503, &"overloaded".into()));
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(answer(bounds(0), Method::GET, "/health").await.0.status(), 200);
    }
}
