//! Configurations, and the smaller languages in them. What must hold is said in [`portcullis_fuzz::config`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{config, seeds};

fuzz_target!(init: seeds::plant("config", &config::seeds()), |data: &[u8]| config::check(data));
