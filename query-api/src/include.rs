//! The query parameter `include`: members that an answer has beside those that it always has.

use read_model::LastMessage;
use utoipa::IntoParams;

use crate::error::ApiError;

const AUTHOR: &str = "author";
const CREATED_AT: &str = "created_at";
const LAST_MESSAGE: &str = "last_message";

/// The members that a request includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Include {
    /// Of messages, the last message of a chat too.
    pub(crate) author: bool,
    pub(crate) created_at: bool,
    /// Of chats.
    last_message: bool,
}

/// Describes `include` of applications for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers parse it with Include")]
pub(crate) struct IncludeOfApplications {
    /// A member that the answer has too: created_at
    #[param(pattern = "^created_at$", example = "created_at")]
    include: Option<String>,
}

/// Describes `include` of chats for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers parse it with Include")]
pub(crate) struct IncludeOfChats {
    /// Members that the answer has too, joined by commas, each once: created_at, last_message, and with last_message also author,
    /// which is that of the message. created_at is that of the chat, and of its last message if that is there.
    #[param(
        // Every order of those that go together: OpenAPI has no way to say that author needs last_message.
        pattern = "^(created_at|last_message|created_at,last_message|last_message,created_at|last_message,author|author,last_message|\
            created_at,last_message,author|created_at,author,last_message|last_message,created_at,author|\
            last_message,author,created_at|author,created_at,last_message|author,last_message,created_at)$",
        example = "last_message,author,created_at"
    )]
    include: Option<String>,
}

/// Describes `include` of messages for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers parse it with Include")]
pub(crate) struct IncludeOfMessages {
    /// Members that the answer has too, joined by commas, each once: author, created_at
    #[param(pattern = "^(author|author,created_at|created_at|created_at,author)$", example = "author,created_at")]
    include: Option<String>,
}

impl Include {
    pub(crate) fn of_applications(text: Option<&str>) -> Result<Self, ApiError> {
        Self::parse(text, &[CREATED_AT])
    }

    pub(crate) fn of_chats(text: Option<&str>) -> Result<Self, ApiError> {
        let include = Self::parse(text, &[CREATED_AT, LAST_MESSAGE, AUTHOR])?;
        if include.author && !include.last_message {
            let detail = "include takes author of chats together with last_message, whose author it is";
            return Err(ApiError::Malformed(detail.to_owned()));
        }
        Ok(include)
    }

    pub(crate) fn of_messages(text: Option<&str>) -> Result<Self, ApiError> {
        Self::parse(text, &[AUTHOR, CREATED_AT])
    }

    fn parse(text: Option<&str>, taken: &[&str]) -> Result<Self, ApiError> {
        let mut include = Self::default();
        for name in text.into_iter().flat_map(|text| text.split(',')) {
            let member = match name {
                AUTHOR => &mut include.author,
                CREATED_AT => &mut include.created_at,
                _ => &mut include.last_message,
            };
            if !taken.contains(&name) || std::mem::replace(member, true) {
                let taken = taken.join(", ");
                return Err(ApiError::Malformed(format!(
                    "include must name one or more of {taken}, each once, joined by commas"
                )));
            }
        }
        Ok(include)
    }

    /// Whether chats are read with their last messages.
    pub(crate) fn last_message(self) -> LastMessage {
        if self.last_message { LastMessage::Show } else { LastMessage::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_named_once_in_any_order() {
        let messages = |text| Include::of_messages(text).unwrap();
        assert_eq!(messages(None), Include::default());
        assert_eq!(messages(Some("author")), Include { author: true, ..Include::default() });
        let both = Include { author: true, created_at: true, last_message: false };
        assert_eq!([messages(Some("author,created_at")), messages(Some("created_at,author"))], [both; 2]);
        let chats = Include::of_chats(Some("author,created_at,last_message")).unwrap();
        assert_eq!(chats, Include { last_message: true, ..both });
    }

    #[test]
    fn unknown_and_repeated_members_are_refused() {
        let common = ["", ",", "created_at,", "created_at,created_at", "Created_at", "created_at, author", "body"];
        for text in common {
            assert!(Include::of_applications(Some(text)).is_err(), "{text:?}");
            assert!(Include::of_chats(Some(text)).is_err(), "{text:?}");
            assert!(Include::of_messages(Some(text)).is_err(), "{text:?}");
        }
        assert!(Include::of_applications(Some("author")).is_err());
        assert!(Include::of_messages(Some("last_message")).is_err());
        assert!(Include::of_chats(Some("author,created_at")).is_err(), "a chat has no author");
    }
}
