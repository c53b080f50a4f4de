//! The contract of `Source`, held by the table in memory and by the real one alike.

use foodstream::capture::Source;
use foodstream::capture::memory::MemoryTable;
use foodstream::error::{Error, Kind};
use foodstream::model::{ChangeBatch, Cursor, Key};

use super::support::{TestDb, open};

const START: i64 = 1_763_460_000_000_000;

/// Ten timestamps with three rows each, keys not in the order of time.
fn rows() -> Vec<(i64, i64)> {
    (0..30).map(|row| (START + row / 3, (row * 7) % 30)).collect()
}

fn ordered() -> Vec<Cursor> {
    let mut all = rows();
    all.sort_unstable();
    all.into_iter().map(|(timestamp_us, key)| Cursor { timestamp_us, key: Some(Key::Int(key)) }).collect()
}

/// Over a source of exactly `rows()`, all below the horizon.
async fn holds<S: Source>(mut source: S) {
    let all = ordered();
    let mut batch = ChangeBatch::default();

    source.seek(Cursor { timestamp_us: START - 1, key: None });
    for (limit, from) in [(7_u32, 0_usize), (7, 7), (16, 14)] {
        batch.clear();
        let page = source.next_page(limit, &mut batch).await.unwrap();
        let to = from + limit as usize;
        assert_eq!((page.rows, page.full), (limit as usize, true));
        assert_eq!(batch.len(), page.rows);
        assert_eq!(batch.end, Some(all[to - 1]), "the end is the position of the last row");
        let keys: Vec<Vec<u8>> = batch.iter().map(|(_, key, _)| key.to_vec()).collect();
        let expected: Vec<Vec<u8>> =
            all[from..to].iter().map(|cursor| cursor.key.unwrap().to_string().into_bytes()).collect();
        assert_eq!(keys, expected);
        assert!(page.horizon_us > all[29].timestamp_us);
    }
    batch.clear();
    let page = source.next_page(10, &mut batch).await.unwrap();
    assert_eq!((page.rows, page.full, batch.end), (0, false, None), "an empty page is no error and moves nothing");

    for (index, position) in all.iter().enumerate() {
        source.seek(*position);
        batch.clear();
        assert_eq!(source.next_page(100, &mut batch).await.unwrap().rows, 29 - index);
    }
    source.seek(Cursor { timestamp_us: START + 3, key: None });
    batch.clear();
    let page = source.next_page(100, &mut batch).await.unwrap();
    assert_eq!(page.rows, 18, "a bare timestamp stands for all its rows");

    source.seek(all[20]);
    let before = batch.len();
    source.next_page(4, &mut batch).await.unwrap();
    assert_eq!((batch.len(), batch.end), (before + 4, Some(all[24])), "pages are appended");
}

#[tokio::test]
async fn the_table_in_memory_holds_the_contract() {
    let table = MemoryTable::default();
    for (timestamp_us, key) in rows() {
        table.insert(timestamp_us, Key::Int(key), "{}");
    }
    table.set_horizon(START + 1_000);
    holds(table.source()).await;
}

#[tokio::test]
async fn the_real_table_holds_the_contract() {
    let (db, admin) =
        TestDb::create("CREATE TABLE orders (id int PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now())").await;
    for (timestamp_us, key) in rows() {
        let moment = foodstream::model::position::format_timestamp_us(timestamp_us);
        admin.batch_execute(&format!("INSERT INTO orders VALUES ({key}, '{moment}+00')")).await.unwrap();
    }
    holds(open(db.options("orders")).await).await;
}

#[tokio::test]
async fn a_page_that_fails_leaves_whole_rows_and_can_be_asked_again() {
    let table = MemoryTable::default();
    for (timestamp_us, key) in rows() {
        table.insert(timestamp_us, Key::Int(key), "{}");
    }
    table.set_horizon(START + 5);
    let mut source = table.source();
    table.fail_next(4, Error::new(Kind::Source, "gone").retriable());
    let mut batch = ChangeBatch::default();
    assert!(source.next_page(10, &mut batch).await.unwrap_err().is_retriable());
    assert_eq!((batch.len(), batch.end), (4, Some(ordered()[3])));
    source.next_page(100, &mut batch).await.unwrap();
    assert_eq!(batch.len(), 15, "nothing at or above the horizon");
}
