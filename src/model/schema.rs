//! Column names and types as the configuration writes them, and their Arrow counterparts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};

/// Arrow's zone of every instant in the lake. "UTC" needs no time-zone database.
pub const UTC: &str = "UTC";

/// Widest decimal that Arrow's 128-bit type holds.
pub const MAX_DECIMAL_PRECISION: u8 = 38;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    SmallInt,
    Int,
    BigInt,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Double,
    Boolean,
    String,
    /// A `timestamp` without zone at the source: local time of `cdc.timezone` there, an instant from the message on.
    Timestamp,
    /// A `timestamptz`: an instant everywhere.
    TimestampTz,
    Date,
    /// JSON text, kept as it came.
    Json,
}

impl DataType {
    pub fn to_arrow(self) -> ArrowType {
        match self {
            DataType::SmallInt => ArrowType::Int16,
            DataType::Int => ArrowType::Int32,
            DataType::BigInt => ArrowType::Int64,
            DataType::Decimal { precision, scale } => ArrowType::Decimal128(precision, scale as i8),
            DataType::Double => ArrowType::Float64,
            DataType::Boolean => ArrowType::Boolean,
            DataType::String | DataType::Json => ArrowType::Utf8,
            DataType::Timestamp | DataType::TimestampTz => {
                ArrowType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(UTC)))
            }
            DataType::Date => ArrowType::Date32,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::SmallInt => f.write_str("smallint"),
            DataType::Int => f.write_str("int"),
            DataType::BigInt => f.write_str("bigint"),
            DataType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            DataType::Double => f.write_str("double"),
            DataType::Boolean => f.write_str("boolean"),
            DataType::String => f.write_str("string"),
            DataType::Timestamp => f.write_str("timestamp"),
            DataType::TimestampTz => f.write_str("timestamptz"),
            DataType::Date => f.write_str("date"),
            DataType::Json => f.write_str("json"),
        }
    }
}

impl FromStr for DataType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_lowercase();
        Ok(match word.as_str() {
            "smallint" => DataType::SmallInt,
            "int" | "integer" => DataType::Int,
            "bigint" | "long" => DataType::BigInt,
            "string" | "text" | "varchar" => DataType::String,
            "double" => DataType::Double,
            "boolean" => DataType::Boolean,
            "timestamp" => DataType::Timestamp,
            "timestamptz" => DataType::TimestampTz,
            "date" => DataType::Date,
            "json" => DataType::Json,
            _ => return parse_decimal_type(&word).ok_or_else(|| unknown_type(text)),
        })
    }
}

fn parse_decimal_type(word: &str) -> Option<DataType> {
    let inner = word.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: u8 = scale.trim().parse().ok()?;
    (1..=MAX_DECIMAL_PRECISION)
        .contains(&precision)
        .then_some(())
        .filter(|()| scale <= precision)
        .map(|()| DataType::Decimal { precision, scale })
}

fn unknown_type(text: &str) -> String {
    format!(
        "unknown type `{text}`; use bigint, int, smallint, string, decimal(p,s) with p up to {MAX_DECIMAL_PRECISION}, \
         double, boolean, timestamp, timestamptz, date or json"
    )
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
}

/// Columns in order; names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    pub columns: Vec<Column>,
}

impl Schema {
    pub fn new(columns: Vec<Column>) -> Self {
        Schema { columns }
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The Arrow schema of accepted rows. Every field is nullable there: a rule may allow a null that the
    /// schema's `nullable: false` forbids to accepted rows, and readers that union files need one answer.
    pub fn to_arrow(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns.iter().map(|column| Field::new(&column.name, column.data_type.to_arrow(), true)).collect();
        Arc::new(ArrowSchema::new(fields))
    }

    /// The order schema of the documents, which a consumer uses when the configuration writes none.
    pub fn orders() -> Self {
        let column = |name: &str, data_type, nullable| Column { name: name.to_owned(), data_type, nullable };
        Schema::new(vec![
            column("order_id", DataType::BigInt, false),
            column("customer_name", DataType::String, true),
            column("restaurant_name", DataType::String, true),
            column("item", DataType::String, true),
            column("amount", DataType::Decimal { precision: 10, scale: 2 }, true),
            column("order_status", DataType::String, true),
            column("created_at", DataType::Timestamp, true),
        ])
    }
}
