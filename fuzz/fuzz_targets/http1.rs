//! HTTP/1 requests. What must hold is said in [`portcullis_fuzz::http1`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::{http1, seeds};

fuzz_target!(init: seeds::plant("http1", &http1::seeds()), |data: &[u8]| http1::check(data));
