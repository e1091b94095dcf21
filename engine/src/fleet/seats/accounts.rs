//! Whose the memory of a device is. Pure.
//!
//! The driver says how much is used, and nobody says by whom: a stranger's memory must not be given out, and what a
//! replica of ours has not touched yet must not be given out twice. So what strangers hold is known while none of ours is
//! there; later it is what was known, less what went away while our replicas stayed, and at least what is used beyond
//! all that ours declared, and what was found leaked.

/// Of one GPU or slice, at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) used_bytes: u64,
    /// Of that, what replicas of ours don't hold.
    pub(super) foreign_bytes: u64,
    /// What stayed taken after a replica had gone, by nobody.
    pub(super) leaked_bytes: u64,
    pub(super) ours: Ours,
}

/// Replicas of ours on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ours {
    pub(super) tickets: Vec<u64>,
    /// What they declared together; None: one of them did not say.
    pub(super) declared_bytes: Option<u64>,
}

impl Account {
    /// Before any replica of ours.
    pub(super) fn first(used_bytes: u64) -> Account {
        Account { used_bytes, foreign_bytes: used_bytes, ..Account::default() }
    }

    /// The next look.
    #[must_use]
    pub(super) fn look(&self, used_bytes: u64, ours: Ours) -> Account {
        let foreign_bytes = self.foreign(used_bytes, &ours);
        Account { used_bytes, foreign_bytes, ours, ..*self }
    }

    fn foreign(&self, used_bytes: u64, ours: &Ours) -> u64 {
        if ours.tickets.is_empty() {
            return used_bytes;
        }
        let same = *ours == self.ours;
        let gone = if same { self.used_bytes.saturating_sub(used_bytes) } else { 0 };
        let known = self.foreign_bytes.min(used_bytes).saturating_sub(gone);
        let beyond = ours.declared_bytes.map_or(0, |declared| used_bytes.saturating_sub(declared));
        known.max(beyond).max(self.leaked_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(declared_bytes: u64) -> Ours {
        Ours { tickets: vec![1], declared_bytes: Some(declared_bytes) }
    }

    #[test]
    fn what_is_used_before_any_replica_is_a_strangers_and_stays_his() {
        let alone = Account::first(40);
        assert_eq!(alone.foreign_bytes, 40);
        let loading = alone.look(40, ours(40));
        assert_eq!(loading.foreign_bytes, 40, "ours has taken nothing yet");
        let loaded = loading.look(80, ours(40));
        assert_eq!(loaded.foreign_bytes, 40);
        assert_eq!(loaded.look(80, ours(40)).foreign_bytes, 40);
    }

    #[test]
    fn a_stranger_that_leaves_takes_his_memory_with_him() {
        let both = Account::first(40).look(80, ours(40));
        assert_eq!(both.look(40, ours(40)).foreign_bytes, 0);
    }

    #[test]
    fn what_is_used_beyond_what_was_declared_is_not_free() {
        let empty = Account::first(0);
        assert_eq!(empty.look(70, ours(40)).foreign_bytes, 30);
        let silent = Ours { tickets: vec![1], declared_bytes: None };
        assert_eq!(empty.look(70, silent).foreign_bytes, 0, "it has the device for itself");
    }

    #[test]
    fn what_leaked_beside_a_replica_that_stays_is_not_free_for_others() {
        let two = Account { leaked_bytes: 5, ..Account::first(0).look(4, ours(20)) };
        let one = two.look(7, ours(10));
        assert_eq!(one.foreign_bytes, 5, "the one that stays may take all its 10 yet");
        let returned = Account { leaked_bytes: 0, ..one };
        assert_eq!(returned.look(2, ours(10)).foreign_bytes, 0);
    }

    #[test]
    fn what_stays_after_the_last_replica_is_nobodys() {
        let loaded = Account::first(0).look(40, ours(40));
        assert_eq!(loaded.foreign_bytes, 0);
        assert_eq!(loaded.look(12, Ours::default()).foreign_bytes, 12, "a leak");
        assert_eq!(loaded.look(0, Ours::default()).foreign_bytes, 0);
    }
}
