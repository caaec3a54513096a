//! One connection: its requests, and its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT, HeaderValue};
use axum::http::{Request, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::answer_body::AnswerBody;
use super::client::Client;
use super::client_stream::ClientStream;
use super::{unread_body, vanished};
use crate::cors::CorsLayer;
use crate::router::panic_response;
use crate::security_headers;
use crate::streams::HeldBytes;
use crate::wait_limit::WaitLimit;

/// Largest head of a request in bytes; a larger one is 431.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest time between the last response and the close of a connection, for a client that is still sending.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many bytes of such a client are discarded before the close.
const MAX_LINGER_BYTES: usize = 32 * 1024 * 1024;
/// Size of the buffer for them.
const LINGER_BUFFER_BYTES: usize = 16 * 1024;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection that a client has opened.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) client: Arc<Client>,
    pub(super) app: Router,
    /// For answers that the app does not give.
    pub(super) cors: CorsLayer,
    pub(super) idle_timeout: Duration,
    pub(super) body_bounds: BodyBounds,
}

impl Connection {
    /// Answers requests until the client or `stop` ends the connection.
    pub(super) async fn serve(self) {
        let Self { stream, client, app, cors, idle_timeout, body_bounds } = self;
        let stop = body_bounds.stop.clone();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers on this connection may be late");
        }
        if let Err(error) = vanished::bound(&stream) {
            tracing::debug!(%error, "if its client vanishes, this connection ends late");
        }
        let progress = Arc::new(Progress::default());
        let mut connection = http1::Builder::new()
            // Its time would run while a client reads a long answer, too.
            .header_read_timeout(None)
            .max_header_size(MAX_HEAD_BYTES)
            // A client may close its sending side after the request, and still gets the response.
            .half_close(true)
            .serve_connection(
                TokioIo::new(ClientStream::new(stream, Arc::clone(&client), stop.clone())),
                Requests { app, client: Arc::clone(&client), progress: Arc::clone(&progress), body_bounds },
            );
        let mut stopped = pin!(stop.cancelled());
        let mut idle = pin!(wait_until_idle_for(idle_timeout, &client));
        let mut is_stopping = false;
        let ended = poll_fn(|context| {
            if !is_stopping && stopped.as_mut().poll(context).is_ready() {
                is_stopping = true;
                // A head that has arrived completely is still answered.
                if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                    return Poll::Ready(Some(ended));
                }
                if !progress.has_head.load(Ordering::Relaxed) {
                    return Poll::Ready(None);
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
            match Pin::new(&mut connection).poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => idle.as_mut().poll(context).map(|()| None),
            }
        })
        .await;
        if let Some(Err(error)) = &ended {
            // Usually the client went away, which is no reason for a warning.
            tracing::debug!(%error, "a connection ended early");
        }
        if ended.is_none() {
            return;
        }
        let http1::Parts { io, read_buf: head, .. } = connection.into_parts();
        let mut stream = io.into_inner();
        if let Some(refusal) = stream.take_refusal()
            && let Err(error) = stream.write_all(&refusal.into_bytes(&head, &cors).await).await
        {
            tracing::debug!(%error, "a client has not read why its request was refused");
        }
        if stream.is_stalled() {
            return;
        }
        let lingering = linger(stream);
        if progress.has_unread_body.load(Ordering::Relaxed) {
            lingering.await;
        } else {
            stop.run_until_cancelled(lingering).await;
        }
    }
}

/// Waits until the connection has waited for a request for so long.
async fn wait_until_idle_for(idle_timeout: Duration, client: &Client) {
    let mut end = Instant::now() + idle_timeout;
    while Instant::now() < end {
        tokio::time::sleep_until(end).await;
        // While a request is served, looks again later: the next wait cannot end sooner.
        end = client.idle_since().unwrap_or_else(Instant::now) + idle_timeout;
    }
}

/// Closes the sending side and reads on for a while. A client that is still sending can then read the response; otherwise
/// the system would reset the connection.
async fn linger(mut stream: ClientStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discarding = async {
        let mut buffer = vec![0; LINGER_BUFFER_BYTES];
        let mut bytes = 0;
        while bytes < MAX_LINGER_BYTES {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes += read,
            }
        }
    };
    // After the timeout the client gets a reset, if it is still sending.
    let _elapsed = timeout(LINGER_TIMEOUT, discarding).await;
}

/// What has happened on a connection.
#[derive(Default)]
struct Progress {
    /// A request's head has arrived completely.
    has_head: AtomicBool,
    /// The last response was sent before its request's body was read.
    has_unread_body: AtomicBool,
}

/// Is in the extensions of every request that has a body.
#[derive(Clone)]
pub(crate) struct BodyBounds {
    /// For the wait for the body.
    pub(crate) arriving: WaitLimit,
    /// Cancelled when the process stops.
    pub(crate) stop: CancellationToken,
}

/// Is in the extensions of a response: the length of its body before compression, noted while it is known. So many bytes stay
/// in memory until the client has read them.
#[derive(Clone, Copy)]
pub(crate) struct AnswerBytes(pub(crate) u64);

/// Answers the requests of one connection.
struct Requests {
    app: Router,
    client: Arc<Client>,
    progress: Arc<Progress>,
    body_bounds: BodyBounds,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<AnswerBody>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.progress.has_head.store(true, Ordering::Relaxed);
        let (app, client) = (self.app.clone(), Arc::clone(&self.client));
        request.extensions_mut().insert(client.request_wait());
        if request.body().is_end_stream() {
            return async move {
                client.begin_work().await;
                let response = answer(app, request.map(Body::new)).await;
                Ok(begin_answer(response, client))
            }
            .boxed();
        }
        request.extensions_mut().insert(self.body_bounds.clone());
        let may_read = !request.headers().contains_key(EXPECT);
        let progress = Arc::clone(&self.progress);
        let (head, body) = request.into_parts();
        let (body, unread) = unread_body::track(body, Arc::clone(&client));
        let request = Request::from_parts(head, Body::new(body));
        async move {
            client.begin_work().await;
            let mut response = answer(app, request).await;
            if !unread.discard_rest(may_read).await {
                progress.has_unread_body.store(true, Ordering::Relaxed);
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
            Ok(begin_answer(response, client))
        }
        .boxed()
    }
}

fn begin_answer(response: Response<Body>, client: Arc<Client>) -> Response<AnswerBody> {
    match response.extensions().get::<HeldBytes>() {
        Some(held) => client.begin_stream(held.clone()),
        None => client.begin_answer(count_bytes(&response)),
    }
    response.map(|body| AnswerBody::new(body, client))
}

/// The bytes of an answer that stay in memory until the client has read them.
fn count_bytes(response: &Response<Body>) -> usize {
    let known = response.extensions().get().map(|AnswerBytes(bytes)| *bytes);
    usize::try_from(known.unwrap_or_else(|| response.body().size_hint().lower())).unwrap_or(usize::MAX)
}

/// Answers a request, with 500 if the app panics outside of its routes.
async fn answer(app: Router, request: Request<Body>) -> Response<Body> {
    match AssertUnwindSafe(app.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            let mut response = panic_response(panic);
            security_headers::add(response.headers_mut());
            response
        }
    }
}
