//! What filter tests need: a request with everything set, a chain from YAML, and the runner of README examples.
