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
    AcceptsUnknownParents,
    ForgetsRequests,
    SkipsNumbers,
    SharesOneCounter,
    RepeatsNumbers,
}

struct BrokenSequencer {
    sequencer: Arc<dyn Sequencer>,
    fault: SequencerFault,
    last: AtomicU32,
}

impl SequencerFault {
    /// Wraps a sequencer without faults in a sequencer with this fault.
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
            SequencerFault::AcceptsUnknownParents => 1,
            SequencerFault::ForgetsRequests => return reservation,
            SequencerFault::SkipsNumbers => 2 * reservation?.value().get(),
            SequencerFault::SharesOneCounter => self.last.fetch_add(1, Ordering::SeqCst) + 1,
            SequencerFault::RepeatsNumbers => reservation?.value().get().div_ceil(2),
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
        Ok(self.fault == SequencerFault::AcceptsUnknownParents || self.sequencer.exists(parent).await?)
    }

    async fn open(&self, parent: StreamKey, ticket: Option<Ticket>) -> Result<(), ReserveError> {
        self.sequencer.open(parent, ticket).await
    }
}
