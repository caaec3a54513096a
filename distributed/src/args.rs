//! The parts of the command line that name servers. Every flag has a variable; the flag wins.

mod elasticsearch;
mod kafka;
mod mysql;
mod redis;

pub use self::elasticsearch::ElasticsearchArgs;
pub use self::kafka::KafkaArgs;
pub use self::mysql::MysqlArgs;
pub use self::redis::RedisArgs;

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

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
