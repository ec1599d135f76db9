//! Limits checked before anything is sent; the same as Java's.

use crate::error::ClientError;
use crate::message::Message;

use sluice_protocol::topic::{GROUP_LENGTH_MAX, TOPIC_LENGTH_MAX, is_send_forbidden};

pub(crate) fn topic(topic: &str) -> Result<(), ClientError> {
    name("topic", topic, TOPIC_LENGTH_MAX)
}

pub(crate) fn group(group: &str) -> Result<(), ClientError> {
    name("group", group, GROUP_LENGTH_MAX)?;
    if ["DEFAULT_PRODUCER", "DEFAULT_CONSUMER"].contains(&group) {
        return Err(ClientError::invalid(
            format!("group {group:?}"),
            "is reserved, choose a name of your own",
        ));
    }
    Ok(())
}

fn name(kind: &str, name: &str, max: usize) -> Result<(), ClientError> {
    if name.trim().is_empty() {
        return Err(ClientError::invalid(kind, "must not be blank"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "%|_-".contains(c);
    if let Some(c) = name.chars().find(|c| !legal(*c)) {
        return Err(ClientError::invalid(
            format!("{kind} {name:?}"),
            format!("holds {c:?}; letters, digits and % | _ - are allowed"),
        ));
    }
    if name.len() > max {
        return Err(ClientError::invalid(
            format!("{kind} {name:?}"),
            format!("has {} characters, at most {max} are allowed", name.len()),
        ));
    }
    Ok(())
}

pub(crate) fn message(message: &Message, body_size_max: usize) -> Result<(), ClientError> {
    topic(&message.topic)?;
    if is_send_forbidden(&message.topic) {
        return Err(ClientError::invalid(
            format!("topic {:?}", message.topic),
            "belongs to the broker, sending to it is forbidden",
        ));
    }
    if message.body.is_empty() {
        return Err(ClientError::invalid("body", "must not be empty"));
    }
    if message.body.len() > body_size_max {
        return Err(ClientError::invalid(
            format!("body of {} bytes", message.body.len()),
            format!("is larger than the limit of {body_size_max} bytes"),
        ));
    }
    message
        .properties
        .iter()
        .try_for_each(|(name, value)| property(name, value))
}

fn property(name: &str, value: &str) -> Result<(), ClientError> {
    if name.trim().is_empty() || value.is_empty() {
        return Err(ClientError::invalid(
            format!("property {name:?} = {value:?}"),
            "needs a name and a value: RocketMQ drops empty ones",
        ));
    }
    if [name, value]
        .iter()
        .any(|text| text.contains(['\u{1}', '\u{2}']))
    {
        return Err(ClientError::invalid(
            format!("property {name:?} = {value:?}"),
            "holds U+0001 or U+0002, which separate properties",
        ));
    }
    Ok(())
}

/// Refuses a setting outside `bounds`.
pub(crate) fn setting<T: PartialOrd + std::fmt::Debug>(
    name: &str,
    value: T,
    bounds: std::ops::RangeInclusive<T>,
) -> Result<(), ClientError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(ClientError::invalid(
        format!("{name} = {value:?}"),
        format!("is outside of {:?} to {:?}", bounds.start(), bounds.end()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4 * 1024 * 1024;

    #[test]
    fn names() {
        for good in ["T", "%RETRY%g", "a|b", "A_b-9", &"x".repeat(127)] {
            assert!(topic(good).is_ok(), "{good}");
        }
        for bad in ["", "  ", "a b", "ä", "a.b", "a/b", &"x".repeat(128)] {
            assert!(topic(bad).is_err(), "{bad}");
        }
        assert!(group(&"x".repeat(255)).is_ok());
        assert!(group(&"x".repeat(256)).is_err());
        assert!(group("DEFAULT_PRODUCER").is_err());
    }

    #[test]
    fn messages() {
        assert!(message(&Message::new("T", "x"), MAX).is_ok());
        assert!(message(&Message::new("T", vec![0; MAX]), MAX).is_ok());
        let said = |m: Message| message(&m, MAX).unwrap_err().to_string();
        assert!(said(Message::new("T", vec![0; MAX + 1])).contains("limit"));
        assert!(said(Message::new("T", "")).contains("empty"));
        assert!(said(Message::new("SCHEDULE_TOPIC_XXXX", "x")).contains("forbidden"));
        assert!(said(Message::new("T", "x").property("a", "\u{1}")).contains("U+0001"));
        assert!(said(Message::new("T", "x").property("a", "")).contains("value"));
    }

    #[test]
    fn settings_name_their_bounds() {
        assert!(setting("batch", 32, 1..=1024).is_ok());
        let error = setting("batch", 0, 1..=1024).unwrap_err().to_string();
        assert_eq!(error, "batch = 0 is outside of 1 to 1024");
    }
}
