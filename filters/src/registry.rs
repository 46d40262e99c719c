//! The list of filters: one line each. Nothing registers itself.
