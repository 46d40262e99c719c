//! The ring itself: the last so many lines. Writers take a place each, so none of them waits for another and none is left
//! out because two came at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A recorded request.
pub(super) type Line = Arc<[u8]>;

/// The last so many lines.
pub(super) struct Ring {
    /// A lock for each place, held for as long as a pointer is exchanged.
    places: Box<[Mutex<Option<Line>>]>,
    /// The place of the next line, counted on without end.
    next: AtomicU64,
    /// How many lines there ever were.
    written: AtomicU64,
}

impl Ring {
    /// A ring of so many places; it begins with the last of these lines.
    pub(super) fn new(capacity: usize, lines: Vec<Line>) -> Self {
        let ring = Self {
            places: (0..capacity).map(|_| Mutex::new(None)).collect(),
            next: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        let older = lines.len().saturating_sub(capacity);
        for line in lines.into_iter().skip(older) {
            ring.push(line);
        }
        ring
    }

    /// Adds a line, in the place of the oldest one where the ring is full.
    pub(super) fn push(&self, line: Line) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(mut place) = self.place(number) else { return };
        *place = Some(line);
        drop(place);
        // Who reads this number finds the line.
        self.written.fetch_add(1, Ordering::Release);
    }

    /// How many lines it has, and how many there ever were.
    pub(super) fn counts(&self) -> (u64, u64) {
        let written = self.written.load(Ordering::Acquire);
        (written.min(self.places.len() as u64), written)
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<Line> {
        let next = self.next.load(Ordering::Acquire);
        let oldest = next.saturating_sub(self.places.len() as u64);
        (oldest..next)
            .filter_map(|number| self.place(number).and_then(|place| place.clone()))
            .collect()
    }

    fn place(&self, number: u64) -> Option<MutexGuard<'_, Option<Line>>> {
        let place = number.checked_rem(self.places.len() as u64)?;
        let place = self.places.get(usize::try_from(place).ok()?)?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Line {
        Arc::from(number.to_string().as_bytes())
    }

    fn numbers(ring: &Ring) -> Vec<usize> {
        let text = |line: &Line| String::from_utf8(line.to_vec()).unwrap().parse().unwrap();
        ring.lines().iter().map(text).collect()
    }

    #[test]
    fn the_last_lines_are_there_in_their_order() {
        let ring = Ring::new(3, (0..5).map(line).collect());
        assert_eq!((numbers(&ring), ring.counts()), (vec![2, 3, 4], (3, 3)));
        ring.push(line(5));
        assert_eq!((numbers(&ring), ring.counts()), (vec![3, 4, 5], (3, 4)));
        let roomy = Ring::new(8, vec![line(7)]);
        assert_eq!((numbers(&roomy), roomy.counts()), (vec![7], (1, 1)));
        let none = Ring::new(0, vec![line(1)]);
        none.push(line(2));
        assert_eq!((numbers(&none), none.counts()), (Vec::new(), (0, 0)));
    }

    #[test]
    fn no_line_is_left_out_when_many_come_at_once() {
        let ring = Ring::new(4_000, Vec::new());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let ring = &ring;
                scope.spawn(move || (0..1_000).for_each(|number| ring.push(line(writer * 1_000 + number))));
            }
            for _ in 0..100 {
                let (held, _) = ring.counts();
                assert!(ring.lines().len() as u64 >= held);
            }
        });
        let mut found = numbers(&ring);
        found.sort_unstable();
        assert_eq!(found, (0..4_000).collect::<Vec<_>>());
        assert_eq!(ring.counts(), (4_000, 4_000));
    }
}
