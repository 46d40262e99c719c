//! Request bodies that are held back until the chain has decided: how many bytes of them there may be at once, over all
//! connections. What is held and why is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The room for held bodies. Outlives configurations.
#[derive(Debug, Default)]
pub struct HeldBodies {
    most: AtomicU64,
    held: AtomicU64,
    refused: AtomicU64,
}

impl HeldBodies {
    /// From now on there is room for so many bytes. What is held already stays.
    pub(super) fn apply(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// A body's share, nothing yet.
    pub fn room(self: &Arc<Self>) -> Room {
        Room {
            of: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Bodies for which there was no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// A body's share of the room. Dropping it gives it back.
#[derive(Debug)]
pub struct Room {
    of: Arc<HeldBodies>,
    bytes: u64,
}

impl Room {
    /// Takes room for another piece. False: there is none.
    pub fn take(&mut self, bytes: usize) -> bool {
        let (bytes, most) = (bytes as u64, self.of.most.load(Relaxed));
        let grown = |held: u64| held.checked_add(bytes).filter(|held| *held <= most);
        let taken = self.of.held.fetch_update(Relaxed, Relaxed, grown).is_ok();
        if taken {
            self.bytes += bytes;
        } else {
            self.of.refused.fetch_add(1, Relaxed);
        }
        taken
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_never_more_than_there_is_room_for() {
        let bodies = Arc::new(HeldBodies::default());
        bodies.apply(1000);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut room = bodies.room();
                        let taken = (0..5).take_while(|_| room.take(70)).count() as u64;
                        assert!(bodies.held() <= 1000);
                        admitted.fetch_add(taken, Relaxed);
                    }
                });
            }
        });
        assert_eq!(bodies.held(), 0, "everything is given back");
        assert!(admitted.load(Relaxed) > 0);
        let (mut first, mut second) = (bodies.room(), bodies.room());
        let refused = bodies.refused();
        assert!(first.take(1000) && second.take(0) && !second.take(1));
        assert_eq!(bodies.refused(), refused + 1);
        drop(first);
        assert!(second.take(1000) && !second.take(usize::MAX));
    }
}
