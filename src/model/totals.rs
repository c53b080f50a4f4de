//! Exact totals by period and group: what a commit record holds, and what is made of it for people.
//!
//! ```text
//! Aggregation   what is summed by what; pinned when a lake is founded
//! Totals        period ─▶ values of the group columns ─▶ Group { rows, a Measure for each column }
//! ```
//! Sums and extremes are decimal text (`decimal`). The groups of a period are shared until they change, so that a
//! copy costs a pointer a period however many groups there are.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::decimal;
use crate::error::{Error, Kind, Result};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    #[default]
    Day,
    Hour,
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Every::Day => "day",
            Every::Hour => "hour",
        })
    }
}

/// Which totals are kept. Rows are always counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregation {
    pub every: Every,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sum: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub min: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avg: Vec<String>,
}

impl Aggregation {
    /// The measured columns, each once, in the order in which they are first named.
    pub fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for column in [&self.sum, &self.min, &self.max, &self.avg].into_iter().flatten() {
            if !columns.contains(&column.as_str()) {
                columns.push(column);
            }
        }
        columns
    }

    /// Why a commit is refused whose period would have more groups than are wanted.
    pub fn too_many_groups(&self, period: Period, max_groups: usize) -> Error {
        let columns: Vec<String> = self.group_by.iter().map(|column| format!("`{column}`")).collect();
        Error::config(format!(
            "`aggregate.group_by` makes more than {max_groups} groups of {period} by {}; group by columns of fewer \
             values, or raise `aggregate.max_groups`",
            columns.join(", ")
        ))
    }

    /// Positions of these columns among the group columns; the first that is none is the error.
    pub fn positions<'c>(&self, columns: &'c [String]) -> std::result::Result<Vec<usize>, &'c str> {
        let find = |column: &'c String| self.group_by.iter().position(|known| known == column).ok_or(column.as_str());
        columns.iter().map(find).collect()
    }
}

/// A day of the partition zone, or an hour of its wall clock by the instant at which the hour begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Day(NaiveDate),
    Hour(DateTime<Utc>),
}

impl fmt::Display for Period {
    /// `2025-11-18`, or `2025-11-18T09:30:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Day(date) => write!(f, "{date}"),
            Period::Hour(start) => f.write_str(&start.to_rfc3339_opts(SecondsFormat::Secs, true)),
        }
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let period = match text.contains('T') {
            true => DateTime::parse_from_rfc3339(text).map(|start| Period::Hour(start.to_utc())),
            false => text.parse().map(Period::Day),
        };
        period.map_err(|_| format!("`{text}` is neither a day nor the start of an hour"))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Of the group columns, in their order; `None` is a null.
pub type Values = Vec<Option<String>>;

/// What is known of one column within one group. A part that is not kept, or has no value yet, is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Of the values that are not null; zero where all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
    /// Values that are not null; kept for averages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

impl Measure {
    /// See [`decimal::average`]; `None` where averages are not kept, or all values are null.
    pub fn average(&self) -> Option<String> {
        decimal::average(self.sum.as_deref()?, self.count?)
    }

    /// `None`: a text that is no decimal, or a sum past 76 digits.
    fn plus(&self, part: &Measure) -> Option<Measure> {
        Some(Measure {
            sum: joined(&self.sum, &part.sum, decimal::add)?,
            count: match (self.count, part.count) {
                (Some(left), Some(right)) => Some(left.checked_add(right)?),
                (left, right) => left.or(right),
            },
            min: joined(&self.min, &part.min, |left, right| chosen(left, right, Ordering::Less))?,
            max: joined(&self.max, &part.max, |left, right| chosen(left, right, Ordering::Greater))?,
        })
    }
}

fn joined(
    left: &Option<String>,
    right: &Option<String>,
    join: impl Fn(&str, &str) -> Option<String>,
) -> Option<Option<String>> {
    match (left, right) {
        (Some(left), Some(right)) => join(left, right).map(Some),
        (None, None) => Some(None),
        (Some(only), None) | (None, Some(only)) => decimal::parse(only).map(|_| Some(only.clone())),
    }
}

/// The right one where it is beyond the left one in this direction.
fn chosen(left: &str, right: &str, direction: Ordering) -> Option<String> {
    Some(if decimal::compare(right, left)? == direction { right } else { left }.to_owned())
}

/// Rows and measures of one group, or of several folded into one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub rows: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, Measure>,
}

impl Group {
    /// Rows, and sums by column.
    #[cfg(test)]
    pub fn of_sums(rows: u64, sums: &[(&str, &str)]) -> Group {
        let measure = |sum: &str| Measure { sum: Some(sum.to_owned()), ..Measure::default() };
        Group { rows, columns: sums.iter().map(|(column, sum)| ((*column).to_owned(), measure(sum))).collect() }
    }

    pub fn sum(&self, column: &str) -> Option<&str> {
        self.columns.get(column)?.sum.as_deref()
    }

    /// Adds another group exactly. On an error nothing is changed, and the column is named.
    pub fn add(&mut self, part: &Group) -> Result<()> {
        let mut columns = Vec::with_capacity(part.columns.len());
        for (name, measure) in &part.columns {
            let sum = match self.columns.get(name) {
                Some(known) => known.plus(measure),
                None => Measure::default().plus(measure),
            };
            columns.push((name.clone(), sum.ok_or_else(|| unsummable(name))?));
        }
        self.rows = self.rows.checked_add(part.rows).ok_or_else(|| Error::bug("more rows than a counter holds"))?;
        self.columns.extend(columns);
        Ok(())
    }
}

fn unsummable(column: &str) -> Error {
    Error::new(
        Kind::Lake,
        format!("a total of `{column}` is not decimal text of {} digits at most", decimal::MAX_DIGITS),
    )
}

/// Groups by period, and by the values of the group columns within it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    periods: BTreeMap<Period, Arc<BTreeMap<Values, Group>>>,
}

/// A group with its running total: that of its own period and all before it, among groups of the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub period: Period,
    pub values: Values,
    pub group: Group,
    pub running: Group,
}

impl Totals {
    /// The totals of days without group columns.
    #[cfg(test)]
    pub fn of_days(days: impl IntoIterator<Item = (NaiveDate, Group)>) -> Totals {
        let mut totals = Totals::default();
        days.into_iter().for_each(|(date, group)| totals.insert(Period::Day(date), Vec::new(), group));
        totals
    }

    pub fn is_empty(&self) -> bool {
        self.periods.is_empty()
    }

    /// Rows of all groups together.
    pub fn rows(&self) -> u64 {
        self.iter().map(|(_, _, group)| group.rows).sum()
    }

    pub fn get(&self, period: Period, values: &[Option<String>]) -> Option<&Group> {
        self.periods.get(&period)?.get(values)
    }

    /// Groups of one period.
    pub fn groups_of(&self, period: Period) -> usize {
        self.periods.get(&period).map_or(0, |groups| groups.len())
    }

    pub fn periods(&self) -> impl Iterator<Item = Period> {
        self.periods.keys().copied()
    }

    /// By period, then by values; nulls first.
    pub fn iter(&self) -> impl Iterator<Item = (Period, &Values, &Group)> {
        let of = |(&period, groups): (&Period, _)| {
            let groups: &BTreeMap<Values, Group> = groups;
            groups.iter().map(move |(values, group)| (period, values, group))
        };
        self.periods.iter().map(|(period, groups)| (period, &**groups)).flat_map(of)
    }

    /// Puts a group in its place, whatever was there.
    pub fn insert(&mut self, period: Period, values: Values, group: Group) {
        Arc::make_mut(self.periods.entry(period).or_default()).insert(values, group);
    }

    /// Takes over whole groups of later totals.
    pub fn replace(&mut self, later: &Totals) {
        for (period, values, group) in later.iter() {
            self.insert(period, values.clone(), group.clone());
        }
    }

    /// Adds another batch's totals, group by group, exactly. On an error nothing is changed.
    pub fn add(&mut self, part: &Totals) -> Result<()> {
        let touched = self.after(part)?;
        self.replace(&touched);
        Ok(())
    }

    /// The whole groups that adding `part` would leave, of those that it touches.
    pub fn after(&self, part: &Totals) -> Result<Totals> {
        let mut touched = Totals::default();
        for (period, values, added) in part.iter() {
            let mut group = self.get(period, values).cloned().unwrap_or_default();
            group.add(added).map_err(|error| Error::new(error.kind(), format!("{error} (at {period})")))?;
            touched.insert(period, values.clone(), group);
        }
        Ok(touched)
    }

    /// All groups of one key folded into one; a group without a key is left out.
    ///
    /// ```text
    /// totals.fold(|period, _| Some(period))              by period
    /// totals.fold(|_, values| Some(values[0].clone()))   by the first group column
    /// ```
    pub fn fold<K: Ord>(&self, key: impl Fn(Period, &[Option<String>]) -> Option<K>) -> Result<BTreeMap<K, Group>> {
        let mut folded: BTreeMap<K, Group> = BTreeMap::new();
        for (period, values, group) in self.iter() {
            if let Some(key) = key(period, values) {
                folded.entry(key).or_default().add(group)?;
            }
        }
        Ok(folded)
    }

    /// The same periods by fewer group columns: those at these positions, in this order.
    pub fn by(&self, columns: &[usize]) -> Result<Totals> {
        let mut totals = Totals::default();
        let picked = self.fold(|period, values| Some((period, pick(values, columns))))?;
        picked.into_iter().for_each(|((period, values), group)| totals.insert(period, values, group));
        Ok(totals)
    }

    /// [`Totals::by`] with running totals, by period and then by values. A late row changes the running totals of
    /// every later period, since they are made from the groups each time.
    pub fn running(&self, columns: &[usize]) -> Result<Vec<Running>> {
        let mut sums: BTreeMap<Values, Group> = BTreeMap::new();
        let mut rows = Vec::new();
        for (period, values, group) in self.by(columns)?.iter() {
            let sum = sums.entry(values.clone()).or_default();
            sum.add(group)?;
            rows.push(Running { period, values: values.clone(), group: group.clone(), running: sum.clone() });
        }
        Ok(rows)
    }

    /// Sums over everything, by column.
    pub fn sums(&self) -> Result<BTreeMap<String, String>> {
        let whole = self.fold(|_, _| Some(()))?.remove(&()).unwrap_or_default();
        Ok(whole.columns.into_iter().filter_map(|(column, measure)| Some((column, measure.sum?))).collect())
    }
}

fn pick(values: &[Option<String>], columns: &[usize]) -> Values {
    columns.iter().map(|&column| values.get(column).cloned().flatten()).collect()
}

/// One group of a period in the record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    by: Values,
    rows: u64,
    #[serde(default)]
    columns: BTreeMap<String, Measure>,
}

#[derive(Serialize)]
struct EntryRef<'t> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    by: &'t [Option<String>],
    #[serde(flatten)]
    group: &'t Group,
}

impl Serialize for Totals {
    /// `{"2025-11-18":[{"by":["USD",null],"rows":2,"columns":{"amount":{"sum":"18457.50"}}}]}`
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.periods.iter().map(|(period, groups)| {
            let entries = groups.iter().map(|(by, group)| EntryRef { by, group });
            (period, entries.collect::<Vec<_>>())
        }))
    }
}

impl<'de> Deserialize<'de> for Totals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let periods = BTreeMap::<Period, Vec<Entry>>::deserialize(deserializer)?;
        let mut totals = Totals::default();
        for (period, entries) in periods {
            for Entry { by, rows, columns } in entries {
                if totals.get(period, &by).is_some() {
                    return Err(de::Error::custom(format!("a group of {period} is there twice")));
                }
                totals.insert(period, by, Group { rows, columns });
            }
        }
        Ok(totals)
    }
}

#[cfg(test)]
#[path = "totals_tests.rs"]
mod tests;
