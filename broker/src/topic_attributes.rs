//! Topic attributes: which there are, what they may say, and how a request changes them.
//!
//! Source: `TopicAttributes`, `AttributeParser`, `AttributeUtil`, whose words the refusals have.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Refusal;

/// What an attribute may be.
struct Attribute {
    name: &'static str,
    /// A change after the topic has been created is allowed.
    changeable: bool,
    values: Values,
}

enum Values {
    /// One of these, in the order in which Java lists them.
    Among(&'static [&'static str]),
    /// A number not below -1.
    Time,
}

const MESSAGE_TYPE: &str = "message.type";
const MIXED: &str = "MIXED";

const ATTRIBUTES: [Attribute; 4] = [
    Attribute {
        name: "queue.type",
        changeable: false,
        values: Values::Among(&["SimpleCQ", "BatchCQ"]),
    },
    Attribute {
        name: CLEANUP_POLICY,
        changeable: false,
        values: Values::Among(&["DELETE", "COMPACTION"]),
    },
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        values: Values::Among(&[
            "UNSPECIFIED",
            "TRANSACTION",
            "FIFO",
            MIXED,
            "DELAY",
            "NORMAL",
        ]),
    },
    Attribute {
        name: "reserve.time",
        changeable: true,
        values: Values::Time,
    },
];

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACTION: &str = "COMPACTION";
const QUEUE_TYPE: &str = "queue.type";
const BATCH_CQ: &str = "BatchCQ";

fn says(attributes: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    attributes.get(key).map(String::as_str) == Some(value)
}

/// Whether messages are kept by their last key. Of a topic whose records are batches, which a Java broker may
/// have left, they are kept as of any other.
pub fn is_compacted(attributes: &BTreeMap<String, String>) -> bool {
    says(attributes, CLEANUP_POLICY, COMPACTION) && !says(attributes, QUEUE_TYPE, BATCH_CQ)
}

impl Attribute {
    fn check(&self, value: &str) -> Result<(), Refusal> {
        let refused = match self.values {
            Values::Among(values) if !values.contains(&value) => {
                format!("value is not in set: [{}]", values.join(", "))
            }
            Values::Among(_) => return Ok(()),
            Values::Time => match value.parse::<i64>() {
                Err(_) => format!("For input string: \"{value}\""),
                Ok(..-1) => format!("value is not in range(-1, {})", i64::MAX),
                Ok(-1..) => return Ok(()),
            },
        };
        Err(Refusal::System(refused))
    }
}

/// The attributes with `changes` applied: `+key=value` sets, `-key` removes, commas between them.
/// `known` is `None` for a topic that is being created.
///
/// # Errors
/// A change is not one, its key is unknown, its value is not what the key takes, the key can't change
/// any more, or nobody may ask for it.
pub fn changed(
    known: Option<&BTreeMap<String, String>>,
    changes: &str,
    allows_mixed: bool,
) -> Result<BTreeMap<String, String>, Refusal> {
    let changes = parse(changes)?;
    if !allows_mixed && changes.contains(&("+message.type", MIXED)) {
        return Err(Refusal::InvalidParameter(
            "MIXED message type is not supported.".to_owned(),
        ));
    }
    let mut seen = BTreeSet::new();
    for (signed, _) in &changes {
        check_key(signed, known, &mut seen)?;
    }
    let mut attributes = known.cloned().unwrap_or_default();
    for (signed, value) in changes {
        let (sign, key) = signed.split_at(1);
        let attribute = changeable(key, known.is_none())?;
        if sign == "+" {
            attribute.check(value)?;
            attributes.insert(key.to_owned(), value.to_owned());
        } else {
            attributes.remove(key);
        }
    }
    // A record of such a queue has many keys: which of them it would be kept for nobody says.
    if says(&attributes, CLEANUP_POLICY, COMPACTION) && says(&attributes, QUEUE_TYPE, BATCH_CQ) {
        return Err(Refusal::System(format!(
            "{CLEANUP_POLICY} {COMPACTION} with {QUEUE_TYPE} {BATCH_CQ} is not served by this broker"
        )));
    }
    Ok(attributes)
}

/// Keys with their signs, and values.
fn parse(changes: &str) -> Result<Vec<(&str, &str)>, Refusal> {
    let refused = |what: String| Err(Refusal::System(what));
    let mut parsed: Vec<(&str, &str)> = Vec::new();
    for change in changes.trim_end_matches(',').split(',') {
        if changes.is_empty() {
            break;
        }
        let (key, value) = match change.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return refused(format!("add/alter attribute format is wrong: {key}"));
            }
            Some((_, "")) => return refused("Index 1 out of bounds for length 1".to_owned()),
            Some((key, value)) => (key, value.split('=').next().unwrap_or_default()),
            None if !change.contains('-') => {
                return refused(format!("delete attribute format is wrong: {change}"));
            }
            None => (change, ""),
        };
        if parsed.iter().any(|(known, _)| *known == key) {
            return refused(format!("key duplication: {key}"));
        }
        parsed.push((key, value));
    }
    Ok(parsed)
}

fn check_key<'a>(
    signed: &'a str,
    known: Option<&BTreeMap<String, String>>,
    seen: &mut BTreeSet<&'a str>,
) -> Result<(), Refusal> {
    let refused = |what: String| Err(Refusal::System(what));
    let mut chars = signed.chars();
    let sign = chars.next();
    let key = chars.as_str();
    if key.is_empty() || key.contains(['+', '-']) {
        return refused("kv string format wrong.".to_owned());
    }
    if !seen.insert(key) {
        return refused(format!("alter duplication key. key: {key}"));
    }
    match (sign, known) {
        (Some('+'), _) => Ok(()),
        (_, None) => refused(format!(
            "only add attribute is supported while creating topic. key: {key}"
        )),
        (Some('-'), Some(known)) if !known.contains_key(key) => {
            refused(format!("attempt to delete a nonexistent key: {key}"))
        }
        (Some('-'), Some(_)) => Ok(()),
        _ => refused(format!("wrong format key: {key}")),
    }
}

fn changeable(key: &str, creating: bool) -> Result<&'static Attribute, Refusal> {
    let attribute = ATTRIBUTES.iter().find(|attribute| attribute.name == key);
    let attribute = attribute.ok_or_else(|| Refusal::System(format!("unsupported key: {key}")))?;
    if creating || attribute.changeable {
        Ok(attribute)
    } else {
        Err(Refusal::System(format!(
            "attempt to update an unchangeable attribute. key: {key}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::code::response;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn attributes_are_set_changed_and_removed() {
        let created = changed(None, "+message.type=FIFO,+queue.type=SimpleCQ", false).unwrap();
        assert_eq!(
            created,
            map(&[("message.type", "FIFO"), ("queue.type", "SimpleCQ")])
        );
        let again = changed(Some(&created), "-message.type,+reserve.time=-1", false).unwrap();
        assert_eq!(
            again,
            map(&[("queue.type", "SimpleCQ"), ("reserve.time", "-1")])
        );
        assert_eq!(changed(Some(&again), "", false).unwrap(), again);
        let mixed = changed(None, "+message.type=MIXED", true).unwrap();
        assert_eq!(mixed, map(&[("message.type", "MIXED")]));
    }

    #[test]
    fn what_can_not_be_is_refused_in_java_s_words() {
        let known = map(&[("queue.type", "SimpleCQ"), ("message.type", "FIFO")]);
        let known = Some(&known);
        for (known, change, words) in [
            (None, "+colour=red", "unsupported key: colour"),
            (
                None,
                "+message.type=LOUD",
                "value is not in set: [UNSPECIFIED, TRANSACTION, FIFO, MIXED, DELAY, NORMAL]",
            ),
            (
                None,
                "+reserve.time=-2",
                "value is not in range(-1, 9223372036854775807)",
            ),
            (None, "+reserve.time=long", "For input string: \"long\""),
            (None, "+message.type=", "Index 1 out of bounds for length 1"),
            (
                None,
                "message.type=FIFO",
                "add/alter attribute format is wrong: message.type",
            ),
            (
                None,
                "message.type",
                "delete attribute format is wrong: message.type",
            ),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (None, "+=FIFO", "kv string format wrong."),
            (None, "+message+type=FIFO", "kv string format wrong."),
            (
                None,
                "+message.type=FIFO,+message.type=NORMAL",
                "key duplication: +message.type",
            ),
            (
                known,
                "+message.type=NORMAL,-message.type",
                "alter duplication key. key: message.type",
            ),
            (
                known,
                "-reserve.time",
                "attempt to delete a nonexistent key: reserve.time",
            ),
            (
                known,
                "-queue.type",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            (known, "x+message.type=FIFO", "kv string format wrong."),
        ] {
            let refused = changed(known, change, false).unwrap_err();
            assert_eq!(refused.to_string(), words, "{change}");
            assert_eq!(refused.code(), response::SYSTEM_ERROR);
        }
    }

    #[test]
    fn mixed_has_to_be_allowed_and_batches_have_no_last_key() {
        let refused = changed(None, "+message.type=MIXED", false).unwrap_err();
        assert_eq!(refused.to_string(), "MIXED message type is not supported.");
        assert_eq!(refused.code(), response::INVALID_PARAMETER);
        let compacted = changed(None, "+cleanup.policy=COMPACTION", true).unwrap();
        assert!(is_compacted(&compacted) && !is_compacted(&map(&[])));
        changed(None, "+queue.type=BatchCQ", true).unwrap();
        let both = "+cleanup.policy=COMPACTION,+queue.type=BatchCQ";
        let refused = changed(None, both, true).unwrap_err();
        assert!(refused.to_string().contains("not served"), "{refused}");
        let left = [("cleanup.policy", "COMPACTION"), ("queue.type", "BatchCQ")];
        assert!(!is_compacted(&map(&left)));
    }
}
