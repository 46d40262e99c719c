//! Tables of token buckets with many keys, every bucket in use.

use portcullis_filters::buckets::{BucketKey, BucketTable, Charge, Cost, KeyHasher, Params};
use portcullis_filters::tenant::Scope;

/// The moment at which the buckets were taken from first, in nanoseconds.
const START_NS: u64 = 3_600_000_000_000;

/// A table and the keys of its buckets, in no order that a cache could know.
pub struct Filled {
    table: BucketTable,
    keys: Vec<BucketKey>,
    params: Params,
}

impl Filled {
    /// A table of `keys` buckets with some room left. None of them is full, so that none is forgotten.
    pub fn of(keys: u32) -> Self {
        let params = Params::new(1.0, 1e9).expect("parameters of a bucket");
        let count = usize::try_from(keys).expect("a number of keys");
        // Shards are not filled alike, and small ones least of all.
        let spare = if count > 500_000 { count / 16 } else { count + 1024 };
        let capacity = count + spare;
        let filled = Self {
            table: BucketTable::new(capacity),
            keys: (0..keys).map(key).collect(),
            params,
        };
        let much = Cost::new(5e8).expect("half a burst");
        for key in &filled.keys {
            let charge = Charge::new(*key, params, much);
            assert!(filled.table.take(&charge, START_NS).allowed, "a full bucket");
        }
        assert_eq!(
            filled.table.len(),
            filled.keys.len(),
            "every key has a bucket of its own"
        );
        filled
    }

    /// Takes a little `takes` times, from one key after another, beginning at any of them. Gives how many were allowed.
    pub fn take(&self, begin: usize, takes: u64) -> u64 {
        let (last, first) = self.keys.split_at(begin % self.keys.len());
        let keys = first.iter().chain(last).cycle();
        // So little that the buckets last for longer than any bench.
        let cost = Cost::new(1e-6).expect("a cost");
        keys.zip(1..=takes)
            .map(|(key, number)| {
                let charge = Charge::new(*key, self.params, cost);
                u64::from(self.table.take(&charge, START_NS + number).allowed)
            })
            .sum()
    }

    /// Keys that the table has room for.
    pub fn room(&self) -> usize {
        self.table.capacity()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The key of a tenant with this number.
pub fn key(number: u32) -> BucketKey {
    let mut hasher = KeyHasher::new(b"a key for hashes", &["bench", "tenant"]).within(&Scope::gateway());
    hasher.add(Some(number.to_string().as_str()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_take_is_refused() {
        for keys in [1, 1_000, 10_000] {
            let filled = Filled::of(keys);
            assert_eq!(filled.take(filled.len() - 1, 5_000), 5_000);
        }
    }
}
