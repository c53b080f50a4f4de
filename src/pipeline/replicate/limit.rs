//! How many rows the next page may bring: a poll's worth while nothing waits, a part of a transaction under backlog,
//! and never more bytes than a page's share of the memory.

/// Assumed until rows were seen: several times an order, so that a first page is not larger than the ones after it.
const UNSEEN_ROW_BYTES: u64 = 1024;

/// Pages of a full transaction: while one is sent the next is read, and the two are all that is held of it.
const PAGES_PER_TRANSACTION: u32 = 4;

/// Bounds of a page, and what the pages before it taught.
#[derive(Debug)]
pub(super) struct PageLimit {
    /// Of a poll: `cdc.batch_limit`.
    poll_rows: u32,
    backlog_rows: u32,
    max_bytes: u64,
    row_bytes: u64,
    /// The last page was full: more rows wait.
    backlog: bool,
    /// After a failure: a page that was too much for the server would be too much for ever. Doubles with each page
    /// that succeeds, since most failures are not the page's fault.
    ceiling: Option<u32>,
}

impl PageLimit {
    pub fn new(poll_rows: u32, transaction_max_rows: u32, max_bytes: u64) -> Self {
        let backlog_rows = (transaction_max_rows / PAGES_PER_TRANSACTION).max(poll_rows);
        PageLimit { poll_rows, backlog_rows, max_bytes, row_bytes: UNSEEN_ROW_BYTES, backlog: false, ceiling: None }
    }

    /// At least one row.
    pub fn rows(&self) -> u32 {
        let wanted = if self.backlog { self.backlog_rows } else { self.poll_rows };
        self.bounded(wanted)
    }

    /// The same for a caller who wants one poll's page, whatever waits.
    pub fn rows_of_poll(&self) -> u32 {
        self.bounded(self.poll_rows)
    }

    fn bounded(&self, wanted: u32) -> u32 {
        let fitting = u32::try_from(self.max_bytes / self.row_bytes).unwrap_or(u32::MAX);
        wanted.min(fitting).min(self.ceiling.unwrap_or(u32::MAX)).max(1)
    }

    pub fn succeeded(&mut self, rows: usize, bytes: usize, full: bool) {
        self.backlog = full;
        if rows > 0 {
            self.row_bytes = (bytes as u64 / rows as u64).max(1);
        }
        self.ceiling = self.ceiling.map(|rows| rows.saturating_mul(2)).filter(|&rows| full && rows < self.backlog_rows);
    }

    /// A page of `asked` rows did not come.
    pub fn failed(&mut self, asked: u32) {
        self.ceiling = Some((asked / 2).clamp(1, self.poll_rows.max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 32 << 20;

    fn backlog(row_bytes: usize) -> PageLimit {
        let mut limit = PageLimit::new(1_000, 400_000, MAX_BYTES);
        limit.succeeded(1_000, 1_000 * row_bytes, true);
        limit
    }

    #[test]
    fn under_backlog_ordinary_rows_come_by_the_transaction_and_wide_ones_by_their_bytes() {
        assert_eq!(PageLimit::new(1_000, 400_000, MAX_BYTES).rows(), 1_000);
        assert_eq!(backlog(200).rows(), 100_000);
        assert_eq!(backlog(10_000).rows(), (MAX_BYTES / 10_000) as u32);
        assert_eq!(backlog(64 << 20).rows(), 1, "a row larger than a page still comes");
    }

    #[test]
    fn a_poll_of_wide_rows_is_bounded_too_and_before_any_was_seen() {
        let mut limit = PageLimit::new(100_000, 100_000, MAX_BYTES);
        assert_eq!(limit.rows(), (MAX_BYTES / UNSEEN_ROW_BYTES) as u32);
        limit.succeeded(10, 1_000_000, false);
        assert_eq!(limit.rows_of_poll(), (MAX_BYTES / 100_000) as u32);
    }

    #[test]
    fn a_page_that_fails_is_asked_for_smaller_each_time_down_to_a_row() {
        let mut limit = backlog(200);
        let mut asked = Vec::new();
        for _ in 0..12 {
            asked.push(limit.rows());
            limit.failed(limit.rows());
        }
        assert_eq!(asked, [100_000, 1_000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1]);
    }

    #[test]
    fn after_a_failure_pages_grow_again_step_by_step() {
        let mut limit = backlog(200);
        limit.failed(100_000);
        let mut asked = Vec::new();
        for _ in 0..9 {
            asked.push(limit.rows());
            let rows = limit.rows() as usize;
            limit.succeeded(rows, rows * 200, true);
        }
        assert_eq!(asked, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 100_000, 100_000]);
        limit.failed(100_000);
        limit.succeeded(3, 600, false);
        limit.succeeded(1_000, 200_000, true);
        assert_eq!(limit.rows(), 100_000, "a backlog that is over takes its ceiling with it");
    }
}
