//! Logs are set up once a process, so these are one test.

use std::error::Error;

use service::telemetry::{TelemetryError, chain, init};

#[test]
fn logs_are_set_up_once_and_a_filter_that_is_none_is_refused() {
    for filter in ["info,=", "a=b=c", "oven=hot"] {
        let error = init(filter).unwrap_err();
        assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");
        assert!(error.to_string().contains(filter), "{error}");
        assert!(error.source().is_some(), "what is wrong with it");
    }
    init("warn,oven=debug").unwrap();
    assert!(matches!(init("info"), Err(TelemetryError::Twice(_))));
}

#[derive(Debug, thiserror::Error)]
enum Baking {
    #[error("no cake")]
    Cake(#[source] Box<Baking>),
    #[error("the oven is cold")]
    Oven(#[source] std::io::Error),
}

#[test]
fn a_chain_has_every_cause_once() {
    let cake = Baking::Cake(Box::new(Baking::Oven(std::io::Error::other("no gas"))));
    assert_eq!(chain(&cake), "no cake: the oven is cold: no gas");
    assert_eq!(chain(&std::io::Error::other("no gas")), "no gas");
}
