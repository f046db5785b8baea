//! What is costly to find out and wanted by many clients: one of them finds it out while the others wait, and it is kept
//! as long as there is room, what was asked for last the longest. Whether what is kept still holds is for those to say
//! who ask.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often somebody who waits ticks.
const TICK: Duration = Duration::from_millis(200);

/// Values that are kept by their keys.
pub struct Kept<K, V> {
    slots: Mutex<HashMap<K, Arc<Slot<V>>>>,
    room: Room<V>,
}

/// How much is kept.
pub struct Room<V> {
    /// The most values.
    pub values: usize,
    /// The most that all of them may come to.
    pub sum: usize,
    /// What a value comes to.
    pub size: fn(&V) -> usize,
}

struct Slot<V> {
    state: Mutex<State<V>>,
    done: Condvar,
}

struct State<V> {
    /// Somebody finds it out.
    busy: bool,
    /// When it was last asked for.
    asked: Instant,
    value: Option<Arc<V>>,
}

/// What somebody gets who asks.
pub enum Found<V> {
    /// What is kept, and holds.
    Here(Arc<V>),
    /// It is for this one to find out. What was kept before does not hold, or not surely.
    Turn(Turn<V>, Option<Arc<V>>),
    /// Somebody has been finding it out for longer than this one waits.
    Late,
}

/// The right to find a value out. When it goes without [`Kept::keep`], also after an error or a panic, nothing is kept and
/// the next one has it.
pub struct Turn<V>(Arc<Slot<V>>);

impl<V> Drop for Turn<V> {
    fn drop(&mut self) {
        lock(&self.0.state).busy = false;
        self.0.done.notify_all();
    }
}

impl<K: Clone + Eq + Hash, V> Kept<K, V> {
    /// Nothing yet.
    pub fn new(room: Room<V>) -> Self {
        Kept {
            slots: Mutex::default(),
            room,
        }
    }

    /// What is kept of a key if it `holds`, or the turn to find it out. Waits for somebody who has that, at most for
    /// `patience`, and calls `tick` meanwhile; its error ends the waiting.
    pub fn ask(
        &self,
        key: K,
        patience: Duration,
        holds: impl Fn(&V) -> bool,
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Found<V>> {
        let asked = Instant::now();
        let slot = Arc::clone(lock(&self.slots).entry(key).or_insert_with(|| {
            Arc::new(Slot {
                state: Mutex::new(State {
                    busy: false,
                    asked,
                    value: None,
                }),
                done: Condvar::new(),
            })
        }));
        let mut state = lock(&slot.state);
        state.asked = asked;
        while state.busy {
            if asked.elapsed() > patience {
                return Ok(Found::Late);
            }
            let waited = slot.done.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            tick()?;
        }
        if let Some(value) = state.value.as_ref().filter(|value| holds(value)) {
            return Ok(Found::Here(Arc::clone(value)));
        }
        state.busy = true;
        let before = state.value.take();
        drop(state);
        Ok(Found::Turn(Turn(slot), before))
    }

    /// Keeps what was found out.
    pub fn keep(&self, turn: Turn<V>, value: Arc<V>) {
        lock(&turn.0.state).value = Some(value);
        drop(turn);
        self.thin();
    }

    /// Lets go of what nobody asked for for the longest time, until there is room for the rest.
    fn thin(&self) {
        let mut slots = lock(&self.slots);
        let mut all: Vec<_> = slots
            .iter()
            .map(|(key, slot)| {
                let state = lock(&slot.state);
                let size = state.value.as_ref().map_or(0, |value| (self.room.size)(value));
                (state.asked, size, key.clone())
            })
            .collect();
        all.sort_unstable_by_key(|(asked, ..)| std::cmp::Reverse(*asked));
        let mut sum = 0;
        for (number, (_, size, key)) in all.into_iter().enumerate() {
            sum += size;
            if sum > self.room.sum || number >= self.room.values {
                sum -= size;
                slots.remove(&key);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(kept: &Kept<u32, u32>, key: u32) -> Found<u32> {
        kept.ask(key, Duration::MAX, |_| true, &mut || Ok(())).unwrap()
    }

    fn kept() -> Kept<u32, u32> {
        Kept::new(Room {
            values: 3,
            sum: 100,
            size: |value| *value as usize,
        })
    }

    fn put(kept: &Kept<u32, u32>, key: u32, value: u32) {
        let Found::Turn(turn, None) = some(kept, key) else {
            panic!("{key} is there")
        };
        kept.keep(turn, Arc::new(value));
    }

    fn keys(kept: &Kept<u32, u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = lock(&kept.slots).keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn what_is_kept_stays_within_its_bounds_and_what_was_asked_for_last_stays_longest() {
        let kept = kept();
        for key in 0..3 {
            put(&kept, key, 10);
        }
        assert!(matches!(some(&kept, 0), Found::Here(value) if *value == 10));
        put(&kept, 3, 10);
        assert_eq!(keys(&kept), [0, 2, 3]);
        put(&kept, 4, 85);
        assert_eq!(keys(&kept), [3, 4]);
        put(&kept, 5, 101);
        assert_eq!(keys(&kept), [3, 4], "what never has room displaces nothing");
    }

    #[test]
    fn a_turn_that_ends_without_anything_is_the_next_ones() {
        let kept = kept();
        let Found::Turn(turn, None) = some(&kept, 1) else {
            panic!()
        };
        let mut ticks = 0;
        let waited = kept.ask(1, TICK, |_| true, &mut || {
            ticks += 1;
            Ok(())
        });
        assert!(matches!(waited, Ok(Found::Late)) && ticks > 0);
        let gone = kept.ask(
            1,
            Duration::MAX,
            |_| true,
            &mut || Err(io::ErrorKind::BrokenPipe.into()),
        );
        assert!(gone.is_err());
        drop(turn);
        put(&kept, 1, 7);
        match kept.ask(1, Duration::MAX, |_| false, &mut || Ok(())) {
            Ok(Found::Turn(_, Some(before))) => assert_eq!(*before, 7),
            _ => panic!("what does not hold is found out anew"),
        }
        put(&kept, 1, 8);
    }
}
