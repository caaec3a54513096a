//! Indices for each test, on the Elasticsearch that all tests share.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use distributed::elastic::{ElasticGenerations, ElasticIndex};
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use futures_util::FutureExt;
use read_model::{Generations, OperateGenerations, SearchIndex};
use serde_json::Value;
use uuid::Uuid;

use crate::containers;
use crate::fault_proxy::FaultProxy;

/// Most generations that a test makes.
const MAX_GENERATIONS: u32 = 6;

/// A server, and a prefix of index names that no other test uses.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) transport: Transport,
}

/// Runs a test on a prepared index, and deletes it afterwards.
pub(crate) async fn on_an_index(test: impl AsyncFnOnce(Arc<TestServer>)) {
    on_a_server(async |elastic| {
        elastic.adapter().prepare().await.unwrap();
        test(elastic).await;
    })
    .await;
}

/// Runs a test without a prepared index, and deletes its indices afterwards.
pub(crate) async fn on_a_server(test: impl AsyncFnOnce(Arc<TestServer>)) {
    let elastic = Arc::new(TestServer::new(containers::elasticsearch().await.to_owned()));
    let outcome = AssertUnwindSafe(test(Arc::clone(&elastic))).catch_unwind().await;
    elastic.delete().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl TestServer {
    pub(crate) fn new(url: String) -> Self {
        let pool = SingleNodeConnectionPool::new(Url::parse(&url).unwrap());
        let transport = TransportBuilder::new(pool).disable_proxy().build().unwrap();
        Self { url, prefix: format!("tally-test-{}", Uuid::new_v4().simple()), transport }
    }

    /// Another process's adapter.
    pub(crate) fn adapter(&self) -> ElasticIndex {
        self.adapter_at(&self.url)
    }

    /// Another process's adapter, through a proxy.
    pub(crate) fn adapter_by(&self, proxy: &FaultProxy) -> ElasticIndex {
        self.adapter_at(&format!("http://{}", proxy.address()))
    }

    pub(crate) fn adapter_at(&self, url: &str) -> ElasticIndex {
        ElasticIndex::with_prefix(url, &self.prefix).unwrap()
    }

    pub(crate) fn index(&self) -> Arc<dyn SearchIndex> {
        Arc::new(self.adapter())
    }

    pub(crate) fn search_generations(&self) -> Arc<dyn Generations> {
        Arc::new(self.generations())
    }

    pub(crate) fn generations(&self) -> ElasticGenerations {
        ElasticGenerations::with_prefix(&self.url, &self.prefix).unwrap()
    }

    pub(crate) fn operated_search(&self) -> Arc<dyn OperateGenerations> {
        Arc::new(self.generations())
    }

    /// `HOST:PORT` of the server.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }

    /// Sends a request to the server itself. `path` is what follows the prefix.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let path = format!("{}{path}", self.prefix);
        let body = body.map(|body| body.to_string());
        let response = self.transport.send(method, &path, HeaderMap::new(), None::<&()>, body, None).await.unwrap();
        (response.status_code().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn delete(&self) {
        for generation in 1..=MAX_GENERATIONS {
            self.raw(Method::Delete, &format!("-{generation}"), None).await;
        }
        self.raw(Method::Delete, "-pointer", None).await;
    }
}
