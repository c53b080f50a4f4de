//! Planted faults, each in a small pipeline held in memory: the table as the server's text, the lake as Arrow
//! columns, the topic as JSON. Every test changes one thing and says what the verdict is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono_tz::Tz;

use super::canon::{Canon, Forms, LakeColumns, form_of, message_digest, parse_moment};
use super::facts::Facts;
use super::judge::{Evidence, History, Mark, Sighting, Sightings, judge};
use super::ledger::{Handle, Holding, KeyKind, Ledger, Place};
use super::reconcile::{Doubt, Moment, Reconciler, Scope, TableRow};
use crate::model::{Column, Cursor, DataType, Key, Schema};

const ROWS: i64 = 12;
/// Published up to here; the rows after it are new.
const PUBLISHED: i64 = 10;
/// Consumed up to here; messages 9 and 10 wait in the topic.
const CONSUMED: i64 = 8;
const FIRST_XMIN: u64 = 700;
const LAST_SNAPSHOT: u64 = 800;

#[derive(Clone)]
struct Row {
    id: i64,
    amount: String,
    created_at: String,
    xmin: u64,
}

impl Row {
    fn new(id: i64) -> Row {
        let created_at = format!("2025-11-18 10:{:02}:{:02}.000001", id / 60, id % 60);
        Row { id, amount: format!("{id}.50"), created_at, xmin: FIRST_XMIN + id as u64 }
    }

    fn micros(&self) -> i64 {
        parse_moment(self.created_at.as_bytes()).unwrap().0
    }

    fn cents(&self) -> i128 {
        self.amount.replace('.', "").parse().unwrap()
    }

    fn json(&self) -> String {
        let (id, amount, moment) = (self.id, &self.amount, self.created_at.replace(' ', "T"));
        format!("{{\"id\":{id},\"amount\":{amount},\"note\":null,\"created_at\":\"{moment}Z\"}}")
    }
}

fn mark(offset: i64, last: i64, snapshot_xmin: u64) -> Mark {
    Mark { offset, position: cursor_at(&Row::new(last)), snapshot_xmin: Some(snapshot_xmin), one_page: true }
}

/// A pipeline in good order.
struct World {
    table: Vec<Row>,
    lake: Vec<Row>,
    quarantine: Vec<(i64, String)>,
    /// (partition, offset, key, value): everything Kafka still has.
    topic: Vec<(i32, i64, i64, String)>,
    /// Offsets from here on are not consumed.
    position: i64,
    scope: Scope,
    evidence: Evidence,
}

fn cursor_at(row: &Row) -> Cursor {
    Cursor { timestamp_us: row.micros(), key: Some(Key::Int(row.id)) }
}

impl World {
    fn new() -> World {
        let table: Vec<Row> = (1..=ROWS).map(Row::new).collect();
        let up_to = |last: i64| table.iter().filter(move |row| row.id <= last).cloned();
        let topic = up_to(PUBLISHED).map(|row| (0, row.id - 1, row.id, row.json())).collect();
        let start =
            Mark { offset: 0, position: Cursor { timestamp_us: 0, key: None }, snapshot_xmin: None, one_page: true };
        let marks = vec![start, mark(2, 5, FIRST_XMIN + 6), mark(4, PUBLISHED, LAST_SNAPSHOT)];
        World {
            lake: up_to(CONSUMED).collect(),
            quarantine: Vec::new(),
            topic,
            position: CONSUMED,
            scope: Scope {
                start: Some(Cursor { timestamp_us: 0, key: None }),
                cursor: Some(cursor_at(&Row::new(PUBLISHED))),
                now_us: Row::new(ROWS).micros() + 1_000_000,
            },
            evidence: Evidence {
                history: History::new(marks),
                sightings: Sightings::default(),
                starts: HashMap::from([(0, 0)]),
                complete: true,
                waiting_read: true,
            },
            table,
        }
    }

    /// Kafka has thrown the consumed messages away.
    fn expire(&mut self) {
        let position = self.position;
        self.topic.retain(|(_, offset, ..)| *offset >= position);
        self.evidence.complete = false;
    }

    fn lake_row(&mut self, id: i64) -> &mut Row {
        self.lake.iter_mut().find(|row| row.id == id).unwrap()
    }

    fn table_row(&mut self, id: i64) -> &mut Row {
        self.table.iter_mut().find(|row| row.id == id).unwrap()
    }

    fn holdings(&self, forms: &Forms, canon: &mut Canon) -> Vec<Holding> {
        let batch = lake_batch(&self.lake);
        let mut columns = LakeColumns::new(&batch, forms).unwrap();
        let mut holdings = Vec::new();
        for (index, row) in self.lake.iter().enumerate() {
            columns.canon(index, canon);
            holdings.push(Holding { handle: handle(row.id), place: Place::Lake, digest: forms.digest(canon) });
        }
        let mut message = |id, place, value: &str| Holding {
            handle: handle(id),
            place,
            digest: message_digest(forms, Some(value.as_bytes()), canon),
        };
        holdings.extend(self.quarantine.iter().map(|(id, value)| message(*id, Place::Quarantine, value)));
        let waiting = self.topic.iter().filter(|(_, offset, ..)| *offset >= self.position);
        holdings.extend(waiting.map(|(_, _, id, value)| message(*id, Place::Topic, value)));
        holdings
    }

    fn verify(mut self) -> Facts {
        let forms = forms();
        let mut canon = Canon::default();
        let ledger = Ledger::new(self.holdings(&forms, &mut canon));
        let mut reconciler = Reconciler::new(KeyKind::Int, self.scope, ledger, Facts::default());
        for row in &self.table {
            let (id, amount, created_at) = (row.id.to_string(), row.amount.as_bytes(), row.created_at.as_bytes());
            canon.clear();
            let texts = [Some(id.as_bytes()), Some(amount), None, Some(created_at)];
            forms.columns.iter().zip(texts).for_each(|((_, form), text)| canon.source(*form, text));
            let created_at = match row.created_at.as_str() {
                "" => Moment::Null,
                "infinity" => Moment::Infinite,
                _ => Moment::At(row.micros()),
            };
            let digest = forms.digest(&canon);
            reconciler.row(TableRow { key: Key::Int(row.id), created_at, xmin: row.xmin, digest });
        }
        let (mut facts, suspects) = reconciler.finish();
        let mut sightings = Vec::new();
        for (partition, offset, id, value) in &self.topic {
            if suspects.iter().any(|suspect| suspect.handle == handle(*id)) {
                let digest = message_digest(&forms, Some(value.as_bytes()), &mut canon);
                sightings.push((handle(*id), Sighting { partition: *partition, offset: *offset, digest }));
            }
        }
        self.evidence.sightings = Sightings::new(sightings);
        judge(&suspects, &self.evidence, KeyKind::Int, &mut facts);
        facts
    }
}

fn handle(id: i64) -> Handle {
    Handle::new(Key::Int(id))
}

fn schema() -> Schema {
    let column = |name: &str, data_type| Column { name: name.into(), data_type, nullable: true };
    Schema::new(vec![
        column("id", DataType::BigInt),
        column("amount", DataType::Decimal { precision: 10, scale: 2 }),
        column("note", DataType::String),
        column("created_at", DataType::Timestamp),
    ])
}

fn forms() -> Forms {
    let form = |column: &Column| (column.name.clone(), form_of(&column.data_type.to_arrow(), true, Tz::UTC).unwrap());
    Forms::of(schema().columns.iter().map(form).collect())
}

fn lake_batch(rows: &[Row]) -> RecordBatch {
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(Row::cents));
    let moments = TimestampMicrosecondArray::from_iter_values(rows.iter().map(Row::micros));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id)))),
        ("amount", Arc::new(amounts.with_precision_and_scale(10, 2).unwrap())),
        ("note", Arc::new(StringArray::from(vec![None::<&str>; rows.len()]))),
        ("created_at", Arc::new(moments.with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// The kinds of findings that are not empty.
fn findings(facts: &Facts) -> BTreeMap<&'static str, Vec<String>> {
    let all = [
        ("missing", &facts.missing),
        ("extra", &facts.extra),
        ("duplicate", &facts.duplicate),
        ("altered", &facts.altered),
        ("updated", &facts.updated_after_capture),
        ("deleted", &facts.deleted_after_capture),
        ("unproven", &facts.unproven),
        ("null", &facts.null_created_at),
        ("infinite", &facts.infinite_created_at),
        ("future", &facts.future_created_at),
        ("back_dated", &facts.back_dated),
    ];
    all.into_iter().filter(|(_, keys)| keys.count > 0).map(|(name, keys)| (name, keys.keys.clone())).collect()
}

#[track_caller]
fn only(world: World, kind: &'static str, keys: &[&str]) -> Facts {
    let facts = world.verify();
    let expected = keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(findings(&facts), BTreeMap::from([(kind, expected)]));
    facts
}

#[test]
fn a_pipeline_in_good_order_has_no_findings_and_every_row_is_somewhere() {
    let mut world = World::new();
    world.lake.remove(2);
    world.quarantine.push((3, Row::new(3).json()));
    let facts = world.verify();
    assert!(findings(&facts).is_empty(), "{:?}", findings(&facts));
    assert_eq!((facts.table_rows, facts.rows_in_scope, facts.not_yet_published), (12, 10, 2));
    assert_eq!((facts.held_in_lake, facts.held_in_quarantine, facts.published_not_yet_consumed), (7, 1, 2));
}

#[test]
fn a_missing_row_is_a_fault_whether_kafka_has_its_message_or_not() {
    let mut world = World::new();
    world.lake.remove(2);
    only(world, "missing", &["3"]);
    let mut world = World::new();
    world.lake.remove(2);
    world.topic.remove(2);
    only(world, "missing", &["3"]);
    let mut world = World::new();
    world.lake.remove(2);
    world.expire();
    only(world, "missing", &["3"]);
}

#[test]
fn a_row_twice_is_a_fault_in_the_lake_beside_the_quarantine_and_on_its_way() {
    let mut world = World::new();
    world.lake.push(Row::new(3));
    only(world, "duplicate", &["3"]);
    let mut world = World::new();
    world.quarantine.push((3, Row::new(3).json()));
    only(world, "duplicate", &["3"]);
    let mut world = World::new();
    world.topic.push((0, 11, 3, Row::new(3).json()));
    only(world, "duplicate", &["3"]);
    let mut world = World::new();
    world.lake.push(Row::new(3));
    world.table.remove(2);
    assert!(findings(&world.verify()).contains_key("duplicate"), "also when the row is deleted");
}

#[test]
fn an_altered_cent_and_an_altered_microsecond_are_faults() {
    let mut world = World::new();
    world.lake_row(3).amount = "3.51".into();
    only(world, "altered", &["3"]);
    let mut world = World::new();
    world.lake_row(4).created_at = "2025-11-18 10:00:04.000002".into();
    only(world, "altered", &["4"]);
    let mut world = World::new();
    world.lake_row(3).amount = "3.51".into();
    world.expire();
    only(world, "altered", &["3"]);
}

#[test]
fn an_alteration_before_kafka_is_a_fault_too() {
    let mut world = World::new();
    world.lake_row(3).amount = "3.51".into();
    world.topic[2].3 = world.lake_row(3).json();
    only(world, "altered", &["3"]);
}

#[test]
fn a_row_that_nobody_published_is_extra() {
    let mut world = World::new();
    world.lake.push(Row::new(99));
    only(world, "extra", &["99"]);
    let mut world = World::new();
    world.lake.push(Row::new(99));
    world.expire();
    only(world, "unproven", &["99"]);
}

#[test]
fn a_row_updated_after_capture_is_no_fault_however_long_ago_that_was() {
    let mut world = World::new();
    world.table_row(3).amount = "9.99".into();
    world.table_row(3).xmin = LAST_SNAPSHOT + 5;
    only(world, "updated", &["3"]);
    // Updated after its own capture (snapshot 706) and before the last one (800).
    let mut world = World::new();
    world.table_row(3).amount = "9.99".into();
    world.table_row(3).xmin = FIRST_XMIN + 50;
    only(world, "updated", &["3"]);
    // The same with the history compacted away: nobody can tell any more.
    let mut world = World::new();
    world.table_row(3).amount = "9.99".into();
    world.table_row(3).xmin = FIRST_XMIN + 50;
    world.evidence.history = History::new(vec![mark(4, PUBLISHED, LAST_SNAPSHOT)]);
    only(world, "unproven", &["3"]);
}

#[test]
fn within_a_transaction_of_several_pages_only_the_mark_before_it_proves_an_alteration() {
    let several_pages = |xmin: u64| {
        let mut world = World::new();
        world.table_row(7).amount = "9.99".into();
        world.table_row(7).xmin = xmin;
        let several = Mark { one_page: false, ..mark(4, PUBLISHED, LAST_SNAPSHOT) };
        world.evidence.history = History::new(vec![mark(2, 5, 706), several]);
        world
    };
    only(several_pages(705), "altered", &["7"]);
    only(several_pages(707), "unproven", &["7"]);
    only(several_pages(800), "updated", &["7"]);
}

#[test]
fn an_update_does_not_hide_an_alteration_between_kafka_and_the_lake() {
    let mut world = World::new();
    world.table_row(3).amount = "9.99".into();
    world.table_row(3).xmin = LAST_SNAPSHOT + 5;
    world.lake_row(3).amount = "3.51".into();
    only(world, "altered", &["3"]);
}

#[test]
fn a_quarantined_row_that_was_mended_in_the_table_is_an_update() {
    let mut world = World::new();
    let broken = world.lake.remove(2);
    world.quarantine.push((3, broken.json()));
    world.table_row(3).amount = "4.00".into();
    world.table_row(3).xmin = LAST_SNAPSHOT;
    only(world, "updated", &["3"]);
}

#[test]
fn a_row_deleted_after_capture_is_no_fault_while_its_message_agrees() {
    let mut world = World::new();
    world.table.remove(2);
    only(world, "deleted", &["3"]);
    let mut world = World::new();
    world.table.remove(2);
    world.lake_row(3).amount = "3.51".into();
    only(world, "altered", &["3"]);
    let mut world = World::new();
    world.table.remove(2);
    world.expire();
    only(world, "unproven", &["3"]);
}

#[test]
fn another_programs_messages_are_counted_and_blamed_on_nobody() {
    let mut world = World::new();
    world.quarantine.push((3, "not json".into()));
    world.quarantine.push((77, "{\"id\":".into()));
    world.topic.push((0, 4, 77, "{\"id\":".into()));
    world.topic.push((0, 12, 78, "{}".into()));
    let facts = world.verify();
    assert!(findings(&facts).is_empty(), "{:?}", findings(&facts));
    assert_eq!(facts.foreign_messages, 3);
}

#[test]
fn rows_that_no_poll_can_serve_are_named() {
    let mut world = World::new();
    let mut row = Row::new(13);
    row.created_at = String::new();
    world.table.push(row.clone());
    only(world, "null", &["13"]);
    let mut world = World::new();
    world.table.push(Row { created_at: "infinity".into(), ..row.clone() });
    only(world, "infinite", &["13"]);
    let mut world = World::new();
    world.table.push(Row { created_at: "2025-11-18 10:02:00".into(), ..row.clone() });
    only(world, "future", &["13"]);
    // Written when the cursor stood at row 10 already.
    let mut world = World::new();
    world.table.push(Row { created_at: "2025-11-18 10:00:02".into(), xmin: LAST_SNAPSHOT, ..row });
    only(world, "back_dated", &["13"]);
}

#[test]
fn rows_before_the_start_and_rows_of_a_lake_that_started_late_are_counted_apart() {
    let mut world = World::new();
    world.scope.start = Some(cursor_at(&Row::new(2)));
    world.lake.drain(..2);
    world.topic.drain(..2);
    let facts = world.verify();
    assert!(findings(&facts).is_empty());
    assert_eq!((facts.rows_before_start, facts.rows_in_scope), (2, 8));
    let mut world = World::new();
    world.lake.drain(..2);
    world.evidence.starts = HashMap::from([(0, 2)]);
    let facts = world.verify();
    assert!(findings(&facts).is_empty());
    assert_eq!(facts.rows_skipped_by_start, 2);
}

#[test]
fn before_anything_has_started_all_rows_are_on_their_way() {
    let mut world = World::new();
    world.lake.clear();
    world.topic.clear();
    world.scope.cursor = None;
    world.evidence.history = History::default();
    let facts = world.verify();
    assert!(findings(&facts).is_empty());
    assert_eq!((facts.not_yet_published, facts.rows_in_scope), (12, 0));
}

#[test]
fn an_unread_end_of_the_topic_is_no_loss() {
    let mut world = World::new();
    world.topic.truncate(8);
    world.evidence.waiting_read = false;
    world.evidence.complete = false;
    only(world, "unproven", &["9", "10"]);
}

#[test]
fn of_each_kind_twenty_are_named_and_all_are_counted() {
    let mut facts = Facts::default();
    (0..25).for_each(|key| facts.missing.push(Key::Int(key)));
    assert_eq!((facts.missing.count, facts.missing.keys.len()), (25, 20));
}

#[test]
fn suspects_are_few_where_rows_agree() {
    let forms = forms();
    let world = World::new();
    let ledger = Ledger::new(world.holdings(&forms, &mut Canon::default()));
    let reconciler = Reconciler::new(KeyKind::Int, world.scope, ledger, Facts::default());
    let (_, suspects) = reconciler.finish();
    assert_eq!(suspects.len() as i64, CONSUMED, "an empty table leaves the lake's rows, and none of the waiting ones");
    assert!(suspects.iter().all(|suspect| matches!(suspect.doubt, Doubt::Gone { place: Place::Lake, .. })));
}
