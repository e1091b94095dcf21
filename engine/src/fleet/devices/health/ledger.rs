//! Memory of one GPU or slice that stays taken after an unload and is held by nobody of ours.
//!
//! What no visible process holds is compared with the least that ever was so: before the first replica came, the
//! driver's own. It is judged only after replicas went and the device has been quiet since, for a process that ends gives
//! its memory back over some seconds; and with replicas still there only where processes are seen at all, which from
//! inside a container they may not be.

/// Looks after the last replica's coming or going that are waited for: ten seconds.
const QUIET_LOOKS: u32 = 10;

/// What counts as a leak: contexts of CUDA differ by tens of MiB between driver states; half a context is 256 MiB.
const LEAK_BYTES_LEAST: u64 = 256 << 20;

/// Memory of a device at one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) used_bytes: u64,
    pub(super) by_processes: Option<u64>,
    pub(super) residents: u32,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The least that no process held.
    base_bytes: Option<u64>,
    residents: u32,
    /// Looks since replicas went; None: none went since it was last judged.
    quiet_looks: Option<u32>,
    leaked_bytes: u64,
}

impl Ledger {
    /// What is found leaked, where that differs from what was.
    pub(super) fn handle_look(&mut self, held: Held) -> Option<u64> {
        self.count(held.residents);
        let unheld = unheld(held)?;
        let over = unheld.saturating_sub(self.base_bytes(unheld, held.residents));
        let leaked = if over >= LEAK_BYTES_LEAST { over } else { 0 };
        let is_due = self.quiet_looks.take_if(|looks| *looks >= QUIET_LOOKS).is_some();
        // What was leaked and is less now has come back, whoever held it.
        if (is_due && leaked > self.leaked_bytes) || leaked < self.leaked_bytes {
            self.leaked_bytes = leaked;
            return Some(leaked);
        }
        None
    }

    /// Processes may share memory that each is said to hold, so only an empty device lowers it.
    fn base_bytes(&mut self, unheld: u64, residents: u32) -> u64 {
        let base = match self.base_bytes {
            Some(base) if residents > 0 => base,
            Some(base) => base.min(unheld),
            None => unheld,
        };
        *self.base_bytes.insert(base)
    }

    fn count(&mut self, residents: u32) {
        self.quiet_looks = match self.quiet_looks {
            _ if residents < self.residents => Some(0),
            // A replica that comes may hold memory before it is seen to.
            Some(_) if residents > self.residents => Some(0),
            Some(looks) => Some(looks.saturating_add(1)),
            None => None,
        };
        self.residents = residents;
    }
}

/// What no process holds; None where that can't be known.
fn unheld(held: Held) -> Option<u64> {
    match held.by_processes {
        Some(bytes) if bytes > 0 => Some(held.used_bytes.saturating_sub(bytes)),
        _ if held.residents == 0 => Some(held.used_bytes),
        _ => None,
    }
}
