//! Values that were accepted before, to find repetitions by.
//!
//! What is remembered is a function of the commit log: the values of its newest commits, whole commits, as few as hold
//! `horizon` of them; and on top those of the batch in flight and of the open one. So the same log gives the same
//! verdicts after any restart, and a batch that is dropped takes its values with it. `pipeline::ingest` reads the log
//! and says what became of each batch; there is no I/O here, and no second truth.
//!
//! A value is known by 128 bits of two keyed hashes whose keys are drawn anew by each process: two of a thousand
//! million values share them with a probability of 10^-21, and nobody can prepare such a pair.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, Int16Type, Int32Type, Int64Type};

use crate::model::{Fault, Reason};

type Id = u128;

/// The validator's memory of a unique column.
pub struct Recent {
    column: u16,
    horizon: usize,
    hasher: IdHasher,
    known: HashSet<Id, BuildHasherDefault<Folded>>,
    /// How many times more a value is held than once: workers of a group cannot see each other's open batches, and a
    /// lake may be older than its rule.
    again: HashMap<Id, u32>,
    /// By commit, the oldest first.
    commits: VecDeque<Box<[Id]>>,
    /// Values in `commits`.
    committed: usize,
    in_flight: Vec<Id>,
    open: Vec<Id>,
    /// The last commit that was taken in.
    through: Option<u64>,
}

/// Values of commits on their way from the log into a [`Recent`]; may be filled on another thread.
pub struct Recalled {
    hasher: IdHasher,
    /// The newest first.
    commits: Vec<(u64, Vec<Id>)>,
}

impl Recent {
    pub(super) fn new(column: u16, horizon: u64) -> Self {
        Recent {
            column,
            horizon: usize::try_from(horizon).unwrap_or(usize::MAX),
            hasher: IdHasher::default(),
            known: HashSet::default(),
            again: HashMap::new(),
            commits: VecDeque::new(),
            committed: 0,
            in_flight: Vec::new(),
            open: Vec::new(),
            through: None,
        }
    }

    /// How many committed values are wanted, where the log holds so many.
    pub fn horizon(&self) -> u64 {
        self.horizon as u64
    }

    /// The last commit that was taken in; `None` before the first [`Recent::take_in`].
    pub fn through(&self) -> Option<u64> {
        self.through
    }

    /// An empty vessel for values of commits after [`Recent::through`].
    pub fn recall(&self) -> Recalled {
        Recalled { hasher: self.hasher.clone(), commits: Vec::new() }
    }

    /// Takes in what the log holds after [`Recent::through`] and up to commit `through`. The batch in flight, if there
    /// is one, has been committed by then and is among them.
    pub fn take_in(&mut self, recalled: Recalled, through: u64) {
        self.forget_in_flight();
        for (_, ids) in recalled.commits.into_iter().rev() {
            ids.iter().for_each(|&id| self.add(id));
            self.append(ids);
        }
        self.through = Some(through);
    }

    /// The open batch becomes the one in flight.
    pub fn cut(&mut self) {
        debug_assert!(self.in_flight.is_empty(), "one batch at a time");
        self.in_flight.append(&mut self.open);
    }

    /// The batch in flight is commit `number`. False: the log holds commits before it that were not taken in, so it is
    /// to be read with them.
    pub fn committed(&mut self, number: u64) -> bool {
        if self.through.is_none_or(|through| through + 1 != number) {
            return false;
        }
        let ids = std::mem::take(&mut self.in_flight);
        self.append(ids);
        self.through = Some(number);
        true
    }

    /// The open batch is dropped.
    pub fn forget_open(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.remove(id);
        }
    }

    /// Nothing but what is committed is left.
    pub fn forget_pending(&mut self) {
        self.forget_open();
        self.forget_in_flight();
    }

    fn forget_in_flight(&mut self) {
        for id in std::mem::take(&mut self.in_flight) {
            self.remove(id);
        }
    }

    /// Adds the rows that repeat a known value. A row without any fault claims its own; `faults` are sorted by row.
    pub(super) fn apply(&mut self, rows: &RecordBatch, faults: &mut Vec<Fault>) {
        let array = rows.column(usize::from(self.column));
        let mut repeated = Vec::new();
        let mut faulty = faults.iter().map(|fault| fault.row).peekable();
        // Hashed ahead of the look-ups: these miss the cache, and independent ones miss it side by side.
        let mut ids = Vec::with_capacity(array.len());
        self.hasher.each(array, |row, id| ids.push((row, id)));
        self.known.reserve(ids.len());
        for (row, id) in ids {
            while faulty.next_if(|&other| other < row).is_some() {}
            let is_known = match faulty.peek() {
                Some(&other) if other == row => self.known.contains(&id),
                _ => !self.claim(id),
            };
            if is_known {
                repeated.push(Fault { row, column: Some(self.column), reason: Reason::DuplicateId });
            }
        }
        faults.append(&mut repeated);
    }

    fn claim(&mut self, id: Id) -> bool {
        let is_new = self.known.insert(id);
        if is_new {
            self.open.push(id);
        }
        is_new
    }

    fn add(&mut self, id: Id) {
        if !self.known.insert(id) {
            *self.again.entry(id).or_default() += 1;
        }
    }

    fn remove(&mut self, id: Id) {
        match self.again.get_mut(&id) {
            Some(more) if *more > 1 => *more -= 1,
            Some(_) => drop(self.again.remove(&id)),
            None => drop(self.known.remove(&id)),
        }
    }

    /// Puts a commit's known values behind the others, and forgets the oldest commits that the rest can do without.
    fn append(&mut self, ids: Vec<Id>) {
        if !ids.is_empty() {
            self.committed += ids.len();
            self.commits.push_back(ids.into_boxed_slice());
        }
        while let Some(oldest) = self.commits.front()
            && self.committed - oldest.len() >= self.horizon
            && let Some(oldest) = self.commits.pop_front()
        {
            self.committed -= oldest.len();
            oldest.iter().for_each(|&id| self.remove(id));
        }
    }

    /// Values held, pending ones included.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.committed + self.in_flight.len() + self.open.len()
    }
}

impl Recalled {
    /// Values of the unique column that commit `number` accepted. Commits come from the newest to the oldest, each in
    /// any number of pieces.
    pub fn see(&mut self, number: u64, values: &dyn Array) {
        if self.commits.last().is_none_or(|(last, _)| *last != number) {
            self.commits.push((number, Vec::new()));
        }
        let Self { hasher, commits } = self;
        if let Some((_, ids)) = commits.last_mut() {
            hasher.each(values, |_, id| ids.push(id));
        }
    }
}

#[derive(Clone, Default)]
struct IdHasher([RandomState; 2]);

impl IdHasher {
    #[inline]
    fn id(&self, value: impl Hash) -> Id {
        let [high, low] = &self.0;
        Id::from(high.hash_one(&value)) << 64 | Id::from(low.hash_one(&value))
    }

    /// Every value that is not null, with its row.
    fn each(&self, array: &dyn Array, mut see: impl FnMut(u32, Id)) {
        macro_rules! integers {
            ($type:ty) => {
                for (row, value) in array.as_primitive::<$type>().iter().enumerate() {
                    if let Some(value) = value {
                        see(row as u32, self.id(i64::from(value)));
                    }
                }
            };
        }
        match array.data_type() {
            ArrowType::Int16 => integers!(Int16Type),
            ArrowType::Int32 => integers!(Int32Type),
            ArrowType::Int64 => integers!(Int64Type),
            // `rules` takes integers and strings only.
            _ => {
                for (row, value) in array.as_string::<i32>().iter().enumerate() {
                    if let Some(value) = value {
                        see(row as u32, self.id(value));
                    }
                }
            }
        }
    }
}

/// An id is a hash already.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }

    /// Not used by ids.
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}
