//! Readers that take what the clients of other languages write.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A number, also as text; null is 0.
pub fn number<'de, D: Deserializer<'de>, N: TryFrom<i64>>(deserializer: D) -> Result<N, D::Error> {
    let value = Value::deserialize(deserializer)?;
    to_number(&value)
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format_args!("{value} is no number that fits")))
}

/// A truth value, also as text.
pub fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(false),
        Value::Bool(value) => Ok(value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        other => Err(D::Error::custom(format_args!(
            "{other} is neither true nor false"
        ))),
    }
}

/// Numbers, also as texts; null is none.
pub fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    let values = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    let wrong = |value: &Value| D::Error::custom(format_args!("{value} is no number"));
    values
        .iter()
        .map(|value| to_number(value).ok_or_else(|| wrong(value)))
        .collect()
}

fn to_number(value: &Value) -> Option<i64> {
    match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The value, or its default for null.
pub fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Texts by name; a number or truth value is its text, null is left out.
pub fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let values = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |(name, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => Ok(text),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            other => Err(D::Error::custom(format_args!("{name}: {other} is no text"))),
        };
        Some(text.map(|text| (name, text)))
    };
    values.into_iter().filter_map(text).collect()
}

/// Java's enums: written by name, read by name or ordinal; anything else is the default.
macro_rules! java_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[allow(missing_docs)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            const ALL: &[(Self, &'static str)] = &[$(($name::$variant, $text)),+];

            /// Java's name.
            pub fn name(self) -> &'static str {
                Self::ALL[self as usize].1
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                let by_name = |text: &str| Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(value, _)| *value);
                let by_ordinal = |at: u64| usize::try_from(at).ok().and_then(|at| Self::ALL.get(at)).map(|(value, _)| *value);
                let known = value.as_str().and_then(by_name).or_else(|| value.as_u64().and_then(by_ordinal));
                Ok(known.unwrap_or_default())
            }
        }
    };
}
pub(crate) use java_enum;
