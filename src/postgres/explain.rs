//! How the server would run a statement, without running it.

use serde_json::Value;

use super::connect::{Client, POLL_PLANNING};
use super::query::query_text;
use crate::error::{Error, Kind, Result};

/// What a plan does to find its rows. Nothing of the rows is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Names of the indexes it reads.
    pub indexes: Vec<String>,
    /// Somewhere a table is read from end to end.
    pub reads_all: bool,
    /// Somewhere all rows are put in order before the first is handed over.
    pub sorts_all: bool,
}

impl Scan {
    /// The rows come out of an index in its order, so the first page costs no more than a page.
    pub fn follows_an_index(&self) -> bool {
        !self.indexes.is_empty() && !self.reads_all && !self.sorts_all
    }

    fn add(&mut self, node: &Value) {
        match node["Node Type"].as_str() {
            Some("Seq Scan") => self.reads_all = true,
            Some("Sort") => self.sorts_all = true,
            _ => {}
        }
        self.indexes.extend(node["Index Name"].as_str().map(str::to_owned));
        node["Plans"].as_array().into_iter().flatten().for_each(|child| self.add(child));
    }
}

/// Plans the statement as a session that polls would have it.
pub async fn explain(client: &Client, statement: &str) -> Result<Scan> {
    let doing = "cannot explain the polling query";
    // Several statements of one message are one transaction, at whose end the setting ends as well.
    let explain = format!("SET LOCAL {POLL_PLANNING}; EXPLAIN (FORMAT JSON, COSTS OFF) {statement}");
    let answer = query_text(client, &explain, doing).await?;
    let plans: Value = answer
        .scalar()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Error::new(Kind::Source, format!("{doing}: the server sent no plan")))?;
    let mut scan = Scan::default();
    scan.add(&plans[0]["Plan"]);
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_follows_an_index_unless_it_reads_or_sorts_all() {
        let scan = |plan: Value| {
            let mut scan = Scan::default();
            scan.add(&plan);
            scan
        };
        let index = json!({"Node Type": "Index Scan", "Index Name": "by_time"});
        let limited = scan(json!({"Node Type": "Limit", "Plans": [index]}));
        assert!(limited.follows_an_index());
        assert_eq!(limited.indexes, ["by_time"]);
        // Rows of one timestamp are put in order as they come.
        assert!(scan(json!({"Node Type": "Incremental Sort", "Plans": [index]})).follows_an_index());
        assert!(!scan(json!({"Node Type": "Sort", "Plans": [index]})).follows_an_index());
        let partition = json!({"Node Type": "Seq Scan", "Relation Name": "orders_2025"});
        assert!(!scan(json!({"Node Type": "Merge Append", "Plans": [index, partition]})).follows_an_index());
        assert!(!scan(json!({"Node Type": "Result"})).follows_an_index());
    }
}
