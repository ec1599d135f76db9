//! What README and docs tell a newcomer to type is typed here, as it stands there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sluice_tests::cluster::sluice_binary;
use sluice_tests::java::JavaPeer;
use sluice_tests::ports::{free_broker_port, free_port};
use sluice_tests::process::{Running, example, wait_until};

const BOOT: Duration = Duration::from_secs(30);
/// Clients start, make a topic and consume from it; the JVM on a busy machine needs most of it.
const FLOW: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);

/// Commands that other parts of the test command run, or that take too long for a test.
const RUN_ELSEWHERE: &[&str] = &[
    "sh tests/run",
    "cargo build --release",
    "export PATH=\"$PWD/target/release:$PATH\"",
    // tests/run goes through these once, bench/tests/runs.rs shortly.
    "cargo run --release -p sluice-bench -- compare",
    "cargo run --release -p sluice-bench -- delivery",
    "cargo run --release -p sluice-bench -- ready",
    "cargo run --release -p sluice-bench -- memory --java",
    "cargo run --release -p sluice-bench -- connections",
    "cargo run --release -p sluice-bench -- report",
    "cargo run --release -p sluice-bench -- report --only Cores",
    "cargo bench -p sluice-bench",
    "cargo run --profile counted -p sluice-instructions",
    // tests/launching.rs types these.
    "nohup sh bin/mqnamesrv &",
    "tail -f ~/logs/rocketmqlogs/namesrv.log",
    "nohup sh bin/mqbroker -n localhost:9876 &",
    "tail -f ~/logs/rocketmqlogs/broker.log",
    "export NAMESRV_ADDR=localhost:9876",
    "sh bin/tools.sh org.apache.rocketmq.example.quickstart.Producer",
    "sh bin/tools.sh org.apache.rocketmq.example.quickstart.Consumer",
    "sh bin/mqshutdown broker",
    "sh bin/mqshutdown namesrv",
    "sluice config check conf/broker.conf",
    "sluice config check conf/namesrv.conf --namesrv",
];

/// Commands that a test of this file runs.
const RUN_HERE: &[&str] = &[
    "cargo run --release -- dev --demo",
    "sluice dev",
    "sluice recv Hello",
    "sluice send Hello \"first message\" --tag greeting",
    "sluice namesrv",
    "sluice broker -n 127.0.0.1:9876 -c broker.conf",
    "sluice broker -p -c broker.conf",
    "sluice store check /tmp/sluice-store",
    "sluice store repair /tmp/sluice-store",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Contents of the fenced blocks of one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

fn only_block(page: &str, language: &str) -> String {
    let blocks = blocks(page, language);
    assert_eq!(blocks.len(), 1, "{language} in {page}");
    blocks.into_iter().next().unwrap_or_default()
}

#[test]
fn every_command_shown_is_run() {
    for page in [
        "README.md",
        "docs/getting-started.md",
        "docs/durability.md",
        "docs/performance.md",
        "docs/memory.md",
        "docs/scaling.md",
        "docs/coming-from-rocketmq.md",
    ] {
        for command in commands(page) {
            assert!(
                command.is_empty()
                    || RUN_HERE.contains(&&*command)
                    || RUN_ELSEWHERE.contains(&&*command),
                "{page} shows {command:?}, which no test runs"
            );
        }
    }
}

/// The lines of the shell blocks of a page, without comments.
fn commands(page: &str) -> Vec<String> {
    let blocks = blocks(page, "sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines
        .map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned())
        .collect()
}

/// The three journeys, each as its page has it, one command after another.
#[test]
fn the_plugin_pages_work_as_typed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::os::unix::fs::symlink(
        root().join("plugins").canonicalize().unwrap(),
        dir.path().join("plugins"),
    )
    .unwrap();
    std::os::unix::fs::symlink(
        sluice_binary().canonicalize().unwrap(),
        dir.path().join("sluice"),
    )
    .unwrap();
    let toolchain = Command::new("python3")
        .arg(root().join("tests/guests/build.py"))
        .args(["--environment", "rust"])
        .output()
        .expect("python3");
    // Without a standard library for WASM, what the author would build is a module that ships.
    let builds = toolchain.status.success();
    if !builds {
        eprintln!(
            "not rebuilt: {}",
            String::from_utf8_lossy(&toolchain.stderr)
        );
    }
    let toolchain = String::from_utf8_lossy(&toolchain.stdout).into_owned();
    let (_running, name_server) = dev(dir.path(), &["--http-port", "0"]);
    let output = _running.output();
    let http = output
        .lines()
        .find_map(|line| line.strip_prefix("Plugins are administered at "))
        .expect("the HTTP address");
    let more: Vec<(&str, &str)> = toolchain
        .lines()
        .filter_map(|line| line.split_once('='))
        .chain([("SLUICE_BROKER", http), ("NAMESRV_ADDR", &*name_server)])
        .collect();
    let run = |command: &str| shell(dir.path(), command, &more);
    // Something to be explained, and a second version for the page to try.
    run("sluice send Orders first");
    for page in [
        "docs/plugins/filters.md",
        "docs/plugins/sql.md",
        "docs/plugins/hooks.md",
    ] {
        for command in commands(page) {
            if command.starts_with("sluice plugin shadow big-orders@2") {
                run("sluice plugin put plugins/sequence/sequence.wasm --name big-orders");
            }
            match &*command {
                "" | "sluice dev" => {}
                "sluice plugin build big-orders" | "sluice plugin test big-orders" if !builds => {}
                "sluice plugin put big-orders" if !builds => {
                    run("sluice plugin put plugins/json-body/json-body.wasm --name big-orders");
                }
                "sluice plugin bind big-orders --topic Orders --group risk --set min=1000"
                    if !builds =>
                {
                    run(
                        "sluice plugin bind big-orders --topic Orders --group risk --set path=a --set above=1",
                    );
                }
                command => drop(run(command)),
            }
        }
    }
    assert!(run("sluice plugin bindings").contains("require-fields"));
}

/// What a command prints that is typed in `dir`, where `sluice` lies.
fn shell(dir: &Path, command: &str, environment: &[(&str, &str)]) -> String {
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(dir)
        .env("PATH", path)
        .envs(environment.iter().copied());
    let done = shell.output().expect("sh");
    assert!(
        done.status.success(),
        "{command}\n{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// With a dead letter of the group and topic that the pages speak of.
#[test]
fn the_operator_s_pages_work_as_typed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let binary = sluice_binary().canonicalize().unwrap();
    std::os::unix::fs::symlink(binary, dir.path().join("sluice")).unwrap();
    let (running, name_server) = dev(dir.path(), &["--http-port", "0"]);
    let output = running.output();
    let http = output
        .lines()
        .find_map(|line| line.strip_prefix("Plugins are administered at "))
        .expect("the HTTP address");
    let trial = |name: &str, arguments: &[&str]| {
        let mut command = JavaPeer::client("5.3.3").program("sluice.interop.Trial", dir.path());
        command.args([name, &name_server, "orders"]).args(arguments);
        Running::start(name, dir.path(), &mut command)
    };
    let mut producer = trial("produce", &[]);
    let mut input = producer.input();
    writeln!(input, "an order\tkeys=order-7\tcolour=blue\tfate=die").unwrap();
    producer.wait_for("SENT orders", FLOW);
    let mut consumer = trial("consume", &["billing"]);
    consumer.wait_for("GOT an order", FLOW);
    let environment = [("SLUICE_BROKER", http)];
    let listed = wait_until("the letter", FLOW, || {
        let command = "sluice dlq list --group billing --json";
        let listed = shell(dir.path(), command, &environment);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        listed["letters"][0].is_object().then_some(listed)
    });
    let letter = &listed["letters"][0];
    let text = |name: &str| letter[name].as_str().expect("a text").to_owned();
    let (id, unique_key, message_id) = (text("id"), text("uniqueKey"), text("originId"));
    let environment = [
        ("SLUICE_BROKER", http),
        ("ID", &*id),
        ("UNIQUE_KEY", &*unique_key),
        ("MESSAGE_ID", &*message_id),
    ];
    for page in [
        "docs/delivery/dead-letters.md",
        "docs/delivery/messages.md",
        "docs/delivery/subscriptions.md",
    ] {
        let commands = commands(page);
        assert!(!commands.is_empty(), "{page}");
        for command in commands {
            let told = shell(dir.path(), &command, &environment);
            assert!(!told.trim().is_empty(), "{command}");
        }
    }
}

/// Each command of `docs/cli.md` on a broker of one topic and group; `$ID` is a message of it.
#[test]
fn the_command_line_page_works_as_typed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let binary = sluice_binary().canonicalize().unwrap();
    std::os::unix::fs::symlink(binary, dir.path().join("sluice")).unwrap();
    let (_running, name_server) = dev(dir.path(), &["--http-port", "0"]);
    let environment = [("NAMESRV_ADDR", &*name_server)];
    let shown = shell(dir.path(), "sluice cluster show --json", &environment);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let broker = shown["brokers"][0]["broker"].as_str().expect("a name");
    let page = commands("docs/cli.md");
    assert!(page.len() > 30, "{page:?}");
    let mut id = String::new();
    for command in page.iter().filter(|command| !command.is_empty()) {
        let command = &command.replace("broker-a", broker);
        let environment = [environment[0], ("ID", &*id)];
        let told = shell(dir.path(), command, &environment);
        assert!(!told.trim().is_empty(), "{command}");
        if command.starts_with("sluice message send") {
            id = told.split_whitespace().next().expect("an id").to_owned();
            let find = ["message", "find", "--id", &id, "--topic", "orders"];
            wait_until("the message's index", FLOW, || {
                let found = sluice(&name_server, &find).output().expect("sluice");
                found.status.success().then_some(())
            });
        }
    }
}

/// Two name servers and two brokers by the page's own file, on this machine.
#[test]
fn the_cluster_page_works_as_typed() {
    const PAGE: &str = "docs/running-a-cluster.md";
    let dir = tempfile::tempdir().expect("temporary directory");
    let binary = sluice_binary().canonicalize().unwrap();
    std::os::unix::fs::symlink(binary, dir.path().join("sluice")).unwrap();
    let ports = [free_port(), free_port()];
    for (number, port) in (1..).zip(ports) {
        let kept = dir.path().join(format!("kv-{number}.json"));
        let text = format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
            kept.display()
        );
        write(&dir, &format!("namesrv-{number}.conf"), &text);
    }
    let name_servers = ports.map(|port| format!("127.0.0.1:{port}")).join(";");
    let shown = only_block(PAGE, "properties");
    for name in ["broker-a", "broker-b"] {
        let text = shown
            .replace("broker-a", name)
            .replace("192.168.0.11", "127.0.0.1")
            .replace("192.168.0.1:9876;192.168.0.2:9876", &name_servers)
            .replace("/var/lib/sluice", &dir.path().display().to_string())
            .replace("10911", &free_broker_port().to_string());
        let text = format!("{text}bindAddress=127.0.0.1\nhttpAddress=127.0.0.1:0\n");
        write(&dir, &format!("{name}.conf"), &text);
    }
    let mut running = Vec::new();
    for command in commands(PAGE) {
        if command.contains(" -c ") {
            let words: Vec<&str> = command.split(' ').skip(1).collect();
            let mut start = Command::new(sluice_binary());
            start.args(&words).current_dir(dir.path());
            let mut server = Running::start(words[2], dir.path(), &mut start);
            server.wait_for("boot success", BOOT);
            running.push(server);
        } else {
            let told = shell(dir.path(), &command, &[("NAMESRV_ADDR", &*name_servers)]);
            // What is made is told; what is shown has both.
            let both = told.contains("broker-a") && told.contains("broker-b");
            assert!(both || command.contains(" create "), "{command}: {told}");
        }
    }
    assert_eq!(running.len(), 4);
}

fn write(dir: &tempfile::TempDir, name: &str, text: &str) {
    std::fs::write(dir.path().join(name), text).expect("a file of settings");
}

/// `sluice dev` on free ports: the process and the name server's address.
fn dev(dir: &Path, options: &[&str]) -> (Running, String) {
    let (namesrv, broker) = (free_port(), free_broker_port());
    let mut command = Command::new(sluice_binary());
    command
        .args(["dev", "--namesrv-port", &namesrv.to_string()])
        .args(["--broker-port", &broker.to_string()])
        .args(options)
        .current_dir(dir)
        .env_remove("NAMESRV_ADDR");
    let mut running = Running::start("dev", dir, &mut command);
    running.wait_for("Next: ", BOOT);
    (running, format!("127.0.0.1:{namesrv}"))
}

fn sluice(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(sluice_binary());
    command.args(arguments).env("NAMESRV_ADDR", address);
    command
}

#[test]
fn the_first_command_shows_messages_flowing_and_ends_in_order() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (mut running, _) = dev(dir.path(), &["--demo"]);
    let output = running.output();
    assert!(output.contains("received "), "{output}");
    // Six messages reach one group; the filter lets two of them through to the other.
    assert_eq!(output.matches("received ").count(), 8, "{output}");
    assert!(dir.path().join("sluice-data/commitlog").is_dir());
    assert!(running.terminate(STOP).success());
}

#[test]
fn a_message_sent_by_hand_is_received_also_after_kill_9() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (mut running, address) = dev(dir.path(), &[]);
    let mut sent = sluice(
        &address,
        &["send", "Hello", "first message", "--tag", "greeting"],
    );
    let sent = sent.output().expect("sluice send");
    assert!(sent.status.success(), "{sent:?}");
    assert!(String::from_utf8_lossy(&sent.stdout).contains("stored in"));
    running.kill();
    let (_again, address) = dev(dir.path(), &[]);
    let mut receiving = Running::start(
        "recv",
        dir.path(),
        &mut sluice(&address, &["recv", "Hello"]),
    );
    receiving.wait_for("first message", FLOW);
    assert!(receiving.terminate(STOP).success());
}

#[test]
fn an_ephemeral_broker_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (mut running, _) = dev(dir.path(), &["--ephemeral", "--sync-flush"]);
    let output = running.output();
    let kept = output
        .lines()
        .find_map(|line| line.strip_prefix("Messages are kept in "));
    let kept = PathBuf::from(kept.expect("where messages are kept"));
    assert!(kept.is_dir());
    assert!(running.terminate(STOP).success());
    assert!(!kept.exists());
    assert!(!dir.path().join("sluice-data").exists());
}

#[test]
fn the_separate_servers_run_and_their_store_is_checked() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ports = (free_port(), free_broker_port());
    let settings = only_block("docs/getting-started.md", "properties")
        .replace("/tmp/sluice-store", &path("store"));
    fs::write(
        path("broker.conf"),
        format!(
            "{settings}listenPort={}\nmappedFileSizeCommitLog=1048576\n",
            ports.1
        ),
    )
    .expect("broker.conf");
    fs::write(
        path("namesrv.conf"),
        format!("listenPort={}\nkvConfigPath={}\n", ports.0, path("kv.json")),
    )
    .expect("namesrv.conf");
    let address = format!("127.0.0.1:{}", ports.0);
    let mut namesrv = sluice(&address, &["namesrv", "-c", &path("namesrv.conf")]);
    let mut namesrv = Running::start("namesrv", dir.path(), &mut namesrv);
    namesrv.wait_for("boot success", BOOT);
    let mut broker = sluice("", &["broker", "-n", &address, "-c", &path("broker.conf")]);
    let mut broker = Running::start("broker", dir.path(), &mut broker);
    broker.wait_for("boot success", BOOT);
    let sent = sluice(&address, &["send", "Hello", "one"]).output();
    assert!(sent.expect("sluice send").status.success());
    assert!(broker.terminate(STOP).success());

    let end = |arguments: &[&str]| {
        let output = sluice("", arguments).output().expect("sluice");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text
    };
    assert!(end(&["broker", "-p", "-c", &path("broker.conf")]).contains("brokerName=broker-a\n"));
    assert!(end(&["store", "check", &path("store")]).contains("no damage found"));
    end(&["store", "repair", &path("store")]);
    assert!(end(&["store", "dump", &path("store")]).contains("Hello"));
}

#[test]
fn the_examples_are_what_the_documents_show_and_work() {
    const PAGE: &str = "docs/getting-started.md";
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_running, address) = dev(dir.path(), &["--ephemeral"]);
    let text = |language: &str| only_block(PAGE, language).replace("127.0.0.1:9876", &address);

    let mut java = java_example(dir.path(), &text("java"));
    Running::start("java", dir.path(), &mut java).wait_for("received hello from Java", FLOW);

    let mut go = go_example(dir.path(), &text("go"));
    Running::start("go", dir.path(), &mut go).wait_for("received hello from Go", FLOW);
}

/// Where `sluice dev` listens when nothing else is said, and the examples look.
const DEFAULT_PORTS: [u16; 2] = [9876, 10911];

#[test]
fn the_rust_example_is_what_the_documents_show_and_works_as_it_stands() {
    let source = fs::read_to_string(root().join("client/examples/quickstart.rs"));
    assert!(
        source
            .expect("client/examples/quickstart.rs")
            .ends_with(&only_block("docs/getting-started.md", "rust")),
        "docs/getting-started.md and client/examples/quickstart.rs differ"
    );
    for port in DEFAULT_PORTS {
        let free = std::net::TcpListener::bind(("127.0.0.1", port));
        free.unwrap_or_else(|e| {
            panic!("port {port} is needed by this test, end what uses it: {e}")
        });
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut command = sluice("", &["dev"]);
    command.env_remove("NAMESRV_ADDR").current_dir(dir.path());
    let mut running = Running::start("dev", dir.path(), &mut command);
    running.wait_for("Next: ", BOOT);
    let mut example = Command::new(example("quickstart"));
    Running::start("rust", dir.path(), &mut example).wait_for("received hello from Rust", FLOW);
    assert!(running.terminate(STOP).success());
}

fn java_example(dir: &Path, source: &str) -> Command {
    let source_file = dir.join("Quickstart.java");
    fs::write(&source_file, source).expect("Quickstart.java");
    let mut command = JavaPeer::client("5.3.3").program("Quickstart", dir);
    let classpath = command
        .get_envs()
        .find(|(name, _)| *name == "CLASSPATH")
        .and_then(|(_, value)| value)
        .expect("class path of the client")
        .to_owned();
    let compiled = Command::new("javac")
        .args(["-encoding", "UTF-8", "-cp"])
        .arg(&classpath)
        .arg("-d")
        .arg(dir)
        .arg(&source_file)
        .output()
        .expect("javac");
    assert!(compiled.status.success(), "{compiled:?}");
    let mut with_ours = classpath;
    with_ours.push(":");
    with_ours.push(dir);
    command.env("CLASSPATH", with_ours);
    command
}

fn go_example(dir: &Path, source: &str) -> Command {
    let folder = dir.join("go-example");
    fs::create_dir(&folder).expect("folder of the Go example");
    fs::write(folder.join("main.go"), source).expect("main.go");
    for file in ["go.mod", "go.sum"] {
        fs::copy(root().join("tests/go").join(file), folder.join(file)).expect(file);
    }
    let program = folder.join("example");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(&folder)
        .output()
        .expect("go build");
    assert!(built.status.success(), "{built:?}");
    Command::new(program)
}
