//! Small sets.

/// An ordered set that nearly always has one element; never empty. A `BTreeSet` would take room for eleven.
#[derive(Debug)]
pub(super) struct Few<T> {
    first: T,
    more: Box<[T]>,
}

impl<T: Ord> Few<T> {
    pub(super) fn new(first: T) -> Self {
        Self { first, more: Box::default() }
    }

    pub(super) fn first(&self) -> &T {
        &self.first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> + use<'_, T> {
        std::iter::once(&self.first).chain(&self.more)
    }

    pub(super) fn insert(&mut self, value: T) {
        if self.iter().any(|it| *it == value) {
            return;
        }
        let mut more = std::mem::take(&mut self.more).into_vec();
        more.push(value);
        more.sort_unstable();
        if more[0] < self.first {
            std::mem::swap(&mut more[0], &mut self.first);
            more.sort_unstable();
        }
        self.more = more.into();
    }

    /// Takes a value out; says whether it was the only one, which then stays for the caller to drop.
    pub(super) fn remove(&mut self, value: &T) -> bool {
        let mut more = std::mem::take(&mut self.more).into_vec();
        if self.first == *value {
            if more.is_empty() {
                return true;
            }
            self.first = more.remove(0);
        } else {
            more.retain(|it| it != value);
        }
        self.more = more.into();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn it_is_a_set_in_order() {
        let mut few = Few::new(5);
        [9, 1, 7, 1, 5].into_iter().for_each(|it| few.insert(it));
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [1, 5, 7, 9]);
        assert!(!few.remove(&7) && !few.remove(&1) && !few.remove(&8));
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [5, 9]);
        assert!(!few.remove(&9) && few.remove(&5));
    }
}
