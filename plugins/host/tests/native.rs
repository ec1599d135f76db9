//! Native libraries: which are loaded, and that they live, fail and are replaced as components do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use sluice_filters::sql92::{Argument, Functions};
use sluice_plugins::breaker::BreakerState;
use sluice_plugins::filter::Judgement;
use sluice_plugins::filter::Thread::{Aside, Serving};
use sluice_plugins::functions::BoundFunctions;
use sluice_plugins::{Bind, Canary, Carrier, Host, Key, LimitsChange, Policy, Row, World};
use tempfile::TempDir;

mod common;
use common::{VERDICT, judge, key, open, rows};

/// A binding whose calls are late on no machine.
fn bind(plugin: &str) -> Bind {
    Bind {
        limits: LimitsChange {
            deadline_ms: Some(10_000),
            ..LimitsChange::default()
        },
        ..common::bind(plugin)
    }
}

/// The Rust libraries of `sdk/native`, built once.
fn rust_library(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("native");
        let done = Command::new(cargo)
            .args(["build", "-q", "-j1", "--examples", "--manifest-path"])
            .arg(sdk().join("native/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(done.expect("cargo").success());
        target.join("debug/examples")
    });
    folder.join(format!("lib{name}.so"))
}

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk")
}

/// A library of `guests/table.c` in the operator's directory.
fn c_library(dir: &TempDir, name: &str, defines: &[&str]) {
    let to = dir.path().join("native").join(name);
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let done = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-shared", "-fPIC"])
        .args(["-Wno-unused-function", "-Wno-unused-variable"])
        .args(defines.iter().map(|define| format!("-D{define}")))
        .args(["c", "native"].map(|folder| format!("-I{}", sdk().join(folder).display())))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/table.c"))
        .arg("-o")
        .arg(&to)
        .status();
    assert!(done.expect("a C compiler").success());
    fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
}

/// Puts a file into the operator's directory; it belongs to whom it is written by.
fn copy(dir: &TempDir, library: &Path, name: &str) {
    let to = dir.path().join("native").join(name);
    fs::copy(library, &to).unwrap();
    fs::set_permissions(&to, Permissions::from_mode(0o644)).unwrap();
}

fn opened() -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    (dir, host)
}

/// A host with the library that does what messages say as plugin `verdict`.
fn with_verdict() -> (TempDir, Host) {
    let (dir, host) = opened();
    copy(&dir, &rust_library("verdict"), "verdict.so");
    let put = host.put_native("verdict", "verdict.so", 0).unwrap();
    assert_eq!((put.version.version, put.new), (1, true));
    assert_eq!(put.version.world, World::Filter);
    assert_eq!(put.version.carrier, Carrier::Native);
    (dir, host)
}

fn refused(host: &Host, file: &str) -> String {
    let error = host.put_native("x", file, 0).unwrap_err().to_string();
    assert!(host.list().is_empty());
    error
}

fn loaded(dir: &TempDir) -> Vec<PathBuf> {
    let copies = fs::read_dir(dir.path().join("loaded")).unwrap();
    copies.map(|copy| copy.unwrap().path()).collect()
}

#[test]
fn the_example_of_the_sdk_judges_by_its_settings() {
    let (dir, host) = opened();
    copy(&dir, &rust_library("big_orders"), "big_orders.so");
    host.put_native("big", "big_orders.so", 0).unwrap();
    let mut wanted = bind("big");
    wanted.params = [("min".to_owned(), "ten".to_owned())].into();
    let told = host.bind(wanted.clone()).unwrap_err().to_string();
    assert!(
        told.contains("plugin big@1 refuses") && told.contains("min"),
        "{told}"
    );
    wanted.params = [("min".to_owned(), "10".to_owned())].into();
    host.bind(wanted).unwrap();
    let properties = ["11", "10", "-11", "x"].map(|n| format!("amount\u{1}{n}\u{2}").into_bytes());
    let mut judgements = [Judgement::Hold; 4];
    host.chain(World::Filter, "T", "G")[0].judge(&rows(&properties), Aside, &mut judgements);
    let (pass, drop) = (Judgement::Pass, Judgement::Drop);
    assert_eq!(judgements, [pass, drop, drop, drop]);
}

#[test]
fn a_panic_costs_its_row_and_its_instance() {
    let (_dir, host) = with_verdict();
    let rejects = Bind {
        policy: Policy::DeadLetter,
        ..bind("verdict")
    };
    host.bind(rejects).unwrap();
    assert_eq!(judge(&host, "pdhp", Serving), "pdhp");
    assert_eq!(judge(&host, "pxdf", Serving), "pxdx");
    let bound = host.bound(&key("verdict")).unwrap();
    let reading = &bound.readings()[0].1;
    assert_eq!(reading.traps, 2, "of the block, and of the row alone");
    assert_eq!(reading.instances, 3);
    assert_eq!(bound.breaker_state(), BreakerState::Closed);
    for _ in 0..4 {
        judge(&host, "x", Serving);
    }
    assert_eq!(bound.breaker_state(), BreakerState::Open);
    assert_eq!(judge(&host, "p", Serving), "x", "the policy answers");
}

#[test]
fn a_call_that_failed_leaves_its_instance_and_other_codes_do_not() {
    for (code, instances, cause) in [
        ("SLUICE_CALL_FAILED", 1, "failed"),
        ("SLUICE_MALFORMED", 1, "can't read the block"),
        ("SLUICE_BROKEN", 3, "broke down"),
        ("77", 3, "the code 77"),
    ] {
        let (dir, host) = opened();
        c_library(&dir, "table.so", &[&format!("CODE={code}")]);
        host.put_native("table", "table.so", 0).unwrap();
        host.bind(bind("table")).unwrap();
        assert_eq!(judge(&host, "p", Aside), "p", "accepted");
        assert_eq!(judge(&host, "p", Aside), "p", "accepted");
        let bound = host.bound(&key("table")).unwrap();
        let told = bound.explain(&rows(&common::properties("p"))[0]);
        assert!(told.failure.clone().unwrap().contains(cause), "{told:?}");
        let reading = &bound.readings()[0].1;
        assert_eq!((reading.calls, reading.traps), (3, 3));
        assert_eq!(reading.instances, instances, "{code}");
        assert_eq!(reading.counters["calls"], 3);
    }
}

#[test]
fn a_slow_answer_is_taken_and_counts_as_a_timeout() {
    let (_dir, host) = with_verdict();
    let hasty = Bind {
        policy: Policy::Reject,
        limits: LimitsChange {
            deadline_ms: Some(5),
            ..LimitsChange::default()
        },
        ..bind("verdict")
    };
    host.bind(hasty).unwrap();
    for _ in 0..5 {
        assert_eq!(judge(&host, "sd", Serving), "pd");
    }
    let bound = host.bound(&key("verdict")).unwrap();
    let reading = &bound.readings()[0].1;
    assert_eq!((reading.timeouts, reading.instances), (5, 1));
    assert_eq!(bound.breaker_state(), BreakerState::Open);
    assert_eq!(judge(&host, "p", Serving), "d", "the policy answers");
}

#[test]
fn two_libraries_are_versions_of_one_plugin() {
    let (dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    // The same file name with other content: version 1 stays what it was.
    c_library(&dir, "verdict.so", &["VERDICT=SLUICE_DROP"]);
    let put = host.put_native("verdict", "verdict.so", 0).unwrap();
    assert_eq!((put.version.version, put.new), (2, true));
    assert!(!host.put_native("verdict", "verdict.so", 0).unwrap().new);
    let pass = "p".repeat(32);
    assert_eq!(judge(&host, &pass, Aside), pass);

    host.shadow(&key("verdict"), Some(2)).unwrap();
    assert_eq!(judge(&host, &pass, Aside), pass);
    let bound = host.bound(&key("verdict")).unwrap();
    let readings = bound.readings();
    let shadow = readings.iter().find(|(version, _)| *version == 2).unwrap();
    assert_eq!(shadow.1.differing, 32);

    let canary = Canary {
        version: 2,
        percent: 50,
    };
    host.canary(&key("verdict"), Some(canary)).unwrap();
    let mixed = judge(&host, &pass, Aside);
    assert!(mixed.contains('p') && mixed.contains('d'), "{mixed}");

    host.promote(&key("verdict"), None).unwrap();
    assert_eq!(judge(&host, &pass, Aside), "d".repeat(32));
    host.rollback(&key("verdict")).unwrap();
    assert_eq!(judge(&host, &pass, Aside), pass);

    // A component may follow a library.
    host.put("verdict", VERDICT.as_bytes(), 0).unwrap();
    host.promote(&key("verdict"), Some(3)).unwrap();
    assert_eq!(judge(&host, "pd", Aside), "pd");

    // All of it is there after a restart, though the operator's file is gone.
    drop(host);
    fs::remove_file(dir.path().join("native/verdict.so")).unwrap();
    let host = open(&dir);
    host.rollback(&key("verdict")).unwrap();
    assert_eq!(judge(&host, "pd", Aside), "pd");
    host.promote(&key("verdict"), Some(2)).unwrap();
    assert_eq!(judge(&host, "pd", Aside), "dd");
    host.unbind(&key("verdict")).unwrap();
    host.remove("verdict", None).unwrap();
    assert!(loaded(&dir).is_empty());
}

#[test]
fn a_version_whose_content_has_changed_is_not_loaded() {
    let (dir, host) = with_verdict();
    let rejects = Bind {
        policy: Policy::Reject,
        ..bind("verdict")
    };
    host.bind(rejects).unwrap();
    drop(host);
    let copy = loaded(&dir).remove(0);
    let mut content = fs::read(&copy).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::remove_file(&copy).unwrap();

    // A changed copy is no copy.
    fs::write(&copy, &content).unwrap();
    let host = open(&dir);
    assert_eq!(judge(&host, "p", Aside), "d", "the policy answers");
    let again = host.bind(bind("verdict")).unwrap_err().to_string();
    assert!(again.contains("has changed"), "{again}");
    assert!(again.contains(copy.to_str().unwrap()), "{again}");

    // Without a copy it is the operator's file that counts.
    fs::remove_file(&copy).unwrap();
    host.bind(bind("verdict")).unwrap();
    assert_eq!(judge(&host, "p", Aside), "p");
    drop(host);
    fs::remove_file(&copy).unwrap();
    fs::write(dir.path().join("native/verdict.so"), &content).unwrap();
    let told = open(&dir).bind(bind("verdict")).unwrap_err().to_string();
    assert!(
        told.contains("native/verdict.so") && told.contains("has changed"),
        "{told}"
    );
}

#[test]
fn tables_of_another_shape_are_refused() {
    let (dir, host) = opened();
    for (define, told) in [
        ("ABI=2", "its abi_version is 2, this broker's is 1"),
        ("SIZE=72", "the struct_size of its table is 72, at least 80"),
        (
            "NO_ENTRY",
            "its table lacks `filter_block`, which a filter must have",
        ),
        (
            "KIND=SLUICE_KIND_SEND_HOOK",
            "lacks `after_send`, which a send-hook",
        ),
        ("KIND=99", "does not know its kind, 99"),
        ("NO_SYMBOL", "does not export `sluice_plugin_v1`"),
    ] {
        c_library(&dir, "table.so", &[define]);
        let error = refused(&host, "table.so");
        assert!(error.contains(told), "{error}");
    }
    fs::write(dir.path().join("native/text.so"), "text").unwrap();
    assert!(refused(&host, "text.so").contains("can't be loaded"));
    assert!(loaded(&dir).is_empty());
}

#[test]
fn another_world_under_the_same_name_is_refused() {
    let (dir, host) = with_verdict();
    c_library(&dir, "language.so", &["KIND=SLUICE_KIND_LANGUAGE"]);
    let error = host.put_native("verdict", "language.so", 0).unwrap_err();
    assert!(error.to_string().contains("is a filter"), "{error}");
    assert_eq!(loaded(&dir).len(), 1);
}

#[test]
fn only_files_that_the_operator_vouches_for_are_loaded() {
    let (dir, host) = opened();
    let native = dir.path().join("native");
    copy(&dir, &rust_library("verdict"), "verdict.so");
    let file = native.join("verdict.so");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();

    for outside in ["../native/verdict.so", "/etc/passwd", "..", ".", "", "a/b"] {
        let told = refused(&host, outside);
        assert!(told.contains("loaded from nowhere else"), "{told}");
    }
    assert!(refused(&host, "absent.so").contains("absent.so is not there"));
    symlink(&file, native.join("link.so")).unwrap();
    assert!(refused(&host, "link.so").contains("is a link"));
    fs::create_dir(native.join("folder")).unwrap();
    assert!(refused(&host, "folder").contains("is no file"));

    for writable in [0o664, 0o646] {
        mode(&file, writable);
        let told = refused(&host, "verdict.so");
        assert!(told.contains(&format!("mode {writable:o}")), "{told}");
        assert!(
            told.contains("verdict.so may be written by others"),
            "{told}"
        );
    }
    mode(&file, 0o644);
    mode(&native, 0o777);
    let told = refused(&host, "verdict.so");
    assert!(told.contains("native may be written by others"), "{told}");
    mode(&native, 0o755);
    // Only root can give a file away.
    if fs::metadata(&file).unwrap().uid() == 0 {
        chown(&file, Some(12_345), None).unwrap();
        let told = refused(&host, "verdict.so");
        assert!(told.contains("belongs to user 12345"), "{told}");
        chown(&file, Some(0), None).unwrap();
    }
    host.put_native("x", "verdict.so", 0).unwrap();
}

#[test]
fn an_upload_of_a_library_is_told_where_it_belongs() {
    let (dir, host) = opened();
    let library = fs::read(rust_library("verdict")).unwrap();
    let error = host.put("x", &library, 0).unwrap_err().to_string();
    let native = dir.path().join("native");
    assert!(error.contains(native.to_str().unwrap()), "{error}");
    assert!(host.list().is_empty());
}

#[test]
fn a_library_asks_for_more_of_a_row_and_keeps_state_by_grant() {
    let (dir, host) = opened();
    copy(&dir, &rust_library("verdict"), "verdict.so");
    host.put_native("verdict", "verdict.so", 0).unwrap();
    let wanted = |kv| Bind {
        kv,
        ..bind("verdict")
    };
    let row = Row {
        properties: b"verdict\x01o\x02id\x017\x02",
        body: b"told",
        sys_flag: 0,
        queue_id: 0,
        queue_offset: 0,
        store_time_ms: 9,
        born_time_ms: 0,
        reconsume_times: 0,
    };
    let ask = || {
        let mut judgement = [Judgement::Defer];
        host.chain(World::Filter, "T", "G")[0].judge(&[row], Aside, &mut judgement);
        judgement[0]
    };
    host.bind(wanted(false)).unwrap();
    assert_eq!(ask(), Judgement::Hold, "without a grant there is no state");
    let bound = host.bound(&key("verdict")).unwrap();
    let lines = bound.logs().since(0);
    assert_eq!((&*lines[0].text, lines[0].time_ms), ("7 told", 9));
    assert_eq!(
        (lines[1].level, &*lines[1].text),
        ("error", "kv is not granted to this binding")
    );
    host.bind(wanted(true)).unwrap();
    assert_eq!(ask(), Judgement::Pass);
    assert_eq!(ask(), Judgement::Drop, "it was there before");
}

/// The plugin of that kind in C, as version 1 of `table`.
fn of_kind(kind: &str) -> (TempDir, Host) {
    let (dir, host) = opened();
    let kind = format!("KIND=SLUICE_KIND_{kind}");
    c_library(&dir, "table.so", &["OTHERS", &kind]);
    host.put_native("table", "table.so", 0).unwrap();
    (dir, host)
}

fn lines(host: &Host, key: &Key) -> Vec<(&'static str, String)> {
    let lines = host.bound(key).unwrap().logs().since(0);
    lines
        .into_iter()
        .map(|line| (line.level, line.text))
        .collect()
}

#[test]
fn hooks_are_asked_before_and_told_after() {
    for (kind, world, group) in [
        ("SEND_HOOK", World::SendHook, ""),
        ("CONSUME_HOOK", World::ConsumeHook, "G"),
    ] {
        let (_dir, host) = of_kind(kind);
        host.bind(Bind {
            group: group.to_owned(),
            ..bind("table")
        })
        .unwrap();
        let properties = common::properties("ppp");
        let bound = host.chain(world, "T", "G").remove(0);
        assert!(bound.before(&rows(&properties), 7).unwrap().is_empty());
        bound.after(&rows(&properties), 7);
        let reading = &bound.readings()[0].1;
        assert_eq!((reading.calls, reading.rows, reading.passed), (2, 6, 3));
        assert_eq!(reading.counters["seen"], 3);
    }
}

#[test]
fn a_language_is_set_up_with_its_expression() {
    let (_dir, host) = of_kind("LANGUAGE");
    host.bind(Bind {
        params: [("expression".to_owned(), "a > 1".to_owned())].into(),
        ..bind("table")
    })
    .unwrap();
    let told = lines(&host, &key("table"));
    assert_eq!(told[0], ("warn", "a > 1".to_owned()));
    assert_eq!(host.filters("T", "G").len(), 1);
    assert!(host.compile("table", "b", "T", "G").is_ok());
}

#[test]
fn a_function_is_set_up_with_its_number_of_arguments() {
    let (_dir, host) = of_kind("FUNCTION");
    host.bind(bind("table")).unwrap();
    assert!(
        lines(&host, &key("table")).is_empty(),
        "not before it is called"
    );
    let host = Arc::new(host);
    let functions = BoundFunctions {
        host: host.clone(),
        topic: "T".to_owned(),
        group: "G".to_owned(),
    };
    let arguments = [Argument::Varies, Argument::Varies];
    let function = functions.resolve("table", &arguments).unwrap();
    assert_eq!(lines(&host, &key("table"))[1], ("error", "2".to_owned()));
    assert!(!function.is_slow());
}
