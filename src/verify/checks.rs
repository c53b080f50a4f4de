//! From facts to the sections: what each line says, and how bad it is.
//!
//! Only loss, repetition, alteration and a broken log are faults (and rows whose `created_at` no polling can serve);
//! what has not started or is on its way is pending; what polling cannot see (updates, deletions) is said, no more.

use super::facts::{Facts, Offenders, PartitionLag};
use super::report::{Check, Section, Status};

/// Names and places for the lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub postgres: String,
    pub table: String,
    pub timestamp_column: String,
    pub brokers: String,
    pub lake: String,
    pub quarantine: String,
    pub checkpoint: String,
    pub state_file: String,
    pub recent: Vec<String>,
}

/// What the parts beside the numbers looked like.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlook {
    pub topic_exists: bool,
    pub founded: bool,
    /// The commit log, which names the lake's files, cannot be read.
    pub log_unreadable: bool,
    /// `kafka.exactly_once: false`: what may come twice is no fault.
    pub at_least_once: bool,
    /// The pipeline begins at its topic: messages are counted in place of rows.
    pub no_table: bool,
    /// Findings that are texts of their own, by section.
    pub notes: Vec<(Section, Status, String)>,
}

impl Outlook {
    pub fn note(&mut self, section: Section, status: Status, text: impl Into<String>) {
        self.notes.push((section, status, text.into()));
    }

    fn add_to(&self, section: Section, check: &mut Check) {
        for (_, status, text) in self.notes.iter().filter(|(of, ..)| *of == section) {
            check.note(*status, text);
        }
    }
}

pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn rows(count: u64) -> String {
    plural(count, "row", "rows")
}

/// A line naming the keys, when there are any.
fn offenders(check: &mut Check, status: Status, what: &str, offenders: &Offenders) {
    if offenders.is_empty() {
        return;
    }
    let more = if offenders.count > offenders.keys.len() as u64 { ", …" } else { "" };
    check.note(status, format!("{} {what}: {}{more}", rows(offenders.count), offenders.keys.join(", ")));
}

/// The first thing wrong, for the summary.
fn worst(list: &[(&Offenders, &str)]) -> String {
    let said = list.iter().filter(|(offenders, _)| !offenders.is_empty());
    said.map(|(offenders, word)| format!("{} {word}", offenders.count)).collect::<Vec<_>>().join(", ")
}

pub(super) fn postgres(facts: &Facts, places: &Places, outlook: &Outlook) -> Check {
    let mut check = Check::new(Section::Postgres);
    let column = &places.timestamp_column;
    check.note(Status::Ok, format!("Connected to PostgreSQL ({})", places.postgres));
    check.note(Status::Ok, format!("Table '{}' contains {} records", places.table, facts.table_rows));
    if !places.recent.is_empty() {
        check.note(Status::Ok, "Recent records:");
        places.recent.iter().for_each(|line| check.under(line));
    }
    if facts.rows_before_start > 0 {
        let text = format!("{} before the start position, not part of the pipeline", rows(facts.rows_before_start));
        check.note(Status::Ok, text);
    }
    if facts.not_yet_published > 0 {
        check.note(Status::Pending, format!("{} not yet published", rows(facts.not_yet_published)));
    }
    let never = [
        (&facts.null_created_at, format!("with {column} NULL, which no poll can see")),
        (&facts.infinite_created_at, format!("with {column} infinite, which no poll can reach")),
        (&facts.future_created_at, format!("with {column} ahead of the server's clock, published only when it comes")),
        (&facts.back_dated, format!("with {column} before the cursor when they were written (back-dated), never read")),
    ];
    never.iter().for_each(|(keys, what)| offenders(&mut check, Status::Fault, what, keys));
    outlook.add_to(Section::Postgres, &mut check);
    check.summary = match check.status {
        Status::Fault => worst(&[
            (&facts.null_created_at, "with NULL time"),
            (&facts.infinite_created_at, "with infinite time"),
            (&facts.future_created_at, "in the future"),
            (&facts.back_dated, "back-dated"),
        ]),
        Status::Pending => format!("{} records, {} not yet published", facts.table_rows, facts.not_yet_published),
        _ => format!("PostgreSQL OK ({} records)", facts.table_rows),
    };
    check
}

fn lag_line(lag: &PartitionLag) -> String {
    let position = lag.position.map_or("not started".to_owned(), |position| format!("at {position}"));
    format!(
        "partition {}: {position} of {}, {} behind",
        lag.partition,
        lag.end,
        plural(lag.lag as u64, "offset", "offsets")
    )
}

pub(super) fn kafka(facts: &Facts, places: &Places, outlook: &Outlook) -> Check {
    let mut check = Check::new(Section::Kafka);
    let topic = facts.topic.as_deref().unwrap_or("");
    check.note(Status::Ok, format!("Connected to Kafka ({})", places.brokers));
    if !outlook.topic_exists {
        check.note(Status::Pending, format!("Topic '{topic}' does not exist yet; producer or consumer create it"));
        check.summary = "topic not created yet".to_owned();
        return check;
    }
    let messages = facts.messages_consumed + facts.messages_waiting;
    check.note(Status::Ok, format!("Topic '{topic}' exists"));
    check.note(Status::Ok, format!("Partitions: {}", facts.partitions.len()));
    check.note(Status::Ok, format!("Messages in topic: {messages}"));
    for lag in &facts.partitions {
        check.under(lag_line(lag));
    }
    if facts.messages_waiting > 0 {
        check.note(
            Status::Pending,
            format!("{} not yet consumed", plural(facts.messages_waiting, "message", "messages")),
        );
    } else if messages == 0 {
        check.note(Status::Pending, "nothing published yet");
    }
    outlook.add_to(Section::Kafka, &mut check);
    check.summary = match check.status {
        Status::Fault | Status::Warning | Status::Unproven => worst_note(outlook, Section::Kafka),
        Status::Pending if messages == 0 => "no messages yet".to_owned(),
        Status::Pending => format!("{messages} messages in topic, {} not yet consumed", facts.messages_waiting),
        _ => format!("Kafka OK ({} in topic)", plural(messages, "message", "messages")),
    };
    check
}

fn worst_note(outlook: &Outlook, section: Section) -> String {
    let notes = outlook.notes.iter().filter(|(of, ..)| *of == section);
    notes.max_by_key(|(_, status, _)| *status).map(|(.., text)| text.clone()).unwrap_or_default()
}

pub(super) fn lake(facts: &Facts, places: &Places, outlook: &Outlook) -> Check {
    let mut check = Check::new(Section::Lake);
    if outlook.log_unreadable {
        check.summary = "not compared: the commit log, which names its files, cannot be read".to_owned();
        check.note(Status::Unproven, format!("{}: {}", places.lake, check.summary));
        return check;
    }
    if !outlook.founded && facts.files == 0 {
        check.note(Status::Pending, format!("nothing written to {} yet", places.lake));
        faults_and_doubts(facts, outlook, &mut check);
        outlook.add_to(Section::Lake, &mut check);
        check.summary = match check.status {
            Status::Pending => "not started yet".to_owned(),
            _ => lake_summary(facts, outlook, &check),
        };
        return check;
    }
    let dates: Vec<String> = facts.dates.keys().map(ToString::to_string).collect();
    check.note(Status::Ok, format!("Parquet files found: {} ({})", places.lake, plural(facts.files, "file", "files")));
    check.note(
        Status::Ok,
        format!("Date partitions: {}", if dates.is_empty() { "none".into() } else { dates.join(", ") }),
    );
    check.note(Status::Ok, format!("Total records in data lake: {}", facts.lake_rows));
    if facts.quarantine_rows > 0 {
        check.note(Status::Ok, format!("Quarantined: {} in {}", rows(facts.quarantine_rows), places.quarantine));
    }
    if !outlook.no_table {
        let held = facts.held_in_lake + facts.held_in_quarantine;
        let text = format!("Compared by key and content: {held} of {} published rows agree", facts.rows_in_scope);
        check.note(Status::Ok, text);
    }
    if facts.duplicate.is_empty() && !outlook.no_table {
        check.note(Status::Ok, "No duplicates detected");
    }
    faults_and_doubts(facts, outlook, &mut check);
    outlook.add_to(Section::Lake, &mut check);
    check.summary = lake_summary(facts, outlook, &check);
    check
}

fn faults_and_doubts(facts: &Facts, outlook: &Outlook, check: &mut Check) {
    if facts.published_not_yet_consumed > 0 {
        check.note(Status::Pending, format!("{} published, not yet consumed", rows(facts.published_not_yet_consumed)));
    }
    if facts.rows_skipped_by_start > 0 {
        let text = format!("{} lie before the lake's own start position", rows(facts.rows_skipped_by_start));
        check.note(Status::Ok, text);
    }
    offenders(
        check,
        Status::Ok,
        "updated in the table after capture (polling sees inserts)",
        &facts.updated_after_capture,
    );
    offenders(
        check,
        Status::Ok,
        "deleted from the table after capture (polling sees inserts)",
        &facts.deleted_after_capture,
    );
    if facts.foreign_messages > 0 {
        let count = plural(facts.foreign_messages, "message", "messages");
        check.note(Status::Ok, format!("{count} that no row of the table explains (other programs' or deleted rows)"));
    }
    if facts.lake_rows_without_key > 0 {
        let text = format!("{} of the lake have no key and cannot be compared", rows(facts.lake_rows_without_key));
        check.note(Status::Warning, text);
    }
    offenders(check, Status::Unproven, "differ, and the evidence that tells why is gone", &facts.unproven);
    offenders(check, Status::Fault, "missing: neither in the lake nor in quarantine", &facts.missing);
    let twice = if outlook.at_least_once { Status::Warning } else { Status::Fault };
    offenders(check, twice, "more than once", &facts.duplicate);
    offenders(check, Status::Fault, "altered: not what the table held when it was captured", &facts.altered);
    offenders(check, Status::Fault, "extra: in the lake, and never published", &facts.extra);
    for name in &facts.missing_files {
        check.note(Status::Fault, format!("missing file: {name}"));
    }
    for name in &facts.orphan_files {
        check.note(Status::Fault, format!("orphan file, in no commit: {name}"));
    }
}

fn lake_summary(facts: &Facts, outlook: &Outlook, check: &Check) -> String {
    match check.status {
        Status::Fault => {
            let keys = worst(&[
                (&facts.missing, "missing"),
                (&facts.duplicate, "more than once"),
                (&facts.altered, "altered"),
                (&facts.extra, "extra"),
            ]);
            let count = |files: &[String], what: &str| {
                (!files.is_empty()).then(|| format!("{} {what}", plural(files.len() as u64, "file", "files")))
            };
            let files = [count(&facts.missing_files, "missing"), count(&facts.orphan_files, "in no commit")];
            let said: Vec<String> =
                [keys].into_iter().filter(|text| !text.is_empty()).chain(files.into_iter().flatten()).collect();
            if said.is_empty() { worst_note(outlook, Section::Lake) } else { said.join(", ") }
        }
        Status::Unproven if !facts.unproven.is_empty() => format!("{} differ without evidence", facts.unproven.count),
        Status::Warning if !facts.duplicate.is_empty() => format!("{} more than once", facts.duplicate.count),
        Status::Warning if facts.lake_rows_without_key > 0 => {
            format!("{} without a key", rows(facts.lake_rows_without_key))
        }
        Status::Unproven | Status::Warning => worst_note(outlook, Section::Lake),
        _ => {
            let files = plural(facts.files, "parquet file", "parquet files");
            let quarantined = match facts.quarantine_rows {
                0 => String::new(),
                count => format!(", {count} quarantined"),
            };
            format!("Data lake OK ({files}, {} records{quarantined})", facts.lake_rows)
        }
    }
}

pub(super) fn state_file(facts: &Facts, places: &Places, outlook: &Outlook) -> Check {
    let mut check = Check::new(Section::StateFile);
    match (&facts.state, &facts.cursor) {
        (Some(state), _) => check.note(Status::Ok, format!("{} says {state}", places.state_file)),
        (None, None) => check.note(Status::Pending, format!("{} not written yet", places.state_file)),
        (None, Some(_)) => {}
    }
    match &facts.cursor {
        Some(cursor) => check.note(Status::Ok, format!("Cursor in Kafka: {cursor}")),
        None => check.note(Status::Pending, "no cursor in Kafka yet"),
    }
    outlook.add_to(Section::StateFile, &mut check);
    check.summary = match check.status {
        Status::Ok => "State file OK (timestamp updated)".to_owned(),
        Status::Pending => "not started yet".to_owned(),
        _ => worst_note(outlook, Section::StateFile),
    };
    check
}

pub(super) fn checkpoint(facts: &Facts, places: &Places, outlook: &Outlook) -> Check {
    let mut check = Check::new(Section::Checkpoint);
    match facts.commit {
        Some(number) => {
            check.note(Status::Ok, format!("Commit log {}: last commit {number}", places.checkpoint));
            for lag in facts.partitions.iter().filter(|lag| lag.position.is_some()) {
                check.under(lag_line(lag));
            }
        }
        None if outlook.founded => {}
        None => check.note(Status::Pending, format!("no commit in {} yet", places.checkpoint)),
    }
    outlook.add_to(Section::Checkpoint, &mut check);
    check.summary = match check.status {
        Status::Ok => "Checkpoint OK".to_owned(),
        Status::Pending => "not started yet".to_owned(),
        _ => worst_note(outlook, Section::Checkpoint),
    };
    check
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::*;

    fn report(facts: Facts, outlook: &Outlook) -> Report {
        let places = Places { lake: "lake <&>".into(), timestamp_column: "created_at".into(), ..Places::default() };
        let sections = vec![
            postgres(&facts, &places, outlook),
            kafka(&facts, &places, outlook),
            lake(&facts, &places, outlook),
            state_file(&facts, &places, outlook),
            checkpoint(&facts, &places, outlook),
        ];
        Report { sections, facts, next: Vec::new() }
    }

    fn running() -> (Facts, Outlook) {
        let facts = Facts {
            table_rows: 3,
            messages_consumed: 3,
            files: 1,
            lake_rows: 3,
            state: Some("s".into()),
            cursor: Some("s".into()),
            commit: Some(1),
            ..Facts::default()
        };
        (facts, Outlook { topic_exists: true, founded: true, ..Outlook::default() })
    }

    #[test]
    fn each_status_has_its_exit_code_and_its_closing_line() {
        let (facts, outlook) = running();
        let healthy = report(facts.clone(), &outlook);
        assert_eq!(healthy.exit_code(), 0);
        assert!(healthy.render(false).ends_with("✓ PIPELINE HEALTHY\n"), "{}", healthy.render(false));
        let pending = report(Facts { not_yet_published: 2, ..facts.clone() }, &outlook);
        assert_eq!((pending.exit_code(), pending.status()), (0, Status::Pending));
        assert!(pending.render(false).contains("PIPELINE PENDING: PostgreSQL (3 records, 2 not yet published)"));
        let offenders = Offenders { count: 30, keys: (1..=20).map(|key| key.to_string()).collect() };
        let unproven = report(Facts { unproven: offenders.clone(), ..facts.clone() }, &outlook);
        assert_eq!((unproven.exit_code(), unproven.status()), (0, Status::Unproven));
        let faults: [fn(&mut Facts) -> &mut Offenders; 8] = [
            |facts| &mut facts.missing,
            |facts| &mut facts.extra,
            |facts| &mut facts.duplicate,
            |facts| &mut facts.altered,
            |facts| &mut facts.null_created_at,
            |facts| &mut facts.infinite_created_at,
            |facts| &mut facts.future_created_at,
            |facts| &mut facts.back_dated,
        ];
        for fault in faults {
            let mut facts = facts.clone();
            *fault(&mut facts) = offenders.clone();
            let faulty = report(facts, &outlook);
            assert_eq!((faulty.exit_code(), faulty.is_ok()), (3, false));
            let text = faulty.render(false);
            assert!(
                text.contains("30 rows ") && text.contains("19, 20, …") && text.contains("Something is wrong: "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_lake_whose_log_cannot_be_read_is_not_called_fine() {
        let (facts, outlook) = running();
        let mut outlook = Outlook { log_unreadable: true, ..outlook };
        outlook.note(Section::Checkpoint, Status::Fault, "record 3 is damaged");
        let report = report(Facts { commit: None, files: 0, lake_rows: 0, ..facts }, &outlook);
        assert_eq!((report.exit_code(), report.sections[2].status), (3, Status::Unproven));
        let text = report.render(false);
        assert!(text.contains("UNPROVEN | Data Lake  | not compared: the commit log"), "{text}");
        assert!(text.contains("Something is wrong: Checkpoint (record 3 is damaged)"), "{text}");
    }

    #[test]
    fn what_was_not_looked_at_is_no_worse_than_what_was() {
        let (facts, outlook) = running();
        let mut report = report(facts, &Outlook { no_table: true, ..outlook });
        report.sections[0] = Check::without_table(Section::Postgres);
        report.sections[3] = Check::without_table(Section::StateFile);
        assert_eq!((report.exit_code(), report.status(), &report.to_json()["status"]), (0, Status::Ok, &"ok".into()));
        let text = report.render(false);
        assert!(text.contains("- SKIPPED | PostgreSQL | no table to compare with"), "{text}");
        assert!(text.ends_with("✓ PIPELINE HEALTHY\n") && !text.contains("published rows agree"), "{text}");
    }

    #[test]
    fn what_comes_twice_is_a_fault_only_where_it_was_promised_not_to() {
        let (mut facts, outlook) = running();
        facts.duplicate = Offenders { count: 1, keys: vec!["7".into()] };
        assert_eq!(report(facts.clone(), &outlook).exit_code(), 3);
        let lenient = report(facts, &Outlook { at_least_once: true, ..outlook });
        assert_eq!((lenient.exit_code(), lenient.status()), (0, Status::Warning));
    }

    #[test]
    fn colours_mark_and_change_nothing_else() {
        let (facts, outlook) = running();
        let report = report(Facts { missing: Offenders { count: 1, keys: vec!["7".into()] }, ..facts }, &outlook);
        let mut plain = report.render(true);
        for code in ["\x1b[0m", "\x1b[31m", "\x1b[32m"] {
            assert!(plain.contains(code));
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, report.render(false));
    }

    #[test]
    fn html_is_escaped_and_json_has_facts_and_checks() {
        let (facts, mut outlook) = running();
        outlook.note(Section::Checkpoint, Status::Fault, "record <3> is damaged");
        let mut noted = report(facts, &outlook);
        noted.sections[0].summary.push_str(" of <orders>");
        noted.next.push("mend <it>".to_owned());
        let html = noted.to_html();
        for quoted in ["record &lt;3&gt;", "of &lt;orders&gt;", "mend &lt;it&gt;"] {
            assert!(html.contains(quoted), "{html}");
        }
        let (facts, outlook) = running();
        let report = report(facts, &outlook);
        assert!(report.to_html().contains("lake &lt;&amp;&gt;") && !report.to_html().contains("<&"));
        let json = report.to_json();
        assert_eq!((json["exit_code"].as_i64(), json["facts"]["lake_rows"].as_u64()), (Some(0), Some(3)));
        assert_eq!(json["checks"][2]["name"], "Data Lake");
        assert_eq!(json["checks"][2]["status"], "ok");
    }

    #[test]
    fn sections_are_named_in_several_ways_and_unknown_ones_refused() {
        for (text, section) in
            [("kafka", Section::Kafka), ("State File", Section::StateFile), ("data-lake", Section::Lake)]
        {
            assert_eq!(text.parse(), Ok(section));
        }
        assert!("spark".parse::<Section>().unwrap_err().contains("use postgres, kafka"));
    }
}
