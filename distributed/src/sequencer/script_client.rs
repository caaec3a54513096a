//! Calls the script of an epoch, with one function for each operation.

use std::sync::Arc;

use event_log::Ticket;
use events::{ApplicationToken, RequestKey, StreamKey};

use super::epoch_keeper::EpochKeeper;
use super::epoch_script::EpochScript;
use super::redis_client::{RedisClient, RedisFailure};
use super::redis_keys::RedisKeys;
use super::script_reply::{EpochOver, ScriptError, ScriptReply, parse_reply};

pub(super) struct ScriptClient {
    pub(super) redis: RedisClient,
    pub(super) keys: RedisKeys,
    pub(super) keeper: Arc<EpochKeeper>,
}

impl ScriptClient {
    /// Reserves the next number of a parent, for a request if there is one. `looked_up` says that `counts`, in this epoch,
    /// did not know the request. The script writes the ticket together with the number.
    pub(super) async fn reserve_number(
        &self,
        script: &EpochScript,
        parent: &StreamKey,
        request: Option<&RequestKey>,
        looked_up: bool,
        ticket: Option<Ticket>,
    ) -> Result<ScriptReply, ScriptError> {
        let counter = self.keys.counter(script.epoch, parent);
        let (request_name, values) = self.request_name_and_values(script, request);
        let application_counter = match parent {
            StreamKey::Application(_) => String::new(),
            StreamKey::Chat(chat) => self.keys.counter(script.epoch, &chat.token.into()),
        };
        let ticket = ticket.map(|ticket| self.keys.ticket(ticket)).unwrap_or_default();
        let keys = [&*counter, &request_name, &application_counter, &ticket];
        self.call(script, &keys, &["next", &values, flag(looked_up)]).await
    }

    /// Reserves a new token, for a request if there is one, and writes the ticket.
    pub(super) async fn reserve_token(
        &self,
        script: &EpochScript,
        token: ApplicationToken,
        request: Option<&RequestKey>,
        looked_up: bool,
        ticket: Ticket,
    ) -> Result<ScriptReply, ScriptError> {
        let (request_name, values) = self.request_name_and_values(script, request);
        let keys = [&*request_name, &self.keys.ticket(ticket)];
        self.call(script, &keys, &["token", &values, flag(looked_up), &token.to_hex()]).await
    }

    pub(super) async fn write_ticket(&self, script: &EpochScript, ticket: Ticket) -> Result<ScriptReply, ScriptError> {
        self.call(script, &[&self.keys.ticket(ticket)], &["ticket"]).await
    }

    /// Uses the ticket up, and sets the counter unless it exists.
    pub(super) async fn open_counter(
        &self,
        script: &EpochScript,
        parent: &StreamKey,
        ticket: Ticket,
        last_number: u32,
    ) -> Result<ScriptReply, ScriptError> {
        let counter = self.keys.counter(script.epoch, parent);
        self.call(script, &[&counter, &self.keys.ticket(ticket)], &["open", &last_number.to_string()]).await
    }

    pub(super) async fn counter_exists(&self, script: &EpochScript, parent: &StreamKey) -> Result<bool, ScriptError> {
        let counter = self.keys.counter(script.epoch, parent);
        Ok(self.call(script, &[&counter], &["exists"]).await? == ScriptReply::Integer(1))
    }

    /// Calls the script. If that finds its epoch to be over, the keeper ends the epoch for all callers.
    async fn call(&self, script: &EpochScript, keys: &[&str], arguments: &[&str]) -> Result<ScriptReply, ScriptError> {
        let epoch = self.keys.epoch();
        let keys = [&[epoch.as_str()][..], keys].concat();
        let reply = match self.redis.call_script(&script.sha1, &keys, arguments).await {
            Ok(value) => parse_reply(&value),
            Err(RedisFailure::NoScript) => Err(EpochOver),
            Err(error) => return Err(ScriptError::Redis(error)),
        };
        reply.map_err(|EpochOver| {
            self.keeper.end_epoch(script);
            ScriptError::EpochOver
        })
    }

    /// The name of the request's key and the hash of its values; both are empty without a request.
    fn request_name_and_values(&self, script: &EpochScript, request: Option<&RequestKey>) -> (String, String) {
        request
            .map(|request| (self.keys.request(script.epoch, request), hex::encode(request.values)))
            .unwrap_or_default()
    }
}

const fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}
