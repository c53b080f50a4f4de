//! Randomness that is the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, well mixed, and the same everywhere. Not for secrets.
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each numbered thing.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random(seed);
        let start = random.next() ^ number;
        Random(Random(start).next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of them, each as likely.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        choices[(self.next() % N as u64) as usize]
    }

    /// From 0 to `bound` exclusive; the bias of the remainder is far below what a test could see.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True for this share of the calls.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        // The upper 53 bits are a fraction that a double holds exactly.
        ((self.next() >> 11) as f64) < share * (1u64 << 53) as f64
    }
}
