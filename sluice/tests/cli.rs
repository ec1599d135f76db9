//! The built program from outside: options, exit codes, signals, a second start.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

fn sluice(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command
        .args(args)
        .env_remove("NAMESRV_ADDR")
        .env_remove("SLUICE_LOG")
        .env_remove("SLUICE_LOG_DIR")
        .env_remove("SLUICE_LOG_FORMAT")
        .env_remove("JAVA_OPT")
        .env_remove("JAVA_OPT_EXT");
    command
}

fn end(args: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = sluice(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A server that is killed if a test gives up on it.
struct Running {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts, and waits for the line that says so.
    fn start(args: &[&str]) -> (Running, String) {
        let mut child = sluice(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running { child, out: None };
        let mut line = String::new();
        while !line.contains("boot success") {
            line.clear();
            assert_ne!(
                out.read_line(&mut line).unwrap(),
                0,
                "it ended before it was up"
            );
        }
        running.out = Some(out);
        (running, line)
    }

    /// SIGTERM, and how it ended.
    fn terminate(mut self) -> Option<i32> {
        // SAFETY: the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let mut out = self.out.take().unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = ended.send(std::io::copy(&mut out, &mut std::io::sink()));
        });
        // Its output ends with it.
        let _ = end
            .recv_timeout(Duration::from_secs(30))
            .expect("SIGTERM did not end it");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broker_file(directory: &Path) -> String {
    let store = directory.join("store");
    let text = format!(
        "listenPort=0\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nmapedFileSizeCommitLog=1048576\nmaxHashSlotNum=100\nmaxIndexNum=400\nstorePathRootDir={}\n",
        store.display()
    );
    file(directory, "broker.conf", &text)
}

#[test]
fn settings_are_printed_all_or_the_important_ones() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(
        directory.path(),
        "b.conf",
        "brokerName=b\nmaxHashSlotNum=100\nhaListenPort=10912\n",
    );
    let (code, all, noted) = end(&["broker", "-c", &conf, "-p", "-n", "h:1"]);
    assert_eq!(code, 0);
    for line in ["brokerName=b", "maxHashSlotNum=100", "namesrvAddr=h:1"] {
        assert!(all.lines().any(|shown| shown == line), "{line}: {all}");
    }
    assert!(
        noted.contains("b.conf:3: haListenPort has no meaning here"),
        "{noted}"
    );
    let (code, some, _) = end(&["broker", "-c", &conf, "-m", "autoCreateTopicEnable=true"]);
    assert_eq!(code, 0);
    assert!(
        some.contains("brokerName=b\n") && !some.contains("maxHashSlotNum"),
        "{some}"
    );
    let conf = file(
        directory.path(),
        "n.conf",
        "listenPort=9877\ntls.server.mode=enforcing\n",
    );
    let (code, all, _) = end(&["namesrv", "-c", &conf, "-n", "h:1", "-p"]);
    assert_eq!(code, 0);
    assert!(
        all.contains("listenPort=9877\n") && all.contains("tls.server.mode=enforcing\n"),
        "{all}"
    );
}

#[test]
fn a_mistyped_verb_starts_no_server() {
    for noun in ["broker", "namesrv"] {
        let (code, _, said) = end(&[noun, "sohw"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("\"sohw\" is no verb"), "{said}");
    }
}

#[test]
fn bad_options_end_with_2_and_other_failures_as_in_java() {
    let directory = tempfile::tempdir().unwrap();
    for args in [
        &["broker", "-x"][..],
        &["namesrv", "--no"],
        &["nothing"],
        &["store"],
    ] {
        let (code, _, said) = end(args);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains("Usage:"), "{said}");
    }
    let (code, _, said) = end(&["broker", "-p", "-n", "localhost"]);
    assert_eq!(code, 253);
    assert!(said.contains("The Name Server Address[localhost] illegal, please set it as follows, \"127.0.0.1:9876;192.168.0.1:9876\""), "{said}");
    let missing = directory.path().join("missing.conf");
    let (code, _, said) = end(&["broker", "-c", missing.to_str().unwrap()]);
    assert_eq!(code, 255);
    assert!(
        said.contains("missing.conf") && said.contains("can't be read"),
        "{said}"
    );
    for (program, line) in [
        ("broker", "listenPort=x"),
        ("broker", "deleteWhen=99"),
        ("namesrv", "tls.server.mode=on"),
    ] {
        let conf = file(directory.path(), "bad.conf", &format!("# note\n{line}\n"));
        let (code, _, said) = end(&[program, "-c", &conf]);
        assert_eq!(code, 255, "{said}");
        assert!(
            said.contains("bad.conf:2: ") && said.contains("is expected"),
            "{said}"
        );
    }
    for program in ["broker", "namesrv"] {
        let conf = file(directory.path(), "bad.toml", "\nlistenPrt = 1\n");
        let (code, _, said) = end(&[program, "-c", &conf]);
        assert_eq!(code, 255, "{said}");
        assert!(
            said.contains("bad.toml:2: listenPrt is not known, listenPort is"),
            "{said}"
        );
    }
}

#[test]
fn javas_refusals_end_with_its_codes() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    std::fs::create_dir_all(store.join("config/topics.json")).unwrap();
    let unreadable = format!("listenPort=0\nstorePathRootDir={}\n", store.display());
    for (settings, code, words) in [
        ("brokerRole=SLAVE\n", 253, "Slave's brokerId must be > 0"),
        ("namesrvAddr=h\n", 253, "b.conf:1: namesrvAddr = \"h\""),
        (
            "enableControllerMode=true\nenableDLegerCommitLog=true\n",
            252,
            "The config enableControllerMode and enableDLegerCommitLog cannot both be true.",
        ),
        (
            "brokerRole=SLAVE\nbrokerId=1\n",
            255,
            "slaves are not served",
        ),
        (
            "enableDLegerCommitLog=true\n",
            255,
            "replication is not served",
        ),
        // Java's "exited with code 253" of containers whose store can't be loaded.
        (&unreadable, 253, "topics.json"),
    ] {
        let conf = file(directory.path(), "b.conf", settings);
        let (ended, _, said) = end(&["broker", "-c", &conf]);
        assert_eq!(ended, code, "{settings}: {said}");
        assert!(said.contains(words), "{settings}: {said}");
    }
}

#[test]
fn a_file_of_settings_is_checked_without_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(
        directory.path(),
        "b.conf",
        "listenPort=x\nbrokerNam=b\nhaListenPort=10912\ndeleteWhen=99\n",
    );
    let (code, said, _) = end(&["config", "check", &conf]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(
        said.replace(&conf, "F"),
        "error: F:1: listenPort = \"x\": a port is expected\n\
         error: F:4: deleteWhen = \"99\": hours from 0 to 23, `;` between them is expected\n\
         warning: F:2: brokerNam is not known, brokerName is; the line is left aside\n\
         note: F:3: haListenPort has no meaning here\n\
         F is refused\n"
    );
    let conf = file(
        directory.path(),
        "n.conf",
        "listenPort=9877\nserverWorkerThreads=8\nnsadr=a:1\n",
    );
    let (code, said, _) = end(&["config", "check", &conf, "--namesrv"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        said.replace(&conf, "F"),
        "warning: F:3: nsadr is not known, nsaddr is; the line is left aside\n\
         note: F:2: serverWorkerThreads has no meaning here\n\
         F can be used\n"
    );
    // The examples that RocketMQ ships begin with an XML comment, which Java reads as keys.
    let shipped = "../namesrv/tests/fixtures/with-controller.conf";
    let (code, said, _) = end(&["config", "check", shipped, "--namesrv"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("note: ").count(), 4, "{said}");
    assert!(
        said.starts_with(&format!(
            "warning: {shipped}:12: orderMesageEnable is not known, orderMessageEnable is"
        )),
        "{said}"
    );
    let (code, _, said) = end(&["config", "check", "/nowhere.conf"]);
    assert_eq!(code, 255, "{said}");
}

/// Strongest first: `-n`, the file, `-D` of a JVM, the environment.
#[test]
fn addresses_of_name_servers_come_from_where_java_takes_them() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(directory.path(), "b.conf", "namesrvAddr=file:1\n");
    let empty = file(directory.path(), "e.conf", "namesrvAddr=\n");
    let addresses = |args: &[&str], properties: &str| {
        let mut command = sluice(&[&["broker", "-p"], args].concat());
        command.env("NAMESRV_ADDR", "environment:1");
        command.env("JAVA_OPT_EXT", properties);
        let shown = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = shown
            .lines()
            .find_map(|line| line.strip_prefix("namesrvAddr="));
        line.unwrap_or_default().to_owned()
    };
    let property = "-Xmx1g -Drocketmq.namesrv.addr=property:1 -Dtls.server.mode=enforcing";
    assert_eq!(
        addresses(&["-n", "option:1", "-c", &conf], property),
        "option:1"
    );
    assert_eq!(addresses(&["-c", &conf], property), "file:1");
    assert_eq!(addresses(&[], property), "property:1");
    assert_eq!(addresses(&["-c", &empty], property), "property:1");
    assert_eq!(addresses(&[], ""), "environment:1");
}

#[test]
fn usage_and_complaints_under_javas_names_are_theirs() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["mqbroker", "mqnamesrv"] {
        let link = directory.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sluice"), &link).unwrap();
        let shown = Command::new(&link).arg("-h").output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.status.success() && text.contains(&format!("Usage: {name} [OPTIONS]")),
            "{text}"
        );
        let refused = Command::new(&link).arg("-x").output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
}

#[test]
fn a_taken_port_is_told_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let conf = file(
        directory.path(),
        "n.conf",
        &format!(
            "bindAddress=127.0.0.1\nlistenPort={port}\nkvConfigPath={}/kv.json\n",
            directory.path().display()
        ),
    );
    let (code, _, said) = end(&["namesrv", "-c", &conf]);
    assert_eq!(code, 255, "{said}");
    assert_eq!(said.matches("os error").count(), 1, "{said}");
    assert!(said.contains(&port.to_string()), "{said}");
}

#[test]
fn lines_of_the_log_are_objects_where_programs_read_them() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(directory.path(), "n.conf", "lisstenPort=1\n");
    let ended = sluice(&["namesrv", "-c", &conf, "-p"])
        .env("SLUICE_LOG_DIR", directory.path())
        .env("SLUICE_LOG_FORMAT", "json")
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let log = std::fs::read_to_string(directory.path().join("namesrv.log")).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let warned = |line: &serde_json::Value| {
        let says = line["message"].as_str().unwrap_or_default();
        line["level"] == "WARN" && says.contains("n.conf:1: lisstenPort is not known")
    };
    assert!(lines.iter().any(warned), "{log}");
}

#[test]
fn one_broker_to_a_directory_and_sigterm_ends_it_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let conf = broker_file(directory.path());
    let store = directory.path().join("store");
    let (running, line) = Running::start(&["broker", "-c", &conf]);
    assert!(line.starts_with("The broker["), "{line}");
    let pid = running.child.id().to_string();

    for args in [
        &["broker", "-c", &conf][..],
        &["store", "check", store.to_str().unwrap()],
    ] {
        let (code, _, said) = end(args);
        assert_eq!(code, 255, "{said}");
        assert!(said.contains("in use") && said.contains(&pid), "{said}");
    }
    assert_eq!(running.terminate(), Some(0));

    let (code, said, _) = end(&["store", "check", store.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("no damage found") && said.contains("closed in order    yes"),
        "{said}"
    );
    let (code, lines, said) = end(&["store", "dump", store.to_str().unwrap()]);
    assert_eq!((code, lines.as_str()), (0, ""), "{said}");
    let (code, _, said) = end(&[
        "store",
        "check",
        directory.path().join("none").to_str().unwrap(),
    ]);
    assert_eq!(code, 255);
    assert!(said.contains("none"), "{said}");
}

#[test]
fn damage_in_the_log_is_named_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("commitlog");
    std::fs::create_dir(&log).unwrap();
    let mut bytes = std::fs::File::create(log.join("00000000000000000000")).unwrap();
    let mut filled = vec![0; 4096];
    filled[..8].copy_from_slice(b"garbage!");
    bytes.write_all(&filled).unwrap();
    let root = directory.path().to_str().unwrap();
    let (code, said, _) = end(&["store", "check", root]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("damaged") && said.contains("00000000000000000000 at 0"),
        "{said}"
    );
    assert_eq!(end(&["store", "dump", root]).0, 1);
}

#[test]
fn a_damaged_store_is_repaired_and_keeps_what_was_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let conf = broker_file(directory.path());
    let store = directory.path().join("store");
    assert_eq!(
        Running::start(&["broker", "-c", &conf]).0.terminate(),
        Some(0)
    );
    let log = store.join("commitlog");
    std::fs::create_dir_all(&log).unwrap();
    let mut bytes = vec![0; 1 << 20];
    bytes[..8].copy_from_slice(b"garbage!");
    std::fs::write(log.join("00000000000000000000"), bytes).unwrap();
    let root = store.to_str().unwrap();
    assert_eq!(end(&["store", "check", root]).0, 1);
    let (code, said, failed) = end(&["store", "repair", root]);
    assert_eq!(code, 0, "{said}{failed}");
    assert!(said.contains("no damage found"), "{said}");
    let kept = walk(&store).into_iter().any(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(8).any(|bytes| bytes == b"garbage!")
    });
    assert!(kept, "what was set aside is gone: {:?}", walk(&store));
    assert_eq!(
        Running::start(&["broker", "-c", &conf]).0.terminate(),
        Some(0)
    );
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| walk(folder)));
    files
}

#[test]
fn a_name_server_ends_with_0_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(
        directory.path(),
        "n.conf",
        &format!(
            "bindAddress=127.0.0.1\nlistenPort=0\nkvConfigPath={}/kv.json\n",
            directory.path().display()
        ),
    );
    let (running, _) = Running::start(&["namesrv", "-c", &conf]);
    assert_eq!(running.terminate(), Some(0));
}
