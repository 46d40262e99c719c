//! Signed and unsigned bundles, as received and as authors write them. What must hold is said in [`portcullis_fuzz::bundle`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{bundle, seeds};

fuzz_target!(init: seeds::plant("bundle", &bundle::seeds()), |data: &[u8]| bundle::check(data));
