//! What is bound: `bind`, `unbind`, `bindings`, `limits`.

use serde_json::{Map, Value, json};
use sluice_plugins::{Bind as Wanted, Key, LimitsChange, Policy};

use crate::answers::{Binding, Numbers, Status};
use crate::args::{Bind, Bindings, Grant, Limits, Unbind, Where};
use crate::connection::{Answer, Connection, Shown};
use crate::error::AdminError;
use crate::plugins;
use crate::table::Table;

pub(crate) fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Accept => "accept",
        Policy::Reject => "reject",
        Policy::Suspend => "suspend",
        Policy::DeadLetter => "dead-letter",
    }
}

/// The bindings of a plugin.
pub(crate) struct OfPlugin {
    pub(crate) statuses: Vec<Status>,
    /// The same as the broker said it.
    pub(crate) json: Vec<Value>,
}

pub(crate) fn of_plugin(broker: &Connection, name: &str) -> Result<OfPlugin, AdminError> {
    let answer = broker.get("/v1/bindings")?;
    let mut statuses: Vec<Status> = answer.read()?;
    let mut json: Vec<Value> = answer.read()?;
    statuses.retain(|status| status.binding.plugin == name);
    json.retain(|status| status["plugin"] == name);
    Ok(OfPlugin { statuses, json })
}

/// The binding that is meant.
pub(crate) fn find(broker: &Connection, name: &str, place: &Where) -> Result<Status, AdminError> {
    let mut found = of_plugin(broker, name)?.statuses;
    found.retain(|status| {
        let binding = &status.binding;
        place.topic.as_ref().is_none_or(|t| *t == binding.topic)
            && place.group.as_ref().is_none_or(|g| *g == binding.group)
    });
    if found.len() > 1 {
        let places: Vec<String> = found.iter().map(|s| s.binding.place()).collect();
        return Err(AdminError::Command(format!(
            "{name:?} is bound to {}; say which with --topic and --group",
            places.join("; ")
        )));
    }
    if let Some(status) = found.pop() {
        return Ok(status);
    }
    plugins::find(broker, name)?;
    let named = [("topic", &place.topic), ("group", &place.group)];
    let named = named
        .iter()
        .filter_map(|(word, given)| Some(format!("{word} {:?}", given.as_ref()?)));
    let named: Vec<String> = named.collect();
    Err(AdminError::Refused(match named.is_empty() {
        true => format!("{name:?} is bound nowhere"),
        false => format!("{name:?} is not bound to {}", named.join(", ")),
    }))
}

pub(crate) fn key(binding: &Binding) -> Key {
    Key {
        plugin: binding.plugin.clone(),
        topic: binding.topic.clone(),
        group: binding.group.clone(),
    }
}

/// The limits that are named; the broker leaves the others as they are.
pub(crate) fn limits_named(named: &[(String, u64)]) -> Result<LimitsChange, AdminError> {
    let none = json!(LimitsChange::default());
    let mut change = Map::new();
    for (name, number) in named {
        if none.get(name).is_none() {
            let known: Vec<&str> = none
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .map(String::as_str)
                .collect();
            return Err(AdminError::Command(format!(
                "{name:?} is no limit; there are {}",
                known.join(", ")
            )));
        }
        change.insert(name.clone(), json!(number));
    }
    serde_json::from_value(Value::Object(change))
        .map_err(|error| AdminError::Command(error.to_string()))
}

pub(crate) fn bind(broker: &Connection, wanted: &Bind) -> Result<Shown, AdminError> {
    let answer = broker.post(
        "/v1/bindings",
        &Wanted {
            plugin: wanted.plugin.name.clone(),
            version: wanted.plugin.version,
            topic: wanted.topic.clone(),
            group: wanted.group.clone(),
            params: wanted.params.iter().cloned().collect(),
            policy: wanted.policy,
            order: wanted.order,
            kv: wanted.grants.contains(&Grant::Kv),
            limits: limits_named(&wanted.limits)?,
        },
    )?;
    described(answer)
}

pub(crate) fn described(answer: Answer) -> Result<Shown, AdminError> {
    let binding: Binding = answer.read()?;
    Ok(Shown {
        text: binding.describe(),
        json: answer.text,
    })
}

pub(crate) fn unbind(broker: &Connection, wanted: &Unbind) -> Result<Shown, AdminError> {
    let key = Key {
        plugin: wanted.name.clone(),
        topic: wanted.topic.clone(),
        group: wanted.group.clone(),
    };
    let answer = broker.post("/v1/bindings/unbind", &key)?;
    let group = match &*wanted.group {
        "" => "all groups".to_owned(),
        group => format!("group {group}"),
    };
    Ok(Shown {
        json: answer.text,
        text: format!(
            "{} is no longer bound to topic {}, {group}",
            wanted.name, wanted.topic
        ),
    })
}

pub(crate) fn list(broker: &Connection, wanted: &Bindings) -> Result<Shown, AdminError> {
    let Some(name) = &wanted.name else {
        let answer = broker.get("/v1/bindings")?;
        let statuses: Vec<Status> = answer.read()?;
        return Ok(Shown {
            text: table(&statuses),
            json: answer.text,
        });
    };
    let all = of_plugin(broker, name)?;
    Ok(Shown {
        text: table(&all.statuses),
        json: Value::Array(all.json).to_string(),
    })
}

fn table(statuses: &[Status]) -> String {
    let mut table = Table::of(&[
        "PLUGIN",
        "KIND",
        "TOPIC",
        "GROUP",
        "ROLE",
        ">ORDER",
        "POLICY",
        "BREAKER",
        ">CALLS",
        ">ROWS",
        ">PASSED",
        ">DROPPED",
        ">CHANGED",
        ">FAILED",
        ">TRAPS",
        ">TIMEOUTS",
        ">DIFFERING",
        ">MEAN",
    ]);
    for status in statuses {
        for numbers in &status.versions {
            table.row(cells(status, numbers));
        }
    }
    match table.is_empty() {
        true => "nothing is bound".to_owned(),
        false => table.to_string(),
    }
}

fn cells(status: &Status, numbers: &Numbers) -> [String; 18] {
    let binding = &status.binding;
    let group = match &*binding.group {
        "" => "*",
        group => group,
    };
    [
        format!("{}@{}", binding.plugin, numbers.version),
        status.world.to_string(),
        binding.topic.clone(),
        group.to_owned(),
        binding.role(numbers.version),
        binding.order.to_string(),
        policy(binding.policy).to_owned(),
        status.breaker.clone(),
        numbers.calls.to_string(),
        numbers.rows.to_string(),
        numbers.passed.to_string(),
        numbers.dropped.to_string(),
        numbers.changed.to_string(),
        numbers.failed_rows.to_string(),
        numbers.traps.to_string(),
        numbers.timeouts.to_string(),
        numbers.differing.to_string(),
        numbers.mean(),
    ]
}

pub(crate) fn limits(broker: &Connection, wanted: &Limits) -> Result<Shown, AdminError> {
    let status = find(broker, &wanted.name, &wanted.place)?;
    let limits = status.binding.limits.clone();
    if wanted.limits.is_empty() {
        return Ok(Shown {
            text: in_lines(&limits),
            json: Value::Object(limits).to_string(),
        });
    }
    let mut request = json!(key(&status.binding));
    request["limits"] = json!(limits_named(&wanted.limits)?);
    let answer = broker.post("/v1/bindings/limits", &request)?;
    let binding: Binding = answer.read()?;
    Ok(Shown {
        text: in_lines(&binding.limits),
        json: answer.text,
    })
}

fn in_lines(limits: &Map<String, Value>) -> String {
    let mut table = Table::of(&["LIMIT", ">VALUE"]);
    for (name, value) in limits {
        table.row([name.clone(), value.to_string()]);
    }
    table.to_string()
}
