//! What clients may ask for later: kept in memory, so many and so long.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

/// The most that are kept.
const KEPT_MAX: usize = 100;
/// How long they are.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Something that ends, and is forgotten later.
pub(super) trait Kept {
    /// When it is forgotten.
    fn expires(&self) -> OffsetDateTime;
    /// Whether nothing happens to it any more.
    fn is_over(&self) -> bool;
}

/// Things by id, the oldest first.
pub(super) struct Shelf<T> {
    next: u64,
    places: BTreeMap<u64, Uuid>,
    things: BTreeMap<Uuid, T>,
}

/// There is no room: so many are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { next: 0, places: BTreeMap::new(), things: BTreeMap::new() }
    }
}

impl<T: Kept> Shelf<T> {
    /// Puts one there; what has expired goes, and where it is full the oldest that is over.
    pub(super) fn put(&mut self, id: Uuid, thing: T, now: OffsetDateTime) -> Result<(), Full> {
        self.expire(now);
        if self.things.len() >= KEPT_MAX {
            let over = self.places.iter().find(|it| self.things.get(it.1).is_none_or(Kept::is_over));
            let (place, oldest) = over.map(|it| (*it.0, *it.1)).ok_or(Full)?;
            self.places.remove(&place);
            self.things.remove(&oldest);
        }
        self.places.insert(self.next, id);
        self.next += 1;
        self.things.insert(id, thing);
        Ok(())
    }

    pub(super) fn expire(&mut self, now: OffsetDateTime) {
        self.things.retain(|_, it| !it.is_over() || it.expires() > now);
        let things = &self.things;
        self.places.retain(|_, id| things.contains_key(id));
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&T> {
        self.things.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: Uuid) -> Option<&mut T> {
        self.things.get_mut(&id)
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.values().filter_map(|id| self.things.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(OffsetDateTime, bool);

    impl Kept for Thing {
        fn expires(&self) -> OffsetDateTime {
            self.0
        }
        fn is_over(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn what_is_under_way_is_never_forgotten() {
        let (mut shelf, now) = (Shelf::default(), OffsetDateTime::UNIX_EPOCH);
        let put = |shelf: &mut Shelf<Thing>, id: usize, over| {
            shelf.put(Uuid::from_u128(id as u128), Thing(now + KEPT_FOR, over), now)
        };
        for id in 0..KEPT_MAX {
            assert_eq!(put(&mut shelf, id, id == 7), Ok(()));
        }
        assert_eq!(put(&mut shelf, 1000, false), Ok(()));
        assert!(shelf.get(Uuid::from_u128(7)).is_none() && shelf.get(Uuid::from_u128(0)).is_some());
        assert_eq!(put(&mut shelf, 1001, false), Err(Full));
        shelf.expire(now + KEPT_FOR);
        assert_eq!(shelf.iter().count(), KEPT_MAX);
        if let Some(it) = shelf.get_mut(Uuid::from_u128(0)) {
            it.1 = true;
        }
        shelf.expire(now + KEPT_FOR);
        assert_eq!(shelf.iter().count(), KEPT_MAX - 1);
    }
}
