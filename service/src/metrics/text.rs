//! The text format of Prometheus, for what no recorder keeps.

/// A metric with all its values.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// Each with its labels, in braces, or with no text.
    values: Vec<(String, f64)>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Family {
    pub(super) const fn new(name: &'static str, help: &'static str, kind: Kind, values: Vec<(String, f64)>) -> Self {
        Self { name, help, kind, values }
    }

    /// A metric without labels.
    pub(super) fn one(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        Self::new(name, help, kind, vec![(String::new(), value)])
    }

    pub(super) fn write(&self, text: &mut String) {
        let Self { name, help, kind, values } = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        text.extend(values.iter().map(|(labels, value)| format!("{name}{labels} {value}\n")));
        text.push('\n');
    }
}
