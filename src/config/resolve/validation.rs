//! The `validation` section: rules, the computed total, the unique column.

use super::{Checked, Resolver, narrowed};
use crate::config::raw::{RawRule, RawScalar, RawTotal, RawValidation};
use crate::config::settings::{Rule, TotalRule, Unique, Validation};
use crate::config::{defaults, names, parse};
use crate::model::Schema;

impl Resolver<'_> {
    pub(super) fn validation(&self, raw: RawValidation, schema: Option<&Schema>) -> Checked<Validation> {
        let rules =
            raw.rules.unwrap_or_default().into_iter().enumerate().map(|(index, rule)| self.rule(index, rule, schema));
        Ok(Validation {
            allow_null_order_id: raw.allow_null_order_id.unwrap_or(false),
            allow_negative_amount: raw.allow_negative_amount.unwrap_or(false),
            allow_zero_amount: raw.allow_zero_amount.unwrap_or(false),
            check_status: raw.check_status.unwrap_or(true),
            drop_invalid_rows: raw.drop_invalid_rows.unwrap_or(true),
            rules: rules.collect::<Checked<_>>()?,
            total: raw.total.map(|total| self.total(total, schema)).transpose()?,
            unique: self.unique(raw.unique_column, raw.unique_horizon, schema)?,
        })
    }

    fn rule(&self, index: usize, raw: RawRule, schema: Option<&Schema>) -> Checked<Rule> {
        let here = format!("validation.rules[{index}]");
        let key = |name: &str| format!("{here}.{name}");
        let Some(column) = self.word(&key("column"), raw.column.as_ref())? else {
            return Err(self.problem(&here, format!("rule {} names no `column`", index + 1)));
        };
        self.known_column(&key("column"), &column, schema)?;
        let bound = |name: &str, value: Option<RawScalar>| match value {
            Some(RawScalar(text)) => match parse::bound(&text) {
                Ok(()) => Ok(Some(text.trim().to_owned())),
                Err(words) => Err(self.wrong(&key(name), &words)),
            },
            None => Ok(None),
        };
        if let Some(Err(error)) = raw.matches.as_deref().map(regex::Regex::new) {
            let last = error.to_string().lines().last().unwrap_or_default().replace("error: ", "");
            return Err(self.problem(&key("matches"), format!("`{}` is no regular expression: {last}", key("matches"))));
        }
        if raw.max_length.is_some_and(|length| length < 0) {
            return Err(self.wrong(&key("max_length"), "is lower than 0"));
        }
        let rule = Rule {
            column,
            not_null: raw.not_null.unwrap_or(false),
            not_empty: raw.not_empty.unwrap_or(false),
            min: bound("min", raw.min)?,
            max: bound("max", raw.max)?,
            exclusive_min: bound("exclusive_min", raw.exclusive_min)?,
            one_of: raw.one_of.map(|words| words.into_iter().map(|word| word.0).collect()),
            matches: raw.matches,
            max_length: raw.max_length.map(narrowed),
        };
        if rule.one_of.as_ref().is_some_and(Vec::is_empty) {
            return Err(self.problem(&key("one_of"), "a rule with an empty `one_of` would accept nothing"));
        }
        Ok(rule)
    }

    fn total(&self, raw: RawTotal, schema: Option<&Schema>) -> Checked<TotalRule> {
        let column = |name: &str, value: Option<String>| {
            let key = format!("validation.total.{name}");
            let column = self.word(&key, value.as_ref())?;
            column.iter().try_for_each(|column| self.known_column(&key, column, schema))?;
            Ok(column)
        };
        let required = |name: &str, value: Option<String>| {
            column(name, value)?.ok_or_else(|| {
                self.problem("validation.total", format!("`validation.total` names no `{name}` column"))
                    .help("it needs total, quantity and unit_price; discount_percentage may be left out")
            })
        };
        Ok(TotalRule {
            total: required("total", raw.total)?,
            quantity: required("quantity", raw.quantity)?,
            unit_price: required("unit_price", raw.unit_price)?,
            discount_percentage: column("discount_percentage", raw.discount_percentage)?,
        })
    }

    fn unique(&self, column: Option<String>, horizon: Option<i64>, schema: Option<&Schema>) -> Checked<Option<Unique>> {
        const KEY: &str = "validation.unique_column";
        let Some(column) = self.word(KEY, column.as_ref())? else {
            return match horizon {
                Some(_) => Err(self
                    .problem("validation.unique_horizon", "`validation.unique_horizon` is written without a column")
                    .help("name the column in validation.unique_column, or remove the key")),
                None => Ok(None),
            };
        };
        self.known_column(KEY, &column, schema)?;
        Ok(Some(Unique { column, horizon: horizon.map_or(defaults::UNIQUE_HORIZON, narrowed) }))
    }

    /// Where the file writes the schema, a column that is not in it is a mistake of this line.
    fn known_column(&self, key: &str, column: &str, schema: Option<&Schema>) -> Checked<()> {
        let Some(schema) = schema.filter(|schema| schema.index_of(column).is_none()) else { return Ok(()) };
        let near = names::nearest(column, schema.columns.iter().map(|column| column.name.as_str()));
        let problem = self.problem(key, format!("the schema has no column `{column}`"));
        Err(match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        })
    }
}
