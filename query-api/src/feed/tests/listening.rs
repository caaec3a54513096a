//! Listeners, and both forms of an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use access::{Admission, Authority, Principal};
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::HeaderMap;
use events::Position;
use futures_util::{StreamExt, poll};
use service::request_wait::RequestWait;
use service::streams::StreamLimit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory_feed::{MemoryFeed, everything, reader_of};
use crate::error::ApiError;
use crate::feed::bounds::{ListenerBounds, TooManyListeners};
use crate::feed::follower::Follower;
use crate::feed::listener::Listener;
use crate::feed::long_poll::{LongPolls, Poll};
use crate::feed::reader::FeedReader;
use crate::feed::sse::{self, Places};
use crate::queries::QueryError;

/// Longer than anything may take.
const LONG: Duration = Duration::from_secs(60);

struct System {
    feed: Arc<MemoryFeed>,
    reader: FeedReader,
    listeners: ListenerBounds,
    stop: CancellationToken,
}

fn system() -> System {
    let (feed, stop) = (MemoryFeed::new(), CancellationToken::new());
    feed.post(1, 1, "first");
    let reader = reader_of(&feed, stop.clone());
    System { feed, reader, listeners: ListenerBounds::new(StreamLimit::new(4)), stop }
}

fn admission() -> Admission {
    Authority::open().admission_of(Principal::Anonymous, &HeaderMap::new())
}

impl System {
    async fn stream(&self, after: &Position) -> BodyDataStream {
        let page = self.reader.read_first(&everything(1), after, 10).await.unwrap();
        let follower = Follower::new(self.reader.clone(), everything(1), after.clone(), page);
        let places = Places {
            _stream: self.listeners.take_stream().unwrap(),
            _principal: self.listeners.take_of(&Principal::Anonymous).unwrap(),
        };
        let response = sse::respond(Listener::new(follower, admission(), self.stop.clone()), None, places);
        for (name, value) in
            [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
        {
            assert_eq!(response.headers()[name], value);
        }
        Body::into_data_stream(response.into_body())
    }

    fn long_polls(&self) -> LongPolls {
        LongPolls::new(self.reader.clone(), self.listeners.clone(), self.stop.clone())
    }

    async fn end(&self) -> Position {
        self.reader.feed.end().await.unwrap()
    }

    fn poll(after: Position, seconds: u64) -> Poll {
        let (wait, request_wait) = (Duration::from_secs(seconds), RequestWait::default());
        Poll { selection: everything(1), after, limit: 100, wait, request_wait }
    }
}

async fn frame(stream: &mut BodyDataStream) -> String {
    let frame: Bytes = tokio::time::timeout(LONG, stream.next()).await.expect("a frame must come").unwrap().unwrap();
    String::from_utf8(frame.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_ready_tells_history_and_what_happens_and_comments_on_silence() {
    let system = system();
    let mut stream = system.stream(&Position::default()).await;
    let ready = frame(&mut stream).await;
    assert!(ready.starts_with("retry: ") && ready.contains("\nevent: ready\nid: 0:0\ndata: {"), "{ready}");
    let retry: u32 = ready.lines().next().unwrap().strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..=3_000).contains(&retry), "{retry}");
    let first = frame(&mut stream).await;
    assert!(first.starts_with("id: 1:1\ndata: {\"type\":\"message.created\",\"position\":\"1:1\""), "{first}");
    for _ in 0..3 {
        let asked_at = Instant::now();
        assert_eq!(frame(&mut stream).await, ":\n\n");
        assert_eq!(asked_at.elapsed(), Duration::from_secs(15));
    }
    system.feed.post(2, 1, "of another application");
    system.feed.post(1, 1, "second");
    let second = frame(&mut stream).await;
    assert!(second.starts_with("id: 1:3\n") && second.contains("\"body\":\"second\""), "{second}");
    assert!(second.ends_with("}\n\n") && second.lines().count() == 3, "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_longer_than_silence_may_last_goes_on_through_comments() {
    let system = system();
    for _ in 0..8 {
        system.feed.post(1, 1, "more");
    }
    let mut stream = system.stream(&Position::default()).await;
    frame(&mut stream).await;
    assert!(frame(&mut stream).await.contains("\"position\":\"1:4\""), "a page, and there is more");
    let reads = system.feed.page_reads.load(Ordering::SeqCst);
    system.feed.set_page_time(Duration::from_secs(40));
    let asked_at = Instant::now();
    for _ in 0..2 {
        assert_eq!(frame(&mut stream).await, ":\n\n");
    }
    let history = frame(&mut stream).await;
    assert!(history.contains("\"position\":\"1:5\"") && history.contains("\"position\":\"1:9\""), "{history}");
    assert_eq!(asked_at.elapsed(), Duration::from_secs(40));
    assert_eq!(system.feed.page_reads.load(Ordering::SeqCst), reads + 1);
}

/// A stream whose client reads nothing is not polled. Its read ends, and so does its turn.
#[tokio::test(start_paused = true)]
async fn a_read_ends_though_its_client_does_not_read() {
    let system = system();
    for _ in 0..8 {
        system.feed.post(1, 1, "more");
    }
    let mut stalled = system.stream(&Position::default()).await;
    frame(&mut stalled).await;
    frame(&mut stalled).await;
    system.feed.set_page_time(Duration::from_secs(20));
    assert_eq!(frame(&mut stalled).await, ":\n\n");
    let (selection, start) = (everything(1), Position::default());
    let other = tokio::time::timeout(LONG, system.reader.read_on(&selection, &start, 10)).await;
    assert!(other.unwrap().is_ok(), "the application has one turn");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_once_when_the_process_stops_and_gives_its_place_back() {
    let system = system();
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(system.stream(&system.end().await).await);
    }
    assert_eq!(system.listeners.take_stream().err(), Some(TooManyListeners::All));
    for stream in &mut streams {
        frame(stream).await;
    }
    let stopped_at = Instant::now();
    system.stop.cancel();
    for stream in &mut streams {
        let end = frame(stream).await;
        assert!(end.starts_with("event: end\ndata: {\"code\":\"draining\""), "{end}");
        assert!(stream.next().await.is_none(), "it is the last frame");
    }
    assert_eq!(stopped_at.elapsed(), Duration::ZERO);
    drop(streams);
    assert!(system.listeners.take_stream().is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_the_tail_while_nobody_listens_and_one_task_does_for_all() {
    let system = system();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(system.stream(&system.end().await).await);
    }
    for stream in &mut streams {
        frame(stream).await;
        // It listens from then on.
        let mut next = Box::pin(stream.next());
        for _ in 0..50 {
            assert!(poll!(next.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let reads = system.feed.tail_reads.load(Ordering::SeqCst);
    system.feed.post(1, 1, "second");
    for stream in &mut streams {
        assert!(frame(stream).await.contains("second"));
    }
    assert_eq!(system.feed.tail_reads.load(Ordering::SeqCst), reads + 1);
    drop(streams);
    tokio::time::sleep(LONG).await;
    assert!(!system.reader.tail.is_running());
    let waits = system.feed.waits.load(Ordering::SeqCst);
    tokio::time::sleep(LONG).await;
    assert_eq!(system.feed.waits.load(Ordering::SeqCst), waits, "nobody listens");
    let mut stream = system.stream(&system.end().await).await;
    frame(&mut stream).await;
    system.feed.post(1, 1, "third");
    assert!(frame(&mut stream).await.contains("third"), "it begins again");
}

#[tokio::test(start_paused = true)]
async fn json_waits_for_an_event_as_long_as_the_client_prefers() {
    let system = system();
    let polls = system.long_polls();
    let asked_at = Instant::now();
    let page = polls.poll(&System::poll(Position::default(), 30), admission()).await.unwrap();
    assert_eq!((page.events.len(), asked_at.elapsed()), (1, Duration::ZERO), "history need not wait");
    let end = system.end().await;
    let page = polls.poll(&System::poll(end.clone(), 0), admission()).await.unwrap();
    assert_eq!((page.events.len(), asked_at.elapsed()), (0, Duration::ZERO));
    let page = polls.poll(&System::poll(end.clone(), 30), admission()).await.unwrap();
    assert_eq!((page.events.len(), asked_at.elapsed()), (0, Duration::from_secs(30)));
    assert_eq!(page.next, end);
    let posting = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        system.feed.post(2, 2, "of another application");
        system.feed.post(1, 2, "second");
    };
    let asked_at = Instant::now();
    let poll = System::poll(end, 30);
    let (page, ()) = tokio::join!(polls.poll(&poll, admission()), posting);
    let page = page.unwrap();
    assert_eq!((page.events.len(), asked_at.elapsed()), (1, Duration::from_secs(7)));
    assert_eq!(page.next, system.end().await);
}

#[tokio::test(start_paused = true)]
async fn json_that_waits_ends_when_the_process_stops() {
    let system = system();
    let polls = system.long_polls();
    let poll = System::poll(system.end().await, 30);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        system.stop.cancel();
    };
    let asked_at = Instant::now();
    let (polled, ()) = tokio::join!(polls.poll(&poll, admission()), stopping);
    assert!(matches!(polled, Err(ApiError::Query(QueryError::Draining))), "{polled:?}");
    assert_eq!(asked_at.elapsed(), Duration::from_secs(1));
}

/// Otherwise a client that has gone would keep its place.
#[tokio::test(start_paused = true)]
async fn json_says_while_it_waits() {
    let system = system();
    let (polls, poll) = (system.long_polls(), System::poll(system.end().await, 30));
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(poll.request_wait.is_under_way());
        system.feed.post(1, 1, "at last");
    };
    let (polled, ()) = tokio::join!(polls.poll(&poll, admission()), looking);
    assert_eq!(polled.unwrap().events.len(), 1);
    assert!(!poll.request_wait.is_under_way(), "it waits no more");
}

/// A client that is told that nothing has happened asks again.
#[tokio::test(start_paused = true)]
async fn one_waiting_request_too_many_is_answered_early() {
    let system = system();
    let polls = system.long_polls();
    // Four streams allow one.
    let (first, second) = (System::poll(system.end().await, 30), System::poll(system.end().await, 20));
    let asked_at = Instant::now();
    let displaced = async {
        let page = polls.poll(&first, admission()).await.unwrap();
        (page.events.len(), asked_at.elapsed())
    };
    let waiting = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let page = polls.poll(&second, admission()).await.unwrap();
        (page.events.len(), asked_at.elapsed())
    };
    let (displaced, waiting) = tokio::join!(displaced, waiting);
    assert_eq!((displaced, waiting), ((0, Duration::from_secs(1)), (0, Duration::from_secs(21))));
}
