//! A plugin in the host of a broker, with a directory of its own and no broker.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_filters::sql92::{Argument, Function, Functions, Row as CallRow, Value};
use sluice_plugins::filter::{Judgement, Thread};
use sluice_plugins::functions::BoundFunctions;
use sluice_plugins::hooks::{Edit, Edits};
use sluice_plugins::logs::Line;
use sluice_plugins::stats::Reading;
use sluice_plugins::{Bind, Bound, Compile, Host, Key, Row, World};
use sluice_protocol::message::{Record, properties};
use tempfile::TempDir;

use crate::bindings::limits_named;
use crate::error::AdminError;
use crate::expectation::{After, Judged};
use crate::subject::Subject;
use crate::table::one;

/// A plugin bound to a topic.
pub(crate) struct Trial {
    pub(crate) world: World,
    /// How long it took to compile and start.
    pub(crate) put_took: Duration,
    pub(crate) key: Key,
    pub(crate) host: Arc<Host>,
    pub(crate) bound: Arc<Bound>,
    call: Option<Call>,
    /// Behind what uses it.
    _dir: TempDir,
}

/// A function as an expression would call it.
struct Call {
    function: Arc<dyn Function>,
    /// Properties that stand in for the arguments.
    arguments: Vec<String>,
}

impl Trial {
    /// Puts and binds it as a broker would.
    pub(crate) fn open(
        subject: &Subject,
        (topic, group): (&str, &str),
        limits: &[(String, u64)],
        compile: Compile,
    ) -> Result<Trial, AdminError> {
        let dir = tempfile::tempdir()?;
        let host = Arc::new(Host::open(dir.path(), compile)?);
        let began = Instant::now();
        let put = host.put(&subject.name, &subject.module, 0)?;
        let put_took = began.elapsed();
        let world = put.version.world;
        if let Some(wanted) = subject.world.filter(|wanted| *wanted != world) {
            return Err(AdminError::Command(format!(
                "plugin.toml says that {} is {}; the module is {}",
                subject.name,
                one(wanted),
                one(world)
            )));
        }
        let key = Key {
            plugin: subject.name.clone(),
            topic: topic.to_owned(),
            // A group does not send.
            group: match world {
                World::SendHook => String::new(),
                _ => group.to_owned(),
            },
        };
        host.bind(Bind {
            plugin: key.plugin.clone(),
            topic: key.topic.clone(),
            group: key.group.clone(),
            params: subject.params.clone(),
            kv: subject.kv,
            limits: limits_named(limits)?,
            ..Bind::default()
        })?;
        let call = match world {
            World::Function => Some(Call::of(&host, &key, &subject.arguments)?),
            _ => None,
        };
        Ok(Trial {
            world,
            put_took,
            bound: host.bound(&key)?,
            key,
            host,
            call,
            _dir: dir,
        })
    }

    /// What it did since it was bound.
    pub(crate) fn reading(&self) -> Reading {
        let mut readings = self.bound.readings();
        readings
            .pop()
            .map(|(_, reading)| reading)
            .unwrap_or_default()
    }

    /// What it said from a line on.
    pub(crate) fn said(&self, from: u64) -> Vec<Line> {
        self.bound.logs().since(from)
    }

    /// What it makes of one message.
    pub(crate) fn judge(&self, record: &Record<'_>) -> Judged {
        match self.world {
            World::Filter | World::Language => self.filter(record),
            World::Function => self.function(record),
            World::SendHook | World::ConsumeHook => self.hook(record),
            World::AllocateStrategy => Judged::failed("a strategy sees no messages".to_owned()),
        }
    }

    fn filter(&self, record: &Record<'_>) -> Judged {
        let explained = self.bound.explain(&Row::from(record));
        match explained.failure {
            Some(why) => Judged::failed(why),
            None => Judged {
                verdict: name(explained.verdict).to_owned(),
                ..Judged::default()
            },
        }
    }

    fn function(&self, record: &Record<'_>) -> Judged {
        let before = self.reading();
        let mut values = [Value::Failed];
        self.call(std::slice::from_ref(record), &mut values);
        let [value] = values;
        if value == Value::Failed {
            return Judged::failed(trouble(&before, &self.reading()).to_owned());
        }
        Judged {
            verdict: shown(&value),
            ..Judged::default()
        }
    }

    fn hook(&self, record: &Record<'_>) -> Judged {
        let stored = Row::from(record);
        let now_ms = stored.store_time_ms;
        let asked = match self.world {
            // The store has not seen it yet.
            World::SendHook => Row {
                queue_offset: 0,
                store_time_ms: 0,
                ..stored
            },
            _ => stored,
        };
        let edits = match self.bound.before(&[asked], now_ms) {
            Ok(edits) => edits,
            Err(none) => return Judged::failed(none.cause),
        };
        let stops = edits
            .iter()
            .any(|(_, edit)| matches!(edit, Edit::Reject(..) | Edit::Drop));
        let why: Vec<String> = edits.iter().map(|(_, edit)| told(edit)).collect();
        let edits: Vec<Edit> = edits.into_iter().map(|(_, edit)| edit).collect();
        if !stops {
            let before = self.reading();
            self.bound.after(&[stored], now_ms);
            let after = self.reading();
            if after.traps + after.timeouts > before.traps + before.timeouts {
                let word = self.world.after().unwrap_or_default();
                return Judged::failed(format!("{word}: {}", trouble(&before, &after)));
            }
        }
        Judged {
            verdict: if stops { "drop" } else { "pass" }.to_owned(),
            why: why.join("; "),
            failed: false,
            after: Some(After::edits(record, &edits)),
        }
    }

    /// Gives a block to it as a broker does, whatever comes of it.
    pub(crate) fn block(&self, records: &[Record<'_>]) {
        let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
        match self.world {
            World::Filter | World::Language => {
                let mut judgements = vec![Judgement::Drop; rows.len()];
                self.bound.judge(&rows, Thread::Aside, &mut judgements);
            }
            World::Function => self.call(records, &mut vec![Value::Failed; records.len()]),
            World::SendHook | World::ConsumeHook => {
                let now_ms = rows.last().map_or(0, |row| row.store_time_ms);
                // Failures are in the numbers.
                let _: Result<Edits, _> = self.bound.before(&rows, now_ms);
            }
            World::AllocateStrategy => {}
        }
    }

    fn call(&self, records: &[Record<'_>], values: &mut [Value]) {
        let Some(call) = &self.call else { return };
        let row = |(number, record): (usize, &Record<'_>)| CallRow {
            record: number,
            arguments: call
                .arguments
                .iter()
                .map(|name| {
                    record
                        .property(name)
                        .map(|value| Cow::Owned(value.to_owned()))
                })
                .collect(),
        };
        let rows: Vec<CallRow<'_>> = records.iter().enumerate().map(row).collect();
        call.function.call(records, &rows, values);
    }
}

impl Call {
    fn of(host: &Arc<Host>, key: &Key, arguments: &[String]) -> Result<Call, AdminError> {
        let functions = BoundFunctions {
            host: host.clone(),
            topic: key.topic.clone(),
            group: key.group.clone(),
        };
        let varying = vec![Argument::Varies; arguments.len()];
        let function = functions.resolve(&key.plugin, &varying);
        let function = function.map_err(|why| {
            AdminError::Refused(format!(
                "{} with {} arguments: {why}; name properties that stand in for them with --arguments",
                key.plugin,
                arguments.len()
            ))
        })?;
        Ok(Call {
            function,
            arguments: arguments.to_vec(),
        })
    }
}

pub(crate) fn name(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pass => "pass",
        Judgement::Drop => "drop",
        Judgement::Hold => "hold",
        Judgement::Defer | Judgement::DeadLetter => "fail",
    }
}

/// A value as SQL92 writes it, texts without quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::Failed => "fail".to_owned(),
        Value::Null => "NULL".to_owned(),
        Value::Boolean(true) => "TRUE".to_owned(),
        Value::Boolean(false) => "FALSE".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    }
}

/// What happened between two readings.
fn trouble(before: &Reading, after: &Reading) -> &'static str {
    if after.timeouts > before.timeouts {
        "stopped at its deadline"
    } else if after.traps > before.traps {
        "trapped or answered wrongly"
    } else {
        "it failed on this message"
    }
}

/// An edit in words.
fn told(edit: &Edit) -> String {
    match edit {
        Edit::SetProperty(name, value) => format!("{name} = {value:?}"),
        Edit::DeleteProperty(name) => format!("without {name}"),
        Edit::Reject(code, reason) => {
            let illegal = sluice_protocol::code::response::MESSAGE_ILLEGAL;
            format!("refused with {}: {reason}", code.unwrap_or(illegal))
        }
        Edit::SetBody(body) => format!("body {:?}", String::from_utf8_lossy(body)),
        Edit::SetTopic(topic) => format!("to topic {topic}"),
        Edit::SetQueue(queue) => format!("to queue {queue}"),
        Edit::SetDelay(ms) => format!("delayed by {ms} ms"),
        Edit::Drop => "dropped".to_owned(),
    }
}

/// How people find a message again.
pub(crate) fn label(record: &Record<'_>) -> String {
    match record.property(properties::KEYS) {
        Some(keys) => keys.to_owned(),
        None => format!("{}:{}", record.queue_id(), record.queue_offset()),
    }
}
