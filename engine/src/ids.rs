//! Newtypes for every number that names something, so that one can't be passed for another.

use std::fmt;

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
