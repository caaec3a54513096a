//! The behaviour of the whole system over HTTP. The scenarios run against every topology, and against any running system.
//!
//! A scenario is an async function over an [`Api`]. It creates its own applications, so scenarios can share a system, and the
//! system may already have data. A new scenario is named in the list of [`every_scenario!`](crate::every_scenario!), and
//! nowhere else.
//!
//! Views follow the log a moment later. Scenarios wait for them with [`eventually`].

pub mod access;
pub mod answers;
pub mod demo;
pub mod description;
pub mod examples;
pub mod feed;
pub mod included;
pub mod keys;
pub mod many_languages;
pub mod numbers;
pub mod own_writes;
pub mod paging;
pub mod positions;
pub mod refusals;
pub mod retries;
pub mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::polling::eventually;

/// The path where all routes of the API begin.
pub const BASE: &str = "/api/v1/chat_applications";

/// Longest time for which a test follows one stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of a running system.
#[derive(Debug, Clone)]
pub struct Api {
    /// If there are several, requests go to each in turn.
    write_urls: Vec<String>,
    turn: Arc<AtomicUsize>,
    read_url: String,
    client: Client,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The JSON; null where there is none.
    pub json: Value,
    url: Url,
}

/// Makes a test of every scenario. `$start` is an async function that returns a value with the methods `api(&self) -> &Api`
/// and `async stop(self)`.
#[macro_export]
macro_rules! scenarios {
    ($start:path) => {
        $crate::every_scenario!($crate::scenarios, @tests $start);
    };
    (@tests $start:path; $($module:ident::$name:ident,)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let system = $start().await;
            $crate::scenarios::$module::$name(system.api()).await;
            system.stop().await;
        })+
    };
}

/// Calls a macro with the arguments, a semicolon, and every scenario as `module::name,`.
#[macro_export]
macro_rules! every_scenario {
    ($callback:path $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?;
            access::every_route_asks_who_it_is,
            demo::the_readme_demo,
            demo::renaming_by_put_and_by_patch,
            demo::a_chat_needs_no_body,
            demo::two_applications_never_see_each_other,
            demo::both_ports_answer_their_health,
            numbers::twenty_chats_created_at_once,
            numbers::fifteen_messages_posted_at_once,
            numbers::a_thousand_messages_from_32_clients,
            numbers::a_later_post_gets_a_higher_number,
            paging::messages_are_paged_both_ways,
            paging::a_page_ends_at_about_a_mebibyte,
            paging::chats_are_paged,
            paging::applications_are_paged_by_token,
            paging::links_are_relative,
            paging::nonsense_in_a_query_is_400,
            search::case_accents_and_compatibility_forms_do_not_matter,
            search::either_spelling_finds_the_other,
            search::only_the_chat_itself_is_searched,
            search::short_and_special_texts_are_found_literally,
            search::results_are_paged,
            search::a_malformed_query_is_400,
            many_languages::some_hundreds_of_messages_in_many_languages,
            answers::head_is_get_without_its_body,
            answers::an_unchanged_answer_is_304,
            answers::long_answers_are_gzipped_on_request,
            answers::every_answer_is_hardened,
            answers::both_ports_have_documentation_and_no_metrics,
            answers::the_front_pages_lead_to_each_other,
            description::every_answer_is_as_described,
            description::headers_and_ranges_are_described,
            examples::every_example_is_of_its_schema,
            examples::what_the_page_fills_in_is_answered_with_success,
            examples::operations_have_names_of_their_own_on_both_ports,
            feed::history_is_told_from_the_beginning,
            feed::chats_are_selected,
            feed::a_list_and_what_follows_its_first_page_are_the_whole_chat,
            feed::a_list_of_chats_and_what_follows_the_end_before_it_are_all_chats,
            feed::json_waits_for_an_event,
            feed::a_stream_tells_what_happens_and_is_resumed,
            feed::readers_that_come_at_every_moment_hear_each_event_once,
            feed::a_malformed_request_is_refused,
            included::messages_have_authors_and_times_on_request,
            included::chats_and_applications_have_times_on_request,
            included::chats_have_their_last_message_on_request,
            included::an_unknown_or_repeated_include_is_400,
            included::an_author_that_is_not_acceptable_is_422,
            keys::a_key_is_issued_listed_and_revoked,
            keys::keys_that_are_issued_at_once_have_numbers_of_their_own,
            keys::a_secret_is_shown_once,
            keys::fields_of_a_key_that_are_not_acceptable_are_422,
            keys::an_unknown_key_is_404,
            retries::a_retry_gets_the_first_answer,
            retries::eight_at_once_are_one,
            retries::a_key_with_another_body_is_422,
            retries::a_key_holds_for_its_route_only,
            retries::a_refused_request_leaves_its_key_free,
            retries::a_malformed_key_is_400,
            retries::a_short_key_of_an_application_is_400,
            own_writes::a_read_shows_the_write_it_awaits,
            own_writes::several_positions_are_awaited,
            own_writes::a_position_beyond_the_log_is_refused,
            own_writes::a_malformed_position_is_400,
            positions::every_read_answers_a_position_that_every_read_takes,
            positions::what_was_counted_is_there,
            positions::a_position_of_another_log_is_refused,
            positions::a_refusal_has_no_position,
            refusals::what_does_not_exist_is_404,
            refusals::a_malformed_token_or_number_is_404,
            refusals::a_method_that_a_port_does_not_have_is_405,
            refusals::options_lists_the_methods_of_a_route,
            refusals::what_is_not_json_is_400_or_415,
            refusals::an_unknown_member_is_422_and_what_a_read_answered_may_be_sent_back,
            refusals::an_unknown_query_parameter_is_400,
            refusals::too_large_a_body_is_413,
            refusals::fields_that_are_not_acceptable_are_422,
            refusals::a_duplicate_member_or_too_long_a_body_is_422,
            refusals::a_percent_encoded_path_is_the_same_path,
            refusals::texts_up_to_their_limits_are_kept,
        }
    };
}

impl Api {
    /// A client of the system with these ports. The URLs of several write ports are joined by commas.
    pub fn new(write_urls: &str, read_url: &str) -> Self {
        let client = Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build();
        let client = client.unwrap_or_else(|error| panic!("no HTTP client: {error}"));
        let base = |url: &str| url.trim_end_matches('/').to_owned();
        let write_urls = write_urls.split(',').map(base).collect();
        Self { write_urls, turn: Arc::default(), read_url: base(read_url), client }
    }

    fn write_url(&self) -> &str {
        &self.write_urls[self.turn.fetch_add(1, Ordering::Relaxed) % self.write_urls.len()]
    }

    /// A client of the running system that TALLY_TEST_WRITE_URL and TALLY_TEST_READ_URL name. Panics if only one is set, since
    /// the tests would run against another system than the caller meant.
    pub fn from_env() -> Option<Self> {
        match (std::env::var("TALLY_TEST_WRITE_URL"), std::env::var("TALLY_TEST_READ_URL")) {
            (Ok(write_url), Ok(read_url)) => Some(Self::new(&write_url, &read_url)),
            (Err(_), Err(_)) => None,
            _ => panic!("set both TALLY_TEST_WRITE_URL and TALLY_TEST_READ_URL, or neither"),
        }
    }

    /// Sends JSON to the write port.
    pub async fn write(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.write_with(method, path, &[], body).await
    }

    /// Posts JSON to the write port, with these headers. `None` if no answer comes, for example from a process that ends.
    pub async fn try_write(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<Answer> {
        receive(self.json_request(Method::POST, path, headers, body).send().await).await.ok()
    }

    /// Posts any bytes, or nothing, to the write port.
    pub async fn write_raw(&self, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
        self.send_raw(Method::POST, path, content_type, body).await
    }

    /// Sends any bytes, or nothing, to the write port.
    pub async fn send_raw(&self, method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.write_url())).body(body);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        expect_answer(request.send().await).await
    }

    /// Sends bytes to the write port, with these headers.
    pub async fn send_bytes(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.write_url()));
        expect_answer(with_headers(request, headers).body(body).send().await).await
    }

    /// Sends JSON to the write port, with these headers.
    pub async fn write_with(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        expect_answer(self.json_request(method, path, headers, body).send().await).await
    }

    fn json_request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.write_url()));
        with_headers(request, headers).header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    /// Reads from the read port, with headers.
    pub async fn read_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.client.get(format!("{}{path}", self.read_url));
        expect_answer(with_headers(request, headers).send().await).await
    }

    /// Opens a stream of events of the read port.
    ///
    /// # Errors
    /// The answer, if it is no stream.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Result<EventStream, Answer> {
        let request = self.client.get(format!("{}{path}", self.read_url)).timeout(STREAM_TIMEOUT);
        let request = with_headers(request, headers).header(ACCEPT, "text/event-stream");
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        if response.status() == 200 { Ok(EventStream::new(response)) } else { Err(expect_answer(Ok(response)).await) }
    }

    /// Opens a stream of events of the read port. `None` if that is refused or no answer comes, for example from a process that ends.
    pub async fn try_stream(&self, path: &str) -> Option<EventStream> {
        let request = self.client.get(format!("{}{path}", self.read_url)).timeout(STREAM_TIMEOUT);
        let response = request.header(ACCEPT, "text/event-stream").send().await.ok()?;
        (response.status() == 200).then(|| EventStream::new(response))
    }

    /// Reads from the read port. `None` if no answer comes.
    pub async fn try_read_with(&self, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let request = self.client.get(format!("{}{path}", self.read_url));
        receive(with_headers(request, headers).send().await).await.ok()
    }

    /// Reads from the read port.
    pub async fn read(&self, path: &str) -> Answer {
        self.read_with(path, &[]).await
    }

    /// Sends a request to either port, with these headers, and with JSON if it has a body.
    pub async fn send(
        &self,
        port: Port,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.url(port)));
        let request = with_headers(request, headers);
        let request = match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        };
        expect_answer(request.send().await).await
    }

    fn url(&self, port: Port) -> &str {
        match port {
            Port::Write => self.write_url(),
            Port::Read => &self.read_url,
        }
    }

    /// Sends a request without a body to either port.
    pub async fn plain(&self, port: Port, method: Method, path: &str) -> Answer {
        expect_answer(self.send_plain(port, method, path).await).await
    }

    /// Whether a port answers that its process is ready. `false` if no answer comes.
    pub async fn is_ready(&self, port: Port) -> bool {
        let response = self.send_plain(port, Method::GET, "/health/ready").await;
        response.is_ok_and(|response| response.status() == 200)
    }

    async fn send_plain(&self, port: Port, method: Method, path: &str) -> Result<Response, reqwest::Error> {
        self.client.request(method, format!("{}{path}", self.url(port))).send().await
    }

    /// Waits until a port answers that its process is ready.
    pub async fn wait_until_ready(&self, port: Port) {
        eventually("readiness", async || if self.is_ready(port).await { Ok(()) } else { Err(port) }).await;
    }

    /// Reads from the read port until the answer is as expected.
    pub async fn read_until(&self, path: &str, expected: impl Fn(&Answer) -> bool) -> Answer {
        eventually(path, async || {
            let answer = self.read(path).await;
            if expected(&answer) { Ok(answer) } else { Err(answer) }
        })
        .await
    }

    /// Reads from the read port until it answers this JSON.
    pub async fn read_until_json(&self, path: &str, expected: Value) -> Answer {
        self.read_until(path, |answer| answer.status == 200 && answer.json == expected).await
    }

    /// Creates an application, and returns its path.
    pub async fn application(&self, name: &str) -> String {
        let created = self.write(Method::POST, BASE, &json!({ "chat_application": { "name": name } })).await;
        assert_eq!(created.status, 201, "{created:?}");
        format!("{BASE}/{}", created.json["token"].as_str().unwrap_or_else(|| panic!("no token: {created:?}")))
    }

    /// Creates a chat in an application, and returns its path.
    pub async fn chat(&self, application: &str) -> String {
        let created = self.plain(Port::Write, Method::POST, &format!("{application}/chats")).await;
        assert_eq!(created.status, 201, "{created:?}");
        format!("{application}/chats/{}", created.number())
    }

    /// Creates chats one after the other, and returns their paths.
    pub async fn chats(&self, application: &str, count: usize) -> Vec<String> {
        let mut chats = Vec::new();
        for _ in 0..count {
            chats.push(self.chat(application).await);
        }
        chats
    }

    /// Posts a message to a chat, and returns its number.
    pub async fn post(&self, chat: &str, body: &str) -> u64 {
        let posted =
            self.write(Method::POST, &format!("{chat}/messages"), &json!({ "message": { "body": body } })).await;
        assert_eq!(posted.status, 201, "{posted:?}");
        posted.number()
    }

    /// Posts messages one after the other and waits until all projections show them.
    pub async fn post_all(&self, chat: &str, bodies: &[&str]) {
        for body in bodies {
            self.post(chat, body).await;
        }
        self.wait_for_messages(chat, bodies.len()).await;
    }

    /// Waits until a chat counts and lists its `count` messages, and search finds the last. If the messages were posted one after
    /// the other, search then finds all of them, because a chat is indexed in the order of the log.
    pub async fn wait_for_messages(&self, chat: &str, count: usize) {
        self.read_until(chat, |answer| answer.json["messages_count"] == count).await;
        // Messages that were posted concurrently may be shown in another order, so the last alone is not enough.
        let last = eventually(&format!("all {count} messages of {chat}"), async || {
            let mut messages = self.pages(&format!("{chat}/messages")).await.concat();
            if messages.len() == count { messages.pop().ok_or(0) } else { Err(messages.len()) }
        })
        .await;
        let body: String = last["body"].as_str().unwrap_or_default().chars().take(40).collect();
        // Other messages may have the same body.
        let search = format!("{}&after={}", search_path(chat, &body), count - 1);
        self.read_until(&search, |answer| answer.json[0]["number"] == count).await;
    }

    /// The path and query of the page after `page`, or `None` if there is no Link. Panics on a malformed one.
    pub fn next(&self, page: &Answer) -> Option<String> {
        let link = page.headers.get("link")?.to_str().unwrap_or_default();
        let reference = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        let next = reference.and_then(|reference| page.url.join(reference).ok());
        let next = next.as_ref().and_then(|url| url.as_str().strip_prefix(&self.read_url));
        let next = next.filter(|next| next.starts_with(BASE) && next.contains('?'));
        Some(next.unwrap_or_else(|| panic!("{link:?} does not lead from {} to a next page", page.url)).to_owned())
    }

    /// The pages of a list, following the Links from `path`.
    pub async fn pages(&self, path: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = self.read(&path).await;
            assert_eq!(page.status, 200, "{path}: {page:?}");
            next = self.next(&page);
            pages.push(page.json.as_array().cloned().unwrap_or_else(|| panic!("no list: {page:?}")));
            assert!(pages.len() <= 10_000, "the Links from {path} do not end");
        }
        pages
    }
}

/// One of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The port of command-api.
    Write,
    /// The port of query-api.
    Read,
}

impl Answer {
    /// The member `number`.
    pub fn number(&self) -> u64 {
        self.json["number"].as_u64().unwrap_or_else(|| panic!("no number: {self:?}"))
    }

    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that this is a problem with this status and code, and with all members of a problem.
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.json["code"]), (status, &json!(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json["status"], status, "{self:?}");
        for member in ["type", "title", "detail"] {
            assert!(self.json[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
    }
}

/// The path of a search in a chat.
pub fn search_path(chat: &str, q: &str) -> String {
    let escaped: String = q.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{chat}/messages/search?q={escaped}")
}

fn with_headers(request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn expect_answer(response: Result<Response, reqwest::Error>) -> Answer {
    receive(response).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

async fn receive(response: Result<Response, reqwest::Error>) -> Result<Answer, reqwest::Error> {
    let response = response?;
    let (status, headers, url) = (response.status().as_u16(), response.headers().clone(), response.url().clone());
    let json = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Ok(Answer { status, headers, json, url })
}

#[cfg(test)]
mod tests {
    /// A scenario that is not listed would never run, and no compiler warning says so.
    #[test]
    fn every_scenario_is_in_the_list() {
        let list = include_str!("scenarios.rs");
        let mut modules = 0;
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scenarios")).unwrap() {
            let path = file.unwrap().path();
            let (module, source) =
                (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
            let scenarios: Vec<_> = source.split("\npub async fn ").skip(1).collect();
            assert!(!scenarios.is_empty(), "{module} has no scenario");
            for scenario in scenarios {
                let name = scenario.split('(').next().unwrap_or_default();
                assert!(list.contains(&format!(" {module}::{name},\n")), "{module}::{name} is not in every_scenario!");
            }
            modules += 1;
        }
        assert_eq!(modules, list.matches("\npub mod ").count(), "every module is a file");
    }
}
