//! Pages of lists over HTTP: `limit`, `after`, `before`, `order`, and the Link to the next page.

use axum::http::header::{HeaderValue, LINK};
use axum::response::{IntoResponse, Response};
use events::ClientPosition;
use events::number::Number;
use events::{ApplicationToken, ChatNumber, KeyNumber, MessageNumber};
use form_urlencoded::Serializer;
use read_model::page::MAX_ITEMS;
use read_model::{Cursor, Page, Slice};
use serde::Serialize;
use service::answer::JsonAnswer;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::log_position::log_position;

/// The query parameters of a list or of the search, as the client sent them. No list takes all of them.
#[derive(Debug, Default)]
pub struct ListParameters {
    pub limit: Option<String>,
    pub after: Option<String>,
    pub before: Option<String>,
    pub order: Option<String>,
    pub include: Option<String>,
    pub q: Option<String>,
}

/// Describes `limit` for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers read ListParameters")]
pub(crate) struct LimitQuery {
    /// Maximum number of items
    #[param(minimum = 1, maximum = 1000, default = 1000, example = 100)]
    limit: Option<u32>,
}

/// Describes the cursors of a list by token for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers read ListParameters")]
pub(crate) struct TokenCursorQuery {
    /// Only items after this one
    #[param(pattern = "^[0-9a-f]{32}$", example = "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69")]
    after: Option<String>,
    /// Only the items just before this one; with after, the items between the two
    #[param(pattern = "^[0-9a-f]{32}$", example = "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69")]
    before: Option<String>,
}

/// Describes the cursors of a list by number for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers read ListParameters")]
pub(crate) struct NumberCursorQuery {
    /// Only items after this one
    #[param(minimum = 0, example = 7)]
    after: Option<u32>,
    /// Only the items just before this one; with after, the items between the two
    #[param(minimum = 0, example = 9)]
    before: Option<u32>,
}

/// The key by which a list is ordered.
pub trait ListKey: Copy + Ord {
    /// Parses `after`: the cursor of the items above the key in `text`. `None` if `text` is no key.
    fn after(text: &str) -> Option<Cursor<Self>>;
    /// Parses `before`: the cursor of the items below the key in `text`. `None` if `text` is no key.
    fn before(text: &str) -> Option<Cursor<Self>>;
    /// The key as clients write it.
    fn to_text(self) -> String;
    /// The number that the key is. `None` for a key that is none, so that nobody can tell how many lie between two.
    fn number(self) -> Option<u32> {
        None
    }
    /// A description of valid keys, which continues "after must be".
    const FORMAT: &'static str;
}

/// An item of a list.
pub trait ListItem: Serialize + ToSchema {
    type Key: ListKey;

    fn key(&self) -> Self::Key;
}

/// A request for a page of a list.
#[derive(Debug)]
pub struct ListRequest<K> {
    pub page: Page<K>,
    /// The key before which the page ends, in the direction of its cursor: the other of `after` and `before`, if there are both.
    until: Option<K>,
    descending: bool,
    /// The parameters that the Link to the next page repeats.
    repeated: Vec<(&'static str, String)>,
}

impl<K: ListKey> ListRequest<K> {
    /// Parses the parameters of a list.
    pub fn parse(parameters: &ListParameters) -> Result<Self, ApiError> {
        let descending = match parameters.order.as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(ApiError::Malformed("order must be asc or desc".to_owned())),
        };
        let malformed = |name| ApiError::Malformed(format!("{name} must be {}", K::FORMAT));
        let (after, before) = (parameters.after.as_deref(), parameters.before.as_deref());
        let after = after.map(|after| K::after(after).ok_or_else(|| malformed("after"))).transpose()?;
        let before = before.map(|before| K::before(before).ok_or_else(|| malformed("before"))).transpose()?;
        let (cursor, end) = match (after, before) {
            (None, None) if descending => (Cursor::Last, None),
            (None, None) => (Cursor::First, None),
            (Some(after), None) => (after, None),
            (None, Some(before)) => (before, None),
            (Some(after), Some(before)) if descending => (before, Some(after)),
            (Some(after), Some(before)) => (after, Some(before)),
        };
        let until = end.and_then(|end| match end {
            Cursor::After(key) | Cursor::Before(key) => Some(key),
            Cursor::First | Cursor::Last => None,
        });
        let limit = parse_limit(parameters.limit.as_deref())?;
        // No more is read than can lie between after and before.
        let most = until.and_then(|until| most_between(cursor, until));
        let limit = most.map_or(limit, |most| limit.min(most.max(1)));
        let ListParameters { q, order, include, limit: sent_limit, .. } = parameters;
        // The Link moves the one of after and before at which the page begins, and repeats the other.
        let (after, before) = match (&parameters.after, &parameters.before) {
            (Some(_), before @ Some(_)) if !descending => (&None, before),
            (after @ Some(_), Some(_)) => (after, &None),
            _ => (&None, &None),
        };
        let sent = [
            ("q", q),
            ("order", order),
            ("include", include),
            ("limit", sent_limit),
            ("after", after),
            ("before", before),
        ];
        let repeated = sent.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        Ok(Self { page: Page { cursor, limit }, until, descending, repeated })
    }

    /// Responds with a page that ends with its last item. `path` is the request's path.
    pub fn respond<T: ListItem<Key = K>>(&self, path: &str, answer: Answer<Slice<T>>) -> ListResponse<T> {
        let Answer { value: slice, position } = answer;
        let last = slice.items.last().filter(|_| slice.more).map(ListItem::key);
        self.respond_up_to(path, slice.items, last, position)
    }

    /// Puts the items into the requested order, and adds a Link to the page beyond `last`.
    pub fn respond_up_to<T: ListItem<Key = K>>(
        &self,
        path: &str,
        mut items: Vec<T>,
        last: Option<K>,
        position: ClientPosition,
    ) -> ListResponse<T> {
        let is_within = |key: K| match self.until {
            Some(until) if self.page.cursor.descends() => key > until,
            Some(until) => key < until,
            None => true,
        };
        let within = items.iter().take_while(|item| is_within(item.key())).count();
        items.truncate(within);
        // Nothing follows the last key that can lie within.
        let is_end = |last| self.until.and_then(|until| most_between(Cursor::After(last), until)) == Some(0);
        let next = last.filter(|last| is_within(*last) && !is_end(*last)).map(|last| self.link_to_next(path, last));
        if self.page.cursor.descends() != self.descending {
            items.reverse();
        }
        ListResponse(items, PageHead { next, position })
    }

    fn link_to_next(&self, path: &str, last: K) -> String {
        let direction = if self.page.cursor.descends() { "before" } else { "after" };
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.repeated).append_pair(direction, &last.to_text());
        // Relative to the request's URL, whose path may have more in front, from a proxy. A reference of the query alone would
        // do, but older libraries resolve that wrongly.
        let name = path.rsplit('/').next().unwrap_or_default();
        format!("<{name}?{}>; rel=\"next\"", query.finish())
    }
}

/// The items, in order
#[derive(IntoResponses)]
#[response(
    status = 200,
    headers(
        ("Link" = Option<String>, description = "The next page, with rel=next, while there is more: a reference relative to the request's URL"),
        ("Log-Position" = String, description = "Send it as Await-Position with a read that must not show less than this answer")
    )
)]
pub struct ListResponse<T: ToSchema>(Vec<T>, PageHead);

/// What an answer says of a page beside its items.
struct PageHead {
    /// The value of Link.
    next: Option<String>,
    position: ClientPosition,
}

impl<T: ToSchema + Serialize> IntoResponse for ListResponse<T> {
    fn into_response(self) -> Response {
        let Self(items, PageHead { next, position }) = self;
        let link = next.and_then(|link| HeaderValue::try_from(link).ok()).map(|link| [(LINK, link)]);
        (link, log_position(&position), JsonAnswer(items)).into_response()
    }
}

/// How many keys can lie between the beginning of a page and the key before which it ends. `None` if nobody can tell.
fn most_between<K: ListKey>(cursor: Cursor<K>, until: K) -> Option<u32> {
    let begin = match cursor {
        Cursor::First => 0,
        Cursor::Last => return None,
        Cursor::After(key) | Cursor::Before(key) => key.number()?,
    };
    Some(begin.abs_diff(until.number()?).saturating_sub(1))
}

pub(crate) fn parse_limit(text: Option<&str>) -> Result<u32, ApiError> {
    let Some(text) = text else {
        return Ok(MAX_ITEMS);
    };
    let limit = text.parse::<Number>().ok().map(Number::get).filter(|limit| *limit <= MAX_ITEMS);
    limit.ok_or_else(|| ApiError::Malformed(format!("limit must be a number from 1 to {MAX_ITEMS}")))
}

/// Parses 0 and every number in canonical decimals. A number above `u64::MAX` becomes `u64::MAX`: both lie above
/// every key.
fn parse_number_or_zero(text: &str) -> Option<u64> {
    let canonical =
        text == "0" || matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
    canonical.then(|| text.parse().unwrap_or(u64::MAX))
}

macro_rules! impl_list_key {
    ($number:ident) => {
        impl ListKey for $number {
            const FORMAT: &'static str = "a number: 0, 1, 2, 3 … without sign or leading zero";

            fn after(text: &str) -> Option<Cursor<Self>> {
                // Nothing lies after the last number, nor after any above it.
                let number = u32::try_from(parse_number_or_zero(text)?).unwrap_or(u32::MAX);
                Some(Self::new(number).map_or(Cursor::First, Cursor::After))
            }

            fn before(text: &str) -> Option<Cursor<Self>> {
                let Ok(number) = u32::try_from(parse_number_or_zero(text)?) else {
                    // Every valid number lies before this one.
                    return Some(Cursor::Last);
                };
                // Nothing lies before 0, nor before the first number.
                Some(Cursor::Before(Self::new(number).unwrap_or(Self(Number::FIRST))))
            }

            fn to_text(self) -> String {
                self.to_string()
            }

            fn number(self) -> Option<u32> {
                Some(self.get())
            }
        }
    };
}

impl_list_key!(ChatNumber);
impl_list_key!(MessageNumber);
impl_list_key!(KeyNumber);

impl ListKey for ApplicationToken {
    const FORMAT: &'static str = "a token of 32 lower-case hexadecimal digits";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(after: Option<&str>, before: Option<&str>, order: Option<&str>) -> ListRequest<MessageNumber> {
        let text = |value: Option<&str>| value.map(str::to_owned);
        let parameters = ListParameters {
            after: text(after),
            before: text(before),
            order: text(order),
            limit: Some("2".into()),
            include: Some("author,created_at".into()),
            q: Some("a&b é".into()),
        };
        ListRequest::parse(&parameters).unwrap()
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
    fn between_after_and_before_the_page_goes_in_the_lists_order() {
        for (order, cursor, until) in
            [(None, Cursor::After(number(3)), number(7)), (Some("desc"), Cursor::Before(number(7)), number(3))]
        {
            let between = request(Some("3"), Some("7"), order);
            assert_eq!((between.page.cursor, between.until), (cursor, Some(until)), "{order:?}");
        }
        let all = request(Some("0"), Some("99999999999999999999"), None);
        assert_eq!((all.page.cursor, all.until), (Cursor::First, None));
        let up = request(Some("3"), Some("7"), None).link_to_next("/p", number(5));
        assert_eq!(up, "<p?q=a%26b+%C3%A9&include=author%2Ccreated_at&limit=2&before=7&after=5>; rel=\"next\"");
        let down = request(Some("3"), Some("7"), Some("desc")).link_to_next("/p", number(5));
        assert_eq!(
            down,
            "<p?q=a%26b+%C3%A9&order=desc&include=author%2Ccreated_at&limit=2&after=3&before=5>; rel=\"next\""
        );
    }

    #[test]
    fn a_page_reads_no_more_than_can_lie_between_its_two_cursors() {
        for (after, before, order, limit) in [
            ("0", "4", None, 3),
            ("3", "6", Some("desc"), 2),
            ("3", "4", None, 1),
            ("3", "99999999999999999999", None, MAX_ITEMS),
            ("3", "99999999999999999999", Some("desc"), MAX_ITEMS),
            ("3", "2000", None, MAX_ITEMS),
        ] {
            let parameters = ListParameters {
                after: Some(after.into()),
                before: Some(before.into()),
                order: order.map(str::to_owned),
                ..ListParameters::default()
            };
            let request = ListRequest::<MessageNumber>::parse(&parameters).unwrap();
            assert_eq!(request.page.limit, limit, "{after} {before} {order:?}");
        }
    }

    #[test]
    fn the_link_keeps_every_parameter_and_moves_the_cursor() {
        let up = request(Some("3"), None, None).link_to_next("/chats/1/p", number(5));
        assert_eq!(up, "<p?q=a%26b+%C3%A9&include=author%2Ccreated_at&limit=2&after=5>; rel=\"next\"");
        let down = request(None, None, Some("desc")).link_to_next("/chats/1/p", number(5));
        assert_eq!(down, "<p?q=a%26b+%C3%A9&order=desc&include=author%2Ccreated_at&limit=2&before=5>; rel=\"next\"");
    }
}
