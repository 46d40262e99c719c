//! Request paths. What must hold is said in [`portcullis_fuzz::path`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{path, seeds};

fuzz_target!(init: seeds::plant("path", &path::seeds()), |data: &[u8]| path::check(data));
