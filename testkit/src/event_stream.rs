//! A client of server-sent events, for tests.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

/// Longest wait for a frame, which exceeds the silence after which a comment comes.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream that is open.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    received: Vec<u8>,
}

/// What came between two empty lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The name; empty for an event that a browser gives to `onmessage`.
    pub event: String,
    pub id: Option<String>,
    /// The JSON; null where there is none.
    pub data: Value,
    /// Milliseconds after which to come back.
    pub retry: Option<u64>,
    /// Whether it is nothing but a comment.
    pub is_comment: bool,
}

impl EventStream {
    pub(crate) const fn new(response: Response) -> Self {
        Self { response, received: Vec::new() }
    }

    /// A header of the answer; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next frame; `None` once the stream has ended, or was cut off.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.received.windows(2).position(|bytes| bytes == b"\n\n") {
                let text: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(Frame::parse(&String::from_utf8_lossy(&text)));
            }
            let chunk = tokio::time::timeout(FRAME_TIMEOUT, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_elapsed| panic!("nothing came for {FRAME_TIMEOUT:?}"));
            self.received.extend_from_slice(&chunk.ok()??);
        }
    }

    /// The next frame that is no comment; `None` once the stream has ended, or was cut off.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_frame().await?;
            if !frame.is_comment {
                return Some(frame);
            }
        }
    }

    /// The next event. Panics at anything else, and when the stream ends.
    pub async fn next_event(&mut self) -> Value {
        let frame = self.next().await.unwrap_or_else(|| panic!("the stream has ended"));
        assert!(frame.event.is_empty(), "no event: {frame:?}");
        assert_eq!(frame.id.as_deref(), frame.data["position"].as_str(), "{frame:?}");
        frame.data
    }

    /// Reads to the end, which must say why, and returns its code and the events before it.
    pub async fn read_to_end(mut self) -> (String, Vec<Value>) {
        let mut events = Vec::new();
        while let Some(frame) = self.next().await {
            match frame.event.as_str() {
                "" => events.push(frame.data),
                "end" => {
                    assert_eq!(self.next_frame().await, None, "nothing comes after the end");
                    return (frame.data["code"].as_str().unwrap_or_default().to_owned(), events);
                }
                other => panic!("an unexpected {other}: {frame:?}"),
            }
        }
        panic!("the stream has ended without a word, after {events:?}")
    }
}

impl Frame {
    fn parse(text: &str) -> Self {
        let mut frame = Self { is_comment: true, ..Self::default() };
        let mut data = String::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
            frame.is_comment = false;
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name {
                "event" => value.clone_into(&mut frame.event),
                "id" => frame.id = Some(value.to_owned()),
                "retry" => frame.retry = value.parse().ok(),
                "data" => data.push_str(value),
                other => panic!("an unexpected field {other}: {text:?}"),
            }
        }
        frame.data = serde_json::from_str(&data).unwrap_or_default();
        frame
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_has_its_fields() {
        let frame = Frame::parse("retry: 1500\nevent: ready\nid: 0:7\ndata: {\"position\":\"0:7\"}\n\n");
        let expected = Frame {
            event: "ready".to_owned(),
            id: Some("0:7".to_owned()),
            data: json!({ "position": "0:7" }),
            retry: Some(1_500),
            is_comment: false,
        };
        assert_eq!(frame, expected);
        assert!(Frame::parse(":\n\n").is_comment);
    }
}
