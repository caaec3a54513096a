//! Builds the router of an API: limits, fallbacks, and layers around its routes.

use std::any::Any;
use std::future::ready;
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

use crate::codes::{Code, INTERNAL_ERROR, METHOD_NOT_ALLOWED, OVERLOADED, TIMED_OUT};
use crate::conditional::Precondition;
use crate::config::{AllowedHosts, CorsOrigins, PublicUrl};
use crate::cors::CorsLayer;
use crate::docs;
use crate::gzip::GzipLayer;
use crate::health::{self, Readiness};
use crate::metrics::{Metrics, RequestMetrics, method_label};
use crate::problem::{self, Problem, shorten};
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::request_log;
use crate::security_headers;
use crate::serve::AnswerBytes;

/// Most requests in progress at once; one more is 503.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 4_096;
/// Longest time for one request: longer than the longest wait that a client can prefer, which is 30 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Clone, Debug)]
pub struct RouterConfig {
    pub readiness: Readiness,
    pub other_port: OtherPort,
    pub cors_origins: CorsOrigins,
    pub hosts: AllowedHosts,
    /// Counts the requests.
    pub metrics: Metrics,
    /// The codes of the problems that the routes answer, beside [`crate::codes::CODES`].
    pub codes: Vec<&'static [Code]>,
}

/// The other port of the API, for clients at the wrong one.
#[derive(Clone, Debug)]
pub struct OtherPort {
    /// A sentence that says which port to use.
    pub hint: String,
    /// Where its documentation is.
    pub page: Option<OtherPage>,
    /// The routes of the other port, with each of their methods. HEAD goes with GET.
    pub routes: Vec<(&'static str, Method)>,
}

/// Where people find the other port.
#[derive(Clone, Debug)]
pub struct OtherPage {
    /// What the port is.
    pub title: &'static str,
    /// The URL under which clients reach the port.
    pub url: PublicUrl,
}

impl OtherPort {
    /// For a process whose routes are all on one port.
    pub const NONE: Self = Self { hint: String::new(), page: None, routes: Vec::new() };

    /// The methods that the other port alone has for this route.
    fn methods(&self, route: &str) -> Vec<&Method> {
        self.routes.iter().filter(|(other_route, _)| *other_route == route).map(|(_, method)| method).collect()
    }
}

/// Adds limits, fallbacks, layers, health and documentation to the routes of an API.
pub fn build_router(routes: impl Into<OpenApiRouter>, config: RouterConfig) -> Router {
    let bounds = Bounds { slots: Arc::new(Semaphore::new(MAX_REQUESTS_IN_FLIGHT)), timeout: REQUEST_TIMEOUT };
    build_bounded_router(bounds, routes.into(), config)
}

fn build_bounded_router(bounds: Bounds, routes: OpenApiRouter, config: RouterConfig) -> Router {
    let RouterConfig { readiness, other_port, cors_origins, hosts, metrics, codes } = config;
    let (slots, all_slots) = (Arc::clone(&bounds.slots), bounds.slots.available_permits());
    let port = metrics.port();
    metrics.sample_requests(move || all_slots - slots.available_permits().min(all_slots));
    // The first layer is the outermost.
    let layers = (
        CorsLayer::for_answers(&cors_origins),
        GzipLayer,
        from_fn_with_state(Arc::new((hosts, RequestMetrics::new(metrics))), finish_response),
        CorsLayer::for_preflights(&cors_origins),
        MapResponseLayer::new(IntoResponse::into_response),
        CatchPanicLayer::custom(panic_response),
    );
    // A request for a route of the other port is answered 405, which names that port, instead of 404.
    let routes = other_port.routes.iter().fold(routes, |routes, (route, _)| routes.route(route, MethodRouter::new()));
    let other_page = other_port.page.clone();
    let other_port = Arc::new(other_port);
    let (routes, description) =
        routes.layer(from_fn_with_state(bounds, enforce_bounds)).merge(health::routes(readiness)).split_for_parts();
    routes
        .merge(docs::routes(&description, port, other_page.as_ref(), &codes))
        .method_not_allowed_fallback(move |method: Method, route: MatchedPath| {
            ready(answer_other_method(&other_port, &method, route.as_str()))
        })
        .fallback(answer_other_path)
        .layer(layers)
}

/// Refuses requests to other hosts, names each request, completes every response and records its request. This is one function, because each layer
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
    let id = RequestId::of(request.uri(), request.headers());
    let precondition = Precondition::from_request(request.method(), request.headers());
    let mut response = match hosts.refuse(request.version(), request.uri(), request.headers()) {
        Some(problem) => problem.into_response(),
        None => precondition.apply(id.clone().scope(next.run(request)).await).await,
    };
    security_headers::add(response.headers_mut());
    problem::add_request_id(&mut response, &id);
    if let Some(bytes) = response.body().size_hint().exact() {
        response.extensions_mut().insert(AnswerBytes(bytes));
    }
    let (route, duration) = (route.as_ref().map(MatchedPath::as_str), started.elapsed());
    requests.record(method, route, response.status(), duration);
    request_log::record(method, route, response.status(), duration, &id);
    response.headers_mut().insert(X_REQUEST_ID, id.into_value());
    response
}

/// Answers a method that a route does not have. axum adds Allow.
fn answer_other_method(other_port: &OtherPort, method: &Method, route: &str) -> Response {
    if *method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let shown = shorten(method.as_str());
    let others = other_port.methods(route);
    // HEAD goes with GET.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let detail = if others.contains(&method) {
        format!("{shown} is not answered here. {}", other_port.hint)
    } else if others.is_empty() {
        format!("no port answers {shown} for this path; the header Allow has the methods that this port answers")
    } else {
        let names = others.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
        format!("no port answers {shown} for this path, which has {names} on the other port. {}", other_port.hint)
    };
    Problem::new(METHOD_NOT_ALLOWED, detail).into_response()
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
        return Problem::unavailable(OVERLOADED, "too many requests at once; try again").into_response();
    };
    match tokio::time::timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable(TIMED_OUT, "the request took too long; whether it was carried out is unknown")
            .into_response(),
    }
}

/// The panic hook has already logged the panic, see [`crate::telemetry::init`].
pub(crate) fn panic_response(_panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = "the server failed; whether the request was carried out is unknown";
    Problem::new(INTERNAL_ERROR, detail).into_response()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::header::{ALLOW, HOST, HeaderValue, RETRY_AFTER};
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn other_port() -> OtherPort {
        OtherPort {
            hint: "Go there.".to_owned(),
            page: None,
            routes: vec![("/here", Method::POST), ("/elsewhere", Method::POST)],
        }
    }

    async fn answer(bounds: Bounds, method: Method, path: &str) -> (Response<()>, serde_json::Value) {
        let request = Request::builder().method(method).uri(path).header(HOST, "x").body(Body::empty()).unwrap();
        let (head, body) = app(bounds).oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&body).unwrap_or_default())
    }

    fn app(bounds: Bounds) -> Router {
        let routes = Router::new()
            .route("/here", get(async || "x"))
            .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
            .route("/stuck", get(std::future::pending::<()>))
            .route(
                "/stream",
                get(async || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, Infallible>>())),
            );
        let config = RouterConfig {
            readiness: Readiness::new(),
            other_port: other_port(),
            cors_origins: CorsOrigins::default(),
            hosts: AllowedHosts::default(),
            metrics: Metrics::isolated().unwrap(),
            codes: Vec::new(),
        };
        build_bounded_router(bounds, routes.into(), config)
    }

    #[tokio::test]
    async fn a_stream_holds_no_slot_and_outlives_the_time_of_a_request() {
        let app = app(bounds(1));
        let mut streams = Vec::new();
        for _ in 0..3 {
            let request = Request::get("/stream").header(HOST, "x").body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            streams.push(response.into_body());
        }
        let frame = tokio::time::timeout(5 * bounds(1).timeout, streams[0].frame()).await;
        assert!(frame.is_err(), "it has ended: {frame:?}");
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
            assert!(detail.starts_with("no port answers DELETE"), "{detail}");
            assert!(detail.ends_with("which has POST on the other port. Go there."), "{detail}");
        }
        let (_, problem) = answer(bounds(1), Method::DELETE, "/panic").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.contains("other") && !detail.contains("Go there."), "{detail}");
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
