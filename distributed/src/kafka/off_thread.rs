//! Letting go of a client without keeping the async runtime waiting.

use std::ops::Deref;

/// Drops its value on a thread of its own: a client of librdkafka says goodbye to the brokers before it goes, and that
/// may take a while.
pub(super) struct OffThread<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> OffThread<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send + 'static> Deref for OffThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("taken by drop alone"))
    }
}

impl<T: Send + 'static> Drop for OffThread<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let letting_go = std::thread::Builder::new().name("kafka-goodbye".to_owned()).spawn(move || drop(value));
        if let Err(error) = letting_go {
            // The value went with the closure, on this thread.
            tracing::warn!(%error, "no thread for letting go of a client of Kafka; is the limit of threads reached?");
        }
    }
}
