//! Functions that SQL92 expressions call, and bound filters named in them.

use std::borrow::Cow;
use std::sync::Arc;

use sluice_filters::sql92::{Argument, Function, Functions, Row as CallRow, Value};
use sluice_plugin_block::{Value as Packed, Values};
use sluice_protocol::message::Record;

use crate::World;
use crate::binding::Bound;
use crate::block::Cell;
use crate::error::CallError;
use crate::filter::{Judgement, Thread};
use crate::guest::Guest;
use crate::host::Host;
use crate::instance::AtHand;
use crate::row::Row;

/// Calls a bound filter: `WASM('name')` or `WASM('name@version')`.
const FILTER: &str = "WASM";

/// What an expression of a topic and group may call.
pub struct BoundFunctions {
    /// All plugins.
    pub host: Arc<Host>,
    /// Topic subscribed to.
    pub topic: String,
    /// Subscribing group.
    pub group: String,
}

/// Most arguments of a function.
const ARGUMENTS_MAX: usize = 32;

impl Functions for BoundFunctions {
    fn resolve(&self, name: &str, arguments: &[Argument<'_>]) -> Result<Arc<dyn Function>, String> {
        if name == FILTER {
            return self.filter(arguments);
        }
        // Each number of arguments has an instance of its own.
        if arguments.len() > ARGUMENTS_MAX {
            return Err(format!(
                "it is called with {} arguments, at most {ARGUMENTS_MAX} are possible",
                arguments.len()
            ));
        }
        let bound = self.find(World::Function, name)?;
        let args = arguments.len() as u32;
        let function = Called { bound, args };
        // What it says of its arguments is said to the subscriber.
        function.guest().map_err(|error| error.to_string())?;
        Ok(Arc::new(function))
    }
}

impl BoundFunctions {
    fn find(&self, world: World, name: &str) -> Result<Arc<Bound>, String> {
        let chain = self.host.chain(world, &self.topic, &self.group);
        let found = chain
            .into_iter()
            .find(|bound| bound.spec.read().plugin == name);
        found.ok_or_else(|| {
            format!(
                "no {world} of that name is bound to topic {:?} for group {:?}",
                self.topic, self.group
            )
        })
    }

    fn filter(&self, arguments: &[Argument<'_>]) -> Result<Arc<dyn Function>, String> {
        let [Argument::Literal(Some(named))] = arguments else {
            return Err(format!(
                "it is called as {FILTER}('name') or {FILTER}('name@version')"
            ));
        };
        let (name, version) = match named.split_once('@') {
            None => (&**named, None),
            Some((name, version)) => {
                let version: Result<u32, _> = version.parse();
                let version = version.map_err(|_| format!("{named:?} has no number after `@`"))?;
                (name, Some(version))
            }
        };
        let bound = self.find(World::Filter, name)?;
        let current = bound.spec.read().current;
        if version.is_some_and(|wanted| wanted != current) {
            return Err(format!(
                "of {name:?} version {current} is bound, not {named:?}"
            ));
        }
        Ok(Arc::new(Named(bound)))
    }
}

/// A function with its number of arguments.
struct Called {
    bound: Arc<Bound>,
    args: u32,
}

impl Called {
    /// The guest of the version that serves now.
    fn guest(&self) -> Result<Arc<Guest>, CallError> {
        let version = self.bound.spec.read().current;
        if let Some(guest) = self.bound.functions.lock().get(&(version, self.args)) {
            return Ok(guest.clone());
        }
        let guest = Arc::new(self.bound.function_guest(self.args)?);
        self.bound
            .functions
            .lock()
            .insert((version, self.args), guest.clone());
        Ok(guest)
    }

    fn ask(&self, records: &[Record<'_>], rows: &[CallRow<'_>]) -> Result<Vec<Value>, CallError> {
        let guest = self.guest()?;
        let messages: Vec<Row<'_>> = rows
            .iter()
            .map(|row| (&records[row.record]).into())
            .collect();
        let cell = |argument: &Option<Cow<'_, str>>| -> Option<Vec<u8>> {
            argument.as_ref().map(|text| text.as_bytes().to_vec())
        };
        let owned: Vec<Vec<Option<Vec<u8>>>> = rows
            .iter()
            .map(|row| row.arguments.iter().map(cell).collect())
            .collect();
        let arguments: Vec<Vec<Cell<'_>>> = owned
            .iter()
            .map(|row| row.iter().map(Option::as_deref).collect())
            .collect();
        let newest = messages.iter().map(|row| row.store_time_ms).max();
        let at_hand = AtHand {
            now_ms: newest.unwrap_or(0).max(0) as u64,
            rows: &messages,
        };
        let wrong = |error: sluice_plugin_block::Malformed| CallError::Answer(error.to_string());
        let answer = guest.call(at_hand, &arguments)?;
        let values = Values::parse(&answer, rows.len()).map_err(|error| {
            guest.stats().trapped();
            wrong(error)
        })?;
        let values: Vec<Value> = values.iter().map(value).collect();
        let failed = values.iter().filter(|v| **v == Value::Failed).count() as u64;
        guest.stats().judged(rows.len() as u64 - failed, 0, failed);
        Ok(values)
    }
}

fn value(packed: Packed<'_>) -> Value {
    match packed {
        Packed::Null => Value::Null,
        Packed::Boolean(truth) => Value::Boolean(truth),
        Packed::Integer(number) => Value::Integer(number),
        Packed::Float(number) => Value::Float(number),
        Packed::Text(text) => Value::Text(text.to_owned()),
        Packed::Failed => Value::Failed,
    }
}

impl Function for Called {
    /// Rows for which it fails stay failed, which SQL reads as unknown.
    fn call(&self, records: &[Record<'_>], rows: &[CallRow<'_>], results: &mut [Value]) {
        if !self.bound.admit() {
            return;
        }
        match self.ask(records, rows) {
            Ok(values) => {
                for (result, value) in results.iter_mut().zip(values) {
                    *result = value;
                }
                let late = self.guest().ok().and_then(|guest| guest.take_late());
                self.bound.note(late.as_deref());
            }
            Err(error) => {
                if error.is_failure() {
                    self.bound.note(Some(&error.to_string()));
                }
                if rows.len() > 1 && !matches!(error, CallError::Timeout(_)) {
                    self.one_by_one(records, rows, results);
                }
            }
        }
    }

    fn is_slow(&self) -> bool {
        let guests = self.bound.functions.lock();
        guests.values().any(|guest| guest.is_slow())
    }
}

impl Called {
    /// A row that makes it trap costs itself.
    fn one_by_one(&self, records: &[Record<'_>], rows: &[CallRow<'_>], results: &mut [Value]) {
        let began = std::time::Instant::now();
        let deadline = self.bound.spec.read().limits.deadline();
        for (row, result) in rows.iter().zip(results) {
            if began.elapsed() >= deadline {
                return;
            }
            if let Ok(mut values) = self.ask(records, std::slice::from_ref(row)) {
                *result = values.swap_remove(0);
            }
        }
    }
}

/// A bound filter as a condition.
struct Named(Arc<Bound>);

impl Function for Named {
    fn call(&self, records: &[Record<'_>], rows: &[CallRow<'_>], results: &mut [Value]) {
        let messages: Vec<Row<'_>> = rows
            .iter()
            .map(|row| (&records[row.record]).into())
            .collect();
        let mut judgements = vec![Judgement::Drop; messages.len()];
        // An expression has its verdict at once: there is no asking again elsewhere.
        self.0.judge(&messages, Thread::Aside, &mut judgements);
        for (result, judgement) in results.iter_mut().zip(judgements) {
            *result = match judgement {
                Judgement::Pass => Value::Boolean(true),
                Judgement::Drop => Value::Boolean(false),
                Judgement::Hold | Judgement::Defer | Judgement::DeadLetter => Value::Failed,
            };
        }
    }

    fn is_slow(&self) -> bool {
        self.0.is_slow()
    }
}
