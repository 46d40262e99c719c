//! Snapshots that were replaced, held until no request has them any more. To free a large bundle takes long: it is not for
//! the worker whose request happens to be the last. Which snapshot is in force is not known here.

use std::sync::{Arc, Mutex, PoisonError};

/// Replaced values that others may still have. As many as are in use anyway, and those since the last look.
#[derive(Debug)]
pub(super) struct Retired<T>(Mutex<Vec<Arc<T>>>);

impl<T> Retired<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Holds a value that is not to be had from anywhere any more but from those who have it.
    pub(super) fn hold(&self, value: Arc<T>) {
        self.list().push(value);
    }

    /// Takes out what nobody else has, to be freed by the caller.
    pub(super) fn unused(&self) -> Vec<Arc<T>> {
        self.list()
            .extract_if(.., |value| Arc::strong_count(value) == 1)
            .collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_as_long_as_somebody_else_has_it() {
        let retired = Retired::new();
        let (one, two) = (Arc::new(1), Arc::new(2));
        retired.hold(Arc::clone(&one));
        retired.hold(Arc::clone(&two));
        assert!(retired.unused().is_empty());
        drop(two);
        assert_eq!(retired.unused(), [Arc::new(2)]);
        drop(one);
        assert_eq!(retired.unused(), [Arc::new(1)]);
        assert!(retired.unused().is_empty());
    }
}
