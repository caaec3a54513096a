//! Damage to the log, and how it is noticed.
//!
//! A damaged log may contradict the epoch in force: it has lost the epoch's start, or it has a higher one. Every process
//! looks at the log's epochs once a second, and ends an epoch that the log contradicts. Until then clients may be
//! answered 201 for events that are void: nothing can be promised of what happens before the look. So the invariants are
//! asked of every post that is sent after the damage, in an epoch that was checked, or looked at, after it.

use crate::epoch::Epoch;
use crate::log::Entry;
use crate::mistakes::Mistake;
use crate::scope::{Damage, PARTITIONS, Scope};
use crate::state::{EpochKeeper, LateCommand, Phase, State};

impl State {
    /// From now on nothing is promised of the posts that were sent, and of the epochs whose last check is over.
    pub(crate) fn excuse(&mut self) {
        let mut checked = self.redis.keys.epoch.map_or(0, Epoch::bit);
        for process in &self.processes {
            if let EpochKeeper::Loaded(epoch) | EpochKeeper::Published(epoch) = process.keeper {
                checked |= epoch.bit();
            }
            if let Some(LateCommand::Set(epoch)) = process.late_command {
                checked |= epoch.bit();
            }
        }
        self.excused |= checked;
        let sent = self.tries.iter_mut().filter(|sent| sent.phase != Phase::Unsent);
        sent.for_each(|sent| sent.is_excused = true);
    }

    /// The epochs that a process is about to start. A bit each.
    pub(crate) fn unsent_starts(&self) -> u32 {
        let checked = self.processes.iter().map(|process| match process.keeper {
            EpochKeeper::Checked(epoch) => epoch.bit(),
            _ => 0,
        });
        checked.fold(0, |all, epoch| all | epoch)
    }

    /// Whether the log was damaged.
    pub(crate) fn is_damaged(&self, scope: &Scope) -> bool {
        self.budget.damages < scope.max_damages
    }

    /// Once the log is damaged and Redis has lost keys, nothing tells of the starts that are on their way.
    pub(crate) fn collect_strays(&mut self, scope: &Scope) {
        if self.redis_has_lost_keys && self.is_damaged(scope) {
            let on_the_way = self.log.starts.iter().fold(0, |all, starts| all | starts);
            self.strays |= on_the_way | self.unsent_starts();
        }
    }

    fn damage(&mut self, scope: &Scope) -> Option<()> {
        self.budget.damages = self.budget.damages.checked_sub(1)?;
        self.excuse();
        self.collect_strays(scope);
        Some(())
    }
}

/// A partition loses its entries from an offset on.
pub fn lose_tail(scope: &Scope, state: &mut State, partition: usize, end: u8) -> Option<()> {
    let is_cut = scope.damage_kinds.contains(&Damage::LoseTail) && end < state.log.partitions[partition].end();
    if !is_cut {
        return None;
    }
    state.damage(scope)?;
    state.log.partitions[partition].cut(end);
    Some(())
}

/// All partitions lose their entries from these offsets on.
pub fn lose_tails(scope: &Scope, state: &mut State, ends: [u8; PARTITIONS]) -> Option<()> {
    let mut partitions = state.log.partitions.iter().zip(ends);
    if !scope.damage_kinds.contains(&Damage::LoseTails) || partitions.any(|(partition, end)| end >= partition.end()) {
        return None;
    }
    state.damage(scope)?;
    state.log.partitions.iter_mut().zip(ends).for_each(|(partition, end)| partition.cut(end));
    Some(())
}

/// A partition gets a start that no process has sent.
pub fn forge_start(scope: &Scope, state: &mut State, partition: usize, epoch: Epoch) -> Option<()> {
    if !scope.damage_kinds.contains(&Damage::ForgeStart(epoch)) {
        return None;
    }
    state.damage(scope)?;
    state.log.partitions[partition].push(Entry::Started(epoch));
    Some(())
}

/// A process in the epoch in force looks at the log's epochs, in `counts`: a higher one, or a lower one where `counts` is
/// at the log's end, contradicts the epoch. Otherwise everything is promised again of what is sent from now on.
///
/// An undamaged log contradicts no epoch in force: that is an invariant.
pub fn look(scope: &Scope, state: &mut State, process: usize) -> Option<()> {
    let epoch = state.redis.in_force(scope)?;
    let own = &mut state.processes[process];
    if own.keeper != EpochKeeper::Open(epoch) || state.excused & epoch.bit() == 0 {
        return None;
    }
    let is_seen = |partition| match state.log.highest_started(scope, partition) {
        highest if scope.has(Mistake::LowerEpochsOverlooked) => highest > Some(epoch),
        highest => highest != Some(epoch),
    };
    if (0..PARTITIONS).any(is_seen) {
        own.distrusted = Some(epoch);
        own.keeper = EpochKeeper::Searching;
    } else {
        state.excused &= !epoch.bit();
    }
    Some(())
}
