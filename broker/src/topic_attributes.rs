//! Topic attributes: which there are, what they may say, and how a request changes them.
//!
//! Source: `TopicAttributes`, `AttributeUtil`.

use std::collections::BTreeMap;

use crate::error::Refusal;

/// What an attribute may be.
struct Attribute {
    name: &'static str,
    /// A change after the topic has been created is allowed.
    changeable: bool,
    expected: &'static str,
    accepts: fn(&str) -> bool,
}

/// Values that another kind of queue or log would be needed for are refused: stored, they would
/// promise what nobody keeps, and a Java broker would later read the directory by them.
const ATTRIBUTES: [Attribute; 4] = [
    Attribute {
        name: "queue.type",
        changeable: false,
        expected: "SimpleCQ (BatchCQ is not served by this broker)",
        accepts: |value| value == "SimpleCQ",
    },
    Attribute {
        name: "cleanup.policy",
        changeable: false,
        expected: "DELETE (COMPACTION is not served by this broker)",
        accepts: |value| value == "DELETE",
    },
    Attribute {
        name: "message.type",
        changeable: true,
        expected: "UNSPECIFIED, NORMAL, FIFO, DELAY or TRANSACTION",
        accepts: |value| {
            matches!(
                value,
                "UNSPECIFIED" | "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION"
            )
        },
    },
    Attribute {
        name: "reserve.time",
        changeable: true,
        expected: "a number not below -1",
        accepts: |value| value.parse::<i64>().is_ok_and(|time| time >= -1),
    },
];

/// The attributes with `changes` applied: `+key=value` sets, `-key` removes, commas between them.
/// `known` is `None` for a topic that is being created.
///
/// # Errors
/// A change is not one, its key is unknown, its value is not what the key takes, or the key can't
/// change any more.
pub fn changed(
    known: Option<&BTreeMap<String, String>>,
    changes: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut attributes = known.cloned().unwrap_or_default();
    let changes = changes.split(',').map(str::trim);
    for change in changes.filter(|change| !change.is_empty()) {
        if let Some(key) = change.strip_prefix('-') {
            changeable(key, known.is_none())?;
            attributes.remove(key);
        } else if let Some((key, value)) = change
            .strip_prefix('+')
            .and_then(|change| change.split_once('='))
        {
            let attribute = changeable(key, known.is_none())?;
            if !(attribute.accepts)(value) {
                return Err(Refusal::InvalidParameter(format!(
                    "attribute {key} = {value:?}: {} is expected",
                    attribute.expected
                )));
            }
            attributes.insert(key.to_owned(), value.to_owned());
        } else {
            return Err(Refusal::InvalidParameter(format!(
                "attribute change {change:?} is neither +key=value nor -key"
            )));
        }
    }
    Ok(attributes)
}

fn changeable(key: &str, creating: bool) -> Result<&'static Attribute, Refusal> {
    let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == key);
    let attribute =
        attribute.ok_or_else(|| Refusal::InvalidParameter(format!("unsupported key: {key}")))?;
    if creating || attribute.changeable {
        Ok(attribute)
    } else {
        Err(Refusal::InvalidParameter(format!(
            "attempt to update an unchangeable attribute. key: {key}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn attributes_are_set_changed_and_removed() {
        let created = changed(None, "+message.type=FIFO,+queue.type=SimpleCQ").unwrap();
        assert_eq!(
            created,
            map(&[("message.type", "FIFO"), ("queue.type", "SimpleCQ")])
        );
        let again = changed(Some(&created), "-message.type, +reserve.time=-1").unwrap();
        assert_eq!(
            again,
            map(&[("queue.type", "SimpleCQ"), ("reserve.time", "-1")])
        );
    }

    #[test]
    fn what_can_not_be_is_refused_by_name() {
        let known = map(&[("queue.type", "SimpleCQ")]);
        for (known, change, named) in [
            (None, "+queue.type=BatchCQ", "BatchCQ is not served"),
            (
                None,
                "+cleanup.policy=COMPACTION",
                "COMPACTION is not served",
            ),
            (None, "+message.type=MIXED", "MIXED"),
            (None, "+reserve.time=-2", "reserve.time"),
            (None, "+colour=red", "unsupported key: colour"),
            (None, "message.type=FIFO", "neither"),
            (Some(&known), "-queue.type", "unchangeable"),
        ] {
            let refused = changed(known, change).unwrap_err();
            assert!(refused.to_string().contains(named), "{change}: {refused}");
        }
    }
}
