//! The scenario suite on the distributed topology, with one and with two processes of each kind.

use libtest_mimic::Trial;
use tokio::runtime::Handle;

use crate::topology;

macro_rules! trials {
    ($trials:ident, $runtime:ident, $prefix:literal, $start:path; $($module:ident::$name:ident,)+) => {
        $($trials.push(crate::trial($runtime, concat!($prefix, "::", stringify!($name)), || async {
            testkit::scenarios::$module::$name(&$start().await.api).await;
        }));)+
    };
}

pub(crate) fn tests(runtime: &Handle) -> Vec<Trial> {
    let mut scenarios = Vec::new();
    testkit::every_scenario!(trials, scenarios, runtime, "scenarios::one_of_each", topology::one_of_each);
    testkit::every_scenario!(trials, scenarios, runtime, "scenarios::two_of_each", topology::two_of_each);
    scenarios
}
