//! One Redis, as a number server: its connection, its version and settings, and scripts that are called and never sent
//! again by themselves.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, ServerErrorKind, Value, cmd};

/// Longest wait for an answer, connecting included.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Attempts to connect on behalf of one command; the next command tries again.
const CONNECT_ATTEMPTS: usize = 1;
/// The oldest version that will do: scripts live as long as the server's process does.
const OLDEST_MAJOR: u32 = 7;

/// Why Redis did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// It has no script of that name: it was restarted, or its scripts were flushed.
    #[error("Redis does not have the script: it was restarted")]
    NoScript,
    /// It cannot be reached, or said no.
    #[error("Redis cannot be used")]
    Unusable(#[source] RedisError),
    /// It did not answer in time.
    #[error("Redis did not answer within {} s", ANSWER_WAIT.as_secs())]
    Silent,
}

/// Why a Redis will not do as a number server.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    /// Too old.
    #[error("Redis {0} is too old: Tally needs {OLDEST_MAJOR}.0 or later")]
    Version(String),
    /// It would forget numbers when memory is short.
    #[error("Redis evicts keys (maxmemory-policy {0}): set maxmemory-policy to noeviction")]
    Evicts(String),
    /// It is a replica.
    #[error("Redis is a replica: name the primary")]
    Replica,
    /// It cannot be asked.
    #[error(transparent)]
    Failure(RedisFailure),
}

/// A connection to one Redis, made when it is needed and again when it was lost. Clones share it.
#[derive(Clone)]
pub(super) struct RedisClient {
    connection: ConnectionManager,
}

impl RedisClient {
    /// For the Redis at `url`. Must be called in a tokio runtime.
    pub(super) fn new(url: &str) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_response_timeout(Some(ANSWER_WAIT))
            .set_number_of_retries(CONNECT_ATTEMPTS)
            .set_max_delay(LONGEST_PAUSE);
        Ok(Self { connection: ConnectionManager::new_lazy_with_config(Client::open(info)?, config)? })
    }

    /// Sends a command once.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFailure> {
        let mut connection = self.connection.clone();
        match tokio::time::timeout(ANSWER_WAIT, command.query_async(&mut connection)).await {
            Err(_) => Err(RedisFailure::Silent),
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                Err(RedisFailure::NoScript)
            }
            Ok(Err(error)) => Err(RedisFailure::Unusable(error)),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// Calls a script that is there.
    pub(super) async fn call(&self, script: &str, keys: &[&str], arguments: &[&str]) -> Result<Value, RedisFailure> {
        self.ask(cmd("EVALSHA").arg(script).arg(keys.len()).arg(keys).arg(arguments)).await
    }

    /// Puts a script there; the answer is the name to call it by.
    pub(super) async fn load(&self, text: &str) -> Result<String, RedisFailure> {
        self.ask(cmd("SCRIPT").arg("LOAD").arg(text)).await
    }

    /// Whether the script is there.
    pub(super) async fn has(&self, script: &str) -> Result<bool, RedisFailure> {
        let has: Vec<bool> = self.ask(cmd("SCRIPT").arg("EXISTS").arg(script)).await?;
        Ok(has == [true])
    }

    /// The value of a key.
    pub(super) async fn get(&self, key: &str) -> Result<Option<String>, RedisFailure> {
        self.ask(cmd("GET").arg(key)).await
    }

    /// Seconds since 1970 by its clock.
    pub(super) async fn time(&self) -> Result<u64, RedisFailure> {
        let (seconds, _micros): (u64, u64) = self.ask(&cmd("TIME")).await?;
        Ok(seconds)
    }

    /// Looks whether it will do.
    pub(super) async fn check(&self) -> Result<(), Unsuitable> {
        let info: String = self.ask(&cmd("INFO")).await.map_err(Unsuitable::Failure)?;
        suitable(&info)
    }
}

fn suitable(info: &str) -> Result<(), Unsuitable> {
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        fields.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
    };
    let version = field("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_MAJOR) {
        return Err(Unsuitable::Version(version.to_owned()));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return Err(Unsuitable::Evicts(policy.to_owned()));
    }
    if field("role") == "slave" { Err(Unsuitable::Replica) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, policy: &str, role: &str) -> String {
        format!("# RedisClient\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory_policy:{policy}\r\nrole:{role}\r\n")
    }

    #[test]
    fn what_would_lose_numbers_is_refused_with_what_to_do() {
        assert!(suitable(&info("7.0.15", "noeviction", "master")).is_ok());
        for (info, says) in [
            (info("6.2.7", "noeviction", "master"), "7.0 or later"),
            (info("7.4.1", "allkeys-lru", "master"), "noeviction"),
            (info("8.0.6", "noeviction", "slave"), "primary"),
            (String::new(), "too old"),
        ] {
            let refused = suitable(&info).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
