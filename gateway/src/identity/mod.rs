//! Keeps the key sets of token issuers fresh.
