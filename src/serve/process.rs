//! Which process a number stands for: numbers are given anew, and machines start anew.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Tells a process from every other one that had, or will have, its number. Linux tells it; elsewhere the number alone
/// has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    #[serde(flatten)]
    place: Place,
    /// When the process started, in ticks since the machine did.
    start_ticks: u64,
}

/// Where numbers of processes mean the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Of the machine's start.
    boot_id: String,
    /// Numbers are those of this space: a container has its own.
    namespace: String,
}

impl Place {
    /// Ours, which stays as it is for as long as we run.
    fn own() -> Option<&'static Place> {
        static OWN: OnceLock<Option<Place>> = OnceLock::new();
        OWN.get_or_init(Place::read).as_ref()
    }

    fn read() -> Option<Place> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned();
        Some(Place { boot_id, namespace })
    }
}

impl Identity {
    pub fn own() -> Option<Identity> {
        Identity::of(std::process::id())
    }

    fn of(pid: u32) -> Option<Identity> {
        Some(Identity { place: Place::own()?.clone(), start_ticks: Stat::of(pid)?.start_ticks })
    }
}

/// Whether the process is over, as far as that can be seen from here.
pub fn is_gone(pid: u32, registered: Option<&Identity>) -> bool {
    match (registered, Place::own()) {
        (Some(registered), Some(here)) if registered.place.boot_id != here.boot_id => true,
        // Its number means another process here; whether it answers has to tell.
        (Some(registered), Some(here)) if registered.place.namespace != here.namespace => false,
        _ => is_over(pid, Stat::of(pid).as_ref(), registered),
    }
}

/// `stat` is what can be seen of the number: nothing where its process is gone, and nothing of another user's where
/// `/proc` is mounted with `hidepid`.
fn is_over(pid: u32, stat: Option<&Stat>, registered: Option<&Identity>) -> bool {
    match stat {
        Some(stat) => stat.is_over() || registered.is_some_and(|known| known.start_ticks != stat.start_ticks),
        None => !takes_signals(pid),
    }
}

/// A process of this number is there, also where it is not ours to signal.
fn takes_signals(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// What Linux tells of a process.
struct Stat {
    state: String,
    start_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; what follows begins with the third field, and the start is the 22nd.
        let mut fields = text.rsplit(')').next()?.split_whitespace();
        let state = fields.next()?.to_owned();
        Some(Stat { state, start_ticks: fields.nth(18)?.parse().ok()? })
    }

    /// One that was killed and not yet waited for is there for the system only.
    fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "Z" | "X")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_anew_is_not_the_process_that_had_it() {
        let pid = std::process::id();
        let own = Identity::own().unwrap();
        assert!(!is_gone(pid, Some(&own)));
        let earlier = Identity { start_ticks: own.start_ticks - 1, ..own.clone() };
        assert!(is_gone(pid, Some(&earlier)), "an earlier process of this number");
        let place =
            |boot_id: &str, namespace: &str| Place { boot_id: boot_id.to_owned(), namespace: namespace.to_owned() };
        let before_restart = Identity { place: place("another", &own.place.namespace), ..own.clone() };
        assert!(is_gone(pid, Some(&before_restart)), "before the machine was started anew");
        let elsewhere = Identity { place: place(&own.place.boot_id, "pid:[1]"), ..earlier };
        assert!(!is_gone(pid, Some(&elsewhere)), "in another container it cannot be seen");
        assert!(!is_gone(pid, None), "one that was registered without it goes by its number");
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let parent = std::os::unix::process::parent_id();
        assert!(Stat::of(parent).unwrap().start_ticks <= Stat::of(std::process::id()).unwrap().start_ticks);
    }

    #[test]
    fn one_that_is_hidden_from_us_is_there_for_as_long_as_its_number_is_taken() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let identity = Identity::of(child.id());
        assert!(!is_over(child.id(), None, identity.as_ref()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_over(child.id(), None, identity.as_ref()));
    }

    #[test]
    fn one_that_was_not_waited_for_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id());
        while !is_gone(child.id(), identity.as_ref()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_gone(child.id(), identity.as_ref()));
    }
}
