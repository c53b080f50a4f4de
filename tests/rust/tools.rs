//! The tools on real PostgreSQL and real Kafka (`FOODSTREAM_TEST_POSTGRES`, `FOODSTREAM_TEST_KAFKA`).

use std::time::Duration;

use foodstream::config::{Compression, Settings};
use foodstream::model::Key;
use foodstream::pipeline::Stop;
use foodstream::tools::{
    InsertOptions, PeekFrom, check_kafka_consumer, check_kafka_producer, check_postgres, create_parquet_sample,
    insert_test_orders, peek_table, peek_topic, topics_create, topics_describe, topics_list,
};

use super::stage::{NOON, Stage, insert};

/// Columns of the orders table but the key and the time, for rows written by hand.
const INSERT: &str = "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status)";

async fn blocking<T: Send + 'static>(stage: &Stage, work: impl FnOnce(&Settings) -> T + Send + 'static) -> T {
    let settings = stage.settings.clone();
    tokio::task::spawn_blocking(move || work(&settings)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_by_copy_names_every_key_and_a_load_at_a_rate_keeps_it() {
    let stage = Stage::orders().await;
    let loaded = insert(&stage, InsertOptions { count: 10_000, ..InsertOptions::default() }).await;
    assert_eq!((loaded.ids.len(), loaded.total), (10_000, 10_010));
    assert_eq!((loaded.ids[0], loaded.ids[9_999]), (Key::Int(11), Key::Int(10_010)));
    let begun = tokio::time::Instant::now();
    let slow = insert(&stage, InsertOptions { count: 30, rate: Some(100.0), ..InsertOptions::default() }).await;
    assert_eq!(slow.ids.len(), 30);
    assert!(begun.elapsed() >= Duration::from_millis(280), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_a_load_back_whole_also_while_it_waits() {
    for count in [5, 20_000] {
        let stage = Stage::orders().await;
        // The load can begin, and its rows wait for this lock.
        stage.run("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE").await;
        let (settings, stop) = (stage.settings.clone(), Stop::new());
        let stopped = stop.clone();
        let load = InsertOptions { count, ..InsertOptions::default() };
        let inserting = tokio::spawn(async move { insert_test_orders(&settings, &load, stopped.requested()).await });
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted \
                       AND datname = current_database()";
        let waits = async || stage.sql.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
        let begun = tokio::time::Instant::now();
        while waits().await == 0 {
            assert!(begun.elapsed() < Duration::from_secs(8), "the load does not wait for the lock");
            tokio::task::yield_now().await;
        }
        stop.request();
        let stopped = tokio::time::timeout(Duration::from_secs(2), inserting).await.expect("ends at once").unwrap();
        assert_eq!(stopped.unwrap_err().exit_code(), 0);
        stage.run("COMMIT").await;
        while waits().await > 0 {
            tokio::task::yield_now().await;
        }
        let rows = stage.sql.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get::<_, i64>(0);
        assert_eq!(rows, 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_keeps_no_more_ids_than_are_wanted() {
    let stage = Stage::orders().await;
    for (count, last) in [(12_000, 12_010), (30, 12_040)] {
        let loaded = insert(&stage, InsertOptions { count, most_ids: 3, ..InsertOptions::default() }).await;
        assert_eq!((loaded.inserted, loaded.ids.len(), loaded.last), (count, 3, Some(Key::Int(last))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_say_the_documents_lines_and_move_nothing() {
    let stage = Stage::orders().await;
    let postgres = check_postgres(&stage.settings).await.unwrap();
    assert_eq!((postgres.lines[2].as_str(), postgres.lines[3].as_str()), ("✓ Table: orders", "✓ Record count: 10"));
    assert!(postgres.warnings.is_empty(), "{:?}", postgres.warnings);
    let read =
        |topic: Option<&'static str>| blocking(&stage, move |settings| check_kafka_consumer(settings, topic).unwrap());
    assert!(read(None).await.lines.last().unwrap().contains("does not exist yet"));
    let (created, new) = blocking(&stage, |settings| topics_create(settings, None).unwrap()).await;
    assert_eq!((created.partitions, new), (2, true));
    assert!(read(None).await.lines.last().unwrap().contains("is empty"));
    stage.produce().await;
    let consumed = read(None).await;
    assert!(consumed.lines[2].starts_with("✓ Received message: {\"order_id\":"), "{:?}", consumed.lines);

    let produced = blocking(&stage, |settings| check_kafka_producer(settings, None).unwrap()).await;
    assert!(produced.topic.ends_with("-check"));
    assert_eq!(produced.lines[1], format!("✓ Published test message to topic: {}", produced.topic));
    let topic = created.name.clone();
    assert!(blocking(&stage, move |settings| check_kafka_producer(settings, Some(&topic)).is_err()).await);
    let topics = blocking(&stage, |settings| topics_list(settings).unwrap()).await;
    assert!(topics.contains(&(created.name.clone(), 2)) && topics.iter().any(|(name, _)| *name == produced.topic));
    let details = blocking(&stage, |settings| topics_describe(settings, None).unwrap()).await;
    assert_eq!(details.bounds.len(), 2);
    assert!(details.group.iter().all(|lag| lag.committed.is_none()), "no check joined the group");
    assert!(details.config.contains_key("cleanup.policy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn peek_shows_the_newest_messages_and_rows() {
    let stage = Stage::orders().await;
    stage.produce().await;
    stage.run(&format!("{INSERT} VALUES ('Zoe', 'B', 'C', 1, 'PLACED')")).await;
    stage.produce().await;
    let newest = blocking(&stage, |settings| peek_topic(settings, None, 1, PeekFrom::default()).unwrap()).await;
    assert!(String::from_utf8_lossy(newest[0].value.as_deref().unwrap()).contains("Zoe"));
    let all = blocking(&stage, |settings| peek_topic(settings, None, 100, PeekFrom::default()).unwrap()).await;
    assert_eq!(all.len(), 11);
    let first = PeekFrom { partition: Some(1), offset: Some(0), ..PeekFrom::default() };
    let first = blocking(&stage, move |settings| peek_topic(settings, None, 2, first).unwrap()).await;
    assert!(first.len() == 2 && first[0].offset == 0 && first.iter().all(|message| message.partition == 1));
    let nowhere = PeekFrom { partition: Some(7), ..PeekFrom::default() };
    assert!(blocking(&stage, move |settings| peek_topic(settings, None, 2, nowhere).is_err()).await);
    let rows = peek_table(&stage.settings, 3).await.unwrap();
    assert_eq!((rows.rows.len(), rows.rows[0][1].as_deref()), (3, Some("Zoe")));
    let folder = stage.path("samples");
    let now = chrono::DateTime::from_timestamp_micros(NOON).unwrap();
    assert!(!create_parquet_sample(&folder, 5, 1, Compression::Snappy, now).unwrap().is_empty());
}
