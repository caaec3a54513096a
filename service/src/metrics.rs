//! Metrics of a process and of its requests, as text for Prometheus.
//!
//! Labels have few values and hold no secret: a route's label is its template, never the path of a request.

mod process;
mod samples;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use parking_lot::{Mutex, RwLock};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::samples::Samples;
use self::text::{Family, Kind};
use crate::health::Readiness;

/// Upper bounds of the buckets of a histogram whose name ends in `_size`.
const BUCKETS_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Upper bounds of the buckets of every other histogram, in seconds.
const BUCKETS_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// How often recorded values are moved into the buckets of their histograms. Until then, each value takes memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The label of a request that matches no route.
pub(crate) const NO_ROUTE: &str = "none";
const REQUESTS: &str = "tally_http_requests_total";
const DURATIONS: &str = "tally_http_request_duration_seconds";
const IN_FLIGHT: &str = "tally_http_requests_in_flight";
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// The metrics of this process, once installed.
static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);

/// A recorder of metrics. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
    port: Option<&'static str>,
}

#[derive(Debug)]
struct Shared {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    samples: Samples,
    started: Instant,
    started_at: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("the buckets of the histograms are invalid")]
    Buckets(#[source] BuildError),
    #[error("the thread that sums up metrics cannot be started; is the limit of threads reached?")]
    Upkeep(#[source] std::io::Error),
    #[error("another recorder of this process's metrics is installed already")]
    Taken,
}

impl Metrics {
    /// Returns the metrics of this process. The first call installs them as the recorder behind the crate `metrics`.
    pub fn install() -> Result<Self, MetricsError> {
        let mut installed = INSTALLED.lock();
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let metrics = Self::isolated()?;
        metrics::set_global_recorder(Arc::clone(&metrics.shared.recorder)).map_err(|_| MetricsError::Taken)?;
        *installed = Some(metrics.clone());
        Ok(metrics)
    }

    /// Creates metrics that are separate from those of the process, so that tests do not see each other's.
    pub fn isolated() -> Result<Self, MetricsError> {
        let sizes = Matcher::Suffix("_size".to_owned());
        let builder = PrometheusBuilder::new()
            .set_buckets(BUCKETS_SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(sizes, BUCKETS_SIZES))
            .map_err(MetricsError::Buckets)?;
        let recorder = Arc::new(builder.build_recorder());
        recorder.describe_counter(REQUESTS.into(), None, "Requests that were answered.".into());
        let description = "Time from a request's head to its answer's head.";
        recorder.describe_histogram(DURATIONS.into(), Some(Unit::Seconds), description.into());
        let (handle, samples) = (recorder.handle(), Samples::default());
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let shared = Arc::new(Shared { recorder, handle, samples, started, started_at });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || run_upkeep(&weak))
            .map_err(MetricsError::Upkeep)?;
        Ok(Self { shared, port: None })
    }

    /// Uses the same recorder for the requests of one port. The name becomes their label `port`.
    #[must_use]
    pub const fn with_port(mut self, name: &'static str) -> Self {
        self.port = Some(name);
        self
    }

    /// The name of the port whose requests are recorded; see [`Metrics::with_port`].
    pub(crate) const fn port(&self) -> Option<&'static str> {
        self.port
    }

    /// Adds a gauge that is read whenever somebody asks for the metrics, until `read` returns `None`. Another gauge of this name
    /// with the same labels takes its place.
    pub fn sample(
        &self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, &'static str)>,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let labels: Vec<_> = label.into_iter().map(|(name, value)| Label::new(name, value)).collect();
        let key = Key::from_parts(name, labels);
        let recorder = &self.shared.recorder;
        recorder.describe_gauge(name.into(), None, help.into());
        let gauge = recorder.register_gauge(&key, &METADATA);
        self.shared.samples.add(key, gauge, Box::new(read));
    }

    /// Adds the number of requests in progress at the port; see [`Metrics::with_port`].
    pub(crate) fn sample_requests(&self, in_flight: impl Fn() -> usize + Send + Sync + 'static) {
        let label = self.port.map(|port| ("port", port));
        self.sample(IN_FLIGHT, "Requests in progress.", label, move || Some(in_flight() as f64));
    }

    fn render(&self, readiness: &Readiness) -> String {
        self.shared.samples.read_all();
        let mut text = self.shared.handle.render();
        let parts = readiness.parts_ready().into_iter();
        let parts = parts.map(|(part, is_ready)| (format!("{{part=\"{part}\"}}"), f64::from(is_ready))).collect();
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        let uptime_seconds = self.shared.started.elapsed().as_secs_f64();
        let is_ready = f64::from(readiness.is_ready());
        let families = [
            Family::new("tally_build_info", "What is running.", Kind::Gauge, vec![(version, 1.0)]),
            Family::one("tally_uptime_seconds", "Time since the start.", Kind::Gauge, uptime_seconds),
            Family::one("tally_ready", "Whether every part is ready.", Kind::Gauge, is_ready),
            Family::new("tally_part_ready", "Whether a part is ready.", Kind::Gauge, parts),
        ];
        for family in families.into_iter().chain(process::families(self.shared.started_at)) {
            family.write(&mut text);
        }
        text
    }
}

/// Adds a gauge to the metrics of this process, if they are installed; see [`Metrics::sample`].
pub(crate) fn sample(
    name: &'static str,
    help: &'static str,
    label: (&'static str, &'static str),
    read: impl Fn() -> Option<f64> + Send + Sync + 'static,
) {
    let installed = INSTALLED.lock().clone();
    if let Some(metrics) = installed {
        metrics.sample(name, help, Some(label), read);
    }
}

/// Moves recorded values into their histograms at intervals. Ends at most one interval after the last user has dropped the
/// metrics.
fn run_upkeep(metrics: &Weak<Shared>) {
    loop {
        std::thread::sleep(UPKEEP_INTERVAL);
        let Some(metrics) = metrics.upgrade() else { return };
        metrics.handle.run_upkeep();
    }
}

/// The route /metrics, for the operator's port. `readiness` is that of the whole process.
pub fn routes(metrics: Metrics, readiness: Readiness) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(render)).with_state((metrics, readiness))
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "operation",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain"))
)]
async fn render(State((metrics, readiness)): State<(Metrics, Readiness)>) -> ([(HeaderName, HeaderValue); 1], String) {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render(&readiness))
}

/// Records the requests of one router.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    metrics: Metrics,
    /// The series of each route, so that a known one is recorded without an allocation. Bounded by the numbers of routes,
    /// methods and statuses.
    series: RwLock<HashMap<Box<str>, Vec<Series>>>,
}

#[derive(Clone, Debug)]
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    durations: Histogram,
}

impl RequestMetrics {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, series: RwLock::default() }
    }

    /// Records an answered request. `route` is the template that it matched.
    pub(crate) fn record(&self, method: &'static str, route: Option<&str>, status: StatusCode, duration: Duration) {
        let route = route.unwrap_or(NO_ROUTE);
        let record = |series: &Series| {
            series.requests.increment(1);
            series.durations.record(duration.as_secs_f64());
        };
        {
            let by_route = self.series.read();
            let mut series = by_route.get(route).into_iter().flatten();
            if let Some(series) = series.find(|series| series.method == method && series.status == status) {
                return record(series);
            }
        }
        let series = self.register(method, route, status);
        record(&series);
        // If another request has registered the same series meanwhile, this adds a second entry for the same counters.
        self.series.write().entry(route.into()).or_default().push(series);
    }

    fn register(&self, method: &'static str, route: &str, status: StatusCode) -> Series {
        let port = self.metrics.port.map(|port| Label::new("port", port));
        let mut labels: Vec<_> = port.into_iter().collect();
        labels.extend([Label::new("method", method), Label::new("route", route.to_owned())]);
        let recorder = &self.metrics.shared.recorder;
        let durations = recorder.register_histogram(&Key::from_parts(DURATIONS, labels.clone()), &METADATA);
        labels.push(Label::new("status", status.as_u16().to_string()));
        let requests = recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA);
        Series { method, status, requests, durations }
    }
}

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
