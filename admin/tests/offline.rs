//! `sluice plugin test` and `bench` on a guest that does what each message says.

use std::fs;
use std::path::Path;

use clap::{Args, Command, FromArgMatches};
use sluice_admin::args::Plugin;
use sluice_admin::{AdminError, Outcome};
use sluice_plugins::Compiled;

const VERDICT: &str = include_str!("../../plugins/host/tests/guests/verdict.wat");

/// Compiles in this process; the program does it in a child.
fn compile(upload: &[u8]) -> Result<Compiled, String> {
    let compiled = sluice_plugin_compiler::compile(upload).map_err(|error| error.to_string())?;
    Ok(Compiled {
        component: compiled.component,
        machine_code: compiled.machine_code,
    })
}

/// No call of a guest that works is ended because the machine is busy.
const PATIENT: [&str; 2] = ["--limit", "deadlineMs=5000"];

/// What a command prints, and how it ends.
fn run(arguments: &[&str]) -> (String, Result<Outcome, AdminError>) {
    let command = Plugin::augment_args(Command::new("plugin")).no_binary_name(true);
    let matches = command.try_get_matches_from(arguments).unwrap();
    let plugin = Plugin::from_arg_matches(&matches).unwrap();
    let mut out = Vec::new();
    let ended = sluice_admin::plugin(plugin, Box::new(compile), &mut out);
    (String::from_utf8(out).unwrap(), ended)
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Messages that tell the guest what to do, and what is expected.
fn messages(lines: &[(&str, &str)]) -> String {
    let line = |(verdict, expected): &(&str, &str)| {
        serde_json::json!({ "keys": format!("m-{verdict}"), "properties": { "verdict": verdict }, "expect": expected })
            .to_string()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plugin_that_does_what_is_expected_passes() {
    let dir = tempfile::tempdir().unwrap();
    let guest = write(dir.path(), "verdict.wat", VERDICT);
    let lines = [
        ("p", "pass"),
        ("d", "drop"),
        ("h", "hold"),
        ("f", "fail"),
        ("t", "fail"),
    ];
    let path = write(dir.path(), "m.jsonl", &messages(&lines));
    let (told, ended) = run(&[&["test", &guest, "--messages", &path], &PATIENT[..]].concat());
    assert_eq!(ended.unwrap(), Outcome::Well, "{told}");
    let row = |key: &str| told.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(
        row("m-d").contains("drop") && row("m-d").contains("ok"),
        "{told}"
    );
    assert!(row("m-t").contains("trapped"), "{told}");
    assert!(told.contains("5 messages, 2 failed, 0 otherwise"), "{told}");
}

#[test]
fn what_differs_and_what_fails_is_told_and_ends_badly() {
    let dir = tempfile::tempdir().unwrap();
    let guest = write(dir.path(), "verdict.wat", VERDICT);
    let path = write(
        dir.path(),
        "m.jsonl",
        &messages(&[("p", "drop"), ("l", "pass")]),
    );
    let limit = ["--limit", "deadlineMs=50"];
    let (told, ended) = run(&[&["test", &guest, "--messages", &path], &limit[..]].concat());
    assert_eq!(ended.unwrap(), Outcome::Wrong);
    assert!(
        told.contains("WRONG") && told.contains("expected drop"),
        "{told}"
    );
    let looped = told.lines().find(|line| line.starts_with("m-l")).unwrap();
    assert!(looped.contains("stopped after 50 ms"), "{told}");
}

#[test]
fn a_verdict_that_hangs_on_the_place_in_a_block_is_found() {
    let dir = tempfile::tempdir().unwrap();
    // The second row and all behind it are dropped, whatever they say.
    let wrong = VERDICT.replace(
        "(i32.store8 offset=1024 (local.get $row) (local.get $verdict))",
        "(i32.store8 offset=1024 (local.get $row) (i32.and (local.get $verdict) (i32.eqz (local.get $row))))",
    );
    assert_ne!(wrong, VERDICT);
    let guest = write(dir.path(), "verdict.wat", &wrong);
    let path = write(
        dir.path(),
        "m.jsonl",
        &messages(&[("p", "pass"), ("p", "pass")]),
    );
    let (told, ended) = run(&[&["test", &guest, "--messages", &path], &PATIENT[..]].concat());
    assert_eq!(ended.unwrap(), Outcome::Wrong, "{told}");
    assert!(told.contains("pass alone, drop in a block"), "{told}");
}

#[test]
fn a_directory_says_how_its_plugin_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = "name = \"verdict\"\nworld = \"filter\"\nlanguage = \"wat\"\nbuild = [\"true\"]\noutput = \"verdict.wat\"\n";
    write(dir.path(), "plugin.toml", manifest);
    let path = dir.path().display().to_string();
    let (_, ended) = run(&["test", &path]);
    assert!(
        ended
            .unwrap_err()
            .to_string()
            .contains("sluice plugin build")
    );
    write(dir.path(), "verdict.wat", VERDICT);
    write(dir.path(), "messages.jsonl", &messages(&[("d", "drop")]));
    let (told, ended) = run(&[&["test", &path], &PATIENT[..]].concat());
    assert_eq!(ended.unwrap(), Outcome::Well);
    assert!(told.contains("m-d"), "{told}");
    let other = manifest.replace("\"filter\"", "\"send-hook\"");
    write(dir.path(), "plugin.toml", &other);
    let (_, ended) = run(&["test", &path]);
    let told = ended.unwrap_err().to_string();
    assert!(told.contains("the module is a filter"), "{told}");
}

#[test]
fn messages_can_be_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let guest = write(dir.path(), "verdict.wat", VERDICT);
    let (told, ended) = run(&[&["test", &guest, "--generate", "70"], &PATIENT[..]].concat());
    assert_eq!(ended.unwrap(), Outcome::Well);
    assert!(told.contains("70 messages, 0 failed"), "{told}");
}

#[test]
fn what_cannot_be_tried_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let told = |text: &str, more: &[&str]| {
        let guest = write(dir.path(), "x.wat", text);
        let (_, ended) = run(&[&["test", &*guest], more].concat());
        ended.unwrap_err().to_string()
    };
    assert!(told("import java.util.List;", &[]).contains("neither WebAssembly"));
    assert!(told("(module)", &[]).contains("no plugin world"));
    assert!(
        told(VERDICT, &["--limit", "deadline=5"]).contains("\"deadline\" is no limit; there are ")
    );
    assert!(told(VERDICT, &["--limit", "deadlineMs=0"]).contains("1 to 10000 is possible"));
    let nowhere = dir.path().join("nowhere").display().to_string();
    assert!(told(VERDICT, &["--store", &nowhere, "--topic", "T"]).contains("nowhere"));
    assert!(told(VERDICT, &["--messages", &nowhere]).contains("nowhere"));
}

#[test]
fn a_bench_tells_times_and_when_they_are_worth_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let guest = write(dir.path(), "verdict.wat", VERDICT);
    let (told, ended) = run(&["bench", &guest, "--rounds", "200"]);
    assert_eq!(ended.unwrap(), Outcome::Well, "{told}");
    for what in [
        "blocks of 1 ",
        "blocks of 32 ",
        "instance: start",
        "memory of an instance 64.0 KiB",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
    let path = write(dir.path(), "m.jsonl", &messages(&[("t", "fail")]));
    let (told, ended) = run(&["bench", &guest, "--rounds", "200", "--messages", &path]);
    assert_eq!(ended.unwrap(), Outcome::Wrong);
    assert!(told.contains("no times of a plugin that works"), "{told}");
}
