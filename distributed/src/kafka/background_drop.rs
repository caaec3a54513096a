//! Drops a client without blocking the async runtime.

use std::ops::Deref;

/// Drops its value on a new thread: a librdkafka client signs off at the brokers when it is dropped, which may take a
/// while.
pub(super) struct BackgroundDrop<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> BackgroundDrop<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send + 'static> Deref for BackgroundDrop<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("only drop takes the value"))
    }
}

impl<T: Send + 'static> Drop for BackgroundDrop<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let spawned = std::thread::Builder::new().name("kafka-drop".to_owned()).spawn(move || drop(value));
        if let Err(error) = spawned {
            // The closure has dropped the value on this thread.
            tracing::warn!(%error, "cannot start a thread that drops a Kafka client; is the limit of threads reached?");
        }
    }
}
