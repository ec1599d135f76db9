//! Roles in which a broker promises that others have its messages. None is served yet: a broker that kept
//! them for itself would acknowledge what nobody else has, so it does not start.

use sluice_protocol::java_properties::Property;

use super::ConfigError;

const ALONE: &str =
    "replication is not served yet, and alone this broker would break what it promises";

/// What a file promises of that, the first first. Java's own refusals come in its words.
pub(super) fn promised(
    lines: &[Property],
    origin: &dyn Fn(&Property) -> String,
) -> Vec<ConfigError> {
    let last = |key: &str| {
        let same = |line: &&Property| line.key.eq_ignore_ascii_case(key);
        lines.iter().rfind(same)
    };
    let on = |key| last(key).is_some_and(|line| line.value.trim().eq_ignore_ascii_case("true"));
    let (controller, dledger) = ("enableControllerMode", "enableDLegerCommitLog");
    let role = last("brokerRole").filter(|line| line.value.trim().eq_ignore_ascii_case("SLAVE"));
    if on(controller) && on(dledger) {
        return vec![ConfigError::ControllerAndDledger];
    }
    let id = last("brokerId").and_then(|line| line.value.trim().parse::<i64>().ok());
    if role.is_some() && !on(controller) && id.unwrap_or(0) <= 0 {
        return vec![ConfigError::SlaveId];
    }
    [controller, dledger]
        .into_iter()
        .filter(|key| on(key))
        .filter_map(|key| Some((key, last(key)?)))
        .map(|(key, line)| ConfigError::Replicated {
            origin: origin(line),
            key,
            value: line.value.trim().to_owned(),
            why: ALONE,
        })
        .collect()
}
