//! The timestamps of many rows in short: the oldest, the newest, and the mean.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimes {
    /// Microseconds, on whatever clock the rows have.
    pub least_us: i64,
    pub greatest_us: i64,
    rows: u64,
    /// A few thousand timestamps of today exceed 64 bits.
    sum_us: i128,
}

impl EventTimes {
    /// Of one row.
    pub fn of(us: i64) -> Self {
        EventTimes { least_us: us, greatest_us: us, rows: 1, sum_us: i128::from(us) }
    }

    /// `None` of no row.
    pub fn of_all(times: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut times = times.into_iter();
        let mut all = EventTimes::of(times.next()?);
        times.for_each(|us| all.add(us));
        Some(all)
    }

    /// The same of many at once: loops over 64 bits take a fraction of the time.
    pub fn of_slice(times: &[i64]) -> Option<Self> {
        let first = *times.first()?;
        let (least_us, greatest_us) =
            times.iter().fold((first, first), |(least, greatest), &us| (least.min(us), greatest.max(us)));
        let rows = times.len() as u64;
        let sum_us = if greatest_us.abs_diff(least_us).checked_mul(rows).is_some() {
            let beyond: u64 = times.iter().map(|us| us.abs_diff(least_us)).sum();
            i128::from(least_us) * i128::from(rows) + i128::from(beyond)
        } else {
            times.iter().copied().map(i128::from).sum()
        };
        Some(EventTimes { least_us, greatest_us, rows, sum_us })
    }

    #[inline]
    pub fn add(&mut self, us: i64) {
        self.least_us = self.least_us.min(us);
        self.greatest_us = self.greatest_us.max(us);
        self.rows += 1;
        self.sum_us += i128::from(us);
    }

    pub fn merged(self, other: Self) -> Self {
        EventTimes {
            least_us: self.least_us.min(other.least_us),
            greatest_us: self.greatest_us.max(other.greatest_us),
            rows: self.rows + other.rows,
            sum_us: self.sum_us + other.sum_us,
        }
    }

    /// The same moments on a clock that is ahead by so much; `None` past the clock's range.
    pub fn shifted(self, by_us: i64) -> Option<Self> {
        Some(EventTimes {
            least_us: self.least_us.checked_add(by_us)?,
            greatest_us: self.greatest_us.checked_add(by_us)?,
            rows: self.rows,
            sum_us: self.sum_us + i128::from(by_us) * i128::from(self.rows),
        })
    }

    pub fn mean_us(&self) -> i64 {
        let mean = self.sum_us.div_euclid(i128::from(self.rows));
        // It lies between two numbers of 64 bits.
        i64::try_from(mean).unwrap_or(self.greatest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: i64 = 1_795_248_721_000_000;

    #[test]
    fn the_mean_is_exact_where_the_sum_exceeds_64_bits() {
        let times = EventTimes::of_all((0..100_001).map(|row| NOW_US + row)).unwrap();
        assert_eq!((times.least_us, times.greatest_us, times.mean_us()), (NOW_US, NOW_US + 100_000, NOW_US + 50_000));
        assert_eq!(EventTimes::of_all([]), None);
    }

    #[test]
    fn a_slice_has_the_times_of_its_rows_however_far_they_are_apart() {
        for times in [&[][..], &[7], &[NOW_US + 2, NOW_US, NOW_US + 7], &[-5, 3], &[i64::MIN, i64::MAX, i64::MAX, 0]] {
            assert_eq!(EventTimes::of_slice(times), EventTimes::of_all(times.iter().copied()), "{times:?}");
        }
    }

    #[test]
    fn parts_come_to_the_whole_and_move_with_the_clock() {
        let part = |times: &[i64]| EventTimes::of_all(times.iter().copied()).unwrap();
        let whole = part(&[5, 1]).merged(part(&[9, 3, 7]));
        assert_eq!(whole, part(&[1, 3, 5, 7, 9]));
        assert_eq!(whole.shifted(-10).unwrap().mean_us(), -5);
        assert_eq!(whole.shifted(i64::MAX), None);
    }
}
