//! Upcasters: an old version of an event becomes the current one.
//!
//! An upcaster changes the JSON of one version to that of the next. A reader applies all upcasters from the written
//! version to the current one, so that the rest of the program knows only the current shape. To add a version, raise
//! [`EventType::current_version`], say in [`Event::version`](crate::Event::version) which events have it, add an upcaster
//! here, and add a fixture under `events/fixtures`. Never edit old fixtures.

use std::borrow::Cow;

use serde_json::Value;

use crate::event::EventType;

/// Changes the JSON of `event_type` at version `from` to that of `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type of the events that it changes.
    pub event_type: EventType,
    /// The version that it starts from.
    pub from: u16,
    /// The change.
    pub step: Step,
}

/// What an upcaster does.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Nothing: every JSON that the old version could have written is also one of the new version. It is not parsed twice.
    Same,
    /// A change. It is pure, and defined for every JSON that the old version could have written.
    Change(fn(Value) -> Value),
}

/// All upcasters.
pub const UPCASTERS: &[Upcaster] = &[
    // Version 2 adds an author, which may be absent.
    Upcaster { event_type: EventType::MessagePosted, from: 1, step: Step::Same },
];

/// Why an old version could not be brought to the current one.
#[derive(Debug, thiserror::Error)]
pub enum UpcastError {
    /// The data is not JSON.
    #[error("its JSON cannot be parsed")]
    NotJson(#[source] serde_json::Error),
    /// No upcaster starts from this version: no release has ever written it.
    #[error("no upcaster starts from version {0}")]
    NoStep(u16),
}

/// Brings the JSON of an event from version `written` to the current version.
pub(crate) fn to_current<'a>(
    event_type: EventType,
    written: u16,
    data: &'a [u8],
    upcasters: &[Upcaster],
) -> Result<Cow<'a, [u8]>, UpcastError> {
    let mut current = Cow::Borrowed(data);
    for version in written..event_type.current_version() {
        let upcaster = upcasters.iter().find(|upcaster| upcaster.event_type == event_type && upcaster.from == version);
        match upcaster.ok_or(UpcastError::NoStep(version))?.step {
            Step::Same => {}
            Step::Change(change) => {
                let value = serde_json::from_slice(&current).map_err(UpcastError::NotJson)?;
                current = serde_json::to_vec(&change(value)).map_err(UpcastError::NotJson)?.into();
            }
        }
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    // No type has a version that another one changes, so these upcasters start from a version 0 that never existed.
    const STEPS: &[Upcaster] = &[
        Upcaster {
            event_type: EventType::ChatCreated,
            from: 0,
            step: Step::Change(|mut value| {
                value["number"] = value["index"].take();
                value
            }),
        },
        Upcaster { event_type: EventType::ChatApplicationCreated, from: 0, step: Step::Same },
    ];

    #[test]
    fn steps_lead_from_the_written_version_to_the_current_one() {
        let upcast = to_current(EventType::ChatCreated, 0, br#"{"index":7}"#, STEPS).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&upcast).unwrap()["number"], 7);
    }

    #[test]
    fn data_that_no_step_changes_stays_as_it_is() {
        let data = b"{ \"token\" : 1 }";
        let upcast = to_current(EventType::ChatApplicationCreated, 0, data, STEPS).unwrap();
        assert!(matches!(upcast, Cow::Borrowed(same) if same == data));
    }

    #[test]
    fn a_version_that_no_step_starts_from_is_an_error() {
        assert!(matches!(to_current(EventType::MessagePosted, 0, b"{}", STEPS), Err(UpcastError::NoStep(0))));
    }
}
