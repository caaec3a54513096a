//! Gives requests their turns, so that whoever asks for many delays his own, and nobody else's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::metrics;
use crate::wait_limit::{Displaced, WAITING, WAITING_HELP};

/// How many turns there are at once, and how many callers may wait for one.
#[derive(Debug, Clone, Copy)]
pub struct TurnBounds {
    pub max_running: usize,
    /// Of one key: fewer than [`TurnBounds::max_running`], so that another key need not wait for this one.
    pub max_running_of_key: usize,
    pub max_waiting: usize,
}

/// Turns of callers that have a key, such as their application.
///
/// A free turn goes to the key that has the fewest turns, and of those to the one whose last turn began first. Within a key, whoever
/// has waited the longest comes first. One wait too many ends the longest wait of the key that has the most. Clones share the turns.
#[derive(Debug, Clone)]
pub struct Turns<K: Ord + Copy>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K: Ord + Copy> {
    bounds: TurnBounds,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Ord + Copy> {
    running: usize,
    waiting: usize,
    /// Numbers the waits and the turns.
    last_id: u64,
    /// The keys that have a turn or wait for one.
    by_key: BTreeMap<K, OfKey<K>>,
}

#[derive(Debug)]
struct OfKey<K: Ord + Copy> {
    running: usize,
    /// The id of its last turn; 0 if it has had none.
    last_turn: u64,
    /// In the order in which the waits began. A drop of a sender ends its wait.
    waiting: VecDeque<(u64, oneshot::Sender<Turn<K>>)>,
}

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub struct Turn<K: Ord + Copy> {
    turns: Turns<K>,
    key: K,
}

impl<K: Ord + Copy> Turns<K> {
    pub fn new(bounds: TurnBounds) -> Self {
        let state = State { running: 0, waiting: 0, last_id: 0, by_key: BTreeMap::new() };
        Self(Arc::new(Inner { bounds, state: Mutex::new(state) }))
    }

    /// Adds the numbers of turns and of waits for one to the metrics of the process, with this label.
    #[must_use]
    pub fn with_gauges(self, queue: &'static str) -> Self
    where
        K: Send + 'static,
    {
        let (running, waiting) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let count_waiting = move || Some(waiting.upgrade()?.state.lock().waiting as f64);
        metrics::sample(WAITING, WAITING_HELP, ("queue", queue), count_waiting);
        let count_running = move || Some(running.upgrade()?.state.lock().running as f64);
        metrics::sample("tally_running_requests", "Requests whose turn it is.", ("queue", queue), count_running);
        self
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Displaced`] if too many wait, and this key has the most.
    pub async fn take(&self, key: K) -> Result<Turn<K>, Displaced> {
        let (sender, turn) = oneshot::channel();
        let id = self.0.state.lock().begin_wait(key, sender);
        // Dropped before the channel, so that no turn is given to a caller that has gone.
        let _end = EndOfWait { turns: self, key, id };
        self.give_turns();
        self.0.state.lock().displace(self.0.bounds.max_waiting);
        turn.await.map_err(|_dropped| Displaced)
    }

    /// Gives the turns that are free to those who wait.
    fn give_turns(&self) {
        loop {
            let next = self.0.state.lock().begin_turn(self.0.bounds);
            let Some((key, sender)) = next else {
                return;
            };
            // If the caller has gone, the turn is dropped here, and so is free again.
            drop(sender.send(Turn { turns: self.clone(), key }));
        }
    }
}

impl<K: Ord + Copy> State<K> {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn begin_wait(&mut self, key: K, sender: oneshot::Sender<Turn<K>>) -> u64 {
        let id = self.next_id();
        let idle = || OfKey { running: 0, last_turn: 0, waiting: VecDeque::new() };
        self.by_key.entry(key).or_insert_with(idle).waiting.push_back((id, sender));
        self.waiting += 1;
        id
    }

    /// Takes the next turn, if one is free, for a caller that waits.
    fn begin_turn(&mut self, bounds: TurnBounds) -> Option<(K, oneshot::Sender<Turn<K>>)> {
        if self.running >= bounds.max_running {
            return None;
        }
        let id = self.next_id();
        let keys = self.by_key.iter_mut();
        let eligible = keys.filter(|(_, of)| !of.waiting.is_empty() && of.running < bounds.max_running_of_key);
        let (key, of_key) = eligible.min_by_key(|(_, of)| (of.running, of.last_turn))?;
        let (_, sender) = of_key.waiting.pop_front()?;
        (of_key.running, of_key.last_turn) = (of_key.running + 1, id);
        let key = *key;
        (self.running, self.waiting) = (self.running + 1, self.waiting - 1);
        Some((key, sender))
    }

    fn end_turn(&mut self, key: K) {
        self.running -= 1;
        if let Some(of_key) = self.by_key.get_mut(&key) {
            of_key.running -= 1;
        }
        self.forget_if_idle(key);
    }

    /// Ends a wait that has not ended yet.
    fn end_wait(&mut self, key: K, id: u64) {
        if let Some(of_key) = self.by_key.get_mut(&key) {
            let before = of_key.waiting.len();
            of_key.waiting.retain(|(waiting, _)| *waiting != id);
            self.waiting -= before - of_key.waiting.len();
        }
        self.forget_if_idle(key);
    }

    /// Ends waits until no more than so many are left.
    fn displace(&mut self, max_waiting: usize) {
        while self.waiting > max_waiting {
            // Of keys with as many waits, the one with the oldest.
            let rank = |of: &OfKey<K>| (of.waiting.len(), of.waiting.front().map(|(id, _)| Reverse(*id)));
            let Some((key, of_key)) = self.by_key.iter_mut().max_by_key(|(_, of)| rank(of)) else {
                return;
            };
            let key = *key;
            if of_key.waiting.pop_front().is_none() {
                return;
            }
            self.waiting -= 1;
            self.forget_if_idle(key);
        }
    }

    fn forget_if_idle(&mut self, key: K) {
        if self.by_key.get(&key).is_some_and(|of| of.running == 0 && of.waiting.is_empty()) {
            self.by_key.remove(&key);
        }
    }
}

impl<K: Ord + Copy> Drop for Turn<K> {
    fn drop(&mut self) {
        self.turns.0.state.lock().end_turn(self.key);
        self.turns.give_turns();
    }
}

/// Ends a wait when dropped.
struct EndOfWait<'a, K: Ord + Copy> {
    turns: &'a Turns<K>,
    key: K,
    id: u64,
}

impl<K: Ord + Copy> Drop for EndOfWait<'_, K> {
    fn drop(&mut self) {
        self.turns.0.state.lock().end_wait(self.key, self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    const BOUNDS: TurnBounds = TurnBounds { max_running: 3, max_running_of_key: 2, max_waiting: 6 };

    type Taking<'a> = Pin<Box<dyn Future<Output = Result<Turn<char>, Displaced>> + 'a>>;

    /// Asks for turns, in this order. Returns the waits.
    async fn ask<'a>(turns: &'a Turns<char>, keys: &str) -> Vec<Taking<'a>> {
        let mut waits: Vec<Taking<'a>> = Vec::new();
        for key in keys.chars() {
            waits.push(Box::pin(turns.take(key)));
            let last = waits.len() - 1;
            assert!(poll!(&mut waits[last]).is_pending(), "{key} has a turn");
        }
        waits
    }

    async fn take(turns: &Turns<char>, key: char) -> Turn<char> {
        match poll!(pin!(turns.take(key))) {
            Poll::Ready(turn) => turn.unwrap(),
            Poll::Pending => panic!("{key} has to wait"),
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_many_turns_leaves_some_to_others() {
        let turns = Turns::new(BOUNDS);
        let first = take(&turns, 'a').await;
        let second = take(&turns, 'a').await;
        let mut flood = ask(&turns, "aaaa").await;
        let other = take(&turns, 'b').await;
        let mut waiting = ask(&turns, "bc").await;
        drop(first);
        assert!(poll!(&mut flood[0]).is_pending() && poll!(&mut waiting[0]).is_pending());
        let Poll::Ready(Ok(_third)) = poll!(&mut waiting[1]) else { panic!("c has none and is next") };
        drop(other);
        let Poll::Ready(Ok(_fourth)) = poll!(&mut waiting[0]) else { panic!("b has none now") };
        drop(second);
        let Poll::Ready(Ok(_fifth)) = poll!(&mut flood[0]) else { panic!("a has none now") };
    }

    #[tokio::test]
    async fn keys_with_as_many_turns_take_turns() {
        let turns = Turns::new(TurnBounds { max_running: 1, ..BOUNDS });
        let mut running = take(&turns, 'a').await;
        let mut waits: Vec<_> = ask(&turns, "aabb").await.into_iter().zip([3, 4, 1, 2]).collect();
        waits.sort_by_key(|(_, place)| *place);
        // b, then a, which waits since before b's last turn, and so on.
        for place in [0, 2, 1, 3] {
            drop(running);
            let Poll::Ready(Ok(next)) = poll!(&mut waits[place].0) else { panic!("{place} is not next") };
            running = next;
        }
    }

    #[tokio::test]
    async fn one_wait_too_many_ends_the_longest_of_the_key_with_the_most() {
        let turns = Turns::new(TurnBounds { max_running: 1, ..BOUNDS });
        let running = take(&turns, 'a').await;
        let mut waits = ask(&turns, "bbaaaabc").await;
        let mut displaced = Vec::new();
        for wait in &mut waits {
            displaced.push(matches!(poll!(wait), Poll::Ready(Err(Displaced))));
        }
        assert_eq!(displaced, [true, false, true, false, false, false, false, false]);
        drop((running, waits));
        assert!(turns.0.state.lock().by_key.is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_its_place_and_its_turn() {
        let turns = Turns::new(TurnBounds { max_running: 1, ..BOUNDS });
        let running = take(&turns, 'a').await;
        let mut waits = ask(&turns, "bcd").await;
        drop(waits.remove(0));
        assert_eq!(turns.0.state.lock().waiting, 2);
        drop(running);
        // It has the turn, and has not looked.
        drop(waits.remove(0));
        let Poll::Ready(Ok(last)) = poll!(&mut waits[0]) else { panic!("d has no turn") };
        drop((last, waits));
        let state = turns.0.state.lock();
        assert_eq!((state.running, state.waiting, state.by_key.len()), (0, 0, 0));
    }
}
