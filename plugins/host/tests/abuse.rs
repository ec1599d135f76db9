//! What a guest may try: each attempt costs its own binding, by the policy chosen, and nobody else.

use std::time::{Duration, Instant};

use sluice_plugins::breaker::BreakerState;
use sluice_plugins::filter::Thread::{Aside, Serving};
use sluice_plugins::{Bind, Limits, LimitsChange, Policy, World};

mod common;
use common::{VERDICT, bind, judge, key, open, with_verdict};

fn with_policy(policy: Policy) -> (tempfile::TempDir, sluice_plugins::Host) {
    let (dir, host) = with_verdict();
    host.bind(Bind {
        policy,
        ..bind("verdict")
    })
    .unwrap();
    (dir, host)
}

#[test]
fn a_poison_message_costs_itself_and_not_its_neighbours() {
    for poison in ["t", "e", "r", "f", "l"] {
        let (_dir, host) = with_policy(Policy::DeadLetter);
        let block = format!("pdp{poison}dpd");
        assert_eq!(judge(&host, &block, Aside), "pdpxdpd", "{poison}");
        assert_eq!(judge(&host, "pdp", Aside), "pdp", "{poison}");
    }
}

#[test]
fn every_policy_decides_what_becomes_of_it() {
    let policies = [
        (Policy::Accept, "ppp"),
        (Policy::Reject, "pdp"),
        (Policy::Suspend, "php"),
        (Policy::DeadLetter, "pxp"),
    ];
    for (policy, expected) in policies {
        let (_dir, host) = with_policy(policy);
        assert_eq!(judge(&host, "ptp", Aside), expected);
    }
}

#[test]
fn an_endless_loop_on_a_serving_thread_is_asked_about_again_aside() {
    let (_dir, host) = with_policy(Policy::Reject);
    assert_eq!(judge(&host, "plp", Serving), "DDD");
    assert!(host.bound(&key("verdict")).unwrap().is_slow());
    assert_eq!(judge(&host, "plp", Aside), "pdp");
}

#[test]
fn a_runaway_is_stopped() {
    let (_dir, host) = with_policy(Policy::Reject);
    let began = Instant::now();
    assert_eq!(judge(&host, "l", Aside), "d");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn after_failures_the_policy_answers_until_a_probe_goes_well() {
    let (_dir, host) = with_policy(Policy::Reject);
    for _ in 0..5 {
        judge(&host, "t", Aside);
    }
    let bound = host.bound(&key("verdict")).unwrap();
    assert_eq!(bound.breaker_state(), BreakerState::Open);
    let calls = || bound.readings()[0].1.calls;
    let before = calls();
    assert_eq!(judge(&host, "ppp", Aside), "ddd");
    assert_eq!(calls(), before, "the guest is not called");
    let began = Instant::now();
    while judge(&host, "p", Aside) != "p" {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it never closes again"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(bound.breaker_state(), BreakerState::Closed);
}

#[test]
fn memory_stays_below_its_limit_and_is_seen() {
    let (_dir, host) = with_policy(Policy::Reject);
    judge(&host, "e", Aside);
    let bound = host.bound(&key("verdict")).unwrap();
    let high = bound.readings()[0].1.memory_high_water;
    let limit = Limits::of(World::Filter).memory_bytes as u64;
    assert!(high > limit / 2 && high <= limit, "{high}");
}

#[test]
fn limits_change_while_it_runs() {
    let (_dir, host) = with_policy(Policy::Reject);
    judge(&host, "p", Aside);
    let limits = Limits {
        memory_bytes: 64 << 10,
        ..Limits::of(World::Filter)
    };
    host.set_limits(&key("verdict"), limits).unwrap();
    judge(&host, "e", Aside);
    let bound = host.bound(&key("verdict")).unwrap();
    assert_eq!(bound.readings()[0].1.memory_high_water, 64 << 10);
    let refused = host.set_limits(
        &key("verdict"),
        Limits {
            deadline_ms: 0,
            ..limits
        },
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("deadlineMs = 0: 1 to 10000")
    );
}

/// The verdict guest with another end.
fn answering(change: &str) -> String {
    VERDICT.replace(
        "(global.set $heap (i32.const 4096))\n    (i32.const 200)))",
        change,
    )
}

#[test]
fn answers_that_are_none_are_failures() {
    let wrong = [
        // One verdict too few; a gigabyte that is not there; a verdict that is none.
        "(i32.store (i32.const 204) (i32.sub (local.get $rows) (i32.const 1))) (i32.const 200)))",
        "(i32.store (i32.const 204) (i32.const 0x40000000)) (i32.const 200)))",
        "(i32.store8 (i32.const 1024) (i32.const 77)) (i32.const 200)))",
        // An answer outside of memory.
        "(i32.const -4)))",
    ];
    for end in wrong {
        let dir = tempfile::tempdir().unwrap();
        let host = open(&dir);
        host.put("verdict", answering(end).as_bytes(), 0).unwrap();
        host.bind(Bind {
            policy: Policy::DeadLetter,
            ..bind("verdict")
        })
        .unwrap();
        assert_eq!(judge(&host, "pp", Aside), "xx", "{end}");
    }
}

#[test]
fn truncated_and_mutated_modules_are_refused_or_run_but_never_harm() {
    let component = {
        let (_dir, host) = with_verdict();
        host.component("verdict", None).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    for size in (0..component.len()).step_by(7) {
        assert!(
            host.put("cut", &component[..size], 0).is_err(),
            "cut to {size}"
        );
    }
    let mut state = 1_u64;
    for round in 0..300 {
        let mut mutated = component.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % mutated.len();
            mutated[at] ^= 1 << (state >> 20 & 7);
        }
        let name = format!("m{round}");
        if host.put(&name, &mutated, 0).is_ok() && host.bind(bind(&name)).is_ok() {
            judge(&host, "pd", Aside);
            host.unbind(&key(&name)).unwrap();
        }
    }
}

#[test]
fn versions_change_a_hundred_times_under_load_and_each_message_gets_one_verdict() {
    let (_dir, host) = with_policy(Policy::Reject);
    host.put(
        "verdict",
        VERDICT
            .replace("for ever", "forever")
            .replace("(i32.const 4096)", "(i32.const 8192)")
            .as_bytes(),
        0,
    )
    .unwrap();
    std::thread::scope(|scope| {
        let judging = scope.spawn(|| {
            let mut rounds = 0;
            let began = Instant::now();
            while rounds < 2_000 && began.elapsed() < Duration::from_secs(20) {
                assert_eq!(judge(&host, "pdpd", Aside), "pdpd");
                rounds += 1;
            }
            rounds
        });
        for round in 0..100 {
            host.promote(&key("verdict"), Some(round % 2 + 1)).unwrap();
        }
        assert!(judging.join().unwrap() > 0);
    });
}

/// The verdict guest with more at the start of its `filter-batch`.
fn with_prologue(code: &str) -> String {
    let locals = "(local $row i32) (local $rows i32) (local $cell i32) (local $verdict i32)";
    VERDICT.replace(locals, &format!("{locals}\n    {code}"))
}

fn bound_to(module: &str, policy: Policy) -> (tempfile::TempDir, sluice_plugins::Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put("verdict", module.as_bytes(), 0).unwrap();
    let bind = Bind {
        policy,
        ..bind("verdict")
    };
    host.bind(bind).unwrap();
    (dir, host)
}

#[test]
fn a_table_grows_only_to_its_limit() {
    let module = with_prologue(
        "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
         (if (i32.gt_u (table.size $t) (i32.const 10000)) (then (unreachable)))",
    )
    .replace("(global $heap", "(table $t 1 funcref) (global $heap");
    let (_dir, host) = bound_to(&module, Policy::Reject);
    assert_eq!(judge(&host, "pp", Aside), "pp");
}

#[test]
fn a_flood_of_log_lines_is_counted_and_not_kept() {
    let module = with_prologue(
        "(local.set $row (i32.const 1000))
         (loop $more
           (call $log (i32.const 1) (i32.const 64) (i32.const 7))
           (local.set $row (i32.sub (local.get $row) (i32.const 1)))
           (br_if $more (local.get $row)))",
    )
    .replace(
        "(memory (export",
        "(import \"sluice:plugin/host@0.1.0\" \"log\" (func $log (param i32 i32 i32))) (memory (export",
    );
    let (_dir, host) = bound_to(&module, Policy::Reject);
    assert_eq!(judge(&host, "pp", Aside), "pp");
    let bound = host.bound(&key("verdict")).unwrap();
    let kept = bound.logs().since(0);
    assert!((1..=200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0].text, "verdict");
    assert_eq!(kept.len() as u64 + bound.logs().dropped(), 1000);
}

#[test]
fn ten_thousand_functions_are_compiled() {
    let functions = "(func (result i32) (i32.const 1))".repeat(10_000);
    let module = VERDICT.replace("(func $deeper", &format!("{functions} (func $deeper"));
    let (_dir, host) = bound_to(&module, Policy::Reject);
    assert_eq!(judge(&host, "pd", Aside), "pd");
}

#[test]
fn a_module_beyond_the_limit_is_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    let giant = vec![0; sluice_plugin_compiler::UPLOAD_MAX + 1];
    let refused = host.put("giant", &giant, 0).unwrap_err().to_string();
    assert!(refused.contains("33554433 bytes"), "{refused}");
}

#[test]
fn a_filter_just_under_its_deadline_serves_but_not_on_serving_threads() {
    // Some hundred thousand turns: a few milliseconds, below a deadline of seconds.
    let module = with_prologue(
        "(local.set $row (i32.const 3000000))
         (loop $more
           (local.set $row (i32.sub (local.get $row) (i32.const 1)))
           (br_if $more (local.get $row)))",
    );
    let (_dir, host) = bound_to(&module, Policy::Reject);
    let limits = Limits {
        deadline_ms: 5_000,
        ..Limits::of(World::Filter)
    };
    host.set_limits(&key("verdict"), limits).unwrap();
    assert_eq!(judge(&host, "pd", Aside), "pd");
    let bound = host.bound(&key("verdict")).unwrap();
    assert!(bound.is_slow());
    assert_eq!(bound.breaker_state(), BreakerState::Closed);
}

#[test]
fn bodies_that_explode_are_no_bodies() {
    use sluice_plugins::Row;
    use sluice_protocol::message::compression;
    let bomb = compression::deflate(&vec![0; sluice_plugins::BODY_MAX as usize + 1]);
    let empty = [Vec::new()];
    let row = Row {
        body: &bomb,
        sys_flag: compression::ZLIB_FLAGS,
        ..common::rows(&empty)[0]
    };
    assert!(row.plain_body().unwrap_err().contains("larger"));
}

/// A few bytes of each message unfold to 10 MiB: they are asked about in parts, and nothing fails.
#[test]
fn bodies_that_are_too_much_for_one_call_come_in_parts() {
    use sluice_plugins::Row;
    use sluice_plugins::hooks::Edit;
    use sluice_protocol::message::compression;
    let dir = tempfile::tempdir().unwrap();
    let host = common::open(&dir);
    // The guest that redacts, made to want bodies and to have room for one.
    let guest = include_str!("guests/redact.wat")
        .replace(
            "(memory (export \"memory\") 1)",
            "(memory (export \"memory\") 230)",
        )
        .replace(
            "(i32.const 32))\n    (i32.const 128))",
            "(i32.const 32))\n    (i32.store8 (i32.const 140) (i32.const 1))\n    (i32.const 128))",
        );
    host.put("redact", guest.as_bytes(), 0).unwrap();
    let wanted = Bind {
        policy: Policy::Reject,
        ..bind("redact")
    };
    host.bind(wanted).unwrap();
    let large = compression::deflate(&vec![0; 10 << 20]);
    let empty = vec![Vec::new(); 5];
    let rows: Vec<Row<'_>> = common::rows(&empty)
        .into_iter()
        .map(|row| Row {
            body: &large,
            sys_flag: compression::ZLIB_FLAGS,
            ..row
        })
        .collect();
    let bound = host.bound(&key("redact")).unwrap();
    let edits = bound.before(&rows, 0).unwrap();
    let edited: Vec<usize> = edits.iter().map(|(row, _)| *row).collect();
    assert_eq!(edited, [0, 1, 2, 3, 4]);
    assert!(
        edits
            .iter()
            .all(|(_, edit)| matches!(edit, Edit::SetBody(_)))
    );
    assert_eq!(bound.breaker_state(), BreakerState::Closed);
}

#[test]
fn one_endless_filter_leaves_the_others_alone() {
    let (_dir, host) = with_policy(Policy::Reject);
    // A busy machine may stop its call for longer than the default allows.
    let patient = LimitsChange {
        deadline_ms: Some(10_000),
        ..LimitsChange::default()
    };
    let other = Bind {
        topic: "U".to_owned(),
        limits: patient,
        ..bind("verdict")
    };
    host.bind(other).unwrap();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| (0..3).for_each(|_| drop(judge(&host, "lll", Aside))));
        let chain = host.chain(World::Filter, "U", "G");
        let properties = common::properties("pd");
        let rows = common::rows(&properties);
        let mut judged = 0;
        while !looping.is_finished() {
            let mut found = [sluice_plugins::filter::Judgement::Defer; 2];
            chain[0].judge(&rows, Serving, &mut found);
            use sluice_plugins::filter::Judgement::{Drop, Pass};
            assert_eq!(found, [Pass, Drop]);
            judged += 1;
        }
        assert!(judged > 0);
    });
}
