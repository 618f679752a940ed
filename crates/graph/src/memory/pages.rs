//! Pages of positions. All slots share one pool; a slot's positions lie in the pages of its own table, in order. A page that two slots
//! have in common is a prefix that both read and neither writes.

use std::collections::HashSet;

use crate::error::{Error, Result};

/// Positions of a page: those of a block of keys (`wgsl/lib/kv_layout.wgsl`).
pub const PAGE: usize = 32;

/// Which slot has which pages.
#[derive(Debug)]
pub struct Pages {
    /// How many tables name each page.
    users: Vec<u32>,
    tables: Vec<Vec<u32>>,
}

impl Pages {
    /// A pool of `count` pages for `slots` slots, all of them free.
    pub fn new(count: usize, slots: usize) -> Pages {
        Pages { users: vec![0; count], tables: vec![Vec::new(); slots] }
    }

    /// Pages that `positions` positions take.
    pub const fn of(positions: usize) -> usize {
        positions.div_ceil(PAGE)
    }

    /// The pages of a slot, in the order of their positions.
    pub fn table(&self, slot: u32) -> &[u32] {
        &self.tables[slot as usize]
    }

    /// Pages that no slot has.
    pub fn free(&self) -> usize {
        self.users.iter().filter(|&&n| n == 0).count()
    }

    /// Pages that some of these slots have.
    pub fn of_slots(&self, slots: impl Iterator<Item = u32>) -> usize {
        slots.flat_map(|slot| self.table(slot)).collect::<HashSet<_>>().len()
    }

    /// Whether page `n` of a slot's table is another's, too.
    pub fn is_shared(&self, slot: u32, n: usize) -> bool {
        self.table(slot).get(n).is_some_and(|&page| self.users[page as usize] > 1)
    }

    /// Makes page `n` of a slot's table its own, so that it can be written. Where it was another's, too, the result is that page and
    /// the one that is to be its copy.
    pub fn own(&mut self, slot: u32, n: usize) -> Result<Option<(u32, u32)>> {
        if !self.is_shared(slot, n) {
            return Ok(None);
        }
        let Some(copy) = self.users.iter().position(|&n| n == 0) else { return Err(self.full(1)) };
        let page = std::mem::replace(&mut self.tables[slot as usize][n], copy as u32);
        self.users[page as usize] -= 1;
        self.users[copy] = 1;
        Ok(Some((page, copy as u32)))
    }

    fn full(&self, wanted: usize) -> Error {
        let (positions, left) = (wanted * PAGE, self.free() * PAGE);
        Error::OutOfMemory(format!(
            "{positions} more positions were wanted, {left} are free in the KV pool; end a sequence or give a larger -c"
        ))
    }

    /// Gives `slot` pages for its first `positions` positions. The result is the first of its pages that is new; fails where the pool
    /// has too few, and changes nothing then.
    pub fn grow(&mut self, slot: u32, positions: usize) -> Result<usize> {
        let held = self.tables[slot as usize].len();
        let wanted = Pages::of(positions).saturating_sub(held);
        // The lowest first: those of a lone sequence lie in order, which is where kernels look before they have read the table.
        let free: Vec<u32> =
            (0..self.users.len() as u32).filter(|&p| self.users[p as usize] == 0).take(wanted).collect();
        if free.len() < wanted {
            return Err(self.full(wanted));
        }
        for &page in &free {
            self.users[page as usize] = 1;
        }
        self.tables[slot as usize].extend(free);
        Ok(held)
    }

    /// Takes the pages behind the first `positions` positions from `slot`.
    pub fn shrink(&mut self, slot: u32, positions: usize) {
        let table = &mut self.tables[slot as usize];
        for page in table.drain(Pages::of(positions).min(table.len())..) {
            self.users[page as usize] -= 1;
        }
    }

    /// Makes `to` begin with the first `positions` positions of `from`: whole pages are shared, a page that is only begun is copied.
    /// The result is that page and its copy, for whoever holds the bytes. `to` loses what it had.
    pub fn share(&mut self, from: u32, to: u32, positions: usize) -> Result<Option<(u32, u32)>> {
        self.shrink(to, 0);
        let whole = positions / PAGE;
        let shared: Vec<u32> = self.tables[from as usize][..whole].to_vec();
        for &page in &shared {
            self.users[page as usize] += 1;
        }
        self.tables[to as usize] = shared;
        if positions.is_multiple_of(PAGE) {
            return Ok(None);
        }
        match self.grow(to, positions) {
            Ok(_) => Ok(Some((self.tables[from as usize][whole], self.tables[to as usize][whole]))),
            Err(e) => {
                self.shrink(to, 0);
                Err(e)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_slot_has_its_pages_in_order() {
        let mut pages = Pages::new(4, 1);
        assert_eq!(pages.grow(0, 1).unwrap(), 0);
        assert_eq!(pages.grow(0, 33).unwrap(), 1);
        assert_eq!(pages.grow(0, 128).unwrap(), 2);
        assert_eq!(pages.table(0), [0, 1, 2, 3]);
        assert!(pages.grow(0, 129).is_err());
        assert_eq!(pages.table(0).len(), 4);
    }

    #[test]
    fn slots_share_a_pool_and_pages_come_back() {
        let mut pages = Pages::new(3, 2);
        pages.grow(0, 64).unwrap();
        pages.grow(1, 1).unwrap();
        assert!(pages.grow(1, 33).is_err());
        pages.shrink(0, 32);
        pages.grow(1, 33).unwrap();
        assert_eq!((pages.table(0), pages.table(1)), (&[0][..], &[2, 1][..]));
        assert_eq!(pages.free(), 0);
    }

    #[test]
    fn a_page_that_is_written_is_its_slots_own() {
        let mut pages = Pages::new(4, 2);
        pages.grow(0, 64).unwrap();
        pages.share(0, 1, 64).unwrap();
        assert!(pages.is_shared(0, 1) && !pages.is_shared(0, 2));
        assert_eq!(pages.own(0, 1).unwrap(), Some((1, 2)));
        assert_eq!((pages.table(0), pages.table(1)), (&[0, 2][..], &[0, 1][..]));
        assert_eq!((pages.own(0, 1).unwrap(), pages.own(1, 1).unwrap()), (None, None));
        assert_eq!((pages.of_slots(0..2), pages.free()), (3, 1));
        assert!(pages.own(0, 0).is_ok() && pages.own(0, 0).is_ok());
    }

    #[test]
    fn a_shared_prefix_is_freed_with_its_last_user() {
        let mut pages = Pages::new(4, 2);
        pages.grow(0, 40).unwrap();
        assert_eq!(pages.share(0, 1, 40).unwrap(), Some((1, 2)));
        assert_eq!(pages.table(1), [0, 2]);
        pages.shrink(0, 0);
        assert_eq!(pages.free(), 2);
        pages.shrink(1, 0);
        assert_eq!(pages.free(), 4);
    }
}
