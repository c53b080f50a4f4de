//! One session behind one handle: opened by the first call, used by one call at a time, closed from anywhere.
//!
//! For callers that come and go, such as an object of another language. A session that was asked to stop, or whose
//! work failed, is dropped on the thread that worked, since dropping may wait for its threads; the next call opens a
//! new one, which goes on where the cursor or the commit log stands.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use super::shutdown::Stop;
use crate::error::{Error, Result};

#[derive(Debug)]
pub struct Slot<S> {
    session: Mutex<Option<(Stop, S)>>,
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    /// Of the call under way, or of the open session.
    stop: Stop,
    /// Number of the call under way.
    running: Option<u64>,
    calls: u64,
    closed: bool,
}

/// A call that has begun; its work may be done on another thread, and later.
#[derive(Debug)]
pub struct Call {
    number: u64,
    pub stop: Stop,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Slot { session: Mutex::default(), control: Mutex::default() }
    }
}

impl<S> Slot<S> {
    /// Refused while another call is under way that nobody asked to stop, and after `close`. A stop that was
    /// requested before ends nothing that begins now.
    pub fn begin(&self) -> Result<Call> {
        let mut control = lock(&self.control);
        if control.closed {
            return Err(Error::config("this is closed"));
        }
        if control.stop.is_requested() {
            control.stop = Stop::new();
        } else if control.running.is_some() {
            return Err(Error::config("this is at work in another thread, or called this itself; stop() ends that"));
        }
        control.calls += 1;
        control.running = Some(control.calls);
        Ok(Call { number: control.calls, stop: control.stop.clone() })
    }

    /// All of a call: one step, and its end.
    pub fn work<R>(
        &self,
        call: &Call,
        open: impl FnOnce(&Stop) -> Result<S>,
        work: impl FnOnce(&mut S) -> Result<R>,
    ) -> Result<R> {
        let result = self.step(call, open, work);
        self.end(call);
        result
    }

    /// Waits for an earlier call that is still ending, then works with the session, opening it where there is none.
    /// A stop does not take the session away between two steps of a call; an error does. A panic becomes an error.
    pub fn step<R>(
        &self,
        call: &Call,
        open: impl FnOnce(&Stop) -> Result<S>,
        work: impl FnOnce(&mut S) -> Result<R>,
    ) -> Result<R> {
        let mut held = lock(&self.session);
        if held.as_ref().is_some_and(|(stop, _)| stop.is_requested() && !stop.is(&call.stop)) {
            *held = None;
        }
        let result = caught(|| {
            let (_, session) = match &mut *held {
                Some(open) => open,
                None => held.insert((call.stop.clone(), open(&call.stop)?)),
            };
            work(session)
        });
        if result.is_err() {
            *held = None;
        }
        result
    }

    /// The call is over: another may begin. Drops a session that was asked to stop.
    pub fn end(&self, call: &Call) {
        if call.stop.is_requested() {
            let mut held = lock(&self.session);
            if held.as_ref().is_some_and(|(stop, _)| stop.is(&call.stop)) {
                *held = None;
            }
        }
        let mut control = lock(&self.control);
        control.running = control.running.filter(|&number| number != call.number);
    }

    /// Ends the call under way at its next safe point; nothing if there is none.
    pub fn stop(&self) {
        lock(&self.control).stop.request();
    }

    /// No call begins any more and the one under way ends. True the first time: then `clear` is to follow.
    pub fn close(&self) -> bool {
        let mut control = lock(&self.control);
        control.stop.request();
        !std::mem::replace(&mut control.closed, true)
    }

    /// Waits for the call under way and drops the session.
    pub fn clear(&self) {
        *lock(&self.session) = None;
    }

    /// `closed`, `stopping`, `running` or `idle`.
    pub fn state(&self) -> &'static str {
        let control = lock(&self.control);
        match (control.closed, control.running.is_some(), control.stop.is_requested()) {
            (true, ..) => "closed",
            (false, true, true) => "stopping",
            (false, true, false) => "running",
            (false, false, _) => "idle",
        }
    }
}

/// What was locked while a panic passed was dropped by whoever caught it; the rest is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A panic is a bug of ours; it must not take the caller with it.
pub fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::bug(words(&*panic))))
}

pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn add(slot: &Slot<u32>, more: u32) -> Result<u32> {
        let call = slot.begin()?;
        slot.work(
            &call,
            |_| Ok(10),
            |session| {
                *session += more;
                Ok(*session)
            },
        )
    }

    #[test]
    fn a_session_lasts_from_call_to_call_until_one_fails() {
        let slot = Slot::default();
        assert_eq!((add(&slot, 1).unwrap(), add(&slot, 1).unwrap()), (11, 12));
        let call = slot.begin().unwrap();
        let failed: Result<()> = slot.work(&call, |_| Ok(0), |_| Err(Error::new(Kind::Lake, "disk full")));
        assert!(failed.is_err());
        assert_eq!(add(&slot, 1).unwrap(), 11, "a failed session is not used again");
    }

    #[test]
    fn a_stop_ends_the_session_and_not_the_next_call() {
        let slot = Slot::default();
        assert_eq!(add(&slot, 5).unwrap(), 15);
        slot.stop();
        assert_eq!(slot.state(), "idle");
        assert_eq!(add(&slot, 1).unwrap(), 11);
    }

    #[test]
    fn one_call_at_a_time_but_one_that_is_stopping_is_waited_for() {
        let slot = Slot::<u32>::default();
        let first = slot.begin().unwrap();
        assert_eq!((slot.state(), slot.begin().unwrap_err().kind()), ("running", Kind::Config));
        slot.stop();
        assert_eq!(slot.state(), "stopping");
        let second = slot.begin().unwrap();
        slot.work(&first, |_| Ok(0), |_| Ok(())).unwrap();
        assert_eq!(slot.state(), "running", "the end of the first call is not the end of the second");
        slot.work(&second, |_| Ok(0), |_| Ok(())).unwrap();
        assert_eq!(slot.state(), "idle");
    }

    #[test]
    fn a_panic_is_an_error_and_ends_the_session() {
        let slot = Slot::default();
        add(&slot, 1).unwrap();
        let call = slot.begin().unwrap();
        let panicked: Result<()> = slot.work(&call, |_| Ok(0), |_| panic!("index out of bounds"));
        assert!(panicked.unwrap_err().to_string().contains("index out of bounds"));
        assert_eq!(add(&slot, 1).unwrap(), 11);
    }

    #[test]
    fn a_stop_between_two_steps_leaves_the_session_to_the_call_and_no_further() {
        let slot = Slot::default();
        let call = slot.begin().unwrap();
        let step = || slot.step(&call, |_| Ok(10), |session| Ok(std::mem::replace(session, 20)));
        assert_eq!(step().unwrap(), 10);
        assert_eq!((slot.state(), slot.begin().unwrap_err().kind()), ("running", Kind::Config));
        slot.stop();
        assert_eq!((step().unwrap(), slot.state()), (20, "stopping"));
        slot.end(&call);
        assert_eq!((slot.state(), add(&slot, 1).unwrap()), ("idle", 11));
    }

    #[test]
    fn a_call_that_ends_late_takes_nothing_from_the_next() {
        let slot = Slot::default();
        let late = slot.begin().unwrap();
        slot.step(&late, |_| Ok(10), |_| Ok(())).unwrap();
        slot.stop();
        let next = slot.begin().unwrap();
        slot.step(&next, |_| Ok(30), |_| Ok(())).unwrap();
        slot.end(&late);
        assert_eq!(slot.state(), "running");
        assert_eq!(slot.work(&next, |_| Ok(0), |session| Ok(*session)).unwrap(), 30);
    }

    #[test]
    fn nothing_begins_after_close() {
        let slot = Slot::default();
        add(&slot, 1).unwrap();
        assert!(slot.close());
        assert!(!slot.close());
        slot.clear();
        assert!(slot.begin().is_err());
    }
}
