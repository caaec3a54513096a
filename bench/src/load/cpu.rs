//! What the load generator costs, for it shares the machine with the server.

use std::time::Duration;

/// The CPU time of this thread so far, where the system tells.
pub(super) fn thread_cpu_time() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The first figure has the nanoseconds.
fn parse(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_figure_is_the_time() {
        assert_eq!(parse("1500000 20 7\n"), Some(Duration::from_micros(1_500)));
        assert_eq!(parse(""), None);
    }
}
