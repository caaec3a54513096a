//! Parts of lists over HTTP: `limit`, `after`, `before`, `order`, and the Link to the next part.

use axum::Json;
use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, LINK};
use axum::response::{IntoResponse, Response};
use events::number::Number;
use events::{ApplicationToken, ChatNumber, MessageNumber};
use form_urlencoded::Serializer;
use read_model::page::MAX_ITEMS;
use read_model::{Cursor, Page, Slice};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// The parameters of a list, as they were sent.
#[derive(Debug, Default, Deserialize)]
pub struct ListParameters {
    /// Most items.
    pub limit: Option<String>,
    /// Items after this key only.
    pub after: Option<String>,
    /// Items before this key only.
    pub before: Option<String>,
    /// `asc` or `desc`, where the list takes it.
    pub order: Option<String>,
    /// What to look for, in a search.
    pub q: Option<String>,
}

/// The parameters of a list ordered by number, for the API's description.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NumberedListQuery {
    /// Most items
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only what comes after this
    #[param(minimum = 0)]
    after: Option<u32>,
    /// Only what comes just before this
    #[param(minimum = 0)]
    before: Option<u32>,
}

/// A key that a list is ordered by.
pub trait ListKey: Copy {
    /// Where a list continues above the key that `text` names; `None` if it names none.
    fn after(text: &str) -> Option<Cursor<Self>>;
    /// Where a list continues below the key that `text` names; `None` if it names none.
    fn before(text: &str) -> Option<Cursor<Self>>;
    /// The key as clients write it.
    fn to_text(self) -> String;
    /// What a key is, for a message to the client.
    const IS: &'static str;
}

/// An item that tells its key.
pub trait Listed: Serialize {
    /// What its list is ordered by.
    type Key: ListKey;
    /// The item's place in the list.
    fn key(&self) -> Self::Key;
}

/// A list that is asked for.
#[derive(Debug)]
pub struct ListRequest<K> {
    /// The part.
    pub page: Page<K>,
    descending: bool,
    /// Parameters that the next part is asked for with, too.
    kept: Vec<(&'static str, String)>,
}

impl<K: ListKey> ListRequest<K> {
    /// A list that is always ascending.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] says which parameter is wrong.
    pub fn ascending(parameters: &ListParameters) -> Result<Self, ApiError> {
        if parameters.order.is_some() {
            return Err(ApiError::Malformed("this list takes no order".to_owned()));
        }
        Self::either_way(parameters)
    }

    /// A list that also takes `order`.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] says which parameter is wrong.
    pub fn either_way(parameters: &ListParameters) -> Result<Self, ApiError> {
        let descending = match parameters.order.as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(ApiError::Malformed("order must be asc or desc".to_owned())),
        };
        let malformed = |name| ApiError::Malformed(format!("{name} must be {}", K::IS));
        let cursor = match (parameters.after.as_deref(), parameters.before.as_deref()) {
            (None, None) if descending => Cursor::Last,
            (None, None) => Cursor::First,
            (Some(after), None) => K::after(after).ok_or_else(|| malformed("after"))?,
            (None, Some(before)) => K::before(before).ok_or_else(|| malformed("before"))?,
            (Some(_), Some(_)) => return Err(ApiError::Malformed("give after or before, not both".to_owned())),
        };
        let limit = limit(parameters.limit.as_deref())?;
        let sent = [("q", &parameters.q), ("order", &parameters.order), ("limit", &parameters.limit)];
        let kept = sent.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        Ok(Self { page: Page { cursor, limit }, descending, kept })
    }

    /// The answer: the items in the order asked for, with a Link while there are more. `path` is that of the request.
    pub fn answer<T: Listed<Key = K>>(&self, path: &str, slice: Slice<T>) -> Response {
        let mut headers = HeaderMap::new();
        if slice.more
            && let Some(last) = slice.items.last()
            && let Ok(link) = HeaderValue::try_from(self.next(path, last.key()))
        {
            headers.insert(LINK, link);
        }
        let mut items = slice.items;
        if self.page.cursor.descends() != self.descending {
            items.reverse();
        }
        (headers, Json(items)).into_response()
    }

    fn next(&self, path: &str, last: K) -> String {
        let direction = if self.page.cursor.descends() { "before" } else { "after" };
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.kept).append_pair(direction, &last.to_text());
        format!("<{path}?{}>; rel=\"next\"", query.finish())
    }
}

fn limit(sent: Option<&str>) -> Result<u32, ApiError> {
    let Some(sent) = sent else {
        return Ok(MAX_ITEMS);
    };
    let limit = sent.parse::<Number>().ok().map(Number::get).filter(|limit| *limit <= MAX_ITEMS);
    limit.ok_or_else(|| ApiError::Malformed(format!("limit must be a number from 1 to {MAX_ITEMS}")))
}

/// 0 and every number in canonical decimals; of those that are above all numbers one is as good as the other.
fn number_or_zero(text: &str) -> Option<u64> {
    let canonical =
        text == "0" || matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
    canonical.then(|| text.parse().unwrap_or(u64::MAX))
}

macro_rules! numbered {
    ($number:ident) => {
        impl ListKey for $number {
            const IS: &'static str = "a number: 0, 1, 2, 3 … without sign or leading zero";

            fn after(text: &str) -> Option<Cursor<Self>> {
                // Nothing lies after the last number, nor after what is above it.
                let number = u32::try_from(number_or_zero(text)?).unwrap_or(u32::MAX);
                Some(Self::new(number).map_or(Cursor::First, Cursor::After))
            }

            fn before(text: &str) -> Option<Cursor<Self>> {
                let Ok(number) = u32::try_from(number_or_zero(text)?) else {
                    // Every number lies before it, the last one too.
                    return Some(Cursor::Last);
                };
                // Nothing lies before 0, nor before the first number.
                Some(Cursor::Before(Self::new(number).unwrap_or(Self(Number::FIRST))))
            }

            fn to_text(self) -> String {
                self.to_string()
            }
        }
    };
}

numbered!(ChatNumber);
numbered!(MessageNumber);

impl ListKey for ApplicationToken {
    const IS: &'static str = "a token of 32 lower-case hexadecimal digits";

    fn after(text: &str) -> Option<Cursor<Self>> {
        text.parse().ok().map(Cursor::After)
    }

    fn before(text: &str) -> Option<Cursor<Self>> {
        text.parse().ok().map(Cursor::Before)
    }

    fn to_text(self) -> String {
        self.to_hex()
    }
}

impl Listed for read_model::ApplicationView {
    type Key = ApplicationToken;

    fn key(&self) -> ApplicationToken {
        self.token
    }
}

impl Listed for read_model::ChatView {
    type Key = ChatNumber;

    fn key(&self) -> ChatNumber {
        self.number
    }
}

impl Listed for read_model::MessageView {
    type Key = MessageNumber;

    fn key(&self) -> MessageNumber {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use read_model::ChatView;

    use super::*;

    fn request(after: Option<&str>, before: Option<&str>, order: Option<&str>) -> ListRequest<MessageNumber> {
        let text = |value: Option<&str>| value.map(str::to_owned);
        let parameters = ListParameters {
            after: text(after),
            before: text(before),
            order: text(order),
            limit: Some("2".into()),
            q: Some("a&b é".into()),
        };
        ListRequest::either_way(&parameters).unwrap()
    }

    fn number(number: u32) -> MessageNumber {
        MessageNumber::new(number).unwrap()
    }

    #[test]
    fn the_cursor_goes_up_from_after_and_down_from_before() {
        for (after, before, order, cursor) in [
            (None, None, None, Cursor::First),
            (None, None, Some("desc"), Cursor::Last),
            (Some("0"), None, None, Cursor::First),
            (Some("7"), None, Some("desc"), Cursor::After(number(7))),
            (Some("99999999999999999999"), None, None, Cursor::After(number(u32::MAX))),
            (None, Some("7"), None, Cursor::Before(number(7))),
            (None, Some("0"), None, Cursor::Before(number(1))),
            (Some("4294967296"), None, None, Cursor::After(number(u32::MAX))),
            (None, Some("4294967295"), None, Cursor::Before(number(u32::MAX))),
            (None, Some("4294967296"), None, Cursor::Last),
            (None, Some("99999999999999999999"), Some("desc"), Cursor::Last),
        ] {
            assert_eq!(request(after, before, order).page.cursor, cursor, "{after:?} {before:?} {order:?}");
        }
    }

    #[test]
    fn the_link_keeps_every_parameter_and_moves_the_cursor() {
        let up = request(Some("3"), None, None).next("/p", number(5));
        assert_eq!(up, "</p?q=a%26b+%C3%A9&limit=2&after=5>; rel=\"next\"");
        let down = request(None, None, Some("desc")).next("/p", number(5));
        assert_eq!(down, "</p?q=a%26b+%C3%A9&order=desc&limit=2&before=5>; rel=\"next\"");
    }

    #[test]
    fn a_list_without_order_refuses_it() {
        let parameters = ListParameters { order: Some("desc".into()), ..ListParameters::default() };
        assert!(ListRequest::<<ChatView as Listed>::Key>::ascending(&parameters).is_err());
    }
}
