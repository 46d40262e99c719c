//! Zones: named state that outlives a configuration, handed from snapshot to snapshot. And [`BuildEnv`], through which
//! a filter that is being built reaches them.
