//! Writers that commit late in every way that PostgreSQL offers; the core of the late-commit tests.
//!
//! Each transaction of a writer takes its `created_at` at its start and commits some time later. The table needs a
//! column `created_at` with the transaction's start as default, and a serial key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

use super::support::session;

/// Numbers from a seed (splitmix64), so that a failing run can be repeated.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (value ^ (value >> 31)) % limit.max(1)
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub writers: u64,
    /// Transactions of each writer.
    pub rounds: u64,
    /// Longest single wait inside a transaction.
    pub longest_wait: Duration,
    pub seed: u64,
    pub table: String,
}

/// Runs all writers to their end and returns the number of transactions begun.
pub async fn run(config: &tokio_postgres::Config, plan: &Plan) -> u64 {
    let begun = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..plan.writers)
        .map(|number| {
            let (config, plan, begun) = (config.clone(), plan.clone(), Arc::clone(&begun));
            tokio::spawn(async move {
                let client = session(&config).await;
                let dice = Dice::new(plan.seed.wrapping_mul(1_000_003).wrapping_add(number));
                let mut writer = Writer { client, dice, plan, number, begun };
                writer.work().await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    begun.load(Ordering::Relaxed)
}

struct Writer {
    client: Client,
    dice: Dice,
    plan: Plan,
    number: u64,
    begun: Arc<AtomicU64>,
}

impl Writer {
    async fn work(&mut self) {
        for round in 0..self.plan.rounds {
            self.begun.fetch_add(1, Ordering::Relaxed);
            match self.dice.below(7) {
                0 => self.execute(&self.insert("single")).await,
                1 => self.plain("COMMIT").await,
                2 => self.plain("ROLLBACK").await,
                3 => self.savepoints().await,
                4 => self.several_in_one_message().await,
                5 => self.chained().await,
                _ => self.prepared(round).await,
            }
        }
    }

    async fn plain(&mut self, end: &str) {
        self.execute("BEGIN").await;
        self.wait().await;
        self.execute(&self.insert("plain")).await;
        self.wait().await;
        self.execute(end).await;
    }

    async fn savepoints(&mut self) {
        self.execute("BEGIN").await;
        self.execute(&self.insert("before the savepoint")).await;
        self.wait().await;
        self.execute("SAVEPOINT s").await;
        self.execute(&self.insert("undone")).await;
        self.wait().await;
        self.execute("ROLLBACK TO SAVEPOINT s").await;
        self.execute(&self.insert("after the savepoint")).await;
        self.execute("RELEASE SAVEPOINT s").await;
        self.wait().await;
        self.execute("COMMIT").await;
    }

    /// Transactions of one message all begin when the message arrived.
    async fn several_in_one_message(&mut self) {
        let mut message = String::new();
        for _ in 0..3 {
            let (insert, wait) = (self.insert("one message"), self.seconds());
            message.push_str(&format!("BEGIN; SELECT pg_sleep({wait}); {insert}; COMMIT;"));
        }
        self.execute(&message).await;
    }

    /// The second transaction begins when the message that ended the first one arrived.
    async fn chained(&mut self) {
        self.execute("BEGIN").await;
        self.execute(&self.insert("chain")).await;
        self.wait().await;
        self.execute("COMMIT AND CHAIN").await;
        self.wait().await;
        self.execute(&self.insert("chained")).await;
        self.wait().await;
        self.execute("COMMIT").await;
    }

    /// A prepared transaction belongs to no session until it ends.
    async fn prepared(&mut self, round: u64) {
        // Unique in the whole cluster: other tests run beside this one.
        let gid = format!("writer-{}-{round}-{}", self.number, uuid::Uuid::new_v4());
        self.execute("BEGIN").await;
        self.execute(&self.insert("prepared")).await;
        self.wait().await;
        self.execute(&format!("PREPARE TRANSACTION '{gid}'")).await;
        self.wait().await;
        let end = if self.dice.below(4) == 0 { "ROLLBACK" } else { "COMMIT" };
        self.execute(&format!("{end} PREPARED '{gid}'")).await;
    }

    fn insert(&self, note: &str) -> String {
        format!("INSERT INTO {} (note) VALUES ('{note}')", self.plan.table)
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Most waits are short, some long: a uniform wait would let all writers march in step.
    fn duration(&mut self) -> Duration {
        let micros = self.plan.longest_wait.as_micros() as u64;
        let share = if self.dice.below(5) == 0 { 1 } else { 8 };
        Duration::from_micros(self.dice.below(micros / share))
    }

    fn seconds(&mut self) -> f64 {
        self.duration().as_secs_f64()
    }

    async fn wait(&mut self) {
        let duration = self.duration();
        tokio::time::sleep(duration).await;
    }
}
