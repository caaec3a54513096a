//! Answers: HTTP/1.1 with a Content-Length.

use super::LoadError;

/// Most header fields of an answer.
pub(crate) const MAX_FIELDS: usize = 32;

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Describes the answer for an error.
    pub(crate) fn describe(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(self.body))
    }
}

/// Parses what has come of an answer. Returns `None` if a part is missing.
pub(crate) fn parse_answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, LoadError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let malformed = |what: String| LoadError::Malformed(what);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(error.to_string())),
    };
    let status = head.code.unwrap_or_default();
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    // A 204 has no content, and so no length.
    let length = if status == 204 { Some(0) } else { length };
    let Some(length) = length else {
        return Err(malformed(String::from_utf8_lossy(&bytes[..head_bytes]).into_owned()));
    };
    let body = &bytes[head_bytes..];
    if body.len() > length {
        return Err(malformed(format!("{} bytes follow an answer", body.len() - length)));
    }
    // Tally's JSON ends with a newline.
    Ok((body.len() == length).then(|| Answer { status, body: body.trim_ascii_end() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx: y\r\n\r\n{\"number\":1}";

    #[test]
    fn an_answer_is_found_only_when_all_of_it_has_come() {
        for part in 0..WHOLE.len() {
            assert_eq!(parse_answer(&WHOLE[..part]).unwrap(), None, "{part} bytes");
        }
        assert_eq!(parse_answer(WHOLE).unwrap(), Some(Answer { status: 201, body: b"{\"number\":1}" }));
    }

    #[test]
    fn an_answer_without_content_needs_no_length() {
        let answer = Answer { status: 204, body: b"" };
        assert_eq!(parse_answer(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").unwrap(), Some(answer));
    }

    #[test]
    fn bytes_after_an_answer_and_an_unknown_length_are_errors() {
        let with_more = [WHOLE, b"x"].concat();
        for bytes in [&with_more[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"no HTTP\r\n\r\n"] {
            assert!(matches!(parse_answer(bytes), Err(LoadError::Malformed(_))), "{bytes:?}");
        }
    }
}
