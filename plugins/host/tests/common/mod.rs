//! A host on a directory of its own, and messages for it.
#![allow(dead_code)]

use sluice_plugins::filter::{Judgement, Thread};
use sluice_plugins::{Bind, Compiled, Host, Key, Row};
use tempfile::TempDir;

/// Does what each message's property `verdict` says.
pub const VERDICT: &str = include_str!("../guests/verdict.wat");

/// Compiles in this process; the broker does it in a child.
pub fn compile(upload: &[u8]) -> Result<Compiled, String> {
    let compiled = sluice_plugin_compiler::compile(upload).map_err(|error| error.to_string())?;
    Ok(Compiled {
        component: compiled.component,
        machine_code: compiled.machine_code,
    })
}

pub fn open(dir: &TempDir) -> Host {
    Host::open(dir.path(), Box::new(compile)).unwrap()
}

/// A host with [`VERDICT`] as plugin `verdict`.
pub fn with_verdict() -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("verdict", VERDICT.as_bytes(), 0).unwrap();
    (dir, host)
}

pub fn bind(plugin: &str) -> Bind {
    Bind {
        plugin: plugin.to_owned(),
        topic: "T".to_owned(),
        group: "G".to_owned(),
        ..Bind::default()
    }
}

pub fn key(plugin: &str) -> Key {
    Key {
        plugin: plugin.to_owned(),
        topic: "T".to_owned(),
        group: "G".to_owned(),
    }
}

/// Properties strings with one `verdict` each.
pub fn properties(verdicts: &str) -> Vec<Vec<u8>> {
    let property = |letter: char| format!("verdict\u{1}{letter}\u{2}").into_bytes();
    verdicts.chars().map(property).collect()
}

pub fn rows(properties: &[Vec<u8>]) -> Vec<Row<'_>> {
    let row = |(offset, properties)| Row {
        properties,
        body: b"",
        sys_flag: 0,
        queue_id: 0,
        queue_offset: offset,
        store_time_ms: 1_700_000_000_000,
        born_time_ms: 0,
        reconsume_times: 0,
    };
    (0..)
        .zip(properties.iter().map(Vec::as_slice))
        .map(row)
        .collect()
}

/// What the one filter bound to T and G says, a letter for each message.
pub fn judge(host: &Host, verdicts: &str, thread: Thread) -> String {
    let properties = properties(verdicts);
    let rows = rows(&properties);
    let chain = host.chain(sluice_plugins::World::Filter, "T", "G");
    assert_eq!(chain.len(), 1);
    let mut judgements = vec![Judgement::Drop; rows.len()];
    chain[0].judge(&rows, thread, &mut judgements);
    judgements.iter().map(letter).collect()
}

fn letter(judgement: &Judgement) -> char {
    match judgement {
        Judgement::Pass => 'p',
        Judgement::Drop => 'd',
        Judgement::Hold => 'h',
        Judgement::Defer => 'D',
        Judgement::DeadLetter => 'x',
    }
}
