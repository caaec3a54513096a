//! The parts of the command line that name servers. Every flag has a variable; the flag wins.

mod elasticsearch;
mod kafka;
mod mysql;
mod redis;
mod server_url;

pub use self::elasticsearch::ElasticsearchArgs;
pub use self::kafka::KafkaArgs;
pub use self::mysql::MysqlArgs;
pub use self::redis::RedisArgs;

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct AllServers {
        #[command(flatten)]
        redis: RedisArgs,
        #[command(flatten)]
        mysql: MysqlArgs,
        #[command(flatten)]
        elasticsearch: ElasticsearchArgs,
    }

    fn parse(flag: &str, url: &str) -> Result<AllServers, clap::Error> {
        clap::Parser::try_parse_from(["test", flag, url])
    }

    #[test]
    fn a_url_of_another_server_is_refused_with_what_to_write_and_without_its_password() {
        for (flag, wrong, expected) in [
            ("--mysql-url", "postgres://tally:secret@db:5432/tally", "write mysql://USER"),
            ("--mysql-url", "mariadb://tally:secret@db:3306/tally", "write mysql://USER"),
            ("--mysql-url", "mysql://tally:secret@db:3306", "names no database"),
            ("--mysql-url", "secret", "write mysql://USER"),
            ("--redis-url", "http://:secret@redis:6379", "write redis://HOST:PORT"),
            ("--redis-url", "rediss://:secret@redis:6379", "write redis://HOST:PORT"),
            ("--redis-url", "secret:6379", "write redis://HOST:PORT"),
            ("--elasticsearch-url", "https://elastic:secret@search:9200", "http"),
            ("--elasticsearch-url", "mysql://elastic:secret@search:9200", "http"),
            ("--elasticsearch-url", "secret:9200", "http"),
        ] {
            let refused = parse(flag, wrong).expect_err(wrong);
            assert_eq!(refused.exit_code(), 2);
            let message = refused.to_string();
            assert!(message.contains(flag) && message.contains(expected), "{wrong}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn urls_with_users_and_passwords_are_accepted() {
        for (flag, url) in [
            ("--mysql-url", "mysql://tally:secret@db:3306/tally"),
            ("--redis-url", "redis://:secret@redis:6379/1"),
            ("--elasticsearch-url", "http://elastic:secret@search:9200"),
        ] {
            parse(flag, url).expect(url);
        }
    }

    #[test]
    fn every_variable_of_a_flag_is_known() {
        let mut command = clap::Command::new("test");
        for augment in
            [KafkaArgs::augment_args, RedisArgs::augment_args, MysqlArgs::augment_args, ElasticsearchArgs::augment_args]
        {
            command = augment(command);
        }
        let variables: Vec<_> = command
            .get_arguments()
            .map(|flag| flag.get_env().and_then(|name| name.to_str()).expect("a flag has a variable"))
            .collect();
        assert_eq!(variables, ["TALLY_KAFKA_BROKERS", "TALLY_REDIS_URL", "TALLY_MYSQL_URL", "TALLY_ELASTICSEARCH_URL"]);
        let known: Vec<_> = include_str!("../../variables.txt").lines().collect();
        assert!(variables.iter().all(|variable| known.contains(variable)), "{known:?}");
    }
}
