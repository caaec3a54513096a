//! The codes of the problems that only the write API answers.

use service::define_codes;

define_codes! {
    /// The codes, beside those of [`service`] and [`access`].
    pub static CODES;
    /// The Idempotency-Key is malformed, too short or there twice
    MALFORMED_IDEMPOTENCY_KEY = BAD_REQUEST "malformed-idempotency-key";
    /// All 4,294,967,295 numbers are taken
    NUMBERS_EXHAUSTED = CONFLICT "numbers-exhausted";
    /// An earlier attempt with this Idempotency-Key has issued the key, whose secret is shown once; `number` names it
    SECRET_SHOWN = CONFLICT "secret-shown";
    /// The Idempotency-Key was used on this route with other values
    IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency-key-reused";
    /// The event log cannot be written now, or has not acknowledged in time; `detail` says whether anything was written
    LOG_UNAVAILABLE = SERVICE_UNAVAILABLE "log-unavailable";
    /// Numbers cannot be reserved now
    NUMBERS_UNAVAILABLE = SERVICE_UNAVAILABLE "numbers-unavailable";
    /// Numbers are being recovered after a loss, which takes some seconds
    NUMBERS_FENCING = SERVICE_UNAVAILABLE "numbers-fencing";
    /// The key was issued, and its secret was lost before it was shown: do not retry, revoke the key
    SECRET_LOST = SERVICE_UNAVAILABLE "secret-lost";
}
