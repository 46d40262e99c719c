//! A small HTTP client for documents: key sets, bundles.
