//! The program itself: what is built in, where it runs, and what the configuration says that deserves a word.

use std::sync::OnceLock;

use super::report::{Check, Finding, Verdict};
use crate::broker::kafka;
use crate::config::{NoteLevel, Settings};

static HOST: OnceLock<String> = OnceLock::new();

/// Names the interpreter that this library runs in, such as `Python 3.12.1`. The first name stays.
pub fn runs_in(host: &str) {
    HOST.get_or_init(|| host.to_owned());
}

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    vec![versions(), configuration(settings)]
}

fn versions() -> Finding {
    let host = HOST.get().map(|host| format!(", {host}")).unwrap_or_default();
    let librdkafka = kafka::library_version();
    let (own, arrow) = (env!("CARGO_PKG_VERSION"), arrow::ARROW_VERSION);
    Finding::ok(Check::Versions, format!("foodstream {own}, librdkafka {librdkafka}, arrow {arrow}{host}"))
}

fn configuration(settings: &Settings) -> Finding {
    let check = Check::Configuration;
    if let Some(error) = settings.unfinished().first() {
        let finding = Finding::new(check, Verdict::Warning, error.report());
        return finding.mended_by("foodstream config check");
    }
    let of = |level| settings.notes().iter().filter(move |note| note.level == level).map(|note| note.text.as_str());
    let warnings: Vec<&str> = of(NoteLevel::Warning).collect();
    if warnings.is_empty() {
        let file = settings.file.as_ref().map_or("the given one".to_owned(), |file| file.display().to_string());
        let idle = of(NoteLevel::NoEffect).chain(of(NoteLevel::Info)).count();
        let idle = if idle == 0 { String::new() } else { format!(", {idle} keys of it without effect here") };
        return Finding::ok(check, format!("{file} is right{idle}"));
    }
    Finding::new(check, Verdict::Warning, warnings.join("; ")).mended_by("foodstream config show --origin")
}
