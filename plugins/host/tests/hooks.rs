//! Hooks through the shipped modules: what is answered for a row, and when a hook fails.

use sluice_plugins::hooks::Edit;
use sluice_plugins::{Bind, Host, Policy, Row, World};

mod common;
use common::{open, rows};

const REDACT: &str = include_str!("guests/redact.wat");

fn shipped(name: &str) -> Vec<u8> {
    let path = format!("{}/../{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn hook(dir: &tempfile::TempDir, name: &str, params: &[(&str, &str)], kv: bool) -> Host {
    let host = open(dir);
    host.put(name, &shipped(name), 0).unwrap();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    host.bind(Bind {
        plugin: name.to_owned(),
        topic: "T".to_owned(),
        params: params.iter().map(owned).collect(),
        kv,
        ..Bind::default()
    })
    .unwrap();
    host
}

#[test]
fn a_required_field_is_missed_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let host = hook(&dir, "require-fields", &[("customer", "text")], false);
    let chain = host.chain(World::SendHook, "T", "");
    let edits = chain[0].before(&rows(&[Vec::new()]), 0).unwrap();
    let [(0, Edit::Reject(None, reason))] = &edits[..] else {
        panic!("{edits:?}");
    };
    assert!(reason.contains("customer"), "{reason}");
    let whole = b"customer\x01c7\x02".to_vec();
    assert_eq!(chain[0].before(&rows(&[whole]), 0).unwrap(), []);
}

#[test]
fn state_outlives_instances_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let keyed = || vec![b"KEYS\x01order-1\x02".to_vec()];
    let refused = |host: &Host, now_ms: i64| {
        let chain = host.chain(World::SendHook, "T", "");
        let keyed = keyed();
        let rows = rows(&keyed);
        let edits = chain[0].before(&rows, now_ms).unwrap();
        if edits.is_empty() {
            chain[0].after(&rows, now_ms);
        }
        !edits.is_empty()
    };
    let host = hook(&dir, "dedup", &[("window-ms", "1000")], true);
    assert!(!refused(&host, 5_000));
    assert!(refused(&host, 5_500), "the same key within the window");
    host.save_state().unwrap();
    drop(host);
    let host = open(&dir);
    assert!(refused(&host, 5_600), "after a restart, too");
    assert!(!refused(&host, 9_000), "the window is over");
}

#[test]
fn state_takes_a_grant() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    assert!(
        host.put("dedup", &shipped("dedup"), 0)
            .unwrap()
            .version
            .wants_kv
    );
    let bind = Bind {
        plugin: "dedup".to_owned(),
        topic: "T".to_owned(),
        ..Bind::default()
    };
    let refused = host.bind(bind).unwrap_err().to_string();
    assert!(refused.contains("--grant kv"), "{refused}");
}

#[test]
fn a_consume_hook_redacts() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("redact", REDACT.as_bytes(), 0).unwrap();
    host.bind(common::bind("redact")).unwrap();
    let chain = host.chain(World::ConsumeHook, "T", "G");
    let edits = chain[0]
        .before(&rows(&[Vec::new(), Vec::new()]), 0)
        .unwrap();
    let stars = || Edit::SetBody(b"***".to_vec());
    assert_eq!(edits, [(0, stars()), (1, stars())]);
    assert!(host.chain(World::ConsumeHook, "T", "other").is_empty());
}

#[test]
fn card_numbers_are_masked_in_compressed_bodies_too() {
    use sluice_protocol::message::compression;
    let dir = tempfile::tempdir().unwrap();
    let host = hook(&dir, "mask-pii", &[], false);
    let chain = host.chain(World::SendHook, "T", "");
    let body = compression::deflate(b"card 4111-1111-1111-1111");
    let empty = [Vec::new()];
    let row = Row {
        body: &body,
        sys_flag: compression::ZLIB_FLAGS,
        ..rows(&empty)[0]
    };
    let edits = chain[0].before(&[row], 0).unwrap();
    assert_eq!(
        edits,
        [(0, Edit::SetBody(b"card ****-****-****-1111".to_vec()))]
    );
}

#[test]
fn a_send_hook_has_no_group_and_no_policy_of_consumers() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("mask-pii", &shipped("mask-pii"), 0).unwrap();
    let bind = |group: &str, policy| {
        host.bind(Bind {
            plugin: "mask-pii".to_owned(),
            topic: "T".to_owned(),
            group: group.to_owned(),
            policy,
            ..Bind::default()
        })
    };
    assert!(
        bind("G", Policy::Accept)
            .unwrap_err()
            .to_string()
            .contains("does not send")
    );
    assert!(bind("", Policy::Suspend).is_err());
    bind("", Policy::Reject).unwrap();
}

#[test]
fn a_strategy_shares_out_queues() {
    use sluice_plugins::instance::MessageQueue;
    let dir = tempfile::tempdir().unwrap();
    let host = hook(&dir, "canary", &[], false);
    let chain = host.chain(World::AllocateStrategy, "T", "G");
    let queues = || {
        (0..20).map(|queue_id| MessageQueue {
            topic: "T".to_owned(),
            broker: "b".to_owned(),
            queue_id,
        })
    };
    let clients = ["a", "b", "c-canary"].map(str::to_owned);
    let share = |client: &str| {
        chain[0]
            .allocate("G", client, queues().collect(), clients.to_vec())
            .unwrap()
    };
    let shares = clients.each_ref().map(|client| share(client));
    assert_eq!(shares[2].len(), 2, "one queue in ten");
    let mut all: Vec<usize> = shares.concat();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}
