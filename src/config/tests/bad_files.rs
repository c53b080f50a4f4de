use std::path::Path;

use super::*;
use crate::clock::{Clock, SystemClock};

fn load_bytes(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("orders.yml");
    std::fs::write(&path, bytes).expect("written");
    let error = Settings::load(&path, &Overrides::default()).expect_err("this file is wrong");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(error.location().and_then(|place| place.file.as_deref()), path.to_str());
    render(&error).replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn a_missing_file_is_named_with_the_flag_that_names_another() {
    let error = Settings::load(Path::new("/nonexistent/orders.yml"), &Overrides::default()).expect_err("no file");
    let expected = "error: no such file\n--> /nonexistent/orders.yml\n = \
                    name one with --config, or write one with `foodstream config init`";
    assert_eq!(render(&error), expected);
    assert_eq!(place(&error), (Some("/nonexistent/orders.yml"), None, None, None));
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = Settings::load(folder.path(), &Overrides::default()).expect_err("a folder");
    assert!(render(&error).starts_with("error: is a folder\n"), "{}", render(&error));
}

#[test]
fn an_empty_file_and_one_of_comments_only_are_told_apart() {
    assert!(load_bytes(b"").starts_with("error: the file is empty\n--> DIR/orders.yml\n"));
    assert!(load_bytes(b"\xef\xbb\xbf \n\n").starts_with("error: the file is empty\n"));
    assert!(load_bytes(b"# nothing\n").starts_with("error: the file holds only comments\n"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    assert_eq!(load(&format!("\u{feff}{ORDERS}")).kafka.expect("kafka").topic, "food_orders_raw");
}

#[test]
fn bytes_that_are_not_utf8_are_located() {
    let shown = load_bytes(b"postgres:\n  host: caf\xe9\n");
    assert_eq!(shown, "error: the file is not UTF-8\n--> DIR/orders.yml:2:12\n = save it as UTF-8");
}

#[test]
fn a_file_far_too_large_is_not_read_to_its_end() {
    assert!(load_bytes(&vec![b'#'; 2 * 1024 * 1024]).starts_with("error: the file is larger than 1048576 bytes\n"));
    let error = Settings::load(Path::new("/dev/zero"), &Overrides::default()).expect_err("an endless file");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_tab_that_indents_is_named() {
    golden(
        "postgres:\n\thost: a\n",
        "
error: a tab indents this line
 --> orders.yml:2:1
  |
2 | \thost: a
  | ^
  = YAML indents with spaces only: replace the tab",
    );
    assert_eq!(place(&refused("postgres:\n  host: a\n\tport: 1\n")), (Some("orders.yml"), Some(3), Some(1), None));
}

#[test]
fn text_and_lists_are_no_sections() {
    golden(
        "hello\n",
        "
error: expected sections, found the text \"hello\"
 --> orders.yml:1:1
  |
1 | hello
  | ^^^^^
  = write `postgres:`, `kafka:` and the like as keys at the margin",
    );
    assert!(render(&refused("- a\n")).starts_with("error: expected sections, found a list\n"));
}

#[test]
fn a_key_that_stands_twice_is_refused_at_the_second() {
    golden(
        "postgres:\n  host: a\n  host: b\n",
        "
error: the key `host` stands twice
 --> orders.yml:3:3
  |
3 |   host: …
  |   ^^^^
  = remove one of the two",
    );
    assert_eq!(
        place(&refused("kafka:\n  topic: a\npostgres:\nkafka:\n")),
        (Some("orders.yml"), Some(4), Some(1), Some("kafka"))
    );
}

#[test]
fn a_slip_in_the_syntax_is_shown_with_advice() {
    golden(
        "postgres:\n  host a\n  port: 1\n",
        "
error: not valid YAML: mapping values are not allowed in this context
 --> orders.yml:3:7
  |
3 |   port: 1
  |       ^
  = each key needs a colon and a space after it, and the same indentation as its neighbours",
    );
    golden(
        "kafka: {topic: ${X}}\n",
        "
error: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
 --> orders.yml:1:17
  |
1 | kafka: {topic: ${X}}
  |                 ^
  = within braces or brackets `${NAME}` cannot stand: write one key a line",
    );
    assert!(
        render(&refused("kafka:\n  topic: a\n---\nkafka:\n")).starts_with("error: a second document begins here\n")
    );
}

#[test]
fn a_yaml_bomb_is_refused_and_not_unpacked() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", ")));
    }
    let nested = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("a: [{}]", "x, ".repeat(200_000));
    let merged = format!("a: &a {{k: v}}\nb:\n{}", "  - {<<: *a}\n".repeat(20_000));
    let interpolated = format!("a: {}\n", "${X:-".repeat(10_000) + &"}".repeat(10_000));
    let anchors: String = (0..50_000).map(|number| format!("k{number}: &a{number} v\n")).collect();
    for bomb in [bomb, nested, wide, merged, interpolated, anchors] {
        let started = SystemClock.instant();
        let error = refused(&bomb);
        let elapsed = SystemClock.instant() - started;
        // Unpacked, the first would take a trillion entries.
        assert!(elapsed.as_secs() < 60, "took {elapsed:?}: {error}");
        assert!(error.to_string().len() < 400, "{error}");
    }
}

#[test]
fn a_long_line_is_shown_around_its_fault() {
    let yaml = format!("kafka: {{topic: {}, port: 1, topic_config: {{}}}}\n", "x".repeat(200));
    let shown = render(&refused(&yaml));
    let lines: Vec<&str> = shown.lines().collect();
    let marked = lines[4].find('^').expect("a mark") - "1 | ".len();
    assert!(lines[3]["1 | ".len()..][marked..].starts_with("port"), "{shown}");
    assert!(lines.iter().all(|line| line.chars().count() < 120), "{shown}");
}

#[test]
fn characters_a_terminal_would_obey_are_not_repeated() {
    let shown = render(&refused("kafka:\n  \"to\\e[31mpic\": a\n"));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = render(&refused("kafka:\n  num_partitions: \"\\e]0;x\\a\"\n"));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}
