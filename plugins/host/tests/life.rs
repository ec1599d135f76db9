//! A plugin's life: put, bind, try beside the old, promote, roll back, remove; across restarts.

use sluice_plugins::filter::Thread::Aside;
use sluice_plugins::{Bind, Canary, PluginError, World};

mod common;
use common::{VERDICT, bind, compile, judge, key, open, with_verdict};

/// A version that drops everything.
fn dropping() -> String {
    VERDICT
        .replace(
            "(local.set $verdict (i32.const 1))",
            "(local.set $verdict (i32.const 0))",
        )
        .replace(
            "(if (i32.ne (i32.load offset=4",
            "(if (i32.eq (i32.load offset=4",
        )
}

#[test]
fn a_filter_is_put_bound_and_judges() {
    let (_dir, host) = with_verdict();
    assert!(host.chain(World::Filter, "T", "G").is_empty());
    host.bind(bind("verdict")).unwrap();
    assert_eq!(judge(&host, "pdhp", Aside), "pdhp");
    assert!(host.chain(World::Filter, "T", "other").is_empty());
    assert!(host.chain(World::Filter, "U", "G").is_empty());
    host.unbind(&key("verdict")).unwrap();
    assert!(host.chain(World::Filter, "T", "G").is_empty());
}

#[test]
fn bound_to_all_groups_it_holds_for_each() {
    let (_dir, host) = with_verdict();
    let all = Bind {
        group: String::new(),
        ..bind("verdict")
    };
    host.bind(all).unwrap();
    assert_eq!(host.chain(World::Filter, "T", "any").len(), 1);
}

#[test]
fn the_same_content_is_the_same_version() {
    let (_dir, host) = with_verdict();
    let again = host.put("verdict", VERDICT.as_bytes(), 0).unwrap();
    assert_eq!((again.version.version, again.new), (1, false));
    let other = host.put("verdict", dropping().as_bytes(), 0).unwrap();
    assert_eq!((other.version.version, other.new), (2, true));
}

#[test]
fn a_new_version_is_shadowed_then_canaried_then_promoted_and_rolled_back() {
    let (_dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    host.put("verdict", dropping().as_bytes(), 0).unwrap();
    let pass = "p".repeat(64);
    assert_eq!(
        judge(&host, &pass, Aside),
        pass,
        "a put alone changes nothing"
    );

    host.shadow(&key("verdict"), Some(2)).unwrap();
    assert_eq!(judge(&host, &pass, Aside), pass, "a shadow changes nothing");
    let bound = host.bound(&key("verdict")).unwrap();
    let differing = |version: u32| {
        let readings = bound.readings();
        readings
            .iter()
            .find(|r| r.0 == version)
            .unwrap()
            .1
            .differing
    };
    assert_eq!(differing(2), 64);

    let canary = Canary {
        version: 2,
        percent: 25,
    };
    host.canary(&key("verdict"), Some(canary)).unwrap();
    let first = judge(&host, &pass, Aside);
    let dropped = first.matches('d').count();
    assert!((4..=30).contains(&dropped), "{first}");
    assert_eq!(
        judge(&host, &pass, Aside),
        first,
        "a message asked for again is judged alike"
    );

    host.promote(&key("verdict"), None).unwrap();
    assert_eq!(judge(&host, &pass, Aside), "d".repeat(64));
    host.rollback(&key("verdict")).unwrap();
    assert_eq!(judge(&host, &pass, Aside), pass);
    host.rollback(&key("verdict")).unwrap();
    assert_eq!(judge(&host, &pass, Aside), "d".repeat(64));
}

#[test]
fn bindings_survive_a_restart_without_compiling_again() {
    let (dir, host) = with_verdict();
    host.put("verdict", dropping().as_bytes(), 0).unwrap();
    host.bind(Bind {
        version: Some(1),
        ..bind("verdict")
    })
    .unwrap();
    host.promote(&key("verdict"), Some(2)).unwrap();
    drop(host);
    let never = |_: &[u8]| Err("nothing is compiled here".to_owned());
    let host = sluice_plugins::Host::open(dir.path(), Box::new(never)).unwrap();
    assert_eq!(judge(&host, "pp", Aside), "dd");
    host.rollback(&key("verdict")).unwrap();
    assert_eq!(judge(&host, "pp", Aside), "pp");
}

#[test]
fn lost_machine_code_is_made_again() {
    let (dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    drop(host);
    std::fs::remove_dir_all(dir.path().join("compiled")).unwrap();
    assert_eq!(judge(&open(&dir), "pd", Aside), "pd");
}

#[test]
fn a_bound_plugin_that_cannot_be_started_lets_its_policy_answer() {
    let (dir, host) = with_verdict();
    let rejects = Bind {
        policy: sluice_plugins::Policy::Reject,
        ..bind("verdict")
    };
    host.bind(rejects).unwrap();
    drop(host);
    for entry in std::fs::read_dir(dir.path().join("modules")).unwrap() {
        std::fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    std::fs::remove_dir_all(dir.path().join("compiled")).unwrap();
    let host = open(&dir);
    assert_eq!(judge(&host, "pd", Aside), "dd");
    // It can still be unbound.
    host.unbind(&key("verdict")).unwrap();
}

#[test]
fn what_is_bound_is_not_removed() {
    let (_dir, host) = with_verdict();
    host.bind(bind("verdict")).unwrap();
    let refused = host.remove("verdict", None).unwrap_err();
    assert!(matches!(refused, PluginError::InUse { .. }));
    assert!(refused.to_string().contains("topic \"T\""), "{refused}");
    host.unbind(&key("verdict")).unwrap();
    host.remove("verdict", None).unwrap();
    assert!(host.list().is_empty());
    assert!(matches!(
        host.remove("verdict", None),
        Err(PluginError::NoPlugin(_))
    ));
}

#[test]
fn uploads_that_are_no_plugins_are_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    let refused = |upload: &[u8]| host.put("x", upload, 0).unwrap_err().to_string();
    assert!(refused(b"import java.util.List;").contains("neither WebAssembly"));
    assert!(refused(b"\0asm\x01\0\0\0\xff").contains("not a valid module"));
    assert!(refused(b"(module (func (export \"other\")))").contains("`other`"));
    assert!(refused(b"(module (func)").contains("can't be read"));
    let missing = VERDICT.replace("(memory (export \"memory\") 1)", "(memory 1)");
    assert!(refused(missing.as_bytes()).contains("memory"));
    let import = VERDICT.replace(
        "(memory (export",
        "(import \"env\" \"time\" (func)) (memory (export",
    );
    let told = refused(import.as_bytes());
    assert!(told.contains("env"), "{told}");
    let wrong = VERDICT.replace(
        "(export \"filter-batch\") (param $block i32) (param i32) (result i32)",
        "(export \"filter-batch\") (param $block i32) (result i32)",
    );
    let told = refused(wrong.as_bytes());
    assert!(told.contains("filter-batch"), "{told}");
    assert!(host.put("../etc", VERDICT.as_bytes(), 0).is_err());
    assert!(host.list().is_empty());
    // Nothing is left over in the directory.
    assert_eq!(
        std::fs::read_dir(dir.path().join("modules"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn names_with_underscores_and_humps_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    for (name, spelling) in [("a", "filter_batch"), ("b", "filterBatch")] {
        let module = VERDICT.replace("filter-batch", spelling);
        assert_eq!(
            host.put(name, module.as_bytes(), 0).unwrap().version.world,
            World::Filter
        );
    }
}

#[test]
fn another_world_under_the_same_name_is_refused() {
    let (_dir, host) = with_verdict();
    let hook = VERDICT.replace("filter-batch", "before-send").replace(
        "(func $deeper",
        "(func (export \"after-send\") (param i32 i32)) (func $deeper",
    );
    let refused = host
        .put("verdict", hook.as_bytes(), 0)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("is a filter, the upload is a send-hook"),
        "{refused}"
    );
    assert_eq!(
        host.put("hook", hook.as_bytes(), 0).unwrap().version.world,
        World::SendHook
    );
}

#[test]
fn a_start_function_that_never_ends_is_found_at_the_put() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    let endless = VERDICT.replace(
        "(func $deeper",
        "(func $ever (loop $l (br $l))) (start $ever) (func $deeper",
    );
    let refused = host
        .put("x", endless.as_bytes(), 0)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("stopped after"), "{refused}");
}

#[test]
fn the_compiled_component_is_taken_back_as_it_is() {
    let (_dir, host) = with_verdict();
    let component = host.component("verdict", None).unwrap();
    assert_eq!(compile(&component).unwrap().component, component);
    assert!(!host.put("verdict", &component, 0).unwrap().new);
}
