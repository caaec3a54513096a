//! A connection to one Redis. It checks the server's version and settings. If Redis has lost a script, a call of the
//! script fails: the connection never loads it again by itself.

use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, ServerErrorKind, Value, cmd};

/// Longest wait for a reply, connecting included.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to connect.
const LONGEST_CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Attempts to connect on behalf of one command; the next command tries again.
const CONNECT_ATTEMPTS: usize = 1;
/// How long Redis keeps the key of a probe.
const PROBE_LIFE: Duration = Duration::from_secs(60);
/// From this version on, scripts live only as long as the server's process.
const OLDEST_MAJOR_VERSION: u32 = 7;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    #[error("Redis does not have the script: it was restarted")]
    NoScript,
    /// The connection failed, or Redis replied with an error.
    #[error("Redis cannot be used")]
    Failed(#[source] RedisError),
    #[error("Redis did not answer within {} s", REPLY_TIMEOUT.as_secs())]
    TimedOut,
}

/// Why a Redis cannot hold the numbers.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    #[error("Redis {0} is too old: Tally needs {OLDEST_MAJOR_VERSION}.0 or later")]
    Version(String),
    /// It would delete counters when memory is short.
    #[error("Redis evicts keys (maxmemory-policy {0}): set maxmemory-policy to noeviction")]
    Evicts(String),
    #[error("Redis is a replica: name the primary")]
    Replica,
    /// Its version and settings are unknown.
    #[error(transparent)]
    Unknown(RedisFailure),
}

/// A connection that is made on first use, and again after a loss. Clones share it.
#[derive(Clone)]
pub(super) struct RedisClient {
    client: Client,
    connection: ConnectionManager,
}

impl RedisClient {
    /// Must be called in a tokio runtime.
    pub(super) fn new(url: &str) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(REPLY_TIMEOUT))
            .set_number_of_retries(CONNECT_ATTEMPTS)
            .set_max_delay(LONGEST_CONNECT_PAUSE);
        let client = Client::open(info)?;
        Ok(Self { connection: ConnectionManager::new_lazy_with_config(client.clone(), config)?, client })
    }

    /// Sends a command once.
    pub(super) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFailure> {
        send_on(&mut self.connection.clone(), command).await
    }

    /// Calls a loaded script. Not `redis::Script`: that loads a missing script again, which would hide a restart of
    /// Redis.
    pub(super) async fn call_script(
        &self,
        sha1: &str,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<Value, RedisFailure> {
        self.send(&script_call(sha1, keys, arguments)).await
    }

    /// Loads a script if Redis has another one, and that one replies 1 to a call. Returns whether it did. Both commands go
    /// through one connection that is not made again: so Redis was not restarted between the reply and the load.
    pub(super) async fn load_script_beside(
        &self,
        text: &str,
        other_sha1: &str,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<bool, RedisFailure> {
        let connecting = self.client.get_multiplexed_async_connection();
        let connected = tokio::time::timeout(REPLY_TIMEOUT, connecting).await.map_err(|_| RedisFailure::TimedOut)?;
        let mut connection = connected.map_err(RedisFailure::Failed)?;
        match send_on(&mut connection, &script_call(other_sha1, keys, arguments)).await {
            Ok(Value::Int(1)) => {}
            Ok(_) | Err(RedisFailure::NoScript) => return Ok(false),
            Err(error) => return Err(error),
        }
        let _: String = send_on(&mut connection, cmd("SCRIPT").arg("LOAD").arg(text)).await?;
        Ok(true)
    }

    /// Loads a script, and returns its SHA-1.
    pub(super) async fn load_script(&self, text: &str) -> Result<String, RedisFailure> {
        self.send(cmd("SCRIPT").arg("LOAD").arg(text)).await
    }

    pub(super) async fn has_script(&self, sha1: &str) -> Result<bool, RedisFailure> {
        let exists: Vec<bool> = self.send(cmd("SCRIPT").arg("EXISTS").arg(sha1)).await?;
        Ok(exists == [true])
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<String>, RedisFailure> {
        self.send(cmd("GET").arg(key)).await
    }

    /// Writes a key that nobody reads, as a proof that Redis takes writes: it does not at maxmemory, say, while reads go on.
    pub(super) async fn probe_write(&self, key: &str) -> Result<(), RedisFailure> {
        self.send(cmd("SET").arg(key).arg("").arg("EX").arg(PROBE_LIFE.as_secs())).await
    }

    /// Seconds since 1970 by the clock of Redis.
    pub(super) async fn unix_time_secs(&self) -> Result<u64, RedisFailure> {
        let (seconds, _micros): (u64, u64) = self.send(&cmd("TIME")).await?;
        Ok(seconds)
    }

    pub(super) async fn check_server(&self) -> Result<(), Unsupported> {
        let info: String = self.send(&cmd("INFO")).await.map_err(Unsupported::Unknown)?;
        check_info(&info)
    }
}

fn script_call(sha1: &str, keys: &[&str], arguments: &[&str]) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(sha1).arg(keys.len()).arg(keys).arg(arguments);
    call
}

async fn send_on<T: FromRedisValue>(connection: &mut impl ConnectionLike, command: &Cmd) -> Result<T, RedisFailure> {
    match tokio::time::timeout(REPLY_TIMEOUT, command.query_async(connection)).await {
        Err(_) => Err(RedisFailure::TimedOut),
        Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => Err(RedisFailure::NoScript),
        Ok(Err(error)) => Err(RedisFailure::Failed(error)),
        Ok(Ok(reply)) => Ok(reply),
    }
}

fn check_info(info: &str) -> Result<(), Unsupported> {
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        fields.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
    };
    let version = field("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_MAJOR_VERSION) {
        return Err(Unsupported::Version(version.to_owned()));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return Err(Unsupported::Evicts(policy.to_owned()));
    }
    if field("role") == "slave" { Err(Unsupported::Replica) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, policy: &str, role: &str) -> String {
        format!("# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory_policy:{policy}\r\nrole:{role}\r\n")
    }

    #[test]
    fn a_server_that_would_lose_numbers_is_refused_with_advice() {
        assert!(check_info(&info("7.0.15", "noeviction", "master")).is_ok());
        for (info, advice) in [
            (info("6.2.7", "noeviction", "master"), "7.0 or later"),
            (info("7.4.1", "allkeys-lru", "master"), "noeviction"),
            (info("8.0.6", "noeviction", "slave"), "primary"),
            (String::new(), "too old"),
        ] {
            let error = check_info(&info).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
