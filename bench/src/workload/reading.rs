//! Reads of which the answers are known to the byte.

use crate::http::encode_get;
use crate::load::{Answer, Workload};

pub(crate) struct Reading {
    /// Requests, and the bodies of their answers.
    reads: Vec<(Vec<u8>, Vec<u8>)>,
    sent: usize,
}

impl Reading {
    /// Requests these paths in turn; each must be answered 200 with this body.
    pub(crate) fn new(reads: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self::with_fields("", reads)
    }

    /// The same with these header fields in each request.
    pub(crate) fn with_fields(fields: &str, reads: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let reads: Vec<_> = reads.into_iter().map(|(path, body)| (encode_get(&path, fields), body)).collect();
        assert!(!reads.is_empty(), "there is something to read");
        Self { reads, sent: 0 }
    }
}

impl Workload for Reading {
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let index = self.sent % self.reads.len();
        out.extend_from_slice(&self.reads[index].0);
        self.sent += 1;
        Some(index as u64)
    }

    fn check(&mut self, index: u64, answer: &Answer<'_>) -> Result<(), String> {
        let (request, body) = &self.reads[index as usize];
        if answer.status == 200 && answer.body == body {
            return Ok(());
        }
        let request = String::from_utf8_lossy(request);
        let path = request.split(' ').nth(1).unwrap_or_default();
        Err(format!("GET {path} was answered {}, not 200 {}", answer.describe(), String::from_utf8_lossy(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_answer_passes() {
        let mut reading = Reading::new([("/a".to_owned(), b"1".to_vec()), ("/b".to_owned(), b"2".to_vec())]);
        let mut out = Vec::new();
        let tags: Vec<_> = (0..3).map(|_| reading.request(&mut out).unwrap()).collect();
        assert_eq!(tags, [0, 1, 0]);
        reading.check(1, &Answer { status: 200, body: b"2" }).unwrap();
        reading.check(0, &Answer { status: 200, body: b"2" }).unwrap_err();
        reading.check(0, &Answer { status: 404, body: b"1" }).unwrap_err();
    }
}
