//! A stop around a commit, and what the next worker finds.

use super::*;
use crate::failpoints::{INGEST_BATCH, armed};

/// Whether the batch that was stopped is in the log.
fn is_committed_at(point: &str) -> bool {
    point != failpoints::INGEST_GATHERED
}

#[test]
fn a_stop_at_any_step_around_a_commit_loses_and_repeats_nothing() {
    for point in INGEST_BATCH {
        for commits in 0..2 {
            let bench = Bench::new(1).with_limit(4);
            bench.append(0, 1..=10);
            let mut ingest = bench.open(|_| {});
            let stop = armed(point, commits);
            let error = ingest.run(AVAILABLE_NOW).unwrap_err();
            assert!(error.to_string().contains(point), "{error}");
            drop(stop);
            // The group lets go of a dead member.
            let _ = ingest.close();
            drop(ingest);
            let logged = 4 * (i64::from(commits) + i64::from(is_committed_at(point)));
            // The batch behind it may have been on its way to the lake's thread.
            assert!([logged, logged + 4].contains(&bench.positions()[0]), "{point}: {:?}", bench.positions());
            bench.ingest_all();
            assert_eq!(bench.lake.ids(), (1..=10).collect::<Vec<_>>(), "{point}");
            bench.check_totals();
            assert_eq!(bench.broker.group_offsets(GROUP)[&0], 10, "{point}: lag tools see the end");
        }
    }
}

#[test]
fn a_batch_in_a_callers_hands_is_in_the_lake_once_wherever_its_commit_is_cut() {
    for point in INGEST_BATCH {
        let bench = Bench::new(1).with_limit(4);
        bench.append(0, 1..=8);
        let mut ingest = bench.open(|_| {});
        let batch = ingest.next_batch(None, None).unwrap().unwrap();
        let stop = armed(point, 0);
        ingest.commit(batch).unwrap_err();
        drop(stop);
        // The same object goes on from the log, whatever became of the batch.
        let next = ingest.next_batch(None, None).unwrap().unwrap();
        let from = if is_committed_at(point) { 4 } else { 0 };
        assert_eq!(next.ranges, [range(0, from, from + 4)], "{point}");
        assert!(ingest.commit(next).unwrap());
        ingest.close().unwrap();
        bench.ingest_all();
        assert_eq!(bench.lake.ids(), (1..=8).collect::<Vec<_>>(), "{point}");
    }
}
