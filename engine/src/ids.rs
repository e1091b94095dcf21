//! Newtypes for every number that names something, so that one can't be passed for another; and the map they key.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A model's version: the integer directory name in a model repository, 1 for a file target.
    Version(u64)
);
id!(
    /// A front-end core, counted from zero in the order of `--cores`.
    CoreId(usize)
);
id!(
    /// A task inside one dispatcher; never reused.
    TaskId(u64)
);
id!(
    /// A batch inside one dispatcher; never reused. It is the tag a lane echoes.
    BatchId(u64)
);
id!(
    /// Replicas of one class run a model equally fast: one latency profile a class. Counted from zero per model.
    DeviceClass(u8)
);
id!(
    /// An SLO class by its place in the engine's table; zero is `default`.
    ClassId(u8)
);
id!(
    /// One of a model's replicas, counted from zero; a restarted replica keeps it.
    ReplicaId(u32)
);
id!(
    /// One life of a replica; grows with each restart and is never reused in an engine.
    Incarnation(u64)
);
id!(
    /// Equal keys may share a batch: dtypes and all non-batch dimensions are the same.
    ShapeKey(u64)
);

impl DeviceClass {
    /// Classes of one model at most: more kinds of machine than one engine's replicas run on, few enough for arrays.
    pub const COUNT_MAX: usize = 16;
}

impl ClassId {
    /// The class of whoever names none.
    pub const DEFAULT: ClassId = ClassId(0);
}

/// A map by one of the engine's own numbers.
pub type ById<Id, T> = HashMap<Id, T, BuildHasherDefault<IdHasher>>;

/// A map by names that whoever runs the engine chose.
pub type ByName<Key, T> = HashMap<Key, T, BuildHasherDefault<IdHasher>>;

/// Hashes the engine's own consecutive numbers, and the names it was given: no attacker chooses what is in the map, so
/// one multiplication will do.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 / golden ratio, odd: Fibonacci hashing (Knuth, TAOCP 3, 6.4). The rotation brings the well-mixed
        // high bits down to where the table takes its bucket from.
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}
