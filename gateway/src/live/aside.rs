//! Long work beside the requests, such as verifying a large bundle: on a thread of its own that runs where no request wants
//! the core. What is done there is not known here.
//!
//! A lower `nice` value is not enough: a thread that has a core keeps it for its slice, some milliseconds, whoever else
//! becomes ready. Linux takes a core away at once from threads of `SCHED_IDLE` only. Such a thread may get no core at all
//! while all are busy, so one that takes long becomes an ordinary one again. Where the system would not allow that, the
//! work is done with a lower `nice` value instead.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long the work may take before it gets its share of the cores like everything else.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does what takes long without keeping the tasks of this runtime's thread from being run by another.
pub(super) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let runtime = Handle::try_current().ok();
    let flavor = runtime.as_ref().map(Handle::runtime_flavor);
    let apart = || {
        std::thread::scope(|scope| {
            let (worker, hand) = rank::Rank::low(PATIENCE);
            let worker = scope.spawn(move || {
                let _entered = runtime.as_ref().map(Handle::enter);
                let _rank = worker.take();
                work()
            });
            hand.wait();
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    };
    match flavor {
        Some(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(apart),
        _ => apart(),
    }
}

#[cfg(target_os = "linux")]
mod rank {
    //! How threads of Linux give way.

    use std::sync::LazyLock;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::thread;
    use std::time::Duration;

    use thread_priority::{
        Error, NormalThreadSchedulePolicy as Policy, ThreadId, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };

    /// How much lower than that of requests the priority is where threads cannot come back from `SCHED_IDLE`.
    const NICE: i32 = 10;

    /// The worker's end. While it lives the work goes on.
    pub(super) struct Rank {
        begun: Sender<ThreadId>,
    }

    /// The end of who waits for the work.
    pub(super) struct Hand {
        begun: Receiver<ThreadId>,
        patience: Duration,
    }

    impl Rank {
        pub(super) fn low(patience: Duration) -> (Self, Hand) {
            let (sender, receiver) = channel();
            let hand = Hand {
                begun: receiver,
                patience,
            };
            (Self { begun: sender }, hand)
        }

        /// Steps back: the thread that calls this is the worker.
        pub(super) fn take(self) -> Self {
            if *COMES_BACK && set(thread_native_id(), Policy::Idle).is_ok() {
                // Who waits needs it; nobody waits where this fails.
                let _ = self.begun.send(thread_native_id());
            } else {
                let _ = rustix::process::nice(NICE);
            }
            self
        }
    }

    impl Hand {
        /// Waits until the work is done, or has taken so long that it must not wait for cores any more.
        pub(super) fn wait(self) {
            let Ok(worker) = self.begun.recv() else { return };
            // The worker sends nothing more: the other end is dropped when the work is done.
            if self.begun.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
                // On a thread of its own: the library sets the niceness of whoever calls it, too.
                let raised = thread::spawn(move || set(worker, Policy::Other)).join();
                if !matches!(raised, Ok(Ok(()))) {
                    tracing::warn!("long work goes on with the lowest priority");
                }
            }
        }
    }

    /// Whether a thread of this process may become an ordinary one again: `RLIMIT_NICE` or a capability allows it.
    static COMES_BACK: LazyLock<bool> = LazyLock::new(|| {
        let tried = thread::spawn(|| {
            set(thread_native_id(), Policy::Idle)?;
            set(thread_native_id(), Policy::Other)
        });
        matches!(tried.join(), Ok(Ok(())))
    });

    fn set(thread: ThreadId, policy: Policy) -> Result<(), Error> {
        let unchanged = ThreadPriority::from_posix(thread_priority::unix::ScheduleParams { sched_priority: 0 });
        set_thread_priority_and_policy(thread, unchanged, ThreadSchedulePolicy::Normal(policy))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use thread_priority::thread_schedule_policy;

        #[test]
        fn work_steps_back_and_comes_back_when_it_takes_long() {
            let idle = ThreadSchedulePolicy::Normal(Policy::Idle);
            let (rank, hand) = Rank::low(Duration::from_millis(1));
            let worker = thread::spawn(move || {
                let _rank = rank.take();
                let at_first = thread_schedule_policy().unwrap();
                while *COMES_BACK && thread_schedule_policy().unwrap() == idle {
                    thread::yield_now();
                }
                at_first
            });
            hand.wait();
            assert_eq!(worker.join().unwrap() == idle, *COMES_BACK);
            assert_ne!(thread_schedule_policy().unwrap(), idle, "who waits stays what it was");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod rank {
    //! Elsewhere a priority belongs to the whole process, and stays as it is.

    use std::time::Duration;

    pub(super) struct Rank;
    pub(super) struct Hand;

    impl Rank {
        pub(super) fn low(_patience: Duration) -> (Self, Hand) {
            (Self, Hand)
        }

        pub(super) fn take(self) -> Self {
            self
        }
    }

    impl Hand {
        pub(super) fn wait(self) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_whatever_runs_it() {
        assert_eq!(aside(|| 7), 7);
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        assert!(runtime.block_on(async { aside(|| Handle::try_current().is_ok()) }));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(async { aside(|| 8) }), 8);
        let broken = std::panic::catch_unwind(|| aside(|| assert_eq!(1, 2)));
        assert!(broken.is_err());
    }
}
