//! Instructions instead of time: callgrind counts them, and counts the same on a machine that does other things too. What
//! a rise means is for people to judge; that there is one is said by `baseline`.

#[cfg(feature = "harness")]
pub mod baseline;
#[cfg(feature = "harness")]
pub mod callgrind;
#[cfg(feature = "harness")]
pub mod gateway;
pub mod pieces;
