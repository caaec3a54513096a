//! Indices of a test's own on a real server.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use distributed::elastic::ElasticIndex;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use read_model::SearchIndex;
use serde_json::Value;
use uuid::Uuid;

use crate::containers;

/// A server, and names on it that no other test uses.
pub(crate) struct Here {
    pub(crate) url: String,
    pub(crate) prefix: String,
    transport: Transport,
}

/// Runs a test on a prepared index and deletes it afterwards.
pub(crate) async fn on_an_index<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Arc<Here>) -> F) {
    on_a_server(|here| {
        let test = test(Arc::clone(&here));
        async move {
            here.adapter().prepare().await.unwrap();
            test.await;
        }
    })
    .await;
}

/// Runs a test with nothing prepared and deletes what it makes.
pub(crate) async fn on_a_server<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Arc<Here>) -> F) {
    let url = containers::elasticsearch().await.to_owned();
    let here = Arc::new(Here::new(url));
    let outcome = tokio::spawn(test(Arc::clone(&here))).await;
    here.delete().await;
    if let Err(error) = outcome {
        resume_unwind(error.into_panic());
    }
}

impl Here {
    pub(crate) fn new(url: String) -> Self {
        let pool = SingleNodeConnectionPool::new(Url::parse(&url).unwrap());
        let transport = TransportBuilder::new(pool).disable_proxy().build().unwrap();
        Self { url, prefix: format!("tally-test-{}", Uuid::new_v4().simple()), transport }
    }

    /// Another process's adapter.
    pub(crate) fn adapter(&self) -> ElasticIndex {
        self.adapter_at(&self.url)
    }

    /// The same by way of another address.
    pub(crate) fn adapter_at(&self, url: &str) -> ElasticIndex {
        ElasticIndex::with_prefix(url, &self.prefix).unwrap()
    }

    pub(crate) fn index(&self) -> Arc<dyn SearchIndex> {
        Arc::new(self.adapter())
    }

    /// The server's address without the scheme.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }

    /// Asks the server itself: `path` is what follows the prefix.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let path = format!("{}{path}", self.prefix);
        let body = body.map(|body| body.to_string());
        let response = self.transport.send(method, &path, HeaderMap::new(), None::<&()>, body, None).await.unwrap();
        (response.status_code().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn delete(&self) {
        for index in ["-1", "-2", "-pointer"] {
            self.raw(Method::Delete, index, None).await;
        }
    }
}
