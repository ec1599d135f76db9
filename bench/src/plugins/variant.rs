//! The ways in which a filter can be run.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sluice_filters::sql92::NoFunctions;
use sluice_filters::{BLOCK_ROWS_MAX, MessageFilter, Sql92, Verdict};
use sluice_plugins::filter::{Judgement, Thread};
use sluice_plugins::{Bind, Bound, Host, Key, Row, World};
use sluice_protocol::message::Record;

use super::workload::{self, SQL92};
use super::{BIG_ORDERS, SQL92_LANGUAGE};

/// Judges a block: sets whether each message passes.
type Judge<'a> = Box<dyn Fn(&[Record<'_>], &mut [bool]) + 'a>;

/// What is hoped for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    None,
    /// At most so many times the native filter, and so many nanoseconds more.
    Beside(f64, f64),
    /// At most so many times the native closure.
    Times(f64),
    /// At most so many nanoseconds.
    Nanos(f64),
}

impl Goal {
    /// The goal in words, and whether it is missed.
    pub fn said(self, nanos: f64, ratio: f64, added: f64) -> String {
        let (words, met) = match self {
            Goal::None => return String::new(),
            Goal::Beside(times, more) => {
                let met = ratio <= times && added <= more;
                (format!("{times} x, + {more} ns"), met)
            }
            Goal::Times(times) => (format!("{times} x"), ratio <= times),
            Goal::Nanos(most) => (format!("{most} ns"), nanos <= most),
        };
        let missed = if met { "" } else { ": missed" };
        format!("{words}{missed}")
    }
}

/// One way.
pub(super) struct Variant<'a> {
    pub name: &'static str,
    /// Messages of one call.
    pub block: usize,
    pub goal: Goal,
    /// Whether it is the filter at all, or lets everything pass.
    filters: bool,
    judge: Judge<'a>,
}

impl<'a> Variant<'a> {
    fn new(name: &'static str, block: usize, goal: Goal, judge: Judge<'a>) -> Self {
        Variant {
            name,
            block,
            goal,
            filters: true,
            judge,
        }
    }

    fn passing_all(mut self) -> Self {
        self.filters = false;
        self
    }

    /// Judges a block and forgets what came of it.
    pub fn judge(&self, records: &[Record<'_>]) {
        let mut passes = [false; BLOCK_ROWS_MAX];
        (self.judge)(black_box(records), &mut passes[..records.len()]);
        black_box(&passes);
    }

    /// What is compared must do the same.
    pub fn check(&self, records: &[Record<'_>]) -> Result<()> {
        for block in records.chunks(self.block) {
            let mut passes = [false; BLOCK_ROWS_MAX];
            (self.judge)(block, &mut passes);
            for (record, passes) in block.iter().zip(passes) {
                let expected = !self.filters || workload::native(record.properties());
                ensure!(
                    passes == expected,
                    "{} in blocks of {} judges otherwise: {record:?}",
                    self.name,
                    self.block
                );
            }
        }
        Ok(())
    }
}

/// All of them, in a host whose plugins lie in `dir`; the first one is what the others are compared with.
pub(super) fn all<'a>(host: &'a Host, dir: &Path) -> Result<Vec<Variant<'a>>> {
    host.put("big-orders", BIG_ORDERS, 0)?;
    host.put("sql92-language", SQL92_LANGUAGE, 0)?;
    let (big, every) = (
        bound(host, "big-orders", "big", &[])?,
        bound(host, "big-orders", "every", &["all"])?,
    );
    let wasm = |block, goal| Variant::new("WASM", block, goal, through(big.clone()));
    let native_library = native_library(host, dir)?;
    let sql92 = Arc::new(Sql92::compile(SQL92, &NoFunctions)?);
    let language = host.compile("sql92-language", SQL92, "bench", "bench");
    let language = language.map_err(anyhow::Error::msg)?;
    let variants = [
        Variant::new("native closure", 32, Goal::None, native()),
        Variant::new("SQL92, built in", 32, Goal::None, built_in(sql92)),
        wasm(64, Goal::None),
        wasm(32, Goal::Beside(1.5, 30.0)),
        wasm(8, Goal::None),
        wasm(1, Goal::Beside(4.0, 200.0)),
        Variant::new(
            "SQL92 as a WASM language",
            32,
            Goal::None,
            built_in(language),
        ),
        Variant::new("WASM, passes all", 32, Goal::None, through(every)).passing_all(),
        Variant::new(
            "nothing bound, a read",
            32,
            Goal::Nanos(1.0),
            unbound_read(host),
        )
        .passing_all(),
        Variant::new(
            "nothing bound, a send",
            32,
            Goal::Nanos(1.0),
            unbound_send(host),
        )
        .passing_all(),
    ];
    Ok(variants.into_iter().chain(native_library).collect())
}

/// The same filter as a library, if it was built.
fn native_library(host: &Host, dir: &Path) -> Result<Option<Variant<'static>>> {
    const FILE: &str = "libnative_big_orders.so";
    let here = std::env::current_exe()?;
    let built = here.with_file_name("examples").join(FILE);
    if !built.exists() {
        println!(
            "{} is not there, so native libraries are not measured: cargo build --release -p plugin-big-orders --example native_big_orders\n",
            built.display()
        );
        return Ok(None);
    }
    std::fs::copy(&built, dir.join("native").join(FILE))?;
    host.put_native("native-orders", FILE, 0)?;
    let bound = bound(host, "native-orders", "native", &[])?;
    Ok(Some(Variant::new(
        "native library",
        32,
        Goal::Times(1.2),
        through(bound),
    )))
}

fn bound(host: &Host, plugin: &str, topic: &str, settings: &[&str]) -> Result<Arc<Bound>> {
    let params = settings
        .iter()
        .map(|name| ((*name).to_owned(), String::new()));
    let binding = host.bind(Bind {
        plugin: plugin.to_owned(),
        topic: topic.to_owned(),
        params: params.collect(),
        ..Bind::default()
    })?;
    let (plugin, topic, group) = binding.key();
    let key = Key {
        plugin: plugin.to_owned(),
        topic: topic.to_owned(),
        group: group.to_owned(),
    };
    host.bound(&key).context("what was just bound")
}

/// Whether a message with these properties passes.
type Native = Box<dyn Fn(&[u8]) -> bool>;

/// A closure behind a pointer, as a filter that a program brings itself would be.
fn native() -> Judge<'static> {
    let filter: Native = black_box(Box::new(workload::native));
    Box::new(move |records, passes| {
        for (record, passes) in records.iter().zip(passes) {
            *passes = filter(record.properties());
        }
    })
}

fn built_in(filter: Arc<dyn MessageFilter>) -> Judge<'static> {
    Box::new(move |records, passes| {
        let mut verdicts = [Verdict::Drop; BLOCK_ROWS_MAX];
        let verdicts = &mut verdicts[..records.len()];
        filter.judge(records, verdicts);
        for (verdict, passes) in verdicts.iter().zip(passes) {
            *passes = *verdict == Verdict::Pass;
        }
    })
}

/// As the broker's read does it.
fn through(bound: Arc<Bound>) -> Judge<'static> {
    Box::new(move |records, passes| {
        let rows: Vec<Row<'_>> = records.iter().map(Row::from).collect();
        let mut judgements = [Judgement::Drop; BLOCK_ROWS_MAX];
        let judgements = &mut judgements[..rows.len()];
        bound.judge(&rows, Thread::Serving, judgements);
        for (judgement, passes) in judgements.iter().zip(passes) {
            *passes = *judgement == Judgement::Pass;
        }
    })
}

/// What a read asks where no filter and no hook is bound to its topic, though elsewhere there is.
fn unbound_read(host: &Host) -> Judge<'_> {
    Box::new(|_, passes| {
        let filters = host.filters(black_box("bench"), "bench");
        let hooks = host.chain(World::ConsumeHook, "bench", "bench");
        passes.fill(filters.is_empty() && hooks.is_empty());
    })
}

/// What each send asks where no hook is bound.
fn unbound_send(host: &Host) -> Judge<'_> {
    Box::new(|_, passes| {
        for passes in passes {
            *passes = host
                .chain(World::SendHook, black_box("bench"), "")
                .is_empty();
        }
    })
}
