//! The `aggregate` section: columns that exist, of types with an exact sum, and a topic of its own.

use super::{Checked, Resolver, narrowed};
use crate::config::names;
use crate::config::raw::{RawAggregate, RawEvery};
use crate::config::settings::{Aggregate, Kafka};
use crate::model::{Aggregation, DataType, Every, Schema};

/// Columns that totals have beside those that are configured.
const OWN_NAMES: [&str; 3] = ["date", "period", "rows"];

impl Resolver<'_> {
    pub(super) fn aggregate(
        &self,
        raw: Option<&RawAggregate>,
        schema: Option<&Schema>,
        kafka: Option<&Kafka>,
    ) -> Checked<Aggregate> {
        let orders = Schema::orders();
        let schema = schema.unwrap_or(&orders);
        let default = Aggregate::of(schema);
        let Some(raw) = raw else { return Ok(default) };
        let definition = Aggregation {
            every: match raw.every {
                None | Some(RawEvery::Day) => Every::Day,
                Some(RawEvery::Hour) => Every::Hour,
            },
            group_by: self.group_columns(raw.group_by.as_ref(), schema)?,
            sum: match &raw.sum {
                Some(columns) => self.measured("sum", Some(columns), schema)?,
                None => default.definition.sum,
            },
            min: self.measured("min", raw.min.as_ref(), schema)?,
            max: self.measured("max", raw.max.as_ref(), schema)?,
            avg: self.measured("avg", raw.avg.as_ref(), schema)?,
        };
        Ok(Aggregate {
            definition,
            max_groups: raw.max_groups.map_or(default.max_groups, narrowed),
            topic: self.totals_topic(raw.topic.as_ref(), kafka)?,
        })
    }

    fn group_columns(&self, columns: Option<&Vec<String>>, schema: &Schema) -> Checked<Vec<String>> {
        let fits = |data_type| match data_type {
            DataType::String | DataType::Boolean | DataType::Date => true,
            DataType::SmallInt | DataType::Int | DataType::BigInt => true,
            DataType::Decimal { .. } | DataType::Double | DataType::Json => false,
            DataType::Timestamp | DataType::TimestampTz => false,
        };
        let columns =
            self.columns("group_by", columns, schema, fits, "group by string, boolean, integer or date columns")?;
        match columns.iter().position(|column| OWN_NAMES.contains(&column.as_str())) {
            None => Ok(columns),
            Some(index) => {
                let fact = format!("totals have a column `{}` of their own", columns[index]);
                Err(self.problem(&format!("aggregate.group_by[{index}]"), fact).help("group by another column"))
            }
        }
    }

    fn measured(&self, key: &str, columns: Option<&Vec<String>>, schema: &Schema) -> Checked<Vec<String>> {
        let fits = |data_type| match data_type {
            DataType::Decimal { .. } | DataType::SmallInt | DataType::Int | DataType::BigInt => true,
            DataType::String | DataType::Boolean | DataType::Date | DataType::Double | DataType::Json => false,
            DataType::Timestamp | DataType::TimestampTz => false,
        };
        self.columns(key, columns, schema, fits, "totals are exact, so name decimal or integer columns")
    }

    /// Each column once, known to the schema, of a type that fits.
    fn columns(
        &self,
        list: &str,
        columns: Option<&Vec<String>>,
        schema: &Schema,
        fits: impl Fn(DataType) -> bool,
        help: &str,
    ) -> Checked<Vec<String>> {
        let columns = columns.cloned().unwrap_or_default();
        for (index, name) in columns.iter().enumerate() {
            let key = format!("aggregate.{list}[{index}]");
            let Some(column) = schema.columns.iter().find(|column| column.name == *name) else {
                let problem = self.problem(&key, format!("the schema has no column `{name}`"));
                let near = names::nearest(name, schema.columns.iter().map(|column| column.name.as_str()));
                return Err(match near {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem,
                });
            };
            if !fits(column.data_type) {
                let fact = format!("`aggregate.{list}` cannot take column `{name}` of type {}", column.data_type);
                return Err(self.problem(&key, fact).help(help));
            }
            if columns[..index].contains(name) {
                return Err(self.problem(&key, format!("`aggregate.{list}` lists `{name}` twice")).help("remove one"));
            }
        }
        Ok(columns)
    }

    fn totals_topic(&self, topic: Option<&String>, kafka: Option<&Kafka>) -> Checked<Option<String>> {
        let key = "aggregate.topic";
        let topic = self.word(key, topic)?;
        if topic.as_deref().is_some_and(|topic| !names::is_topic_name(topic)) {
            let words = "is no name Kafka takes; use letters, digits, dots, underscores and dashes, 249 at most";
            return Err(self.wrong(key, words));
        }
        if topic.is_some() && topic.as_deref() == kafka.map(|kafka| kafka.topic.as_str()) {
            let fact = "`aggregate.topic` is `kafka.topic`: totals would be read as messages";
            return Err(self.problem(key, fact).help("name another topic"));
        }
        Ok(topic)
    }
}
