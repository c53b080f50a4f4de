//! The processes of one configuration: found, asked, missed, and remembered where they failed.

use super::*;
use crate::error::Kind;

fn disk_is_full() -> Error {
    Error::new(Kind::Lake, "the disk is full")
}

/// Until whoever starts now starts later than what has happened so far.
fn let_a_millisecond_pass() {
    let moment = Instant::now();
    eventually(|| moment.elapsed() > Duration::from_millis(2));
}

#[test]
fn processes_of_one_configuration_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    let consumer = start(&settings, Role::Consumer, "0000bbbb-1");
    consumer.shared.monitor.enter(Phase::Running);
    let seen = status(&producer);
    assert_eq!(part(&seen, "consumer")["state"], "running", "{seen}");
    assert_eq!(part(&seen, "producer")["self"], true);
    assert_eq!(part(&status(&consumer), "producer")["run_id"], "0000aaaa-1");

    consumer.end(None);
    eventually(|| part(&status(&producer), "consumer")["state"] == "ended");

    let again = start(&settings, Role::Consumer, "0000cccc-1");
    eventually(|| part(&status(&producer), "consumer")["state"] == "starting");
    again.end(Some(&disk_is_full()));
    eventually(|| {
        let seen = status(&producer);
        let failed = seen["parts"].as_array().unwrap().iter().find(|part| part["state"] == "failed");
        failed.is_some_and(|part| part["state_text"] == "the disk is full") && seen["health"]["state"] == "down"
    });
    producer.end(None);
    assert!(!folder.path().join("checkpoint_status").exists(), "the last one takes the notes with it");
}

/// What a process of this machine says of itself.
fn registration(id: &str, role: &str, pid: u32) -> Value {
    json!({
        "id": id, "role": role, "pid": pid, "host": registry::host_name(), "run_id": "dead",
        "url": "http://127.0.0.1:1/", "reachable": false, "topic": "orders", "started_at": "2026-01-01T00:00:00.000Z",
    })
}

/// The file of a process that is gone, as a kill leaves it.
fn leave_file_of_the_dead(folder: &Path, role: &str) -> std::path::PathBuf {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let id = format!("{role}-{}-dead", child.id());
    let folder = folder.join("checkpoint_status");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{id}.json"));
    std::fs::write(&file, registration(&id, role, child.id()).to_string()).unwrap();
    file
}

#[test]
fn a_process_that_is_gone_without_an_end_is_down_until_another_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    producer.shared.monitor.enter(Phase::Running);
    leave_file_of_the_dead(folder.path(), "consumer");
    let seen = status(&producer);
    assert_eq!(part(&seen, "consumer")["state"], "down", "{seen}");
    assert_eq!(seen["health"]["state"], "down");
    let consumer = start(&settings, Role::Consumer, "0000bbbb-1");
    consumer.shared.monitor.enter(Phase::Running);
    eventually(|| {
        let seen = status(&producer);
        part(&seen, "consumer")["state"] == "running" && seen["health"]["state"] == "ok"
    });
    consumer.end(None);
    producer.end(None);
}

#[test]
fn a_failure_from_before_the_first_look_is_shown_until_another_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    producer.shared.monitor.enter(Phase::Running);
    let failed = start(&settings, Role::Consumer, "0000bbbb-1");
    failed.end(Some(&disk_is_full()));
    let seen = status(&producer);
    let consumer = part(&seen, "consumer");
    assert_eq!((&consumer["state"], &consumer["state_text"]), (&json!("failed"), &json!("the disk is full")), "{seen}");
    assert_eq!((&consumer["pid"], &seen["health"]["state"]), (&json!(std::process::id()), &json!("down")));
    let_a_millisecond_pass();
    let next = start(&settings, Role::Consumer, "0000cccc-1");
    next.shared.monitor.enter(Phase::Running);
    let of_next = status(&next);
    assert_eq!(of_next["parts"].as_array().unwrap().len(), 2, "its own page shows it no more: {of_next}");
    eventually(|| {
        let seen = status(&producer);
        part(&seen, "consumer")["state"] == "running" && seen["health"]["state"] == "ok"
    });
    next.end(None);
    eventually(|| part(&status(&producer), "consumer")["state"] == "ended");
    producer.end(None);
}

#[test]
fn a_file_that_is_no_registration_and_one_of_another_topic_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let status_folder = folder.path().join("checkpoint_status");
    std::fs::create_dir_all(&status_folder).unwrap();
    std::fs::write(status_folder.join("x.json"), "{\"id\": 7").unwrap();
    let file = leave_file_of_the_dead(folder.path(), "consumer");
    std::fs::rename(file, status_folder.join("consumer-1-other.json")).unwrap();
    // Whoever opened it would wait for a writer.
    let made = std::process::Command::new("mkfifo").arg(status_folder.join("pipe.json")).status().unwrap();
    assert!(made.success());
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    assert_eq!(status(&producer)["parts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_failure_with_nobody_beside_it_is_shown_on_the_next_page() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    start(&settings, Role::Consumer, "0000aaaa-1").end(Some(&disk_is_full()));
    let producer = start(&settings, Role::Producer, "0000bbbb-1");
    producer.shared.monitor.enter(Phase::Running);
    let seen = status(&producer);
    let consumer = part(&seen, "consumer");
    assert_eq!((&consumer["state"], &consumer["state_text"]), (&json!("failed"), &json!("the disk is full")), "{seen}");
    assert_eq!(seen["health"]["state"], "down");
    producer.end(None);
    assert!(!folder.path().join("checkpoint_status").exists(), "somebody has shown it");
}

#[test]
fn a_run_that_fails_where_runs_come_and_go_is_failed_until_the_next_one_and_also_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    producer.shared.monitor.enter(Phase::Running);
    let consumer = start(&settings, Role::Consumer, "0000bbbb-1");
    let fail = || consumer.shared.monitor.enter(Phase::Failed("the disk is full".to_owned()));
    let shows = |state: &str| {
        let seen = status(&producer);
        let consumer = part(&seen, "consumer");
        consumer["state"] == state && (state != "failed" || consumer["state_text"] == "the disk is full")
    };
    fail();
    eventually(|| shows("failed"));
    consumer.shared.monitor.enter(Phase::Running);
    eventually(|| shows("running"));
    fail();
    eventually(|| shows("failed"));
    let_a_millisecond_pass();
    let next = start(&settings, Role::Consumer, "0000cccc-1");
    next.shared.monitor.enter(Phase::Running);
    eventually(|| shows("running") && status(&producer)["health"]["state"] == "ok");
    next.end(None);
    drop(consumer);
    eventually(|| shows("failed"));
    producer.end(None);
}

#[test]
fn a_run_that_fails_beside_a_younger_worker_is_not_taken_for_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let elder = start(&settings, Role::Consumer, "0000bbbb-1");
    let_a_millisecond_pass();
    let younger = start(&settings, Role::Consumer, "0000cccc-1");
    let_a_millisecond_pass();
    elder.shared.monitor.enter(Phase::Failed("the disk is full".to_owned()));
    let_a_millisecond_pass();
    // It failed before anybody looked, too.
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    eventually(|| consumer_states(&producer) == ["failed", "starting"]);
    elder.shared.monitor.enter(Phase::Running);
    eventually(|| consumer_states(&producer) == ["running", "starting"]);
    younger.end(None);
}

/// States of the consumers on this one's page.
fn consumer_states(of: &Server) -> Vec<String> {
    let seen = status(of);
    let consumers = seen["parts"].as_array().unwrap().iter().filter(|part| part["role"] == "consumer");
    consumers.map(|part| part["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_worker_that_fails_beside_a_younger_one_is_not_taken_for_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    let elder = start(&settings, Role::Consumer, "0000bbbb-1");
    let_a_millisecond_pass();
    let younger = start(&settings, Role::Consumer, "0000cccc-1");
    let_a_millisecond_pass();
    elder.end(Some(&disk_is_full()));
    eventually(|| consumer_states(&producer) == ["failed", "starting"]);
    younger.end(None);
    eventually(|| consumer_states(&producer) == ["failed", "ended"]);
    producer.end(None);
}

#[test]
fn a_process_whose_number_was_given_to_another_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), json!({ "port": 0 }));
    let producer = start(&settings, Role::Producer, "0000aaaa-1");
    let consumer = start(&settings, Role::Consumer, "0000bbbb-1");
    let file = folder.path().join("checkpoint_status").join(format!("{}.json", consumer.shared.facts.id));
    let mut registration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    eventually(|| part(&status(&producer), "consumer")["state"] == "starting");
    // As the file of one that was killed an hour ago, and whose number and port others have now.
    let started = registration["process"]["start_ticks"].as_u64().unwrap();
    registration["process"]["start_ticks"] = json!(started - 1);
    std::fs::write(&file, registration.to_string()).unwrap();
    let again = start(&settings, Role::Producer, "0000cccc-1");
    eventually(|| part(&status(&again), "consumer")["state"] == "down");
    assert_eq!(part(&status(&again), "consumer")["state_text"], "it is gone without an end");
}

/// Files of the status folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn join(folder: &Path, registration: Value) {
    assert!(Registry::join(folder.to_owned(), serde_json::from_value(registration).unwrap()).is_some());
}

#[test]
fn a_container_that_is_killed_and_started_anew_takes_the_place_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = |id: &str, port: u16| {
        let mut registration = registration(id, "consumer", std::process::id());
        registration["url"] = json!(format!("http://127.0.0.1:{port}/"));
        registration
    };
    // Processes of another container, which cannot be seen from here.
    let mut process = json!(process::Identity::own());
    process["namespace"] = json!("pid:[1]");
    for (id, port) in [("consumer-1-a", 4040), ("consumer-1-b", 4041)] {
        let mut killed = file(id, port);
        killed["process"] = process.clone();
        std::fs::write(folder.path().join(format!("{id}.json")), killed.to_string()).unwrap();
    }
    join(folder.path(), file("consumer-1-c", 4040));
    assert_eq!(files(folder.path(), ".end"), ["consumer-1-a.end"]);
    let left = ["consumer-1-b.json", "consumer-1-c.json"];
    assert_eq!(files(folder.path(), ".json"), left, "one that listens elsewhere may live");
}

#[test]
fn however_often_a_side_was_killed_its_next_start_has_one_end_to_tell_of() {
    let folder = tempfile::tempdir().unwrap();
    let status_folder = folder.path().join("checkpoint_status");
    for round in 0..3 {
        leave_file_of_the_dead(folder.path(), "consumer");
        leave_file_of_the_dead(folder.path(), "producer");
        join(&status_folder, registration(&format!("consumer-1-{round}"), "consumer", std::process::id()));
        let notes = files(&status_folder, ".end");
        let of = |role: &str| notes.iter().filter(|name| name.starts_with(role)).count();
        assert_eq!((of("consumer"), of("producer")), (1, round + 1), "those of the other side are not its to tell");
    }
}
