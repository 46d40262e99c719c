//! Questions to the decision service. What must hold is said in [`portcullis_fuzz::decision`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{decision, seeds};

fuzz_target!(init: seeds::plant("decision", &decision::seeds()), |data: &[u8]| decision::check(data));
