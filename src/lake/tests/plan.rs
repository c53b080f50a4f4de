//! Plans: written once, replayed, overtaken, and never two for one offset.

use super::*;
use crate::lake::{Plan, Planned};

/// The plan of these ranges, which nobody stands in the way of.
fn plan(lake: &mut LocalLake, ranges: &[OffsetRange]) -> Plan {
    match lake.plan(ranges).unwrap() {
        Planned::Done(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn planned(plan: &Plan) -> MicroBatch {
    let [range] = plan.ranges[..] else { panic!("{plan:?}") };
    MicroBatch { plan: Some(plan.id.clone()), ..batch(range.partition, range.from, range.to) }
}

fn range(partition: i32, from: i64, to: i64) -> OffsetRange {
    OffsetRange { partition, from, to }
}

#[test]
fn a_plan_is_replayed_with_its_id_and_dropped_when_overtaken() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let first = plan(&mut lake, &[range(0, 0, 100)]);
    drop(lake);
    let mut lake = place.open();
    assert_eq!(lake.plans().unwrap(), std::slice::from_ref(&first));
    let staged = lake.stage(planned(&first)).unwrap();
    assert!(!staged.files[0].staged_name.contains(&first.id), "a plan may be staged twice: {staged:?}");
    commit(&mut lake, &planned(&first));
    assert_eq!(place.report().log.commits[1].batch, first.id);
    assert!(lake.plans().unwrap().is_empty());

    let overtaken = plan(&mut lake, &[range(0, 100, 200)]);
    let mut other = place.open();
    let unplanned = batch(0, 100, 150);
    assert_ne!(other.stage(unplanned.clone()).unwrap().batch, overtaken.id);
    commit(&mut other, &unplanned);
    assert!(lake.plans().unwrap().is_empty());
    assert!(!place.path("checkpoint/plans").join(format!("{}.json", overtaken.id)).exists());
}

#[test]
fn no_two_plans_share_an_offset_whoever_writes_them() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let mut other = place.open();
    let first = plan(&mut lake, &[range(0, 0, 100)]);
    assert_eq!(other.plan(&[range(0, 0, 50)]).unwrap(), Planned::Taken(first.clone()));
    let beside = plan(&mut other, &[range(1, 0, 50)]);
    assert_eq!(lake.plans().unwrap().len(), 2);
    // Whoever is first, the other finds the log moved, and no plan is written at a position that has passed.
    commit(&mut other, &planned(&first));
    assert!(matches!(lake.plan(&[range(0, 0, 100)]).unwrap(), Planned::Lost(head) if head.positions[&0] == 100));
    assert_eq!(lake.plans().unwrap(), [beside]);
}

#[test]
fn a_plan_at_a_newer_head_is_not_taken_for_an_overtaken_one() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let mut behind = place.open();
    commit(&mut lake, &batch(0, 0, 100));
    let newer = plan(&mut lake, &[range(0, 100, 200)]);
    assert_eq!(behind.plans().unwrap(), [newer], "the log is read again before plans are held against it");
}

#[test]
fn workers_that_plan_side_by_side_get_one_plan_between_them() {
    let place = Place::new();
    drop(place.founded());
    let mut lakes: Vec<LocalLake> = (0..4).map(|_| place.open()).collect();
    for round in 0..10 {
        let ranges = [range(0, round * 10, round * 10 + 10)];
        let answers: Vec<Planned> = std::thread::scope(|scope| {
            let workers: Vec<_> = lakes.iter_mut().map(|lake| scope.spawn(|| lake.plan(&ranges).unwrap())).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let written: Vec<_> = answers.iter().filter(|answer| matches!(answer, Planned::Done(_))).collect();
        assert_eq!(written.len(), 1, "{answers:?}");
        let [plan] = &lakes[0].plans().unwrap()[..] else { panic!("{answers:?}") };
        assert!(answers.iter().all(|answer| matches!(answer, Planned::Done(at) | Planned::Taken(at) if at == plan)));
        commit(&mut lakes[round as usize % 4], &planned(plan));
    }
}
