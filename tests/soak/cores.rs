//! Who runs where: the gateway on one core, clients and origin on another, so that neither takes what the other is
//! measured by. Where there is no `taskset` or one core only, everybody runs everywhere, and it is said.

use std::process::{Child, Command, Stdio};

/// Keeps the gateway on core 0 and this process on core 1.
pub(crate) fn separate(gateway: u32) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 || !pin(gateway, "0") || !pin(std::process::id(), "1") {
        println!("gateway and clients share their cores: no taskset, or one core only");
    }
}

fn pin(pid: u32, core: &str) -> bool {
    let status = Command::new("taskset")
        .args(["-a", "-p", "-c", core, &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Somebody who never rests, on the gateway's core: so it has half of that, and whoever asks has more than they need.
pub(crate) struct Neighbour(Child);

impl Neighbour {
    /// Moves in, if there is a `taskset`.
    pub(crate) fn move_in() -> Option<Self> {
        let child = Command::new("taskset")
            .args(["-c", "0", "sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn();
        child.ok().map(Self)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
