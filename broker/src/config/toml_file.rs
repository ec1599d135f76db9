//! A TOML file as the same lines a property file has: tables become keys with points.

use std::path::Path;

use sluice_protocol::java_properties::Property;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// The settings of a TOML file in the order of their lines.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Property>, ConfigError> {
    let at = |offset: usize| format!("{}:{}", path.display(), line_of(text, offset));
    let table = DeTable::parse(text).map_err(|error| ConfigError::Toml {
        origin: at(error.span().map_or(0, |span| span.start)),
        what: error.message().to_owned(),
    })?;
    let mut found = Vec::new();
    flatten("", table.get_ref(), &mut |key, offset, value| {
        let value = value.ok_or_else(|| ConfigError::Toml {
            origin: at(offset),
            what: format!("{key}: a text, a number, true, false or a list of texts is expected"),
        })?;
        found.push(Property {
            line: line_of(text, offset),
            key,
            value,
        });
        Ok(())
    })?;
    found.sort_by_key(|property| property.line);
    Ok(found)
}

type See<'a> = dyn FnMut(String, usize, Option<String>) -> Result<(), ConfigError> + 'a;

fn flatten(prefix: &str, table: &DeTable<'_>, see: &mut See<'_>) -> Result<(), ConfigError> {
    for (name, value) in table.iter() {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&format!("{key}."), inner, see)?,
            plain => see(key, name.span().start, text_of(plain))?,
        }
    }
    Ok(())
}

/// What a property file would say; a list is joined as Java joins its own, with `;`.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Array(parts) => {
            let parts: Option<Vec<String>> = parts
                .iter()
                .map(Spanned::get_ref)
                .map(|part| (!matches!(part, DeValue::Array(_))).then(|| text_of(part))?)
                .collect();
            parts.map(|parts| parts.join(";"))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Line number, from 1, of a byte.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
