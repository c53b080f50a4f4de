//! Quantiles, what they are made of, and what is shown of rejects.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use chrono::NaiveDate;

use super::*;
use crate::model::{DatedBatch, Message, MessageBatch};

#[test]
fn quantiles_forget_what_is_older_than_the_window() {
    let start = SystemClock.instant();
    let mut latency = Latency::new(start);
    latency.add(start, 99, std::iter::repeat_n(1.0, 99));
    latency.add(start, 1, std::iter::once(100.0));
    let found = latency.quantiles(start).unwrap();
    assert!((found.p50 - 1.0).abs() < 0.09 && (found.p99 - 1.0).abs() < 0.09, "{found:?}");
    latency.add(start + Duration::from_secs(200), 100, std::iter::once(10.0));
    let later = latency.quantiles(start + Duration::from_secs(310)).unwrap();
    assert_eq!(later.rows, 100);
    assert!((later.p50 - 10.0).abs() < 0.9, "{later:?}");
    assert_eq!(latency.quantiles(start + Duration::from_secs(600)), None);
    assert_eq!(latency.count, 200, "the sums go on");
}

/// A batch of so many chunks of 8,000 messages each, the time of a message being its number.
fn long_batch(chunks: usize) -> Sampled {
    let mut sampled = Sampled::default();
    let mut number = 0;
    for _ in 0..chunks {
        let mut chunk = MessageBatch::default();
        for _ in 0..8_000 {
            chunk.push(Message { partition: 0, offset: number, timestamp_ms: number, key: None, value: None });
            number += 1;
        }
        sampled.add_messages(&chunk);
    }
    sampled
}

#[test]
fn samples_lie_evenly_over_a_batch_however_long_it_is() {
    for chunks in [1, 40, 1_000] {
        let sampled = long_batch(chunks);
        let (values, last) = (sampled.published_ms.values(), (chunks * 8_000) as i64);
        assert!((200..=512).contains(&values.len()), "{} of {chunks} chunks", values.len());
        let stride = values[1] - values[0];
        assert!(values.windows(2).all(|pair| pair[1] - pair[0] == stride), "of {chunks} chunks: {values:?}");
        assert!(values[0] < stride && values[values.len() - 1] >= last - stride, "of {chunks} chunks");
    }
}

#[test]
fn quantiles_of_a_long_batch_are_those_of_all_its_rows() {
    let sampled = long_batch(500);
    let (start, rows) = (SystemClock.instant(), 500 * 8_000_u32);
    let mut latency = Latency::new(start);
    // Its first message waited longest: 40 s, and the last one not at all.
    let waits = sampled.published_ms.values().iter().map(|&number| 40.0 * (1.0 - number as f64 / f64::from(rows)));
    latency.add(start, rows.into(), waits);
    let found = latency.quantiles(start).unwrap();
    assert!((found.p50 - 20.0).abs() < 2.0 && (found.p95 - 38.0).abs() < 3.0, "{found:?}");
}

#[test]
fn messages_without_a_time_are_no_sample_and_a_small_batch_is_taken_whole() {
    let mut chunk = MessageBatch::default();
    for (partition, timestamp_ms) in [(0, 7), (1, -1), (0, 5), (2, 9), (0, 6)] {
        chunk.push(Message { partition, offset: 0, timestamp_ms, key: None, value: None });
    }
    let mut sampled = Sampled::default();
    sampled.add_messages(&chunk);
    assert_eq!(sampled.published_ms.values(), [7, 5, 9, 6]);
    assert_eq!(sampled.newest_ms, [(0, 7), (2, 9)].into());
}

#[test]
fn rows_are_sampled_and_each_date_knows_its_newest() {
    let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
    let dated = |date, times: Vec<Option<i64>>| {
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        DatedBatch { date, rows: RecordBatch::try_from_iter([("created_at", column)]).unwrap() }
    };
    let mut sampled = Sampled::default();
    sampled.add_rows(&[dated(day(28), vec![Some(5), None, Some(9)]), dated(day(29), vec![Some(20)])], "created_at");
    sampled.add_rows(&[dated(day(28), vec![Some(6)]), dated(day(29), vec![None])], "created_at");
    assert_eq!(sampled.created_us.values(), [5, 9, 20, 6]);
    assert_eq!(sampled.newest_us, [(day(28), 9), (day(29), 20)].into());
    let events = sampled.events.unwrap();
    assert_eq!((events.least_us, events.greatest_us, events.mean_us()), (5, 20, 10));
}

#[test]
fn a_sample_of_a_reject_shows_no_letter_and_no_digit_of_it() {
    assert_eq!(
        rejects::masked("{\"Name\":\"Zoë 7\", \"pan\": 4111}\n".as_bytes()),
        "{\"Xxxx\":\"Xxx 9\", \"xxx\": 9999} "
    );
    let long = rejects::masked("9".repeat(5_000).as_bytes());
    assert_eq!(long.chars().count(), 300);
}
