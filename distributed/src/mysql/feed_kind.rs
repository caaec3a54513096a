//! How the table `feed` names the kinds of events.

/// A kind of event, as the column `kind` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedKind {
    ApplicationCreated,
    ApplicationRenamed,
    ChatCreated,
    MessageCreated,
}

impl FeedKind {
    const ALL: [Self; 4] =
        [Self::ApplicationCreated, Self::ApplicationRenamed, Self::ChatCreated, Self::MessageCreated];

    /// Its number in the column. A number never gets another meaning.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::ApplicationCreated => 1,
            Self::ApplicationRenamed => 2,
            Self::ChatCreated => 3,
            Self::MessageCreated => 4,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}
