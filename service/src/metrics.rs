//! How a process is doing, in numbers, as text that Prometheus reads.
//!
//! Labels have few values, and none of them a secret: a route is its template, never the path that was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::Readiness;

/// Upper ends of the buckets of every histogram, in seconds.
const BUCKETS_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// How often what histograms were told is put into their buckets; until then it takes memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The route of a request that no route answers.
const NO_ROUTE: &str = "none";
const REQUESTS: &str = "tally_http_requests_total";
const DURATIONS: &str = "tally_http_request_duration_seconds";
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// The metrics of this process, once they are installed.
static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// Where metrics are recorded and read from.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
    port: Option<&'static str>,
}

#[derive(Debug)]
struct Shared {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    started: Instant,
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets of histograms are refused.
    #[error("the buckets of the metrics are not acceptable")]
    Buckets(#[source] BuildError),
    /// The thread that keeps them small cannot be started.
    #[error("the thread that sums up metrics cannot be started; is the limit of threads reached?")]
    Upkeep(#[source] std::io::Error),
    /// Somebody else records the metrics of this process.
    #[error("metrics of this process are recorded elsewhere already")]
    Taken,
}

impl Metrics {
    /// The metrics of this process: from the first call on, everything recorded with the crate `metrics` is among them.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn install() -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let metrics = Self::isolated()?;
        metrics::set_global_recorder(Arc::clone(&metrics.shared.recorder)).map_err(|_| MetricsError::Taken)?;
        *installed = Some(metrics.clone());
        Ok(metrics)
    }

    /// Metrics that have nothing to do with those of the process, so that tests do not see each other's.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn isolated() -> Result<Self, MetricsError> {
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS_SECONDS).map_err(MetricsError::Buckets)?;
        let recorder = Arc::new(builder.build_recorder());
        recorder.describe_counter(REQUESTS.into(), None, "Requests that were answered.".into());
        let description = "Time from a request's head to its answer's head.";
        recorder.describe_histogram(DURATIONS.into(), Some(Unit::Seconds), description.into());
        let shared = Arc::new(Shared { handle: recorder.handle(), recorder, started: Instant::now() });
        let kept = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || keep_up(&kept))
            .map_err(MetricsError::Upkeep)?;
        Ok(Self { shared, port: None })
    }

    /// The same metrics, for requests at a port with this name, which becomes their label `port`.
    #[must_use]
    pub const fn at_port(mut self, name: &'static str) -> Self {
        self.port = Some(name);
        self
    }

    fn render(&self, readiness: &Readiness) -> String {
        let mut text = self.shared.handle.render();
        let parts: Vec<_> = readiness
            .parts_ready()
            .into_iter()
            .map(|(part, is_ready)| (format!("{{part=\"{part}\"}}"), f64::from(is_ready)))
            .collect();
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        let uptime_seconds = self.shared.started.elapsed().as_secs_f64();
        let no_label = String::new;
        for (name, help, values) in [
            ("build_info", "What is running.", vec![(version, 1.0)]),
            ("uptime_seconds", "Time since the start.", vec![(no_label(), uptime_seconds)]),
            ("ready", "Whether /health/ready is 200.", vec![(no_label(), f64::from(readiness.is_ready()))]),
            ("part_ready", "Whether a part is ready.", parts),
        ] {
            let heading = format!("# HELP tally_{name} {help}\n# TYPE tally_{name} gauge\n");
            let lines = values.iter().map(|(labels, value)| format!("tally_{name}{labels} {value}\n"));
            text.extend(std::iter::once(heading).chain(lines));
            text.push('\n');
        }
        text
    }
}

/// Ends soon after the last user.
fn keep_up(metrics: &Weak<Shared>) {
    loop {
        std::thread::sleep(UPKEEP_INTERVAL);
        let Some(metrics) = metrics.upgrade() else { return };
        metrics.handle.run_upkeep();
    }
}

/// `/metrics`.
pub(crate) fn routes(metrics: Metrics, readiness: Readiness) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(render)).with_state((metrics, readiness))
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain"))
)]
async fn render(State((metrics, readiness)): State<(Metrics, Readiness)>) -> ([(HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render(&readiness))
}

/// Records the requests of one router.
#[derive(Debug)]
pub(crate) struct Requests {
    metrics: Metrics,
    /// What has been seen, so that a request is recorded without allocating. As large as routes, methods and statuses
    /// are many.
    seen: RwLock<HashMap<Box<str>, Vec<Seen>>>,
}

#[derive(Clone, Debug)]
struct Seen {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    durations: Histogram,
}

impl Requests {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, seen: RwLock::default() }
    }

    /// A request that was answered; `route` is the template that it matched.
    pub(crate) fn record(&self, method: &'static str, route: Option<&str>, status: StatusCode, duration: Duration) {
        let route = route.unwrap_or(NO_ROUTE);
        let record = |seen: &Seen| {
            seen.requests.increment(1);
            seen.durations.record(duration.as_secs_f64());
        };
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            let mut of_route = seen.get(route).into_iter().flatten();
            if let Some(seen) = of_route.find(|seen| seen.method == method && seen.status == status) {
                return record(seen);
            }
        }
        let seen = self.register(method, route, status);
        record(&seen);
        // Should another request have done the same meanwhile, there is one entry too many, for the same counters.
        self.seen.write().unwrap_or_else(PoisonError::into_inner).entry(route.into()).or_default().push(seen);
    }

    fn register(&self, method: &'static str, route: &str, status: StatusCode) -> Seen {
        let port = self.metrics.port.map(|port| Label::new("port", port));
        let mut labels: Vec<_> = port.into_iter().collect();
        labels.extend([Label::new("method", method), Label::new("route", route.to_owned())]);
        let recorder = &self.metrics.shared.recorder;
        let durations = recorder.register_histogram(&Key::from_parts(DURATIONS, labels.clone()), &METADATA);
        labels.push(Label::new("status", status.as_u16().to_string()));
        let requests = recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA);
        Seen { method, status, requests, durations }
    }
}

/// A method's label.
pub(crate) const fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
