//! From a column of the catalogue to its place in the message: what to select, how to read it, what to call it.
//!
//! The natural type follows from the column; a configured `schema` may choose another where every value can be
//! written unaltered (a wider integer, a decimal for a free `numeric`, `double` for money if the user insists,
//! `string` for anything, as PostgreSQL's own text). What has no place is an error that names the column.

use crate::error::{Error, Kind, Result};
use crate::model::DataType;
use crate::model::schema::MAX_DECIMAL_PRECISION;

use super::catalog::ColumnDescription;
use super::codec::Codec;
use super::quote::quote_identifier;

/// What the catalogue says of a type, with domains followed to their base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    pub oid: u32,
    pub typmod: i32,
    pub name: String,
    /// `pg_type.typtype`: `b` base, `c` composite, `e` enum, `r` range …
    pub kind: String,
    /// `pg_type.typcategory`: `A` is arrays.
    pub category: String,
}

mod oid {
    pub const BOOL: u32 = 16;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

impl TypeFacts {
    pub fn is_integer(&self) -> bool {
        matches!(self.oid, oid::INT2 | oid::INT4 | oid::INT8)
    }

    pub fn is_uuid(&self) -> bool {
        self.oid == oid::UUID
    }

    pub fn is_date(&self) -> bool {
        self.oid == oid::DATE
    }

    /// `Some(true)` for `timestamptz`, `Some(false)` for `timestamp`.
    pub fn timestamp_has_zone(&self) -> Option<bool> {
        match self.oid {
            oid::TIMESTAMP => Some(false),
            oid::TIMESTAMPTZ => Some(true),
            _ => None,
        }
    }

    /// Digits of a timestamp's fraction; PostgreSQL's own default is all six.
    pub fn timestamp_precision(&self) -> u8 {
        u8::try_from(self.typmod).unwrap_or(6).min(6)
    }

    /// Precision and scale of a numeric that was declared with them; the scale may be negative (PostgreSQL 15).
    pub fn numeric_limits(&self) -> Option<(i32, i32)> {
        // Source of the layout: `make_numeric_typmod` and its inverses in PostgreSQL's numeric.c.
        const HEADER: i32 = 4;
        let packed = self.typmod.checked_sub(HEADER).filter(|packed| *packed >= 0)?;
        Some(((packed >> 16) & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024))
    }
}

/// One column of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPlan {
    pub name: String,
    /// What stands in the SELECT list.
    pub expression: String,
    pub codec: Codec,
    pub data_type: DataType,
    /// The configured type holds less than the column: rows that do not fit end in quarantine.
    pub narrows: bool,
}

/// The natural reading of a column: its codec and, where one exists, its type in the message.
enum Natural {
    /// Read as it is.
    Plain(Codec, DataType),
    /// A numeric that no decimal type holds in general.
    FreeNumeric,
    /// Arrays and composites, by way of `to_jsonb`.
    AsJson,
    /// Text that needs a cast to be sent as text.
    CastToText,
    Unsupported,
}

/// Plans one column; `configured` is the type that `schema` gives it.
pub fn plan_field(column: &ColumnDescription, configured: Option<DataType>) -> Result<FieldPlan> {
    let natural = natural(&column.base);
    let name = quote_identifier(&column.name);
    let field = |expression: String, codec, data_type, narrows| {
        Ok(FieldPlan { name: column.name.clone(), expression, codec, data_type, narrows })
    };
    match (natural, configured) {
        (Natural::Plain(codec @ Codec::Text, _), None | Some(DataType::String)) => {
            field(name, codec, DataType::String, false)
        }
        (Natural::AsJson, Some(DataType::String)) => {
            field(format!("pg_catalog.to_jsonb({name})::text"), Codec::Text, DataType::String, false)
        }
        (_, Some(DataType::String)) | (Natural::CastToText, None) => {
            field(format!("{name}::text"), Codec::Text, DataType::String, false)
        }
        (Natural::Plain(codec, data_type), None) => field(name, codec, data_type, false),
        (Natural::Plain(codec, data_type), Some(wanted)) => match fits(data_type, wanted) {
            Some(narrows) => field(name, codec, wanted, narrows),
            None => Err(mismatch(column, wanted)),
        },
        (Natural::AsJson, None | Some(DataType::Json)) => {
            field(format!("pg_catalog.to_jsonb({name})"), Codec::Jsonb, DataType::Json, false)
        }
        (Natural::FreeNumeric, Some(wanted @ (DataType::Decimal { .. } | DataType::Double))) => {
            field(name, Codec::Numeric, wanted, true)
        }
        (Natural::FreeNumeric, None) => Err(Error::new(
            Kind::Schema,
            format!(
                "column `{}` is {}, which no decimal type holds in general; write it in `schema` as decimal(p,s) with \
                 p up to {MAX_DECIMAL_PRECISION}, or as string",
                column.name, column.declared
            ),
        )),
        (Natural::Unsupported, None) => Err(Error::new(
            Kind::Schema,
            format!(
                "column `{}` has the unsupported type {}; leave it out by writing `schema`, or give it there the type \
                 string to carry PostgreSQL's text of it",
                column.name, column.declared
            ),
        )),
        (_, Some(wanted)) => Err(mismatch(column, wanted)),
    }
}

fn natural(base: &TypeFacts) -> Natural {
    match base.oid {
        oid::BOOL => Natural::Plain(Codec::Bool, DataType::Boolean),
        oid::INT2 => Natural::Plain(Codec::Int2, DataType::SmallInt),
        oid::INT4 => Natural::Plain(Codec::Int4, DataType::Int),
        oid::INT8 => Natural::Plain(Codec::Int8, DataType::BigInt),
        oid::FLOAT4 => Natural::Plain(Codec::Float4, DataType::Double),
        oid::FLOAT8 => Natural::Plain(Codec::Float8, DataType::Double),
        oid::NUMERIC => numeric(base),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => Natural::Plain(Codec::Text, DataType::String),
        oid::UUID => Natural::Plain(Codec::Uuid, DataType::String),
        oid::JSON => Natural::Plain(Codec::Json, DataType::Json),
        oid::JSONB => Natural::Plain(Codec::Jsonb, DataType::Json),
        oid::DATE => Natural::Plain(Codec::Date, DataType::Date),
        oid::TIMESTAMP => Natural::Plain(Codec::Timestamp, DataType::Timestamp),
        oid::TIMESTAMPTZ => Natural::Plain(Codec::TimestampTz, DataType::TimestampTz),
        _ if base.kind == "e" => Natural::Plain(Codec::Text, DataType::String),
        _ if base.kind == "c" || base.category == "A" => Natural::AsJson,
        _ if base.name == "citext" => Natural::CastToText,
        _ => Natural::Unsupported,
    }
}

fn numeric(base: &TypeFacts) -> Natural {
    let Some((precision, scale)) = base.numeric_limits() else { return Natural::FreeNumeric };
    // numeric(3,-2) holds up to 99,900: five digits. numeric(2,4) holds up to 0.0099: four digits after the point.
    let (precision, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if precision <= MAX_DECIMAL_PRECISION => {
            Natural::Plain(Codec::Numeric, DataType::Decimal { precision, scale })
        }
        _ => Natural::FreeNumeric,
    }
}

/// Whether a column of type `natural` may be called `wanted`; the answer says whether some values will not fit.
fn fits(natural: DataType, wanted: DataType) -> Option<bool> {
    let width = |data_type| match data_type {
        DataType::SmallInt => Some(2),
        DataType::Int => Some(4),
        DataType::BigInt => Some(8),
        _ => None,
    };
    match (natural, wanted) {
        (natural, wanted) if natural == wanted => Some(false),
        (DataType::Timestamp, DataType::TimestampTz) | (DataType::TimestampTz, DataType::Timestamp) => Some(false),
        (DataType::Decimal { .. }, DataType::Double) => Some(false),
        (DataType::Decimal { precision, scale }, DataType::Decimal { precision: wide, scale: fine }) => {
            Some(fine < scale || i16::from(wide) - i16::from(fine) < i16::from(precision) - i16::from(scale))
        }
        (from, DataType::Decimal { precision, scale }) => {
            let digits = match width(from)? {
                2 => 5,
                4 => 10,
                _ => 19,
            };
            Some(precision - scale < digits)
        }
        (from, to) => Some(width(to)? < width(from)?),
    }
}

fn mismatch(column: &ColumnDescription, wanted: DataType) -> Error {
    Error::new(
        Kind::Schema,
        format!(
            "column `{}` is {} in the table and {wanted} in `schema`; the two do not fit (string always does)",
            column.name, column.declared
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(oid: u32, typmod: i32, kind: &str, category: &str) -> ColumnDescription {
        ColumnDescription {
            name: "a\"b".to_owned(),
            position: 1,
            declared: "the declared type".to_owned(),
            base: TypeFacts {
                oid,
                typmod,
                name: "name".to_owned(),
                kind: kind.to_owned(),
                category: category.to_owned(),
            },
            not_null: false,
            default: None,
        }
    }

    fn numeric_typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn numerics_become_decimals_that_hold_every_value() {
        let typed = |precision, scale| {
            plan_field(&column(oid::NUMERIC, numeric_typmod(precision, scale), "b", "N"), None)
                .map(|field| field.data_type)
        };
        assert_eq!(typed(10, 2).unwrap(), DataType::Decimal { precision: 10, scale: 2 });
        assert_eq!(typed(3, -2).unwrap(), DataType::Decimal { precision: 5, scale: 0 });
        assert_eq!(typed(2, 4).unwrap(), DataType::Decimal { precision: 4, scale: 4 });
        assert!(typed(39, 0).is_err());
        let free = plan_field(&column(oid::NUMERIC, -1, "b", "N"), None).unwrap_err();
        assert_eq!(free.kind(), Kind::Schema);
        assert!(free.to_string().contains("`a\"b`"), "{free}");
        let wanted = DataType::Decimal { precision: 12, scale: 3 };
        let field = plan_field(&column(oid::NUMERIC, -1, "b", "N"), Some(wanted)).unwrap();
        assert_eq!((field.data_type, field.codec, field.narrows), (wanted, Codec::Numeric, true));
    }

    #[test]
    fn a_configured_type_may_be_wider_and_says_when_it_is_narrower() {
        let with = |oid, wanted| plan_field(&column(oid, -1, "b", "N"), Some(wanted)).map(|field| field.narrows);
        assert_eq!(with(oid::INT4, DataType::BigInt).ok(), Some(false));
        assert_eq!(with(oid::INT8, DataType::Int).ok(), Some(true));
        assert_eq!(with(oid::INT4, DataType::Decimal { precision: 12, scale: 2 }).ok(), Some(false));
        assert_eq!(with(oid::INT4, DataType::Decimal { precision: 11, scale: 2 }).ok(), Some(true));
        assert_eq!(with(oid::TIMESTAMP, DataType::TimestampTz).ok(), Some(false));
        assert!(with(oid::TEXT, DataType::Json).is_err());
        assert!(with(oid::INT4, DataType::Boolean).is_err());
        assert!(with(oid::DATE, DataType::Timestamp).is_err());
    }

    #[test]
    fn what_has_no_place_is_refused_by_name_unless_its_text_is_asked_for() {
        const BYTEA: u32 = 17;
        let refusal = plan_field(&column(BYTEA, -1, "b", "U"), None).unwrap_err();
        assert!(refusal.to_string().contains("`a\"b` has the unsupported type"), "{refusal}");
        let field = plan_field(&column(BYTEA, -1, "b", "U"), Some(DataType::String)).unwrap();
        assert_eq!(field.expression, "\"a\"\"b\"::text");
        let array = plan_field(&column(1007, -1, "b", "A"), None).unwrap();
        assert_eq!((array.expression.as_str(), array.codec), ("pg_catalog.to_jsonb(\"a\"\"b\")", Codec::Jsonb));
        assert_eq!(plan_field(&column(99_999, -1, "e", "E"), None).unwrap().data_type, DataType::String);
    }
}
