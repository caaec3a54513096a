//! The codes of the problems of the operator's port.

use service::define_codes;

define_codes! {
    /// The codes, beside those of [`service`].
    pub static CODES;
    /// The key in the lock file of the data directory is missing or wrong
    UNAUTHORIZED = UNAUTHORIZED "unauthorized";
    /// Another operation runs
    OPERATION_RUNNING = CONFLICT "operation-running";
    /// The status cannot be read now
    STATUS_UNAVAILABLE = SERVICE_UNAVAILABLE "status-unavailable";
}
