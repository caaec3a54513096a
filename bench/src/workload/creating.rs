//! Creates the chats of an application.

use crate::http::{BASE, encode_post_head};
use crate::load::{Answer, Workload};
use crate::workload::created_number;

pub(crate) struct Creating {
    request: Vec<u8>,
    chats: u64,
    sent: u64,
    created: Vec<bool>,
}

impl Creating {
    pub(crate) fn new(token: &str, fields: &str, chats: u32) -> Self {
        let request = encode_post_head(&format!("{BASE}/{token}/chats"), fields, 0);
        Self { request, chats: chats.into(), sent: 0, created: vec![false; chats as usize] }
    }

    /// Whether every chat was created.
    pub(crate) fn is_complete(&self) -> bool {
        self.created.iter().all(|created| *created)
    }
}

impl Workload for Creating {
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        if self.sent == self.chats {
            return None;
        }
        self.sent += 1;
        out.extend_from_slice(&self.request);
        Some(self.sent)
    }

    fn check(&mut self, _: u64, answer: &Answer<'_>) -> Result<(), String> {
        let number = created_number(answer, b",\"messages_count\":0}").and_then(|number| usize::try_from(number).ok());
        let created = number.and_then(|number| self.created.get_mut(number - 1)).filter(|created| !**created);
        let wrong = || format!("the creation of a chat was answered {}", answer.describe());
        *created.ok_or_else(wrong)? = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_given_once() {
        let mut creating = Creating::new("t", "", 2);
        let mut out = Vec::new();
        assert_eq!(
            [creating.request(&mut out), creating.request(&mut out), creating.request(&mut out)],
            [Some(1), Some(2), None]
        );
        let created = |body| Answer { status: 201, body };
        creating.check(1, &created(b"{\"number\":2,\"messages_count\":0}")).unwrap();
        assert!(!creating.is_complete());
        for wrong in
            [&b"{\"number\":2,\"messages_count\":0}"[..], b"{\"number\":3,\"messages_count\":0}", b"{\"number\":1}"]
        {
            creating.check(1, &created(wrong)).unwrap_err();
        }
        creating.check(1, &created(b"{\"number\":1,\"messages_count\":0}")).unwrap();
        assert!(creating.is_complete());
    }
}
