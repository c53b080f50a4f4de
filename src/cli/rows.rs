//! Rows for people and for other programs: a table, JSON lines, CSV.
//!
//! Numbers keep the digits they have in the lake, so a decimal is written as it is and never by way of a float.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

use super::args::RowForm;
use super::output::Out;
use crate::error::{Error, Result};
use crate::model::schema::UTC;

/// Longer cells are cut in a table; the other forms have them whole.
const MAX_CELL_CHARS: usize = 40;

/// Writes batches as they come; a table waits for all rows, since its columns are as wide as the widest cell.
pub struct RowWriter {
    form: RowForm,
    names: Vec<String>,
    table: Vec<Vec<String>>,
    numeric: Vec<bool>,
}

impl RowWriter {
    pub fn new(form: RowForm) -> Self {
        RowWriter { form, names: Vec::new(), table: Vec::new(), numeric: Vec::new() }
    }

    pub fn write(&mut self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        self.head(batch, out);
        let named: Vec<ArrayRef> = batch.columns().iter().map(with_offset).collect();
        let columns = formatters(&named)?;
        for row in 0..batch.num_rows() {
            let cell =
                |column: usize| (!batch.column(column).is_null(row)).then(|| columns[column].value(row).to_string());
            let cells: Vec<Option<String>> = (0..columns.len()).map(cell).collect();
            match self.form {
                RowForm::Table => self.table.push(cells.into_iter().map(cut).collect()),
                RowForm::Json => out.data(json_line(&self.names, batch, &cells)),
                RowForm::Csv => out.data(csv_line(cells.iter().map(|cell| cell.as_deref().unwrap_or_default()))),
            }
        }
        Ok(())
    }

    fn head(&mut self, batch: &RecordBatch, out: &mut Out) {
        if !self.names.is_empty() {
            return;
        }
        let schema = batch.schema();
        self.names = schema.fields().iter().map(|field| field.name().clone()).collect();
        self.numeric = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        if self.form == RowForm::Csv {
            out.data(csv_line(self.names.iter().map(String::as_str)));
        }
    }

    /// Writes what waited.
    pub fn finish(self, out: &mut Out) {
        if self.form != RowForm::Table || self.names.is_empty() {
            return;
        }
        let width = |column: usize| {
            let cells = self.table.iter().map(|row| row[column].chars().count());
            cells.chain([self.names[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let rule: String = widths.iter().map(|&width| format!("+{}", "-".repeat(width + 2))).collect();
        let line = |cells: &[String], right: &dyn Fn(usize) -> bool| {
            let mut text = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let width = widths[column];
                let _ =
                    if right(column) { write!(text, "| {cell:>width$} ") } else { write!(text, "| {cell:<width$} ") };
            }
            text + "|"
        };
        out.line(format_args!("{rule}+"));
        out.line(line(&self.names, &|_| false));
        out.line(format_args!("{rule}+"));
        for row in &self.table {
            out.line(line(row, &|column| self.numeric[column]));
        }
        out.line(format_args!("{rule}+"));
    }
}

/// Rows as JSON values. Decimals are text there, since a JSON number in memory would round them.
pub fn objects(batch: &RecordBatch) -> Result<Vec<Value>> {
    let named: Vec<ArrayRef> = batch.columns().iter().map(with_offset).collect();
    let columns = formatters(&named)?;
    let schema = batch.schema();
    let cell = |row: usize, column: usize| {
        let (array, text) = (batch.column(column), || columns[column].value(row).to_string());
        match array.data_type() {
            _ if array.is_null(row) => Value::Null,
            kind if kind.is_integer() => text().parse::<i64>().map_or_else(|_| Value::from(text()), Value::from),
            _ => Value::from(text()),
        }
    };
    let object = |row: usize| {
        schema.fields().iter().enumerate().map(|(column, field)| (field.name().clone(), cell(row, column))).collect()
    };
    Ok((0..batch.num_rows()).map(|row| Value::Object(object(row))).collect())
}

fn formatters(columns: &[ArrayRef]) -> Result<Vec<ArrayFormatter<'_>>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let all = columns.iter().map(|column| ArrayFormatter::try_new(column, &OPTIONS)).collect::<Result<_, _>>();
    all.map_err(|error| Error::bug("a column type without a text form").because(error))
}

/// The lake names its zone "UTC"; the formatter knows names only with a time-zone database, offsets without.
fn with_offset(column: &ArrayRef) -> ArrayRef {
    match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(moments) if moments.timezone() == Some(UTC) => Arc::new(moments.clone().with_timezone("+00:00")),
        _ => Arc::clone(column),
    }
}

fn cut(cell: Option<String>) -> String {
    let cell = cell.unwrap_or_else(|| "null".to_owned());
    // A control character would break the table, and a terminal may obey it.
    let shown: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.chars().count() <= MAX_CELL_CHARS {
        return shown;
    }
    shown.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect()
}

fn json_line(names: &[String], batch: &RecordBatch, cells: &[Option<String>]) -> String {
    let mut line = String::from("{");
    for (column, cell) in cells.iter().enumerate() {
        let name = Value::from(names[column].as_str());
        let _ = write!(line, "{}{name}:", if column == 0 { "" } else { "," });
        match cell {
            None => line.push_str("null"),
            Some(text) if is_json_literal(batch.column(column).data_type(), text) => line.push_str(text),
            Some(text) => {
                let _ = write!(line, "{}", Value::from(text.as_str()));
            }
        }
    }
    line + "}"
}

/// JSON has no word for NaN and the infinities; they become strings.
fn is_json_literal(data_type: &DataType, text: &str) -> bool {
    *data_type == DataType::Boolean || (data_type.is_numeric() && !text.contains(['N', 'i']))
}

fn csv_line<'c>(cells: impl Iterator<Item = &'c str>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Decimal128Array, Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        let amount = Decimal128Array::from(vec![Some(35_000), None]).with_precision_and_scale(10, 2).unwrap();
        let created = TimestampMicrosecondArray::from(vec![1_763_460_000_000_000, 1]).with_timezone("UTC");
        RecordBatch::try_from_iter([
            ("name", Arc::new(StringArray::from(vec!["a \"b\", c", "\u{7}e"])) as ArrayRef),
            ("amount", Arc::new(amount)),
            ("created_at", Arc::new(created)),
            ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
            ("share", Arc::new(Float64Array::from(vec![f64::NAN, 0.5]))),
        ])
        .unwrap()
    }

    fn written(form: RowForm) -> String {
        let mut lines = Vec::new();
        let (names, batch) = (["name", "amount", "created_at", "ok", "share"].map(str::to_owned), batch());
        let columns: Vec<ArrayRef> = batch.columns().iter().map(with_offset).collect();
        let texts = formatters(&columns).unwrap();
        for row in 0..batch.num_rows() {
            let cell =
                |column: usize| (!batch.column(column).is_null(row)).then(|| texts[column].value(row).to_string());
            let cells: Vec<Option<String>> = (0..texts.len()).map(cell).collect();
            lines.push(match form {
                RowForm::Json => json_line(&names, &batch, &cells),
                RowForm::Csv => csv_line(cells.iter().map(|cell| cell.as_deref().unwrap_or_default())),
                RowForm::Table => cells.into_iter().map(cut).collect::<Vec<_>>().join("|"),
            });
        }
        lines.join("\n")
    }

    #[test]
    fn json_keeps_the_digits_of_decimals_and_quotes_what_json_cannot_say() {
        assert_eq!(
            written(RowForm::Json),
            "{\"name\":\"a \\\"b\\\", c\",\"amount\":350.00,\"created_at\":\"2025-11-18T10:00:00Z\",\"ok\":true,\
             \"share\":\"NaN\"}\n\
             {\"name\":\"\\u0007e\",\"amount\":null,\"created_at\":\"1970-01-01T00:00:00.000001Z\",\"ok\":false,\
             \"share\":0.5}"
        );
    }

    #[test]
    fn objects_keep_the_digits_of_decimals_as_text() {
        let rows = objects(&batch()).unwrap();
        assert_eq!((&rows[0]["amount"], &rows[1]["amount"]), (&Value::from("350.00"), &Value::Null));
        assert_eq!(rows[0]["created_at"], "2025-11-18T10:00:00Z");
    }

    #[test]
    fn csv_quotes_what_would_end_a_field() {
        assert!(written(RowForm::Csv).starts_with("\"a \"\"b\"\", c\",350.00,2025-11-18T10:00:00Z,true,NaN\n"));
    }

    #[test]
    fn a_table_shows_nulls_and_no_control_characters() {
        assert!(written(RowForm::Table).ends_with("\u{fffd}e|null|1970-01-01T00:00:00.000001Z|false|0.5"));
        assert_eq!(cut(Some("x".repeat(50))).chars().count(), MAX_CELL_CHARS);
    }
}
