//! Runs plugins in plain `cargo test`, on blocks packed as the broker packs them, with a [`Double`]
//! in the broker's place.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use sluice_plugin_block::{BlockWriter, Edit, Edits, Field, Value, Values, Verdict, Verdicts};

use crate::host::{Host, Level, with_host};
use crate::run::{self, Answer, Configured};
use crate::{Binding, ConsumeHook, Filter, Function, Language, Needs, SendHook};

/// A message to try a plugin on.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    arguments: Vec<Option<String>>,
    properties: Vec<(String, Vec<u8>)>,
    fields: Vec<(Field, i64)>,
    body: Vec<u8>,
}

impl Sample {
    /// A message without anything.
    pub fn new() -> Self {
        Sample::default()
    }

    /// With a property; of equal names the last counts.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_owned();
        self
    }

    /// With a system field.
    #[must_use]
    pub fn field(mut self, field: Field, value: i64) -> Self {
        self.fields.push((field, value));
        self
    }

    /// With a next argument of a function; `None` is NULL.
    #[must_use]
    pub fn argument(mut self, value: Option<&str>) -> Self {
        self.arguments.push(value.map(str::to_owned));
        self
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        let found = self.properties.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// Stands in for the broker: remembers logs and counters, keeps a key-value store, and has a clock
/// that only the test moves.
#[derive(Debug, Default)]
pub struct Double {
    now: Cell<u64>,
    logs: RefCell<Vec<(Level, String)>>,
    counters: RefCell<HashMap<String, u64>>,
    /// Value and when it is forgotten, 0 = never.
    kv: RefCell<HashMap<String, (Vec<u8>, u64)>>,
    samples: RefCell<Vec<Sample>>,
}

impl Double {
    /// A broker at time 0 that has nothing.
    pub fn new() -> Self {
        Double::default()
    }

    /// Sets the time that [`crate::host::now`] answers.
    pub fn set_now(&self, unix_milliseconds: u64) {
        self.now.set(unix_milliseconds);
    }

    /// What was logged.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.logs.borrow().clone()
    }

    /// A counter's value.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.borrow().get(name).copied().unwrap_or(0)
    }
}

impl Host for Double {
    fn log(&self, level: Level, message: &str) {
        self.logs.borrow_mut().push((level, message.to_owned()));
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn counter_add(&self, name: &str, delta: u64) {
        *self
            .counters
            .borrow_mut()
            .entry(name.to_owned())
            .or_default() += delta;
    }

    fn body(&self, row: usize) -> Vec<u8> {
        self.samples
            .borrow()
            .get(row)
            .map(|sample| sample.body.clone())
            .unwrap_or_default()
    }

    fn property(&self, row: usize, name: &str) -> Option<String> {
        let samples = self.samples.borrow();
        let value = samples.get(row)?.find(name)?;
        String::from_utf8(value.to_owned()).ok()
    }

    fn kv_get(&self, key: &str) -> Option<Vec<u8>> {
        let kv = self.kv.borrow();
        let (value, until) = kv.get(key)?;
        (*until == 0 || self.now.get() < *until).then(|| value.clone())
    }

    fn kv_set(&self, key: &str, value: &[u8], ttl_ms: u64) -> Result<(), String> {
        let until = if ttl_ms == 0 {
            0
        } else {
            self.now.get().saturating_add(ttl_ms)
        };
        self.kv
            .borrow_mut()
            .insert(key.to_owned(), (value.to_owned(), until));
        Ok(())
    }

    fn kv_compare_and_set(
        &self,
        key: &str,
        old: Option<&[u8]>,
        new: &[u8],
        ttl_ms: u64,
    ) -> Result<bool, String> {
        let same = self.kv_get(key).as_deref() == old;
        if same {
            self.kv_set(key, new, ttl_ms)?;
        }
        Ok(same)
    }

    fn kv_delete(&self, key: &str) -> Result<(), String> {
        self.kv.borrow_mut().remove(key);
        Ok(())
    }
}

/// A configured plugin under test.
pub struct Plugin<P> {
    plugin: P,
    needs: Needs,
    arguments: usize,
    answer: Answer,
    /// The broker's place.
    pub host: Rc<Double>,
}

// By hand, so that plugins need not be `Debug` for `unwrap_err`.
impl<P> std::fmt::Debug for Plugin<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// A binding of topic `topic` and group `group` with these settings.
pub fn binding(params: &[(&str, &str)]) -> Binding {
    let params = params
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()));
    Binding {
        topic: "topic".into(),
        group: "group".into(),
        params: params.collect(),
    }
}

fn plugin<P>(
    arguments: usize,
    configure: impl FnOnce() -> Configured<P>,
) -> Result<Plugin<P>, String> {
    let host = Rc::new(Double::new());
    let (plugin, needs) = with_host(host.clone(), configure)?;
    Ok(Plugin {
        plugin,
        needs,
        arguments,
        answer: Answer::new(),
        host,
    })
}

/// Configures a filter.
///
/// # Errors
/// The plugin's own; so with all that follow.
pub fn filter<P: Filter>(params: &[(&str, &str)]) -> Result<Plugin<P>, String> {
    plugin(0, || run::filter(&binding(params)))
}

/// Compiles an expression.
///
/// # Errors
/// The plugin's own.
pub fn language<P: Language>(
    expression: &str,
    params: &[(&str, &str)],
) -> Result<Plugin<P>, String> {
    plugin(0, || run::language(expression, &binding(params)))
}

/// Configures a function that is called with so many arguments.
///
/// # Errors
/// The plugin's own.
pub fn function<P: Function>(
    params: &[(&str, &str)],
    arguments: usize,
) -> Result<Plugin<P>, String> {
    plugin(arguments, || run::function(&binding(params), arguments))
}

/// Configures a send hook.
///
/// # Errors
/// The plugin's own.
pub fn send_hook<P: SendHook>(params: &[(&str, &str)]) -> Result<Plugin<P>, String> {
    plugin(0, || run::send_hook(&binding(params)))
}

/// Configures a consume hook.
///
/// # Errors
/// The plugin's own.
pub fn consume_hook<P: ConsumeHook>(params: &[(&str, &str)]) -> Result<Plugin<P>, String> {
    plugin(0, || run::consume_hook(&binding(params)))
}

impl<P> Plugin<P> {
    /// What the plugin asked for.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Packs `samples` (1 to 64 of them) as the plugin's needs ask and calls it with the bytes.
    fn call<R>(
        &mut self,
        samples: &[Sample],
        call: impl FnOnce(&mut P, &[u8], &mut Answer) -> R,
    ) -> R {
        let block = self.pack(samples);
        *self.host.samples.borrow_mut() = samples.to_vec();
        let block = block.bytes().expect("a test's block is small");
        let (plugin, answer) = (&mut self.plugin, &mut self.answer);
        with_host(self.host.clone(), || call(plugin, block, answer))
    }

    fn pack(&self, samples: &[Sample]) -> BlockWriter {
        let (needs, arguments) = (&self.needs, self.arguments);
        let cols = arguments + needs.properties().len();
        let mut block = BlockWriter::new();
        block.begin(samples.len(), cols, needs.fields(), needs.wants_body());
        for (row, sample) in samples.iter().enumerate() {
            for (col, argument) in sample.arguments.iter().enumerate() {
                if let Some(argument) = argument {
                    block.cell(row, col, argument.as_bytes());
                }
            }
            for (col, name) in needs.properties().iter().enumerate() {
                if let Some(value) = sample.find(name) {
                    block.cell(row, arguments + col, value);
                }
            }
            for (field, value) in &sample.fields {
                block.field(row, *field, *value);
            }
            if needs.wants_body() {
                block.body(row, &sample.body);
            }
        }
        block
    }
}

impl<P: Filter> Plugin<P> {
    /// The verdicts of a block.
    pub fn filter(&mut self, samples: &[Sample]) -> Vec<Verdict> {
        self.call(samples, |plugin, block, answer| {
            verdicts(run::filter_batch(plugin, block, answer), samples.len())
        })
    }
}

impl<P: Language> Plugin<P> {
    /// The verdicts of a block.
    pub fn judge(&mut self, samples: &[Sample]) -> Vec<Verdict> {
        self.call(samples, |plugin, block, answer| {
            verdicts(run::language_batch(plugin, block, answer), samples.len())
        })
    }
}

impl<P: Function> Plugin<P> {
    /// Hands the values of a block to `check`.
    pub fn values<R>(&mut self, samples: &[Sample], check: impl FnOnce(&[Value<'_>]) -> R) -> R {
        self.call(samples, |plugin, block, answer| {
            let bytes = run::call_batch(plugin, block, answer).expect("the block was packed here");
            let values = Values::parse(bytes, samples.len()).expect("the values were packed here");
            check(&values.iter().collect::<Vec<_>>())
        })
    }
}

impl<P: SendHook> Plugin<P> {
    /// Hands the edits of a block to `check`, each with its row.
    pub fn before_send<R>(
        &mut self,
        samples: &[Sample],
        check: impl FnOnce(&[(usize, Edit<'_>)]) -> R,
    ) -> R {
        self.call(samples, |plugin, block, answer| {
            edits(
                run::before_send(plugin, block, answer),
                samples.len(),
                check,
            )
        })
    }

    /// Tells the plugin that a block was stored.
    pub fn after_send(&mut self, samples: &[Sample]) {
        self.call(samples, |plugin, block, _| run::after_send(plugin, block))
            .expect("the block was packed here");
    }
}

impl<P: ConsumeHook> Plugin<P> {
    /// Hands the edits of a block to `check`, each with its row.
    pub fn before_deliver<R>(
        &mut self,
        samples: &[Sample],
        check: impl FnOnce(&[(usize, Edit<'_>)]) -> R,
    ) -> R {
        self.call(samples, |plugin, block, answer| {
            edits(
                run::before_deliver(plugin, block, answer),
                samples.len(),
                check,
            )
        })
    }

    /// Tells the plugin that a block was consumed.
    pub fn after_consume(&mut self, samples: &[Sample]) {
        self.call(samples, |plugin, block, _| {
            run::after_consume(plugin, block)
        })
        .expect("the block was packed here");
    }
}

fn verdicts(called: run::Called<'_>, rows: usize) -> Vec<Verdict> {
    let bytes = called.expect("the block was packed here");
    Verdicts::parse(bytes, rows)
        .expect("the verdicts were packed here")
        .iter()
        .collect()
}

fn edits<R>(
    called: run::Called<'_>,
    rows: usize,
    check: impl FnOnce(&[(usize, Edit<'_>)]) -> R,
) -> R {
    let bytes = called.expect("the block was packed here");
    let edits = Edits::parse(bytes, rows).expect("the edits were packed here");
    check(&edits.iter().collect::<Vec<_>>())
}
