//! The ledger: what the lake, the quarantine and the topic hold, as sorted keys with digests.
//!
//! Guarantee: 32 bytes a row whatever its content, found by binary search; two million rows are 64 MB.
//! Filled by `read_lake` and `read_broker`, asked by `reconcile` once a row of the table.

use std::ops::Range;

use crate::model::Key;

/// A key in an order and a size that both kinds share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle([u64; 2]);

impl Handle {
    pub fn new(key: Key) -> Handle {
        match key {
            Key::Int(value) => Handle([0, (value as u64) ^ (1 << 63)]),
            Key::Uuid(bytes) => {
                let half = |range: Range<usize>| {
                    u64::from_be_bytes(bytes[range].try_into().expect("half of sixteen bytes is eight"))
                };
                Handle([half(0..8), half(8..16)])
            }
        }
    }

    pub fn key(self, kind: KeyKind) -> Key {
        match kind {
            KeyKind::Int => Key::Int((self.0[1] ^ (1 << 63)) as i64),
            KeyKind::Uuid => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&self.0[0].to_be_bytes());
                bytes[8..].copy_from_slice(&self.0[1].to_be_bytes());
                Key::Uuid(bytes)
            }
        }
    }
}

/// Which of the two kinds the table's key has; a message's key of the other kind is no key of this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Int,
    Uuid,
}

impl KeyKind {
    pub fn parse(self, text: &[u8]) -> Option<Key> {
        let key: Key = std::str::from_utf8(text).ok()?.parse().ok()?;
        self.accepts(key).then_some(key)
    }

    pub fn accepts(self, key: Key) -> bool {
        matches!((self, key), (KeyKind::Int, Key::Int(_)) | (KeyKind::Uuid, Key::Uuid(_)))
    }
}

/// Where a row was found. In this order within one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Lake,
    Quarantine,
    /// Published, behind the lake's position: on its way.
    Topic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holding {
    pub handle: Handle,
    pub place: Place,
    pub digest: u64,
}

/// All holdings, sorted, with a mark on those that a row of the table was matched with.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    holdings: Vec<Holding>,
    seen: Vec<u64>,
}

impl Ledger {
    pub fn new(mut holdings: Vec<Holding>) -> Ledger {
        holdings.sort_unstable();
        let seen = vec![0; holdings.len().div_ceil(64)];
        Ledger { holdings, seen }
    }

    /// Everything under this key; marked as seen.
    pub fn take(&mut self, handle: Handle) -> &[Holding] {
        let start = self.holdings.partition_point(|holding| holding.handle < handle);
        let mut end = start;
        while self.holdings.get(end).is_some_and(|holding| holding.handle == handle) {
            self.seen[end / 64] |= 1 << (end % 64);
            end += 1;
        }
        &self.holdings[start..end]
    }

    /// What no row of the table asked for, by key.
    pub fn unseen(&self) -> impl Iterator<Item = &[Holding]> {
        self.holdings
            .chunk_by(|left, right| left.handle == right.handle)
            .scan(0, |at, group| {
                let first = *at;
                *at += group.len();
                Some((first, group))
            })
            .filter(|(first, _)| self.seen[first / 64] & (1 << (first % 64)) == 0)
            .map(|(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_keep_the_order_and_the_value_of_keys() {
        let ints = [i64::MIN, -5, -1, 0, 1, 42, i64::MAX].map(Key::Int);
        assert!(ints.windows(2).all(|pair| Handle::new(pair[0]) < Handle::new(pair[1])));
        assert!(ints.iter().all(|key| Handle::new(*key).key(KeyKind::Int) == *key));
        let ids = [
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0001-0000-000000000000",
            "ffffffff-0000-0000-0000-000000000000",
        ]
        .map(|text| KeyKind::Uuid.parse(text.as_bytes()).unwrap());
        assert!(ids.windows(2).all(|pair| Handle::new(pair[0]) < Handle::new(pair[1])));
        assert!(ids.iter().all(|key| Handle::new(*key).key(KeyKind::Uuid) == *key));
    }

    #[test]
    fn a_key_of_the_other_kind_is_none_of_this_table() {
        assert_eq!(KeyKind::Int.parse(b"00000000-0000-0000-0000-000000000001"), None);
        assert_eq!(KeyKind::Uuid.parse(b"1"), None);
        assert_eq!(KeyKind::Int.parse(b"\xff"), None);
        assert_eq!(KeyKind::Int.parse(b"17"), Some(Key::Int(17)));
    }

    #[test]
    fn what_was_not_asked_for_is_left_over() {
        let at = |key, place, digest| Holding { handle: Handle::new(Key::Int(key)), place, digest };
        let mut holdings = vec![at(3, Place::Topic, 1), at(3, Place::Lake, 1), at(9, Place::Lake, 2)];
        holdings.extend((100..300).map(|key| at(key, Place::Lake, 0)));
        let mut ledger = Ledger::new(holdings);
        let three = ledger.take(Handle::new(Key::Int(3)));
        assert_eq!(three.iter().map(|holding| holding.place).collect::<Vec<_>>(), [Place::Lake, Place::Topic]);
        assert!(ledger.take(Handle::new(Key::Int(4))).is_empty());
        (101..300).for_each(|key| assert_eq!(ledger.take(Handle::new(Key::Int(key))).len(), 1));
        let left: Vec<Handle> = ledger.unseen().map(|group| group[0].handle).collect();
        assert_eq!(left, [Handle::new(Key::Int(9)), Handle::new(Key::Int(100))]);
    }
}
