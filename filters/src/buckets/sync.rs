//! The locks and atomics of the table, from one place: `tests/interleavings` puts others here, whose every order it tries.

pub(super) use std::sync::atomic::AtomicU64;
pub(super) use std::sync::{Mutex, MutexGuard};
