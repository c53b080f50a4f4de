//! Small tables for notebooks: no script, no style beyond the notebook's own, and never large.

use std::fmt::Display;
use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::html::escape;

/// A cell beyond this is cut.
const MAX_CHARACTERS: usize = 80;
/// Columns beyond these are left out.
const MAX_COLUMNS: usize = 20;

/// Names and values, a row each, below a caption.
pub fn facts(caption: &str, facts: &[(&str, &dyn Display)]) -> String {
    let mut out = format!("<table><caption>{}</caption><tbody>", escape(caption));
    for (name, value) in facts {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value.to_string()));
    }
    out + "</tbody></table>"
}

/// The first rows of batches of one schema; nothing where there is no batch.
pub fn rows<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>, most: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::default().with_null("null").with_display_error(true);
    let (mut out, mut left) = (String::new(), most);
    for batch in batches {
        if out.is_empty() {
            out.push_str("<table><thead><tr>");
            for field in batch.schema().fields().iter().take(MAX_COLUMNS) {
                let _ = write!(out, "<th>{}</th>", escape(field.name()));
            }
            out.push_str("</tr></thead><tbody>");
        }
        let columns = &batch.columns()[..batch.num_columns().min(MAX_COLUMNS)];
        let cells: Vec<ArrayFormatter<'_>> = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows().min(left) {
            out.push_str("<tr>");
            for cell in &cells {
                let text: String = cell.value(row).to_string().chars().take(MAX_CHARACTERS).collect();
                let _ = write!(out, "<td>{}</td>", escape(&text));
            }
            out.push_str("</tr>");
        }
        left = left.saturating_sub(batch.num_rows());
        if left == 0 {
            break;
        }
    }
    if !out.is_empty() {
        out.push_str("</tbody></table>");
    }
    Ok(out)
}
