//! A sequencer with one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use events::{ApplicationToken, Number, RequestKey, StreamKey};

use crate::sequencer::{Reservation, ReserveError, Sequencer, Ticket};

/// A fault of a sequencer. Each check of [`sequencer_conformance!`](crate::sequencer_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the sequencer does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequencerFault {
    KnowsEverybody,
    ForgetsRequests,
    Skips,
    CountsAllTogether,
    Repeats,
}

struct BrokenSequencer {
    sequencer: Arc<dyn Sequencer>,
    fault: SequencerFault,
    last: AtomicU32,
}

impl SequencerFault {
    /// Puts this fault between a check and a sequencer that has none.
    pub fn inject(self, sequencer: Arc<dyn Sequencer>) -> Arc<dyn Sequencer> {
        Arc::new(BrokenSequencer { sequencer, fault: self, last: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Sequencer for BrokenSequencer {
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let request = match self.fault {
            SequencerFault::ForgetsRequests => None,
            _ => request,
        };
        let reservation = self.sequencer.reserve(parent, request).await;
        let number = match self.fault {
            SequencerFault::KnowsEverybody => 1,
            SequencerFault::ForgetsRequests => return reservation,
            SequencerFault::Skips => 2 * reservation?.value().get(),
            SequencerFault::CountsAllTogether => self.last.fetch_add(1, Ordering::SeqCst) + 1,
            SequencerFault::Repeats => reservation?.value().get().div_ceil(2),
        };
        Ok(Reservation::new(Number::new(number).unwrap(), ()))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        match self.fault {
            SequencerFault::ForgetsRequests => Ok(Reservation::new(fresh, ())),
            _ => self.sequencer.reserve_token(fresh, request).await,
        }
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        Ok(self.fault == SequencerFault::KnowsEverybody || self.sequencer.exists(parent).await?)
    }

    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError> {
        self.sequencer.open(parent, ticket).await
    }
}
