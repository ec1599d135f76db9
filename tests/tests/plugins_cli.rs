//! A plugin's life with the command line, against a running broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sluice_tests::cluster::sluice_binary;
use sluice_tests::process::{Running, wait_until};
use tempfile::TempDir;

const BOOT: Duration = Duration::from_secs(60);
const FLOW: Duration = Duration::from_secs(60);
const TOPIC: &str = "Orders";
const GROUP: &str = "risk";

/// A filter that does what each message's tag begins with: p pass, d drop; and says so when it is set
/// up.
fn by_tag() -> String {
    let guest = include_str!("../../plugins/host/tests/guests/verdict.wat");
    let changes = [
        ("(i32.const 64) \"verdict\"", "(i32.const 64) \"TAGS\""),
        (
            "(i32.store (i32.const 164) (i32.const 7))",
            "(i32.store (i32.const 164) (i32.const 4))\n(call $log (i32.const 2) (i32.const 64) (i32.const 4))",
        ),
        (
            "(memory (export \"memory\") 1)",
            "(import \"sluice:plugin/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))\n(memory (export \"memory\") 1)",
        ),
    ];
    changes.iter().fold(guest.to_owned(), |guest, (old, new)| {
        assert!(guest.contains(old), "{old}");
        guest.replace(old, new)
    })
}

/// Its next version, which drops what it passed.
fn dropping() -> String {
    by_tag().replace(
        "(i32.const 112)) (then (return (i32.const 1)))",
        "(i32.const 112)) (then (return (i32.const 0)))",
    )
}

struct Dev {
    name_server: String,
    http: String,
    running: Running,
    dir: TempDir,
}

impl Dev {
    /// Its store is `sluice-data` in its directory.
    fn start() -> Dev {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut command = Command::new(sluice_binary());
        command
            .args(["dev", "--namesrv-port", "0"])
            .args(["--broker-port", "0", "--http-port", "0"])
            .env_remove("NAMESRV_ADDR")
            .current_dir(dir.path());
        let mut running = Running::start("dev", dir.path(), &mut command);
        running.wait_for("Next: ", BOOT);
        let output = running.output();
        let behind = |words: &str| {
            let found = output.lines().find_map(|line| line.split_once(words));
            let (_, rest) = found.unwrap_or_else(|| panic!("{words:?} in {output}"));
            rest.trim().to_owned()
        };
        Dev {
            name_server: behind("name server is "),
            http: behind("Plugins are administered at "),
            running,
            dir,
        }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(sluice_binary())
            .arg("plugin")
            .args(arguments)
            .env("SLUICE_BROKER", &self.http)
            .current_dir(self.dir.path())
            .output()
            .expect("sluice plugin")
    }

    /// What a command prints; it must end well.
    fn plugin(&self, arguments: &str) -> String {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let output = self.output(&words);
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What a command that must fail says; it ends with 1.
    fn refused(&self, arguments: &str) -> String {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let output = self.output(&words);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Sends a message; its queue and offset.
    fn send(&self, body: &str, tag: &str) -> (String, String) {
        let sent = Command::new(sluice_binary())
            .args(["send", "-n", &self.name_server, TOPIC, body, "--tag", tag])
            .output()
            .expect("sluice send");
        let text = String::from_utf8_lossy(&sent.stdout).into_owned();
        assert!(sent.status.success(), "{sent:?}");
        let (_, place) = text.trim().split_once(" stored in ").expect("where");
        let (queue, offset) = place.split_once(" at offset ").expect("where");
        let queue = queue
            .rsplit(|c: char| !c.is_ascii_digit())
            .find(|q| !q.is_empty());
        (queue.expect("queue").to_owned(), offset.to_owned())
    }

    /// What it says of a stored message, which is in its queue a moment after its send was answered.
    fn explain(&self, (queue, offset): &(String, String)) -> String {
        let explain = format!(
            "explain --topic {TOPIC} --group {GROUP} --queue {queue} --offset {offset} -n 1"
        );
        wait_until("the message in its queue", Duration::from_secs(10), || {
            let explained = self.plugin(&explain);
            (!explained.contains("no messages there")).then_some(explained)
        })
    }
}

/// The one line of a table that has all these words.
fn line<'a>(text: &'a str, words: &[&str]) -> &'a str {
    let mut found = text.lines().filter(|line| {
        words
            .iter()
            .all(|word| line.split_whitespace().any(|w| w == *word))
    });
    let first = found.next();
    first.unwrap_or_else(|| panic!("no line with {words:?} in\n{text}"))
}

#[test]
fn a_version_goes_its_whole_way() {
    let dev = Dev::start();
    let path = dev.file("by-tag.wat", &by_tag());
    assert!(dev.plugin("list").contains("no plugins"));
    assert!(dev.plugin("bindings").contains("nothing is bound"));
    assert!(
        dev.plugin(&format!("put {path}"))
            .starts_with("by-tag@1 is put: a filter, ")
    );
    assert!(
        dev.plugin(&format!("put {path}"))
            .contains("has this content already")
    );

    let at = format!("--topic {TOPIC} --group {GROUP}");
    let bound = dev.plugin(&format!(
        "bind by-tag {at} --policy reject --limit deadlineMs=2000"
    ));
    assert_eq!(bound.trim(), "by-tag@1 serves topic Orders, group risk");
    let (passed, dropped) = (dev.send("one", "p"), dev.send("two", "d"));
    assert_eq!(passes(&dev.explain(&passed)), "passes");
    assert_eq!(passes(&dev.explain(&dropped)), "stays");
    received(&dev, "one");
    let bindings = dev.plugin("bindings");
    line(
        &bindings,
        &[
            "by-tag@1", "filter", TOPIC, GROUP, "current", "reject", "closed",
        ],
    );
    assert!(dev.plugin("show by-tag").contains("deadlineMs=2000"));
    line(&dev.plugin("limits by-tag"), &["deadlineMs", "2000"]);
    line(
        &dev.plugin("limits by-tag --set logLines=7"),
        &["logLines", "7"],
    );
    let shown = dev.plugin("show by-tag");
    assert!(
        shown.contains("deadlineMs=2000") && shown.contains("logLines=7"),
        "{shown}"
    );
    line(&dev.plugin("logs by-tag"), &["warn", "TAGS"]);
    assert!(dev.plugin("stats by-tag").contains("breaker closed"));

    let next = dev.file("next.wat", &dropping());
    assert!(
        dev.plugin(&format!("put {next} --name by-tag"))
            .starts_with("by-tag@2 is put")
    );
    assert_eq!(
        passes(&dev.explain(&passed)),
        "passes",
        "a put alone changes nothing"
    );
    assert!(dev.plugin("shadow by-tag@2").contains("; shadow @2"));
    line(&dev.plugin("bindings by-tag"), &["by-tag@2", "shadow"]);
    assert!(!dev.plugin("shadow by-tag --off").contains("shadow"));
    assert!(
        dev.plugin("canary by-tag@2 --percent 10")
            .contains("; canary @2 for 10 %")
    );
    line(
        &dev.plugin("list --bindings"),
        &["by-tag@2", "canary", "10"],
    );
    let promoted = dev.plugin("promote by-tag");
    assert_eq!(
        promoted.trim(),
        "by-tag@2 serves topic Orders, group risk; before it @1"
    );
    assert_eq!(passes(&dev.explain(&passed)), "stays");
    assert!(dev.plugin("rollback by-tag").starts_with("by-tag@1 serves"));
    assert_eq!(passes(&dev.explain(&passed)), "passes");

    assert!(
        dev.refused("rm by-tag@1")
            .contains("in use by topic \"Orders\" group \"risk\"")
    );
    assert!(
        dev.plugin(&format!("unbind by-tag {at}"))
            .contains("no longer bound")
    );
    assert!(dev.plugin("rm by-tag@2").contains("by-tag@2 is removed"));
    assert!(dev.plugin("rm by-tag").contains("by-tag is removed"));
    assert!(dev.plugin("list").contains("no plugins"));
}

/// The library of `docs/plugins/native.md`, put into the broker's own folder and named to it.
#[test]
fn a_library_becomes_a_plugin() {
    let dev = Dev::start();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
    let library = dev
        .dir
        .path()
        .join("sluice-data/plugins/native/big_orders.so");
    let compiled = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-I"])
        .arg(sdk.join("c"))
        .arg("-I")
        .arg(sdk.join("native"))
        .arg("-o")
        .arg(&library)
        .arg(sdk.join("native/examples/big_orders.c"))
        .status();
    assert!(compiled.expect("cc").success());
    let missing = dev.refused("put --native other.so --name big-orders");
    assert!(missing.contains("other.so"), "{missing}");
    let put = dev.plugin("put --native big_orders.so --name big-orders");
    assert!(put.starts_with("big-orders@1 is put: a filter, "), "{put}");
    dev.plugin(&format!("bind big-orders --topic {TOPIC} --group {GROUP}"));
    let small = dev.send("without an amount", "p");
    assert_eq!(passes(&dev.explain(&small)), "stays");
    dev.plugin(&format!(
        "unbind big-orders --topic {TOPIC} --group {GROUP}"
    ));
    dev.plugin("rm big-orders");
}

/// The verdict in an explanation of one message.
fn passes(explained: &str) -> &str {
    let row = explained.lines().nth(1).unwrap_or_default();
    let mut words = row.split_whitespace();
    let verdict = words.find(|word| ["passes", "stays"].contains(word));
    verdict.unwrap_or_else(|| panic!("no verdict in\n{explained}"))
}

/// A consumer of the group gets the message, through the bound filter.
fn received(dev: &Dev, body: &str) {
    let mut command = Command::new(sluice_binary());
    command.args(["recv", "-n", &dev.name_server, TOPIC, "--group", GROUP]);
    let mut receiving = Running::start("recv", dev.dir.path(), &mut command);
    receiving.wait_for(body, FLOW);
}

#[test]
fn refusals_are_told_as_the_broker_words_them() {
    let dev = Dev::start();
    let path = dev.file("by-tag.wat", &by_tag());
    dev.plugin(&format!("put {path}"));
    let none = "there is no plugin \"none\"";
    for command in [
        "rm none",
        "show none",
        "bind none --topic T",
        "bind none --topic T --limit deadlineMs=5",
        "stats none",
        "rollback none",
    ] {
        assert!(dev.refused(command).contains(none), "{command}");
    }
    assert!(
        dev.refused("rm by-tag@7")
            .contains("has no version \"7\"; it has 1")
    );
    assert!(
        dev.refused("unbind by-tag --topic T")
            .contains("is not bound to topic \"T\"")
    );
    assert!(
        dev.refused("promote by-tag")
            .contains("\"by-tag\" is bound nowhere")
    );
    assert!(
        dev.refused("bind by-tag --topic T --limit deadlineMs=0")
            .contains("1 to 10000")
    );
    assert!(
        dev.refused("bind by-tag --topic T --limit deadline=1")
            .contains("\"deadline\" is no limit; there are ")
    );

    for group in ["a", "b"] {
        dev.plugin(&format!("bind by-tag --topic T --group {group}"));
    }
    let several = dev.refused("rollback by-tag");
    assert!(
        several.contains("topic T, group a; topic T, group b"),
        "{several}"
    );
    assert!(
        dev.refused("rollback by-tag --group a")
            .contains("no version before this one")
    );
    assert!(
        dev.refused("shadow by-tag --group a")
            .contains("which version?")
    );
    assert!(
        dev.refused("shadow by-tag@9 --group a")
            .contains("has no version \"9\"")
    );

    let java = dev.file("filter.java", "import org.apache.rocketmq.common.filter.*;");
    assert!(
        dev.refused(&format!("put {java} --name x"))
            .contains("neither WebAssembly")
    );
    assert!(
        dev.refused(&format!("put {java} --name 9x"))
            .contains("can't be a plugin's name")
    );
    assert!(dev.refused("put nowhere.wasm").contains("nowhere.wasm"));
    assert!(
        dev.refused("list --broker 127.0.0.1:1")
            .contains("no broker answers at http://127.0.0.1:1")
    );
    let said = dev.plugin("bindings --json");
    assert!(
        said.starts_with('[') && said.contains("\"logLinesDropped\":0"),
        "{said}"
    );
}

#[test]
fn a_plugin_is_tested_without_a_broker() {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::write(dir.path().join("by-tag.wat"), by_tag()).expect("a guest");
    let test = |messages: &str| {
        fs::write(dir.path().join("m.jsonl"), messages).expect("messages");
        offline(
            dir.path(),
            &[
                "test",
                "by-tag.wat",
                "--messages",
                "m.jsonl",
                "--limit",
                "deadlineMs=5000",
            ],
        )
    };
    let good = test("{\"tags\":\"p\",\"expect\":\"pass\"}\n{\"tags\":\"d\",\"expect\":\"drop\"}\n");
    assert!(good.status.success(), "{good:?}");
    assert!(
        String::from_utf8_lossy(&good.stdout).contains("log  warn   TAGS"),
        "{good:?}"
    );
    let bad = test("{\"tags\":\"p\",\"expect\":\"drop\"}\n");
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
}

#[test]
fn a_plugin_is_tested_on_the_messages_of_a_store() {
    let mut dev = Dev::start();
    for (body, tag) in [("one", "p"), ("two", "d"), ("three", "p")] {
        dev.send(body, tag);
    }
    dev.file("by-tag.wat", &by_tag());
    let test = |dev: &Dev, topic: &str| {
        let store = ["--store", "sluice-data", "--topic", topic];
        let limit = ["--limit", "deadlineMs=5000"];
        let command = [&["test", "by-tag.wat"], &store[..], &limit[..]].concat();
        offline(dev.dir.path(), &command)
    };
    let in_use = test(&dev, TOPIC);
    assert_eq!(in_use.status.code(), Some(1), "{in_use:?}");
    assert!(dev.running.terminate(FLOW).success());
    let tested = test(&dev, TOPIC);
    assert!(tested.status.success(), "{tested:?}");
    let told = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(told.contains("3 messages, 0 failed"), "{told}");
    assert_eq!(told.matches(" pass ").count(), 2, "{told}");
    let none = test(&dev, "Other");
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    assert!(String::from_utf8_lossy(&none.stderr).contains("no messages of topic \"Other\""));
}

fn offline(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(sluice_binary());
    command.arg("plugin").args(arguments).current_dir(dir);
    command.output().expect("sluice plugin")
}
