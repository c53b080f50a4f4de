//! What a transaction gathers (K1).

use std::sync::Condvar;

use super::*;
use crate::broker::{TransactionalProducer, Uncommitted};

#[tokio::test]
async fn under_backlog_polls_share_transactions_and_grow() {
    let bench = Bench::new(505);
    let mut replicate = bench.open(|_| {});
    let done = replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(505));
    assert_eq!(transactions(&replicate), [100, 100, 100, 100, 100, 5]);
    assert_eq!((done.rows, done.transactions), (505, 6));
    assert_eq!(done.cursor, Some(Cursor { timestamp_us: TEN + 505, key: Some(Key::Int(505)) }));
    // A poll of ten, then quarters of a transaction and what is left of it.
    assert_eq!(bench.limits()[..9], [10, 25, 25, 25, 15, 25, 25, 25, 25]);
}

#[tokio::test]
async fn a_transaction_never_holds_more_than_it_is_allowed() {
    for (batch_limit, transaction_max_rows) in [(30, 100), (7, 20), (250, 100)] {
        let mut bench = Bench::new(1_000);
        (bench.options.batch_limit, bench.options.transaction_max_rows) = (batch_limit, transaction_max_rows);
        let mut replicate = bench.open(|_| {});
        replicate.run(ONCE).await.unwrap();
        let most = u64::from(batch_limit.max(transaction_max_rows));
        let rows = transactions(&replicate);
        assert!(rows.iter().all(|&rows| rows <= most), "{rows:?}");
        assert_eq!(bench.published(), all(1_000));
    }
}

#[tokio::test]
async fn without_backlog_each_poll_is_committed_and_an_idle_one_commits_nothing() {
    let bench = Bench::new(3);
    let (table, stop) = (bench.table.clone(), bench.stop.clone());
    let mut replicate = bench.open(move |page| match page {
        5 => insert(&table, 4..=5),
        10 => stop.request(),
        _ => {}
    });
    let done = replicate.run(FOREVER).await.unwrap();
    assert_eq!(transactions(&replicate), [3, 2]);
    assert_eq!((done.rows, done.transactions), (5, 2));
    assert!(bench.limits().iter().all(|&limit| limit == 10), "a poll's page again: {:?}", bench.limits());
}

#[tokio::test]
async fn a_poll_publishes_one_page() {
    let bench = Bench::new(25);
    let mut replicate = bench.open(|_| {});
    for rows in [10, 10, 5, 0] {
        assert_eq!(replicate.poll().await.unwrap(), rows);
    }
    assert_eq!(bench.published(), all(25));
    assert_eq!(replicate.progress().transactions, 3);
}

/// A source whose second page comes only after the first one's rows are visible.
struct Slow(Watched, MemoryBroker);

impl Source for Slow {
    fn seek(&mut self, position: Cursor) {
        self.0.seek(position);
    }

    async fn next_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let page = self.0.next_page(limit, batch).await?;
        let begun = Instant::now();
        while page.rows > 0 && self.0.server.lock().unwrap().limits.len() == 2 && published(&self.1).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the open transaction waits for a poll");
            tokio::task::yield_now().await;
        }
        Ok(page)
    }
}

impl BoundedSource for Slow {
    async fn server_clock_us(&mut self) -> Result<i64> {
        self.0.server_clock_us().await
    }

    fn holder(&self) -> Option<String> {
        None
    }

    fn sight(&self) -> Option<SourceSight> {
        self.0.sight()
    }

    async fn count_waiting(&mut self) -> Result<Option<WaitingRows>> {
        self.0.count_waiting().await
    }
}

#[tokio::test]
async fn no_poll_is_awaited_in_an_open_transaction_beyond_its_age() {
    let mut bench = Bench::new(30);
    bench.options.transaction_max = Duration::from_millis(1);
    let (publisher, start) = bench.publisher();
    let watched = Watched { source: bench.table.source(), server: bench.server.clone(), script: Box::new(|_| {}) };
    let source = Slow(watched, bench.broker.clone());
    let sender = Sender::spawn(publisher).unwrap();
    let (options, stop) = (bench.options.clone(), bench.stop.clone());
    let mut replicate = Replicate::new(source, sender, &start, options, stop, manual_clock());
    let done = replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(30));
    assert_eq!((done.rows, done.transactions), (30, 2), "the first page by its age, the rest together");
}

/// Pages asked for so far.
type Asked = Arc<(Mutex<usize>, Condvar)>;

/// A producer that waits in `send`, or in the commit after two pages, until another page has been asked for.
struct Waiting(MemoryProducer, Asked, Step);

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Send,
    Commit,
}

impl Waiting {
    fn wait_for(&self, page: usize) {
        let (pages, asked) = &*self.1;
        let guard = pages.lock().unwrap();
        let late = asked.wait_timeout_while(guard, PATIENCE, |pages| *pages < page).unwrap().1;
        assert!(!late.timed_out(), "page {page} was not read meanwhile");
    }
}

impl TransactionalProducer for Waiting {
    fn init(&mut self, timeout: Duration) -> Result<()> {
        self.0.init(timeout)
    }

    fn begin(&mut self) -> Result<()> {
        self.0.begin()
    }

    fn send(&mut self, topic: &str, rows: &ChangeBatch) -> Result<()> {
        if self.2 == Step::Send {
            self.wait_for(2);
        }
        self.0.send(topic, rows)
    }

    fn send_one(&mut self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.send_one(topic, partition, key, value)
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), Uncommitted> {
        let pages = *self.1.0.lock().unwrap();
        if self.2 == Step::Commit && pages >= 2 {
            self.wait_for(3);
        }
        self.0.commit(timeout)
    }

    fn abort(&mut self, timeout: Duration) -> Result<()> {
        self.0.abort(timeout)
    }
}

struct WaitingFactory(MemoryBroker, Asked, Step);

impl ProducerFactory for WaitingFactory {
    type Producer = Waiting;

    fn create(&mut self) -> Result<Waiting> {
        Ok(Waiting(self.0.producer("foodstream-shop"), self.1.clone(), self.2))
    }
}

#[tokio::test]
async fn the_next_page_is_read_while_one_is_sent() {
    run_waiting(Step::Send).await;
}

#[tokio::test]
async fn the_next_page_is_read_while_a_transaction_is_committed() {
    run_waiting(Step::Commit).await;
}

/// Three pages in two transactions, with a producer that waits for the reader.
async fn run_waiting(step: Step) {
    let mut bench = Bench::new(25);
    bench.options.transaction_max_rows = 20;
    let pages = Asked::default();
    let options = bench.publisher_options();
    let factory = WaitingFactory(bench.broker.clone(), pages.clone(), step);
    let (publisher, start) = Publisher::open(factory, bench.broker.cluster(), options).unwrap();
    let script = move |page| {
        *pages.0.lock().unwrap() = page;
        pages.1.notify_all();
    };
    let source = Watched { source: bench.table.source(), server: bench.server.clone(), script: Box::new(script) };
    let sender = Sender::spawn(publisher).unwrap();
    let (options, stop) = (bench.options.clone(), bench.stop.clone());
    let mut replicate = Replicate::new(source, sender, &start, options, stop, Arc::new(SystemClock));
    replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(25));
}

#[tokio::test]
async fn pages_of_wide_rows_are_bounded_by_their_bytes() {
    let mut bench = Bench::new(0);
    bench.options.page_max_bytes = 20_000;
    for id in 1..=500 {
        bench.table.insert(TEN + id, Key::Int(id), format!("{id:>1000}"));
    }
    let mut replicate = bench.open(|_| {});
    assert_eq!(replicate.run(ONCE).await.unwrap().rows, 500);
    let limits = bench.limits();
    assert_eq!(limits[0], 10, "a poll's page, as nothing is known of the rows");
    // Keys of one to three digits make a row a little longer than its value.
    assert!(limits[1..].iter().all(|&limit| limit < 20), "{limits:?}");
    assert!(limits.contains(&19), "{limits:?}");
}
