//! The chain: links in order, one list of links a phase, and [`Link::settle`], the only place that knows shadow,
//! posture, receipts, metrics and decisions.
//!
//! Place 0 of every chain is the gate: the kill switches, which nobody can forget or put elsewhere.
