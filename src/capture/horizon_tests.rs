//! The rules of the horizon, one by one, over facts made by hand.

use super::*;
use crate::postgres::OldestStart;

const SECOND: i64 = 1_000_000;
const MARGIN: i64 = SECOND / 10;

fn state() -> HorizonState {
    HorizonState::new(HorizonRules { begin_margin: Duration::from_millis(100), late_commit_margin: None })
}

fn delayed(seconds: u64) -> HorizonState {
    HorizonState::new(HorizonRules {
        begin_margin: Duration::from_millis(100),
        late_commit_margin: Some(Duration::from_secs(seconds)),
    })
}

fn quiet(clock_us: i64) -> Activity {
    Activity { clock_us, in_recovery: false, hidden: 0, hidden_pid: None, oldest: None }
}

fn with_oldest(clock_us: i64, start_us: i64) -> Activity {
    let oldest = Some(OldestStart { start_us, pid: 7, application: "writer".to_owned(), user: "clerk".to_owned() });
    Activity { oldest, ..quiet(clock_us) }
}

fn with_hidden(clock_us: i64) -> Activity {
    Activity { hidden: 1, hidden_pid: Some(9), ..quiet(clock_us) }
}

fn prepared(transaction: &str, gid: &str) -> PreparedTransaction {
    let [transaction, gid, owner] = [transaction, gid, "clerk"].map(str::to_owned);
    PreparedTransaction { transaction, gid, prepared_us: 90 * SECOND, owner }
}

#[test]
fn h1_the_horizon_stays_below_the_oldest_start_and_below_the_clock() {
    let mut state = state();
    assert_eq!(state.advance(&quiet(100 * SECOND), &[]).unwrap().w_us, Some(100 * SECOND - MARGIN));
    let held = state.advance(&with_oldest(110 * SECOND, 105 * SECOND), &[]).unwrap();
    assert_eq!(held.w_us, Some(105 * SECOND - MARGIN));
    assert_eq!(held.holder.as_ref().and_then(Holder::pid), Some(7));
    assert_eq!(held.holder.unwrap().age, Duration::from_secs(5));
    let ahead = state.advance(&with_oldest(112 * SECOND, 113 * SECOND), &[]).unwrap();
    assert_eq!(ahead.w_us, Some(112 * SECOND - MARGIN), "a start after our clock does not lift the horizon");
}

#[test]
fn h2_a_prepared_transaction_bounds_the_horizon_by_the_poll_before_it_was_seen() {
    let mut state = state();
    let before = state.advance(&quiet(100 * SECOND), &[]).unwrap().w_us;
    for clock in [110, 120, 130] {
        let held = state.advance(&quiet(clock * SECOND), &[prepared("700", "a")]).unwrap();
        assert_eq!(held.w_us, before);
        assert_eq!(held.holder.unwrap().who, Who::Prepared { gid: "a".to_owned() });
    }
    let free = state.advance(&quiet(140 * SECOND), &[]).unwrap();
    assert_eq!(free.w_us, Some(140 * SECOND - MARGIN));
    let reused = state.advance(&quiet(150 * SECOND), &[prepared("701", "a")]).unwrap();
    assert_eq!(reused.w_us, free.w_us, "the same gid again is another transaction");
}

#[test]
fn h2_of_several_prepared_transactions_the_lowest_bound_counts() {
    let mut state = state();
    let first = state.advance(&quiet(100 * SECOND), &[]).unwrap().w_us;
    state.advance(&quiet(110 * SECOND), &[prepared("700", "a")]).unwrap();
    let both = [prepared("700", "a"), prepared("701", "b")];
    assert_eq!(state.advance(&quiet(120 * SECOND), &both).unwrap().w_us, first);
    assert_eq!(state.advance(&quiet(130 * SECOND), &both[1..]).unwrap().w_us, first, "b was seen while W stood there");
    assert_eq!(state.advance(&quiet(140 * SECOND), &[]).unwrap().w_us, Some(140 * SECOND - MARGIN));
}

#[test]
fn h2_after_a_restart_the_cursors_horizon_bounds_and_without_one_nothing_is_read() {
    let mut restarted = state();
    restarted.restore(50 * SECOND);
    assert_eq!(restarted.advance(&quiet(100 * SECOND), &[prepared("700", "a")]).unwrap().w_us, Some(50 * SECOND));

    let mut fresh = state();
    for clock in [100, 110] {
        let waiting = fresh.advance(&quiet(clock * SECOND), &[prepared("700", "a")]).unwrap();
        assert_eq!(waiting.w_us, None);
        assert!(waiting.holder.unwrap().to_string().contains("`a`"));
    }
    assert_eq!(fresh.advance(&quiet(120 * SECOND), &[]).unwrap().w_us, Some(120 * SECOND - MARGIN));
}

#[test]
fn h3_small_steps_back_hold_the_horizon_and_larger_ones_are_a_loss_that_is_named() {
    let mut state = state();
    let used = state.advance(&quiet(100 * SECOND), &[]).unwrap().w_us;
    let step = with_oldest(100 * SECOND + 5, 100 * SECOND - MARGIN / 2);
    assert_eq!(state.advance(&step, &[]).unwrap().w_us, used, "inside the margin");

    let late = state.advance(&with_oldest(101 * SECOND, 99 * SECOND), &[]).unwrap_err();
    assert_eq!(late.kind(), Kind::DataLoss);
    assert!(!late.is_retriable());
    let words = late.to_string();
    assert!(words.contains("1970-01-01 00:01:39.000000") && words.contains("1970-01-01 00:01:39.900000"), "{words}");

    let clock = state.advance(&quiet(99 * SECOND), &[]).unwrap_err();
    assert_eq!(clock.kind(), Kind::DataLoss);
    assert_eq!(state.advance(&quiet(102 * SECOND), &[]).unwrap().w_us, Some(102 * SECOND - MARGIN), "nothing was kept");
}

#[test]
fn h3_holds_across_a_restart() {
    let mut state = state();
    state.restore(100 * SECOND);
    assert_eq!(state.advance(&quiet(99 * SECOND), &[]).unwrap_err().kind(), Kind::DataLoss);
    assert_eq!(state.advance(&with_oldest(101 * SECOND, 99 * SECOND), &[]).unwrap_err().kind(), Kind::DataLoss);
}

#[test]
fn h6_a_hidden_session_stops_the_horizon_until_it_shows_itself() {
    let mut state = state();
    let before = state.advance(&quiet(100 * SECOND), &[]).unwrap().w_us;
    let hidden = state.advance(&with_hidden(110 * SECOND), &[]).unwrap();
    assert_eq!(hidden.w_us, before);
    assert_eq!(hidden.warnings.len(), 1);
    assert_eq!(hidden.holder.and_then(|holder| holder.pid()), Some(9));
    assert!(state.advance(&with_hidden(111 * SECOND), &[]).unwrap().warnings.is_empty(), "said once");
    assert_eq!(state.advance(&quiet(120 * SECOND), &[]).unwrap().w_us, Some(120 * SECOND - MARGIN));
}

#[test]
fn h6_with_a_margin_the_horizon_follows_at_that_distance_and_says_that_it_promises_less() {
    let mut state = delayed(60);
    let weak = state.advance(&with_hidden(100 * SECOND), &[]).unwrap();
    assert_eq!(weak.w_us, Some(40 * SECOND));
    assert!(weak.warnings[0].contains("60 s late"), "{:?}", weak.warnings);
    assert_eq!(state.advance(&with_hidden(101 * SECOND), &[]).unwrap().w_us, Some(41 * SECOND));
    let seen = state.advance(&with_oldest(102 * SECOND, 30 * SECOND), &[]).unwrap();
    assert_eq!(seen.w_us, Some(41 * SECOND), "an old start is no fault after a time of weaker promises");
    let again = state.advance(&with_oldest(103 * SECOND, 30 * SECOND), &[]).unwrap();
    assert_eq!(again.w_us, Some(41 * SECOND));
}

#[test]
fn h6_with_a_margin_a_visible_transaction_still_holds_the_horizon() {
    let mut state = delayed(60);
    let both = Activity { oldest: with_oldest(100 * SECOND, 30 * SECOND).oldest, ..with_hidden(100 * SECOND) };
    assert_eq!(state.advance(&both, &[]).unwrap().w_us, Some(30 * SECOND - MARGIN));
}

#[test]
fn h9_an_old_holder_is_named_once_a_minute() {
    let mut state = state();
    let mut named = Vec::new();
    for clock in 100..220 {
        let horizon = state.advance(&with_oldest(clock * SECOND, 100 * SECOND), &[]).unwrap();
        named.extend(horizon.warnings.into_iter().map(|words| (clock, words)));
    }
    let times: Vec<i64> = named.iter().map(|(clock, _)| *clock).collect();
    assert_eq!(times, [130, 190]);
    assert!(named[0].1.contains("pid 7 (writer), open for 30.0 s"), "{}", named[0].1);
}

#[test]
fn a_standby_is_waited_for_and_never_judged() {
    let mut state = state();
    let standby = Activity { in_recovery: true, ..quiet(100 * SECOND) };
    assert!(state.advance(&standby, &[]).unwrap_err().is_retriable());
    assert_eq!(state.last_w_us(), None);
}
