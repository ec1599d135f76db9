//! Who waits for a plugin, and who does not: starts that take long, trials, state, instances at rest.

use std::time::Duration;

use sluice_plugins::filter::Thread::Aside;
use sluice_plugins::hooks::Edit;
use sluice_plugins::{Bind, Canary, Host, Key, LimitsChange, Policy, World};

mod common;
use common::{VERDICT, bind, judge, key, open, rows, with_verdict};

/// The verdict guest with more at the start of one of its functions.
fn with_code(before: &str, code: &str) -> String {
    assert!(VERDICT.contains(before), "{before}");
    VERDICT.replace(before, &format!("{before}\n    {code}"))
}

const LOCALS: &str = "(local $row i32) (local $rows i32) (local $cell i32) (local $verdict i32)";

#[test]
fn nobody_waits_for_a_binding_that_starts_slowly() {
    let (_dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    let configure = "(func (export \"configure\") (param i32 i32 i32 i32 i32 i32) (result i32)";
    let endless = with_code(configure, "(loop $ever (br $ever))");
    host.put("endless", endless.as_bytes(), 0).unwrap();
    let slow = Bind {
        topic: "Other".to_owned(),
        limits: LimitsChange {
            deadline_ms: Some(500),
            ..LimitsChange::default()
        },
        ..bind("endless")
    };
    std::thread::scope(|scope| {
        let binding = scope.spawn(|| host.bind(slow));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(host.list().len(), 2);
        assert_eq!(host.bindings().len(), 1);
        assert_eq!(judge(&host, "pd", Aside), "pd");
        assert!(host.compile("no-language", "x", "T", "G").is_err());
        host.save_state().unwrap();
        assert!(!binding.is_finished(), "its five seconds are not over");
        let refused = binding.join().unwrap().unwrap_err();
        assert!(refused.to_string().contains("stopped after"), "{refused}");
    });
}

#[test]
fn an_endless_shadow_is_given_up() {
    let (_dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    let endless = with_code(LOCALS, "(loop $ever (br $ever))");
    host.put("verdict", endless.as_bytes(), 0).unwrap();
    host.shadow(&key("verdict"), Some(2)).unwrap();
    for _ in 0..20 {
        assert_eq!(judge(&host, "pd", Aside), "pd");
    }
    let bound = host.bound(&key("verdict")).unwrap();
    let readings = bound.readings();
    let (_, shadow) = readings.iter().find(|(version, _)| *version == 2).unwrap();
    assert_eq!((shadow.timeouts, shadow.by_policy), (5, 30));
}

#[test]
fn the_search_for_rows_that_do_not_end_is_bounded() {
    let (_dir, host) = with_verdict();
    host.bind(Bind {
        policy: Policy::Reject,
        ..bind("verdict")
    })
    .unwrap();
    assert_eq!(judge(&host, &"l".repeat(64), Aside), "d".repeat(64));
    let bound = host.bound(&key("verdict")).unwrap();
    let timeouts = bound.readings()[0].1.timeouts;
    assert!((6..=9).contains(&timeouts), "{timeouts} of 127 possible");
}

#[test]
fn instances_at_rest_are_freed() {
    let (_dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    let instances = || {
        host.bound(&key("verdict")).unwrap().readings()[0]
            .1
            .instances
    };
    host.rest_idle();
    judge(&host, "p", Aside);
    host.rest_idle();
    judge(&host, "p", Aside);
    assert_eq!(instances(), 1, "it was called in between");
    host.rest_idle();
    host.rest_idle();
    judge(&host, "p", Aside);
    assert_eq!(instances(), 2);
}

fn shipped(name: &str) -> Vec<u8> {
    let path = format!("{}/../{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Refuses keys that were sent before.
fn dedup(window_ms: &str) -> Bind {
    Bind {
        plugin: "dedup".to_owned(),
        topic: "T".to_owned(),
        params: [("window-ms".to_owned(), window_ms.to_owned())].into(),
        kv: true,
        ..Bind::default()
    }
}

fn dedup_key() -> Key {
    Key {
        plugin: "dedup".to_owned(),
        topic: "T".to_owned(),
        group: String::new(),
    }
}

/// Sends a message with that key; whether it was refused.
fn is_refused(host: &Host, key: &str) -> bool {
    let properties = [format!("KEYS\u{1}{key}\u{2}").into_bytes()];
    let rows = rows(&properties);
    let chain = host.chain(World::SendHook, "T", "");
    let edits = chain[0].before(&rows, 1_000).unwrap();
    if edits.is_empty() {
        chain[0].after(&rows, 1_000);
    }
    matches!(edits[..], [(0, Edit::Reject(..))])
}

#[test]
fn state_goes_on_when_a_binding_is_replaced_or_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("dedup", &shipped("dedup"), 0).unwrap();
    host.bind(dedup("1000")).unwrap();
    assert!(!is_refused(&host, "a"));
    host.bind(dedup("2000")).unwrap();
    assert!(is_refused(&host, "a"), "after it was bound again");
    host.unbind(&dedup_key()).unwrap();
    host.bind(dedup("1000")).unwrap();
    assert!(is_refused(&host, "a"), "after it was gone for a while");
}

#[test]
fn a_shadow_works_on_a_copy_of_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("dedup", &shipped("dedup"), 0).unwrap();
    host.bind(dedup("1000")).unwrap();
    // The same module as a version of its own.
    let mut other = shipped("dedup");
    other.extend(b"\x00\x05\x04note");
    host.put("dedup", &other, 0).unwrap();
    host.shadow(&dedup_key(), Some(2)).unwrap();
    let kept = || std::fs::read_dir(dir.path().join("kv")).unwrap().count();
    assert!(!is_refused(&host, "a"));
    assert!(is_refused(&host, "a"));
    assert_eq!(host.bindings()[0].shadow, Some(2));
    host.save_state().unwrap();
    assert_eq!(kept(), 1);
    host.promote(&dedup_key(), Some(2)).unwrap();
    assert!(is_refused(&host, "a"), "what is promoted has the state");
}

#[test]
fn state_that_cannot_be_read_stops_its_binding_and_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    {
        let host = open(&dir);
        host.put("dedup", &shipped("dedup"), 0).unwrap();
        host.bind(Bind {
            policy: Policy::Reject,
            ..dedup("1000")
        })
        .unwrap();
        is_refused(&host, "a");
        host.save_state().unwrap();
    }
    let mut files = std::fs::read_dir(dir.path().join("kv")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    std::fs::write(&file, b"{torn").unwrap();
    let host = open(&dir);
    let chain = host.chain(World::SendHook, "T", "");
    let answer = chain[0].before(&rows(&[Vec::new()]), 0).unwrap_err();
    assert_eq!(answer.policy, Policy::Reject);
    host.save_state().unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"{torn");
    let refused = host.bind(dedup("1000")).unwrap_err().to_string();
    assert!(refused.contains("can't be read"), "{refused}");
}

#[test]
fn what_can_not_be_tried_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("canary", &shipped("canary"), 0).unwrap();
    host.bind(bind("canary")).unwrap();
    let shadow = host.shadow(&key("canary"), Some(1)).unwrap_err();
    assert!(shadow.to_string().contains("neither shadow"), "{shadow}");
    let canary = Canary {
        version: 1,
        percent: 10,
    };
    assert!(host.canary(&key("canary"), Some(canary)).is_err());
}
