//! Long work beside the requests, such as verifying a large bundle: on a thread of its own, after requests where both want
//! the same core. What is done there is not known here.

use tokio::runtime::{Handle, RuntimeFlavor};

/// How much lower than that of requests the priority is.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Does what takes long without keeping the tasks of this runtime's thread from being run by another. On a thread of its
/// own, because a priority that was given up cannot be taken back.
pub(super) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let runtime = Handle::try_current().ok();
    let flavor = runtime.as_ref().map(Handle::runtime_flavor);
    let apart = || {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let _entered = runtime.as_ref().map(Handle::enter);
                // It belongs to a thread on Linux only. Without it the work is done all the same.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::nice(NICE);
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    };
    match flavor {
        Some(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(apart),
        _ => apart(),
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
