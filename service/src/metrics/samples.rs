//! Gauges that are read when somebody asks for the metrics, such as the length of a queue. Whoever changes what they show pays
//! nothing for them.

use std::collections::HashMap;
use std::fmt;

use metrics::{Gauge, Key};
use parking_lot::Mutex;

/// Reads a gauge; `None` once its source is gone.
type Read = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// The gauges of a recorder, by name and labels.
#[derive(Default)]
pub(super) struct Samples(Mutex<HashMap<Key, Sample>>);

struct Sample {
    gauge: Gauge,
    read: Read,
}

impl Samples {
    pub(super) fn add(&self, key: Key, gauge: Gauge, read: Read) {
        self.0.lock().insert(key, Sample { gauge, read });
    }

    /// Sets every gauge to what it shows now. One whose source is gone is 0 from then on.
    pub(super) fn read_all(&self) {
        self.0.lock().retain(|_, Sample { gauge, read }| {
            let value = read();
            gauge.set(value.unwrap_or_default());
            value.is_some()
        });
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Samples").field(&self.0.lock().len()).finish()
    }
}
