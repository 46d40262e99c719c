//! Tokens and key sets. What must hold is said in [`portcullis_fuzz::jwt`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{jwt, seeds};

fuzz_target!(init: seeds::plant("jwt", &jwt::seeds()), |data: &[u8]| jwt::check(data));
