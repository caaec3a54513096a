//! The limit of open files of this process. A connection takes one, and so does a file of a database.

/// The limit to ask for where the system reports none but refuses high ones, as macOS does.
#[cfg(unix)]
const UNBOUNDED: u64 = 10_240;

/// Raises the limit as far as this process may. Many systems start programs with 1,024, for the sake of programs that use
/// `select`, and let them have far more.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    for raised in [maximum, Some(UNBOUNDED)] {
        let is_higher = current.is_some_and(|current| raised.is_none_or(|raised| raised > current));
        // Whoever may not raise it goes on with what there is: the table of connections is made for it.
        if is_higher && setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }).is_ok() {
            return;
        }
    }
}

#[cfg(not(unix))]
pub(crate) const fn raise_limit() {}

/// The most files that this process can have open; `None` if the system has no such limit.
#[cfg(unix)]
pub(crate) fn limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub(crate) const fn limit() -> Option<usize> {
    None
}

/// Whether something could not be opened because too many files are open.
#[cfg(unix)]
pub(crate) fn is_limit_reached(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
pub(crate) const fn is_limit_reached(_error: &std::io::Error) -> bool {
    false
}
