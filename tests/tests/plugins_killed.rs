//! A broker that is killed while a plugin is put or promoted: what was answered holds, what was not is
//! whole or absent, and the binding serves.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::plugins::{Plugins, verdict_guest};

const ROUNDS: u32 = 12;
/// Most versions put in one round: a plugin may have 100 in all.
const VERSIONS: u32 = 7;
const PLUGIN: &str = "verdict";
const TOPIC: &str = "orders";
const GROUP: &str = "risk";

/// What the broker has answered so far.
#[derive(Debug, Default)]
struct Answered {
    put: u64,
    promoted: u64,
}

/// Puts and promotes versions until the broker is gone.
fn change_until_gone(plugins: Plugins, round: u32) -> Answered {
    let guest = fs::read_to_string(verdict_guest()).expect("the guest");
    let mut answered = Answered::default();
    let mut next = || -> io::Result<()> {
        for number in 0..VERSIONS {
            // A data segment beside all others makes each module another one.
            let end = guest.rfind(')').expect("the module's end");
            let mark = format!("(data (i32.const 60000) \"{round}-{number}\"))");
            let module = format!("{}{mark}", &guest[..end]);
            let kind = "application/octet-stream";
            let path = format!("/v1/plugins/{PLUGIN}");
            let (status, put) = plugins.try_ask("PUT", &path, kind, module.as_bytes())?;
            assert_eq!(status, 200, "{put}");
            answered.put = put["version"].as_u64().expect("a version");
            let wanted =
                json!({"plugin": PLUGIN, "topic": TOPIC, "group": GROUP, "version": answered.put});
            let (status, promoted) = plugins.try_ask(
                "POST",
                "/v1/bindings/promote",
                "application/json",
                wanted.to_string().as_bytes(),
            )?;
            assert_eq!(status, 200, "{promoted}");
            answered.promoted = answered.put;
        }
        Ok(())
    };
    let _gone = next();
    answered
}

fn versions(plugins: Plugins) -> Vec<u64> {
    let all = plugins.list();
    let plugin = all
        .as_array()
        .and_then(|all| all.iter().find(|p| p["name"] == PLUGIN));
    let versions = plugin.and_then(|plugin| plugin["versions"].as_array());
    let versions = versions.unwrap_or_else(|| panic!("{all}"));
    versions
        .iter()
        .filter_map(|version| version["version"].as_u64())
        .collect()
}

fn binding(plugins: Plugins) -> Value {
    let all = plugins.bindings();
    let bindings = all.as_array().expect("bindings");
    assert_eq!(bindings.len(), 1, "{all}");
    bindings[0].clone()
}

#[test]
fn a_put_or_promote_under_way_is_whole_or_absent() {
    let mut cluster = Cluster::start(Kind::Sluice);
    let plugins = cluster.broker.plugins();
    plugins.put(PLUGIN, &fs::read(verdict_guest()).expect("the guest"));
    plugins.bind(PLUGIN, TOPIC, GROUP, json!({}));
    let (mut put, mut promoted) = (1, 1);
    for round in 0..ROUNDS {
        let changing = thread::spawn(move || change_until_gone(plugins, round));
        thread::sleep(Duration::from_millis(60 + u64::from(round) * 17));
        cluster.broker.kill();
        let answered = changing.join().expect("the thread that changes");
        cluster.broker.start_again(Kind::Sluice);
        put = put.max(answered.put);
        promoted = promoted.max(answered.promoted);

        let found = versions(plugins);
        assert!(
            (1..=put).all(|version| found.contains(&version)),
            "{put} of {found:?}"
        );
        assert!(found.len() as u64 <= put + 1, "{put} of {found:?}");
        let binding = binding(plugins);
        let current = binding["current"].as_u64().expect("a current version");
        assert!(
            (promoted..=put + 1).contains(&current) && found.contains(&current),
            "{promoted} was promoted last: {binding}"
        );
        assert_eq!(binding["breaker"], "closed", "{binding}");
        // What lies there can be run: promoting starts it.
        plugins.change(
            "promote",
            PLUGIN,
            TOPIC,
            GROUP,
            json!({"version": found.last()}),
        );
        put = *found.last().expect("a version");
        promoted = put;
    }
    assert!(
        put > u64::from(ROUNDS) / 2,
        "hardly anything was put: {put}"
    );
}
