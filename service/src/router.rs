//! What surrounds the routes of an API.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::conditional::Condition;
use crate::config::CorsOrigins;
use crate::cors::CorsLayer;
use crate::docs;
use crate::gzip::GzipLayer;
use crate::headers;
use crate::health::{self, Readiness};
use crate::metrics::{self, Metrics, Requests, method_label};
use crate::problem::Problem;

/// Requests that are worked on at once; one more is refused.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 4_096;
/// Longest work on one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the routes of an API are told about the process that they are part of.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// What /health tells.
    pub readiness: Readiness,
    /// The sentence that tells a client who came to the wrong port where to go.
    pub other_port: &'static str,
    /// Whose pages may ask.
    pub cors_origins: CorsOrigins,
    /// Where requests are counted, and what /metrics tells.
    pub metrics: Metrics,
}

/// The routes of an API with everything around them, and what describes them.
pub fn build_router(routes: impl Into<OpenApiRouter>, router_config: RouterConfig) -> Router {
    let bounds = Bounds { slots: Arc::new(Semaphore::new(MAX_REQUESTS_IN_FLIGHT)), timeout: REQUEST_TIMEOUT };
    within(bounds, routes.into(), router_config)
}

fn within(bounds: Bounds, routes: OpenApiRouter, router_config: RouterConfig) -> Router {
    let RouterConfig { readiness, other_port, cors_origins, metrics } = router_config;
    // The first is the outermost.
    let around_all = (
        GzipLayer,
        from_fn_with_state(Arc::new(Requests::new(metrics.clone())), answer),
        CorsLayer::new(&cors_origins),
        MapResponseLayer::new(IntoResponse::into_response),
        CatchPanicLayer::custom(panicked),
    );
    let (routes, description) = routes
        .layer(from_fn_with_state(bounds, bound))
        .merge(health::routes(readiness.clone()))
        .merge(metrics::routes(metrics, readiness))
        .split_for_parts();
    routes
        .merge(docs::routes(description))
        .method_not_allowed_fallback(move |method: Method| async move {
            let detail = format!("{method} is not answered here. {other_port}");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .fallback(async || Problem::not_found("there is no such route; /docs shows those that there are"))
        .layer(around_all)
}

/// What is done to every answer. One function, because each layer of this kind costs several allocations a request.
async fn answer(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let condition = Condition::of(request.method(), request.headers());
    let mut response = condition.apply(next.run(request).await).await;
    headers::harden(response.headers_mut());
    let route = route.as_ref().map(MatchedPath::as_str);
    requests.record(method, route, response.status(), started.elapsed());
    response
}

#[derive(Clone)]
struct Bounds {
    slots: Arc<Semaphore>,
    timeout: Duration,
}

async fn bound(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Ok(_slot) = bounds.slots.try_acquire() else {
        return Problem::unavailable("overloaded", "too many requests at once; try again").into_response();
    };
    match tokio::time::timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::unavailable("timed-out", "this took too long; whether it was done is unknown").into_response()
        }
    }
}

/// The panic itself is logged where it happens, see [`crate::telemetry::init`].
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = "something went wrong here; whether it was done is unknown";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", detail).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{ALLOW, RETRY_AFTER};
    use axum::routing::{MethodRouter, get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn answer(bounds: Bounds, method: Method, path: &str) -> (Response<()>, serde_json::Value) {
        let routes = Router::new()
            .route("/here", get(async || "x"))
            .route("/elsewhere", MethodRouter::new())
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/stuck", get(std::future::pending::<()>));
        let router_config = RouterConfig {
            readiness: Readiness::new(),
            other_port: "Go there.",
            cors_origins: CorsOrigins::default(),
            metrics: Metrics::isolated().unwrap(),
        };
        let app = within(bounds, routes.into(), router_config);
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
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
    async fn one_request_too_many_is_503_but_health_is_still_told() {
        let (response, problem) = answer(bounds(0), Method::GET, "/here").await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (503, &"overloaded".into()));
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(answer(bounds(0), Method::GET, "/health").await.0.status(), 200);
    }
}
