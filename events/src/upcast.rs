//! Upcasters: an old version of an event becomes the current one.
//!
//! An upcaster changes the JSON of one version to that of the next. A reader applies all upcasters from the written
//! version to the current one, so that the rest of the program knows only the current shape. To add a version, raise
//! [`EventType::current_version`], add an upcaster here, and add a fixture under `events/fixtures`. Never edit old
//! fixtures.

use serde_json::Value;

use crate::event::EventType;

/// Changes the JSON of `event_type` at version `from` to that of `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type of the events that it changes.
    pub event_type: EventType,
    /// The version that it starts from.
    pub from: u16,
    /// The change. It is pure, and defined for every JSON that the old version could have written.
    pub step: fn(Value) -> Value,
}

/// All upcasters: none, because every type is still at its first version.
pub const UPCASTERS: &[Upcaster] = &[];

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
pub(crate) fn to_current(
    event_type: EventType,
    written: u16,
    data: &[u8],
    upcasters: &[Upcaster],
) -> Result<Vec<u8>, UpcastError> {
    let value: Value = serde_json::from_slice(data).map_err(UpcastError::NotJson)?;
    let current = (written..event_type.current_version()).try_fold(value, |value, version| {
        upcasters
            .iter()
            .find(|upcaster| upcaster.event_type == event_type && upcaster.from == version)
            .map(|upcaster| (upcaster.step)(value))
            .ok_or(UpcastError::NoStep(version))
    })?;
    serde_json::to_vec(&current).map_err(UpcastError::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    // No type has a second version yet, so this upcaster starts from a version 0 that never existed.
    const STEPS: &[Upcaster] = &[Upcaster {
        event_type: EventType::ChatCreated,
        from: 0,
        step: |mut value| {
            value["number"] = value["index"].take();
            value
        },
    }];

    #[test]
    fn steps_lead_from_the_written_version_to_the_current_one() {
        let upcast = to_current(EventType::ChatCreated, 0, br#"{"index":7}"#, STEPS).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&upcast).unwrap()["number"], 7);
    }

    #[test]
    fn a_version_that_no_step_starts_from_is_an_error() {
        assert!(matches!(to_current(EventType::MessagePosted, 0, b"{}", STEPS), Err(UpcastError::NoStep(0))));
    }
}
