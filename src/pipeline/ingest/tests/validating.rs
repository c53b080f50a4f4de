//! The validator and its thread alone.

use super::*;
use crate::model::{Message, MessageBatch};

fn chunk(ids: std::ops::Range<i64>) -> MessageBatch {
    let mut chunk = MessageBatch::default();
    for id in ids {
        let value = order(id);
        let message = Message { partition: 0, offset: id, timestamp_ms: 0, key: None, value: Some(value.as_bytes()) };
        chunk.push(message);
    }
    chunk
}

#[test]
fn a_chunk_comes_back_judged_once_and_the_next_must_wait_for_that() {
    let mut validating = Validating::spawn(validator(&Validation::default())).unwrap();
    assert!(validating.take().unwrap().is_none(), "nothing is under way");
    for ids in [0..3, 3..10] {
        let mut messages = chunk(ids.clone());
        validating.submit(&mut messages).unwrap();
        assert!(messages.is_empty(), "the buffer that is left is empty");
        assert!(validating.validator().is_err(), "the validator is with its chunk");
        assert!(validating.submit(&mut chunk(0..1)).is_err());
        assert_eq!(validating.take().unwrap().unwrap().counts.accepted, (ids.end - ids.start) as u64);
        assert!(validating.take().unwrap().is_none());
        assert!(validating.validator().is_ok());
    }
}

#[test]
fn what_is_let_go_with_a_chunk_under_way_ends() {
    let mut validating = Validating::spawn(validator(&Validation::default())).unwrap();
    validating.submit(&mut chunk(0..5_000)).unwrap();
    drop(validating);
}
