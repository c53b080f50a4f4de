//! Totals as the log has them, and followed for a topic.

use super::super::{TotalsFollower, TotalsLog};
use super::*;
use crate::failpoints::{self, armed};
use crate::model::{Aggregation, DataType};

fn follower(place: &Place) -> TotalsFollower {
    TotalsFollower::open(&place.options.checkpoint).unwrap()
}

/// Number and rows of what is to be published.
fn changes(follower: &mut TotalsFollower) -> Option<(u64, u64)> {
    assert!(follower.claim().unwrap());
    follower.changes().unwrap().map(|changes| (changes.number, changes.totals.rows()))
}

#[test]
fn the_log_alone_tells_the_totals() {
    let place = Place::new();
    assert!(TotalsLog::read(&place.options.checkpoint).unwrap().is_none());
    assert!(!place.path("checkpoint").exists(), "reading makes nothing");
    let (mut lake, _) = place.founded();
    let head = commit(&mut lake, &batch(0, 0, 100));
    let read = TotalsLog::read(&place.options.checkpoint).unwrap().unwrap();
    assert_eq!((read.number, &read.totals), (1, &head.totals));
    assert_eq!(read.definition, Aggregation { sum: vec!["amount".into()], ..Aggregation::default() });
    assert!(read.columns.contains(&("amount".to_owned(), DataType::Decimal { precision: 10, scale: 2 })));
}

#[test]
fn a_follower_gets_whole_groups_once_and_again_what_was_not_marked() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let mut first = follower(&place);
    assert_eq!(changes(&mut first), Some((0, 0)));
    commit(&mut lake, &batch(0, 0, 100));
    assert_eq!(changes(&mut first), Some((1, 90)));
    first.published().unwrap();
    assert_eq!(changes(&mut first), None);
    commit(&mut lake, &batch(1, 0, 50));
    // Both days were touched, so both come whole.
    assert_eq!(changes(&mut first), Some((2, 135)));
    // Killed between publishing and the mark: the next one repeats it, and nothing else.
    drop(first);
    let mut second = follower(&place);
    assert_eq!(second.published_number(), Some(1));
    assert_eq!(changes(&mut second), Some((2, 135)));
    second.published().unwrap();
    assert_eq!(changes(&mut follower_after(second, &place)), None);
}

fn follower_after(ended: TotalsFollower, place: &Place) -> TotalsFollower {
    drop(ended);
    follower(place)
}

#[test]
fn one_follower_publishes_at_a_time_and_the_next_goes_on_from_the_mark() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let (mut first, mut second) = (follower(&place), follower(&place));
    assert!(first.claim().unwrap() && !second.claim().unwrap());
    assert_eq!(second.changes().unwrap_err().kind(), crate::error::Kind::Bug);
    commit(&mut lake, &batch(0, 0, 100));
    assert_eq!(changes(&mut first), Some((1, 90)));
    first.published().unwrap();
    assert_eq!(second.published_number(), Some(1));
    first.release();
    assert_eq!(changes(&mut second), None, "what the first one marked is not repeated");
    assert!(!first.claim().unwrap());
}

#[test]
fn without_a_usable_mark_everything_is_published_again() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    for step in 0..3 {
        commit(&mut lake, &batch(0, step * 100, step * 100 + 100));
    }
    let mut first = follower(&place);
    assert_eq!(changes(&mut first), Some((3, 270)));
    first.published().unwrap();
    drop((first, lake));
    let mark = place.path("checkpoint/totals-topic/published");
    flip(&mark, 20);
    assert_eq!(changes(&mut follower(&place)), Some((3, 270)));
    let mut again = follower(&place);
    assert_eq!(changes(&mut again), Some((3, 270)));
    again.published().unwrap();
    drop(again);
    rebuild::rebuild(&place).unwrap();
    assert_eq!(changes(&mut follower(&place)), Some((3, 270)), "a rebuilt log is another one");
}

#[test]
fn a_commit_cut_after_its_record_is_followed_like_any_other() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_COMMITTED, 0);
    assert!(lake.commit(&staged, &head).is_err());
    drop(stop);
    assert_eq!(changes(&mut follower(&place)), Some((1, 90)));
}
