//! All regions by name. Readers take an immutable snapshot, like that of the catalog, and keep it for as long as their
//! request lasts: a region that is unregistered meanwhile is still there for them, and gone for everyone after.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::region::{Origin, Place, Region, RegionFault};
use super::{named, passed};

/// A caller's own word for a region: longer ones are of no use to anybody.
const NAME_BYTES_MAX: usize = 256;

/// Why a region can't be registered. Each message is a sentence for the caller, and tells no name but his own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterFault {
    #[error("client shared memory is switched off; start the server with --client-shm")]
    Off,
    #[error(
        "CUDA shared memory is not offered by this server; use system shared memory or send tensors in the request"
    )]
    Cuda,
    #[error(
        "registering a region takes a JSON object with 'key', 'byte_size' and, if it is not 0, 'offset': {reason}"
    )]
    Request { reason: String },
    #[error("a region's name has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    #[error("there is a region of this name already; unregister it first, or choose another name")]
    Taken,
    #[error("there is no region of this name")]
    Unknown,
    #[error(
        "the key must be the name of a POSIX shared memory object: a slash, then a name without slashes"
    )]
    Key,
    #[error("keys that start with '{prefix}' are the server's own; choose another")]
    Reserved { prefix: &'static str },
    #[error("there is no shared memory object of this key; create it before it is registered")]
    NoObject,
    #[error("the key does not name a plain shared memory object")]
    Kind,
    #[error(
        "the shared memory object must belong to the server's user, or be readable and writable for everyone"
    )]
    NotOurs,
    #[error("this memory is the server's own")]
    Own,
    #[error(
        "{byte_size} bytes from offset {offset} on do not lie in the shared memory object, which has {object} bytes; a region has at least one"
    )]
    Size { offset: u64, byte_size: u64, object: u64 },
    #[error(
        "a region is registered together with the descriptor of its memory; send it with the line"
    )]
    NoDescriptor,
    #[error("the line must be {{\"register\": \"NAME\"}} or {{\"unregister\": \"NAME\"}}")]
    Line,
    #[error("the descriptor must be that of a memfd with the seals SHRINK, GROW and SEAL")]
    Unsealed,
    #[error(
        "{limit} regions are registered, as many as this server takes (limits.client_shm_regions_max); unregister some"
    )]
    TooMany { limit: usize },
    #[error(
        "the regions would take more than the {limit} bytes this server takes in all (limits.client_shm_bytes_max); unregister some"
    )]
    TooLarge { limit: u64 },
    #[error("the system refused: {0}")]
    System(Errno),
}

/// A registered region keeps a descriptor and its memory, even when the client is long gone.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub regions_max: usize,
    pub bytes_max: u64,
}

/// Whether regions may be registered by a name, which anybody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Allowed,
    Refused,
}

/// What one core sees during one request.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    by_name: HashMap<Arc<str>, Arc<Region>>,
    bytes: u64,
}

impl Regions {
    pub fn find(&self, name: &str) -> Option<&Region> {
        self.by_name.get(name).map(|region| &**region)
    }

    /// The region that a place lies in.
    pub fn of(&self, place: &Place) -> Result<&Region, RegionFault> {
        let region = self.find(&place.region);
        region.ok_or_else(|| RegionFault::Unknown { region: place.region.clone() })
    }

    /// Those that were registered by a key, in order of their names.
    pub fn named(&self) -> Vec<&Region> {
        let regions = self.by_name.values().map(|region| &**region);
        let mut named: Vec<_> = regions.filter(|region| is_named(region)).collect();
        named.sort_by_key(|region| &region.name);
        named
    }

    fn with(&self, region: &Arc<Region>, bounds: Bounds) -> Result<Regions, RegisterFault> {
        if self.by_name.contains_key(&region.name) {
            return Err(RegisterFault::Taken);
        }
        if self.by_name.len() >= bounds.regions_max {
            return Err(RegisterFault::TooMany { limit: bounds.regions_max });
        }
        let bytes = self.bytes.saturating_add(region.byte_size);
        if bytes > bounds.bytes_max {
            return Err(RegisterFault::TooLarge { limit: bounds.bytes_max });
        }
        let mut by_name = self.by_name.clone();
        by_name.insert(region.name.clone(), region.clone());
        Ok(Regions { by_name, bytes })
    }

    fn without(&self, goes: impl Fn(&Region) -> bool) -> Regions {
        let stays = self.by_name.iter().filter(|(_, region)| !goes(region));
        let by_name: HashMap<_, _> =
            stays.map(|(name, region)| (name.clone(), region.clone())).collect();
        let bytes = by_name.values().map(|region| region.byte_size).sum();
        Regions { by_name, bytes }
    }
}

fn is_named(region: &Region) -> bool {
    matches!(region.origin, Origin::Named { .. })
}

/// What is registered now. Changed rarely, from any thread.
#[derive(Debug)]
pub struct Registry {
    current: ArcSwap<Regions>,
    bounds: Bounds,
    names: Names,
    /// Where POSIX objects are.
    directory: PathBuf,
}

impl Registry {
    pub fn new(bounds: Bounds, names: Names) -> Registry {
        let directory = named::DIRECTORY.into();
        Registry { current: ArcSwap::default(), bounds, names, directory }
    }

    pub fn allows_names(&self) -> bool {
        self.names == Names::Allowed
    }

    /// Everything a request needs, for as long as it lasts.
    pub fn snapshot(&self) -> Arc<Regions> {
        self.current.load_full()
    }

    pub fn register_named(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), RegisterFault> {
        let memory = named::open_object(&self.directory, key, offset, byte_size)?;
        let origin = Origin::Named { key: key.to_owned(), offset };
        self.add(name, origin, byte_size, memory)
    }

    /// The whole of a sealed memfd. Returns its size.
    pub fn register_passed(
        &self,
        name: &str,
        memory: OwnedFd,
        connection: u64,
    ) -> Result<u64, RegisterFault> {
        let byte_size = passed::check(&memory)?;
        self.add(name, Origin::Passed { connection }, byte_size, memory)?;
        Ok(byte_size)
    }

    /// Whoever asks by name can take away what was registered by name; no region of that name is as good.
    pub fn unregister_named(&self, name: &str) {
        self.remove(|region| is_named(region) && &*region.name == name);
    }

    pub fn unregister_all_named(&self) {
        self.remove(is_named);
    }

    /// One region of a connection.
    pub fn unregister_passed(&self, name: &str, connection: u64) -> Result<(), RegisterFault> {
        let of_it = |region: &Region| {
            region.origin == Origin::Passed { connection } && &*region.name == name
        };
        if !self.current.load().find(name).is_some_and(of_it) {
            return Err(RegisterFault::Unknown);
        }
        self.remove(of_it);
        Ok(())
    }

    /// All of a connection that ended.
    pub fn disconnected(&self, connection: u64) {
        self.remove(|region| region.origin == Origin::Passed { connection });
    }

    fn add(
        &self,
        name: &str,
        origin: Origin,
        byte_size: u64,
        memory: OwnedFd,
    ) -> Result<(), RegisterFault> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(RegisterFault::Name);
        }
        let region = Arc::new(Region { name: name.into(), origin, byte_size, memory });
        let mut outcome = Ok(());
        // Runs again where another thread was quicker; the last run counts.
        self.current.rcu(|regions| match regions.with(&region, self.bounds) {
            Ok(more) => {
                outcome = Ok(());
                Arc::new(more)
            }
            Err(fault) => {
                outcome = Err(fault);
                regions.clone()
            }
        });
        outcome
    }

    fn remove(&self, goes: impl Fn(&Region) -> bool) {
        self.current.rcu(|regions| regions.without(&goes));
    }
}

#[cfg(test)]
mod tests;
