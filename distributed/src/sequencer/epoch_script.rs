//! What an epoch is to Redis: the value of its key, and the script that only works in it.

use std::time::Duration;

use event_log::KEY_MEMORY;
use events::Epoch;
use redis::Script;

/// Counters that nobody uses are forgotten after this time: longer than any key is remembered, so that what a retry opens
/// again is still there.
const COUNTER_IDLE: Duration = Duration::from_secs(25 * 60 * 60);
/// How long a ticket is good for.
const TICKET_LIFE: Duration = Duration::from_secs(60);
/// How long an epoch is young: a key that Redis does not know may have been used in the epoch before. An hour more than
/// keys are remembered, for clocks that differ.
const YOUTH: Duration = Duration::from_secs(25 * 60 * 60);

/// The script that everything in an epoch goes through. It compares the epoch's key first, so that a Redis that was wiped
/// or came back with an older state refuses; a Redis that was restarted does not have the script at all.
///
/// It answers an integer where all is well, otherwise a list whose first element says why not.
const SCRIPT: &str = r"
if redis.call('GET', KEYS[1]) ~= '{reign}' then return {'fenced'} end
local op = ARGV[1]
if op == 'check' then return 1 end

local function known(request, values)
  local answer = redis.call('GET', request)
  if not answer then return nil end
  local first, name = string.match(answer, '^(%x+):(.*)$')
  if first ~= values then return {'reused'} end
  return {'known', name}
end

local function must_ask(looked_up)
  return looked_up ~= '1' and tonumber(redis.call('TIME')[1]) < {young_until}
end

local function give(ticket)
  if ticket ~= '' then redis.call('SET', ticket, '', 'EX', {ticket_life}) end
end

if op == 'next' then
  local counter, request, above, ticket = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
  local values, looked_up = ARGV[2], ARGV[3]
  if request ~= '' then
    local answer = known(request, values)
    if answer then
      if answer[1] == 'known' then give(ticket) end
      return answer
    end
    if must_ask(looked_up) then return {'ask'} end
  end
  local last = redis.call('GET', counter)
  if not last then
    local highest = above ~= '' and redis.call('GET', above)
    return {'cold', highest or ''}
  end
  last = tonumber(last)
  if last >= {highest_number} then return {'exhausted'} end
  local number = string.format('%.0f', last + 1)
  redis.call('SET', counter, number, 'EX', {counter_idle})
  if request ~= '' then redis.call('SET', request, values .. ':' .. number, 'EX', {key_memory}) end
  give(ticket)
  return last + 1
end

if op == 'token' then
  local request, ticket = KEYS[2], KEYS[3]
  local values, looked_up, fresh = ARGV[2], ARGV[3], ARGV[4]
  if request ~= '' then
    local answer = known(request, values)
    if answer then
      if answer[1] == 'known' then give(ticket) end
      return answer
    end
    if must_ask(looked_up) then return {'ask'} end
    redis.call('SET', request, values .. ':' .. fresh, 'EX', {key_memory})
  end
  give(ticket)
  return 1
end

if op == 'ticket' then
  give(KEYS[2])
  return 1
end

if op == 'open' then
  if redis.call('DEL', KEYS[3]) == 0 then return {'late'} end
  redis.call('SET', KEYS[2], ARGV[2], 'NX', 'EX', {counter_idle})
  return 1
end

if op == 'exists' then return redis.call('EXISTS', KEYS[2]) end
return redis.error_reply('unknown operation')
";

/// An epoch, when it began by the clock of Redis, and the script for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EpochScript {
    /// The epoch.
    pub(super) epoch: Epoch,
    /// Seconds since 1970 by the clock of Redis.
    began: u64,
    /// SHA-1 of the script, by which it is called.
    pub(super) script: String,
}

impl EpochScript {
    pub(super) fn new(epoch: Epoch, began: u64) -> Self {
        let mut reign = Self { epoch, began, script: String::new() };
        reign.script = Script::new(&reign.text()).get_hash().to_owned();
        reign
    }

    /// The one that the epoch's key names; `None` for what no release has written.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (epoch, began) = value.split_once('@')?;
        Some(Self::new(Epoch(epoch.parse().ok()?), began.parse().ok()?))
    }

    /// The value of the epoch's key.
    pub(super) fn value(&self) -> String {
        format!("{}@{}", self.epoch, self.began)
    }

    /// The script's text.
    pub(super) fn text(&self) -> String {
        SCRIPT
            .replace("{reign}", &self.value())
            .replace("{young_until}", &(self.began + YOUTH.as_secs()).to_string())
            .replace("{ticket_life}", &TICKET_LIFE.as_secs().to_string())
            .replace("{counter_idle}", &COUNTER_IDLE.as_secs().to_string())
            .replace("{key_memory}", &KEY_MEMORY.as_secs().to_string())
            .replace("{highest_number}", &u32::MAX.to_string())
    }
}

/// The script of one attempt to begin an epoch: each step works only while the lock is ours.
///
/// Its text has the owner, so that a Redis that was restarted in between does not know it, and one that was wiped does not
/// have the lock.
const HOLD_SCRIPT: &str = r"
if redis.call('GET', KEYS[1]) ~= '{owner}' then return 0 end
local op = ARGV[1]
if op == 'renew' then redis.call('PEXPIRE', KEYS[1], {lock_life})
elseif op == 'delete' then redis.call('DEL', KEYS[2]) redis.call('PEXPIRE', KEYS[1], {lock_life})
elseif op == 'set' then redis.call('SET', KEYS[2], ARGV[2]) redis.call('DEL', KEYS[1])
elseif op == 'release' then redis.call('DEL', KEYS[1])
else return redis.error_reply('unknown operation') end
return 1
";

/// How long the lock of whoever fences lasts unless it is renewed.
pub(super) const LOCK_LIFE: Duration = Duration::from_secs(3);

/// The hold script of `owner`.
pub(super) fn hold_script(owner: &str) -> String {
    HOLD_SCRIPT.replace("{owner}", owner).replace("{lock_life}", &LOCK_LIFE.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reign_is_known_by_the_value_of_its_key() {
        let reign = EpochScript::new(Epoch(7), 1_700_000_000);
        assert_eq!(EpochScript::parse(&reign.value()), Some(reign));
        for value in ["", "7", "@1", "7@", "x@1"] {
            assert_eq!(EpochScript::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn every_reign_and_every_owner_has_a_script_of_its_own() {
        let one = EpochScript::new(Epoch(7), 1);
        assert_ne!(one.script, EpochScript::new(Epoch(8), 1).script);
        assert_ne!(one.script, EpochScript::new(Epoch(7), 2).script);
        let has_placeholder =
            |text: &str| text.as_bytes().windows(2).any(|pair| pair[0] == b'{' && pair[1].is_ascii_lowercase());
        assert!(!has_placeholder(&one.text()) && !has_placeholder(&hold_script("a")));
        assert_ne!(hold_script("a"), hold_script("b"));
    }
}
