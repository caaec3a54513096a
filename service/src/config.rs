//! The parts of the command line that several programs share. Every flag has a variable; the flag wins.

mod addresses;
mod connections;
mod cors_origins;
mod hosts;
mod http;
mod logs;
mod public_url;
mod variables;

pub use self::addresses::{
    CommandOperatorAddr, DEFAULT_READ_ADDR, DEFAULT_WRITE_ADDR, MalformedAddress, OperatorAddr, ReadAddr, WriteAddr,
    collide, parse_address,
};
pub use self::connections::Connections;
pub use self::cors_origins::{Cors, CorsOrigins, MalformedOrigins};
pub use self::hosts::{AllowedHosts, Hosts, HostsArgs, MalformedHost};
pub use self::http::HttpArgs;
pub use self::logs::{LogArgs, LogFormat};
pub use self::public_url::{MalformedUrl, PublicReadUrl, PublicUrl, PublicWriteUrl};
pub use self::variables::{UnknownVariable, refuse_unknown_variables};

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn every_variable_of_a_flag_is_known() {
        let mut command = clap::Command::new("test");
        for augment in
            [LogArgs::augment_args, WriteAddr::augment_args, ReadAddr::augment_args, OperatorAddr::augment_args]
        {
            command = augment(command);
        }
        command = PublicWriteUrl::augment_args(PublicReadUrl::augment_args(command));
        command = HttpArgs::augment_args(command);
        let variables: Vec<_> = command
            .get_arguments()
            .map(|flag| flag.get_env().and_then(|name| name.to_str()).expect("a flag has a variable").to_owned())
            .collect();
        let expected = [
            "LOG",
            "LOG_FORMAT",
            "WRITE_ADDR",
            "READ_ADDR",
            "OPERATOR_ADDR",
            "PUBLIC_READ_URL",
            "PUBLIC_WRITE_URL",
            "CORS_ORIGINS",
            "IDLE_TIMEOUT",
            "HOSTS",
        ];
        assert_eq!(variables, expected.map(|name| format!("TALLY_{name}")));
        assert!(variables::refuse_unknown(include_str!("../../variables.txt"), variables.into_iter()).is_ok());
    }
}
