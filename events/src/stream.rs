//! Streams: the units of order in the log.

use std::fmt;
use std::str::FromStr;

use crate::number::ChatNumber;
use crate::token::ApplicationToken;

/// Identifies a chat: the token of its application, and its number within the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatKey {
    /// The application that owns the chat.
    pub token: ApplicationToken,
    /// The chat's number within the application.
    pub number: ChatNumber,
}

/// Identifies a stream. Events of one stream stay in order.
///
/// An application's own events are one stream. Each chat with its messages is another stream, so that a large application
/// spreads over all partitions while each chat stays in order. As a text, the log's key is `token` or `token:number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKey {
    /// An application's creation and renames, its keys, and the users whose tokens were voided.
    Application(ApplicationToken),
    /// A chat's creation and messages.
    Chat(ChatKey),
}

/// The text is neither `token` nor `token:number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream key is a token, or a token, a colon and a chat's number")]
pub struct MalformedStreamKey;

impl StreamKey {
    /// The text, which is the log's key.
    pub fn to_text(&self) -> String {
        match self {
            Self::Application(token) => token.to_hex(),
            Self::Chat(chat) => format!("{}:{}", chat.token.to_hex(), chat.number),
        }
    }

    /// The application that the stream belongs to.
    pub const fn token(&self) -> ApplicationToken {
        match self {
            Self::Application(token) => *token,
            Self::Chat(chat) => chat.token,
        }
    }
}

impl From<ApplicationToken> for StreamKey {
    fn from(token: ApplicationToken) -> Self {
        Self::Application(token)
    }
}

impl From<ChatKey> for StreamKey {
    fn from(chat: ChatKey) -> Self {
        Self::Chat(chat)
    }
}

impl FromStr for StreamKey {
    type Err = MalformedStreamKey;

    fn from_str(text: &str) -> Result<Self, MalformedStreamKey> {
        let malformed = |_| MalformedStreamKey;
        match text.split_once(':') {
            None => text.parse().map(Self::Application).map_err(malformed),
            Some((token, number)) => Ok(Self::Chat(ChatKey {
                token: token.parse().map_err(malformed)?,
                number: number.parse().map_err(|_| MalformedStreamKey)?,
            })),
        }
    }
}

impl fmt::Display for ChatKey {
    /// For messages to operators: shows only the first digits of the token, as `Debug` of [`ApplicationToken`] does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.token, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_key_are_the_same_stream() {
        for text in ["0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef:4294967295"] {
            assert_eq!(text.parse::<StreamKey>().unwrap().to_text(), text);
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in ["", ":", "0123456789abcdef0123456789abcdef:", "0123456789abcdef0123456789abcdef:0", ":1"] {
            assert_eq!(text.parse::<StreamKey>(), Err(MalformedStreamKey), "{text:?}");
        }
    }
}
