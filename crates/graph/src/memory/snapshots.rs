//! Which snapshots of states there are, of which slots at which positions. Backends hold the bytes.

/// Snapshots of all slots: places for a few, of which the one that was used longest ago makes room.
#[derive(Debug)]
pub struct Snapshots {
    /// Of each place the slot, the position, and when it was used last.
    places: Vec<Option<Snapshot>>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    slot: u32,
    position: usize,
    used: u64,
}

impl Snapshots {
    /// Places for so many slots: one for each, and two more, so that a lone sequence has those of its last three prompts.
    pub const fn of(slots: usize) -> usize {
        slots + 2
    }

    /// `count` places with nothing in them.
    pub fn new(count: usize) -> Snapshots {
        Snapshots { places: vec![None; count], uses: 0 }
    }

    /// The last snapshot of `slot` at or before `position`: where it was taken, and its place.
    pub fn latest(&self, slot: u32, position: usize) -> Option<(usize, u32)> {
        let places = self.places.iter().enumerate().filter_map(|(place, s)| s.map(|s| (place, s)));
        let fitting = places.filter(|(_, s)| s.slot == slot && s.position <= position);
        fitting.map(|(place, s)| (s.position, place as u32)).max()
    }

    /// Notes that a snapshot was used.
    pub fn touch(&mut self, place: u32) {
        self.uses += 1;
        if let Some(snapshot) = &mut self.places[place as usize] {
            snapshot.used = self.uses;
        }
    }

    /// The place for a snapshot of `slot` at `position`, which from now on is there; none where there is no place at all.
    pub fn take(&mut self, slot: u32, position: usize) -> Option<u32> {
        let same = |s: &Option<Snapshot>| s.is_some_and(|s| (s.slot, s.position) == (slot, position));
        let place = match self.places.iter().position(same) {
            Some(place) => place,
            None => (0..self.places.len()).min_by_key(|&p| self.places[p].map_or(0, |s| s.used))?,
        };
        self.uses += 1;
        self.places[place] = Some(Snapshot { slot, position, used: self.uses });
        Some(place as u32)
    }

    /// Forgets the snapshots of `slot` behind `position`: of tokens that are no longer there.
    pub fn forget(&mut self, slot: u32, position: usize) {
        for place in &mut self.places {
            if place.is_some_and(|s| s.slot == slot && s.position > position) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_snapshot_that_is_not_too_far_is_found() {
        let mut all = Snapshots::new(3);
        for position in [8, 20] {
            all.take(0, position).unwrap();
        }
        all.take(1, 9).unwrap();
        let at = |all: &Snapshots, slot, position| all.latest(slot, position).map(|(position, _)| position);
        assert_eq!(at(&all, 0, 7), None);
        assert_eq!(at(&all, 0, 19), Some(8));
        assert_eq!(at(&all, 0, 20), Some(20));
        assert_eq!(at(&all, 1, 100), Some(9));
        all.forget(0, 19);
        assert_eq!((at(&all, 0, 20), at(&all, 1, 20)), (Some(8), Some(9)));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut all = Snapshots::new(2);
        let first = all.take(0, 1).unwrap();
        all.take(0, 2).unwrap();
        all.touch(first);
        all.take(1, 3).unwrap();
        assert_eq!(all.latest(0, 9), Some((1, first)));
        assert_eq!(all.take(1, 3), all.latest(1, 3).map(|(_, place)| place));
        assert_eq!(Snapshots::new(0).take(0, 1), None);
    }
}
