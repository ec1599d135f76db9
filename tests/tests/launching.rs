//! What guides to RocketMQ have an operator type, typed in an unpacked release archive.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sluice_tests::cluster::sluice_binary;
use sluice_tests::java::JavaPeer;
use sluice_tests::ports::{free_broker_port, free_port};
use sluice_tests::process::{Running, wait_until};
use tempfile::TempDir;

const BOOT: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
/// The JVM on a busy machine needs most of it.
const FLOW: Duration = Duration::from_secs(120);
/// Where servers listen when nothing else is said.
const DEFAULT_PORTS: [u16; 3] = [9876, 10911, 10909];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An unpacked archive, and a home directory beside it.
struct Installed {
    dir: TempDir,
    sluice: PathBuf,
    /// What runs in the background, ended with this.
    background: Vec<i32>,
}

impl Installed {
    fn new() -> Installed {
        let dir = tempfile::tempdir().expect("temporary directory");
        let built = Command::new("sh")
            .arg(root().join("release/build"))
            .arg("--binary")
            .arg(sluice_binary().canonicalize().expect("the binary"))
            .arg(dir.path())
            .output()
            .expect("sh");
        assert!(built.status.success(), "{built:?}");
        let archive = String::from_utf8_lossy(&built.stdout).trim().to_owned();
        let unpacked = Command::new("tar")
            .arg("-C")
            .arg(dir.path())
            .args(["-xzf", &archive])
            .status();
        assert!(unpacked.expect("tar").success());
        fs::remove_file(&archive).expect("the archive");
        let name = Path::new(&archive).file_name().expect("a name");
        let name = name.to_string_lossy().replace(".tar.gz", "");
        let installed = Installed {
            sluice: dir.path().join(name),
            dir,
            background: Vec::new(),
        };
        fs::create_dir(installed.home()).expect("home directory");
        installed.hide_other_processes();
        installed
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// `mqshutdown` ends all servers of a machine: here, only those of this test are to be seen.
    fn hide_other_processes(&self) {
        let path = self.dir.path().join("path");
        fs::create_dir(&path).expect("directory for ps");
        let here = self.dir.path().display();
        let ps = format!("#!/bin/sh\nPATH=/usr/bin:/bin ps \"$@\" | grep -F {here}/\n:\n");
        script(&path.join("ps"), &ps);
    }

    /// The `lib/` of a RocketMQ release: its client, and the examples of its guides.
    fn add_examples(&self) {
        let lib = self.sluice.join("lib");
        fs::create_dir(&lib).expect("lib");
        let client = JavaPeer::client("5.3.3");
        let jars = client.classpath().split(':').map(Path::new);
        for jar in jars.filter(|path| path.extension().is_some_and(|end| end == "jar")) {
            symlink(jar, lib.join(jar.file_name().expect("a jar's name"))).expect("a link");
        }
        let sources = "tests/java/src/examples/java/org/apache/rocketmq/example/quickstart";
        let classes = self.dir.path().join("classes");
        let done = Command::new("sh")
            .args([
                "-c",
                "javac -encoding UTF-8 -d \"$1\" \"$2\"/*.java && jar cf \"$3\" -C \"$1\" .",
                "sh",
            ])
            .arg(&classes)
            .arg(root().join(sources))
            .arg(lib.join("rocketmq-example.jar"))
            .env("CLASSPATH", client.classpath())
            .output()
            .expect("sh");
        assert!(done.status.success(), "{done:?}");
    }

    /// A line as it is typed in the archive's directory.
    fn command(&self, line: &str) -> Command {
        let path = format!(
            "{}:{}",
            self.dir.path().join("path").display(),
            std::env::var("PATH").expect("PATH")
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(&self.sluice)
            .env("PATH", path)
            .env("HOME", self.home());
        for variable in [
            "NAMESRV_ADDR",
            "ROCKETMQ_HOME",
            "SLUICE_LOG",
            "SLUICE_LOG_DIR",
            "JAVA_OPT",
            "JAVA_OPT_EXT",
            "CLASSPATH",
        ] {
            command.env_remove(variable);
        }
        command
    }

    fn typed(&self, line: &str) -> Output {
        self.command(line).output().expect("sh")
    }

    /// What a line prints, which ends with 0.
    fn told(&self, line: &str) -> String {
        let output = self.typed(line);
        assert!(output.status.success(), "{line}: {output:?}");
        text(&output.stdout)
    }

    /// A line that ends with `&`; answers the process it leaves behind.
    fn left_behind(&mut self, line: &str) -> i32 {
        let line = line.trim_end_matches('&');
        let line = format!("{line} >>nohup.out 2>&1 & echo $!");
        let pid = self.told(&line).trim().parse().expect("a process id");
        self.background.push(pid);
        pid
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.home().join("logs/rocketmqlogs").join(name)).unwrap_or_default()
    }

    /// The line of a log that says so.
    fn wait_for(&self, log: &str, needle: &str) -> String {
        wait_until(&format!("{needle:?} in {log}"), BOOT, || {
            let text = self.log(log);
            let line = text.lines().find(|line| line.contains(needle));
            line.map(str::to_owned)
        })
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for pid in &self.background {
            // SAFETY: kill has no memory preconditions; ids are not used again within a test.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn script(path: &Path, content: &str) {
    fs::write(path, content).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

fn runs(pid: i32) -> bool {
    // SAFETY: as above; signal 0 only asks.
    unsafe { libc::kill(pid, 0) == 0 }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn the_steps_of_a_guide_work_as_typed() {
    for port in DEFAULT_PORTS {
        let free = TcpListener::bind(("127.0.0.1", port));
        free.unwrap_or_else(|e| {
            panic!("port {port} is needed by this test, end what uses it: {e}")
        });
    }
    let mut installed = Installed::new();
    let namesrv = installed.left_behind("nohup sh bin/mqnamesrv &");
    let said = installed.wait_for("namesrv.log", "The Name Server boot success");
    has(&said, &["serializeType=JSON, address 0.0.0.0:9876"]);
    let broker = installed.left_behind("nohup sh bin/mqbroker -n localhost:9876&");
    let said = installed.wait_for("broker.log", "boot success");
    has(
        &said,
        &[
            "The broker[",
            ":10911] boot success. serializeType=JSON and name server is localhost:9876",
        ],
    );
    // The same lines go to standard output.
    let printed = fs::read_to_string(installed.sluice.join("nohup.out")).expect("nohup.out");
    has(
        &printed,
        &["The Name Server boot success", ":10911] boot success"],
    );
    assert!(installed.home().join("store/commitlog").is_dir());

    let example = |class: &str| {
        let line = format!(
            "export NAMESRV_ADDR=localhost:9876\nexec sh bin/tools.sh org.apache.rocketmq.example.quickstart.{class}"
        );
        let mut command = installed.command(&line);
        command.env("JAVA_OPT", "-Xmx300m -XX:+UseSerialGC");
        command
    };
    installed.add_examples();
    let mut producer = Running::start("producer", installed.dir.path(), &mut example("Producer"));
    producer.wait(FLOW);
    let sent = producer.output();
    let sent = sent
        .matches("SendResult [sendStatus=SEND_OK, msgId=")
        .count();
    assert_eq!(sent, 1000, "{}", producer.tail());
    let mut consumer = Running::start("consumer", installed.dir.path(), &mut example("Consumer"));
    consumer.wait_for("Consumer Started.", FLOW);
    wait_until("1000 messages", FLOW, || {
        let got = consumer.output().matches("[MessageExt ").count();
        (got >= 1000).then_some(())
    });
    has(
        &consumer.output(),
        &["ConsumeMessageThread_", "Receive New Messages: [MessageExt"],
    );
    drop(consumer);

    for (name, pid) in [("broker", broker), ("namesrv", namesrv)] {
        let told = installed.told(&format!("sh bin/mqshutdown {name}"));
        let expected = format!(
            "The mq{name}({pid}) is running...\nSend shutdown request to mq{name}({pid}) OK\n"
        );
        assert_eq!(told, expected);
        wait_until("its end", STOP, || (!runs(pid)).then_some(()));
        let none = installed.typed(&format!("sh bin/mqshutdown {name}"));
        assert_eq!(none.status.code(), Some(1));
        assert_eq!(text(&none.stdout), format!("No mq{name} running.\n"));
    }
    // An orderly end takes Java's mark of an open store away.
    assert!(!installed.home().join("store/abort").exists());
}

/// A second terminal, links, files, and the options that later guides add.
#[test]
fn options_and_failures_are_those_of_the_guides() {
    let mut installed = Installed::new();
    let (namesrv_port, port) = (free_port(), free_broker_port());
    let conf = installed.file(
        "n.properties",
        &format!("listenPort={namesrv_port}\nbindAddress=127.0.0.1\n"),
    );
    installed.left_behind(&format!("nohup sh bin/mqnamesrv -c {conf} &"));
    installed.wait_for(
        "namesrv.log",
        &format!("load config properties file OK, {conf}"),
    );
    installed.wait_for("namesrv.log", "boot success");

    // Through a link, from elsewhere, with what Java leaves aside or has and we do not.
    let linked = installed.dir.path().join("usr-bin-mqbroker");
    symlink(installed.sluice.join("bin/mqbroker"), &linked).expect("a link");
    let conf = installed.file(
        "b.conf",
        &format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerRole=ASYNC_MASTER \nmapedFileSizeCommitLog=1048576\nbrokerNam=b\nnamesrvAddr=127.0.0.1:{namesrv_port}; 127.0.0.1:{namesrv_port}\n"
        ),
    );
    let broker = installed.left_behind(&format!(
        "nohup sh {} --enable-proxy -c {conf} autoCreateTopicEnable=true &",
        linked.display()
    ));
    let said = installed.wait_for("broker.log", "boot success");
    has(&said, &[&format!("127.0.0.1:{port}] boot success")]);
    let told = fs::read_to_string(installed.sluice.join("nohup.out")).expect("nohup.out");
    has(
        &told,
        &[
            "--enable-proxy: gRPC clients are not served",
            "b.conf:6: brokerNam is not known, brokerName is",
        ],
    );
    let sent = installed.told(&format!(
        "bin/sluice send -n 127.0.0.1:{namesrv_port} T hello"
    ));
    has(&sent, &["stored in"]);

    // A second one in the same place.
    let second = installed.typed(&format!("sh bin/mqbroker -c {conf}"));
    assert_eq!(second.status.code(), Some(255), "{second:?}");
    has(&text(&second.stderr), &["in use", &broker.to_string()]);
    has(&installed.log("broker.log"), &["in use"]);
    for (line, code, words) in [
        ("sh bin/mqbroker -x", 1, "Usage: mqbroker [OPTIONS]"),
        ("sh bin/mqnamesrv --no", 1, "Usage: mqnamesrv "),
        (
            "sh bin/mqbroker -n localhost",
            253,
            "The Name Server Address[localhost] illegal, please set it as follows, \"127.0.0.1:9876;192.168.0.1:9876\"",
        ),
        (
            "sh bin/mqbroker -c conf/2m-2s-async/broker-a-s.properties",
            255,
            "slaves are not served by this broker yet",
        ),
        ("sh bin/mqbroker -c nothing.conf", 255, "nothing.conf"),
    ] {
        let output = installed.typed(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        has(&text(&output.stderr), &[words]);
    }
    let usage = installed.told("sh bin/mqshutdown");
    assert_eq!(
        usage,
        "Usage: mqshutdown broker | namesrv | controller | proxy\n"
    );

    // What ships can be used, but for slaves.
    for folder in ["2m-2s-async", "2m-2s-sync", "2m-noslave"] {
        for file in fs::read_dir(installed.sluice.join("conf").join(folder)).expect("conf") {
            let path = file.expect("a file").path();
            let check = installed.typed(&format!("bin/sluice config check {}", path.display()));
            let slave = path.to_string_lossy().ends_with("-s.properties");
            assert_eq!(check.status.success(), !slave, "{check:?}");
            let said = text(&check.stdout);
            assert!(
                !said.contains("warning") && !said.contains("note"),
                "{said}"
            );
        }
    }
    for line in [
        "bin/sluice config check conf/broker.conf",
        "bin/sluice config check conf/namesrv.conf --namesrv",
    ] {
        has(&installed.told(line), &["can be used"]);
    }
    let printed = installed.told("sh bin/mqbroker -m -c conf/broker.conf");
    has(
        &printed,
        &["brokerName=broker-a\n", "fileReservedTime=48\n"],
    );
    let printed = installed.told("sh bin/mqnamesrv -p -c conf/namesrv.conf");
    has(&printed, &["listenPort=9876\n"]);
}

/// The scripts alone, with a program that says how it was called.
#[test]
fn scripts_find_the_one_binary_and_hand_all_words_on() {
    const ECHO: &str = "#!/bin/sh\nprintf '%s|' \"$0\" \"$ROCKETMQ_HOME\" \"$@\"\n";
    let dir = tempfile::tempdir().expect("temporary directory");
    let dir = dir.path().canonicalize().expect("its path");
    let bin = dir.join("rocketmq/bin");
    fs::create_dir_all(&bin).expect("bin");
    for entry in fs::read_dir(root().join("bin")).expect("bin") {
        let entry = entry.expect("a script");
        fs::copy(entry.path(), bin.join(entry.file_name())).expect("a copy");
    }
    let tools = dir.join("tools");
    fs::create_dir_all(&tools).expect("tools");
    for tool in ["sh", "realpath", "dirname", "awk", "cat", "tr"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .expect("sh");
        symlink(text(&found.stdout).trim(), tools.join(tool)).expect("a link");
    }
    let run = |line: &str, more: &[(&str, &str)]| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(&dir).env_clear();
        command.env("PATH", &tools).envs(more.iter().copied());
        command.output().expect("sh")
    };
    let none = run("sh rocketmq/bin/mqbroker", &[]);
    assert_eq!(none.status.code(), Some(1));
    has(
        &text(&none.stderr),
        &["no sluice binary in", "cargo build --release"],
    );

    // From the farthest place to the nearest.
    let home = dir.join("rocketmq").display().to_string();
    for place in [
        tools.join("sluice"),
        dir.join("rocketmq/target/release/sluice"),
        dir.join("rocketmq/sluice"),
        bin.join("sluice"),
    ] {
        fs::create_dir_all(place.parent().expect("a directory")).expect("directories");
        script(&place, ECHO);
        let told = text(&run("sh rocketmq/bin/mqbroker -c 'a b.conf'", &[]).stdout);
        let words: Vec<&str> = told.split('|').collect();
        assert_eq!(
            Path::new(words[0]).canonicalize().expect("the program"),
            place
        );
        assert_eq!(
            words[1..],
            [
                &*home,
                "org.apache.rocketmq.broker.BrokerStartup",
                "-c",
                "a b.conf",
                ""
            ]
        );
    }
    symlink("rocketmq/bin/mqnamesrv", dir.join("first")).expect("a link");
    symlink("first", dir.join("second")).expect("a link");
    let told = text(&run("./second", &[("ROCKETMQ_HOME", "/opt/java")]).stdout);
    has(
        &told,
        &["|/opt/java|org.apache.rocketmq.namesrv.NamesrvStartup|"],
    );
    let told = text(&run("sh rocketmq/bin/mqadmin updateTopic -t 'T 1'", &[]).stdout);
    has(&told, &["|admin|updateTopic|-t|T 1|"]);
    let line =
        "sh rocketmq/bin/tools.sh -Dx=y org.apache.rocketmq.tools.command.MQAdminStartup topicList";
    let told = text(&run(line, &[]).stdout);
    has(&told, &["|admin|topicList|"]);

    // A class needs a JVM, and jars.
    let class = "sh rocketmq/bin/tools.sh org.apache.rocketmq.example.quickstart.Producer a";
    let none = run(class, &[]);
    assert_eq!(none.status.code(), Some(1));
    has(&text(&none.stderr), &["Please set the JAVA_HOME variable"]);
    script(
        &tools.join("java"),
        "#!/bin/sh\nprintf '%s|' \"$CLASSPATH\" \"$@\"\n",
    );
    let none = run(class, &[]);
    assert_eq!(none.status.code(), Some(1));
    has(&text(&none.stderr), &["set ROCKETMQ_HOME or CLASSPATH"]);
    fs::create_dir(dir.join("rocketmq/lib")).expect("lib");
    let told = text(
        &run(
            class,
            &[("JAVA_OPT", "-Xmx1g -Da=b"), ("CLASSPATH", "mine.jar")],
        )
        .stdout,
    );
    let jars = format!("{home}/lib/*:mine.jar|-Xmx1g|-Da=b|org.apache.rocketmq.example");
    has(&told, &[&jars, "Producer|a|"]);

    // Without ps, as in small images.
    let none = run("sh rocketmq/bin/mqshutdown controller", &[]);
    assert_eq!(text(&none.stdout), "No mqcontroller running.\n", "{none:?}");
}

#[test]
fn units_for_systemd_are_sound() {
    let units = ["sluice-broker.service", "sluice-namesrv.service"];
    let dir = tempfile::tempdir().expect("temporary directory");
    for unit in units {
        let text = fs::read_to_string(root().join("release").join(unit)).expect(unit);
        // The programs that it names must be there, and the user.
        let text = text
            .replace("/opt/sluice/bin/mq", "/bin/true -- mq")
            .replace("User=rocketmq", "User=root");
        fs::write(dir.path().join(unit), text).expect("a unit");
    }
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").args(units).current_dir(dir.path());
    match verify.output() {
        Ok(output) => assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        ),
        Err(error) => eprintln!("systemd-analyze does not start ({error}): units are not verified"),
    }
}

/// The name server tells over HTTP who is one; broker, Java's client and ours ask there.
#[test]
fn name_servers_are_found_over_http() {
    let mut installed = Installed::new();
    let (namesrv_port, page, port) = (free_port(), free_port(), free_broker_port());
    let conf = installed.file(
        "n.conf",
        &format!("listenPort={namesrv_port}\nbindAddress=127.0.0.1\naddressServicePort={page}\n"),
    );
    let broker_conf = installed.file(
        "b.conf",
        &format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nmapedFileSizeCommitLog=1048576\nfetchNamesrvAddrByAddressServer=true\nfetchNamesrvAddrInterval=1000\nrmqAddressServerDomain=127.0.0.1:{page}\n"
        ),
    );
    // The broker comes first: it asks until somebody answers.
    installed.left_behind(&format!("nohup sh bin/mqbroker -c {broker_conf} &"));
    installed.wait_for("broker.log", "boot success");
    installed.wait_for("broker.log", "name servers can't be asked for at");
    installed.left_behind(&format!("nohup sh bin/mqnamesrv -c {conf} &"));
    installed.wait_for("namesrv.log", "boot success");
    let found = installed.wait_for("broker.log", "name servers were found");
    has(&found, &[&format!("127.0.0.1:{namesrv_port}")]);

    let domain = format!("127.0.0.1:{page}");
    let sent = wait_until("a send by the Rust client", BOOT, || {
        let mut command = installed.command("bin/sluice send T hello");
        command.env("ROCKETMQ_NAMESRV_DOMAIN", &domain);
        let output = command.output().expect("sluice");
        output.status.success().then_some(output)
    });
    has(&text(&sent.stdout), &["stored in"]);
    let sent = installed.told(&format!(
        "bin/sluice send -n http://{domain}/rocketmq/nsaddr T hello"
    ));
    has(&sent, &["stored in"]);

    installed.add_examples();
    let line = "exec sh bin/tools.sh org.apache.rocketmq.example.quickstart.Producer";
    let mut java = installed.command(line);
    let domain = format!("-Xmx300m -Drocketmq.namesrv.domain={domain}");
    java.env("JAVA_OPT", domain);
    let mut java = Running::start("producer", installed.dir.path(), &mut java);
    java.wait_for("SendResult [sendStatus=SEND_OK", FLOW);
}

#[test]
fn several_addresses_are_listened_on_ipv6_among_them() {
    if TcpListener::bind(("::1", 0)).is_err() {
        eprintln!("this machine has no IPv6: not tested");
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let (namesrv_port, port) = (free_port(), free_broker_port());
    let conf = |name: &str, content: String| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("settings");
        path
    };
    let start = |role: &str, conf: PathBuf| {
        let mut command = Command::new(sluice_binary());
        command
            .arg(role)
            .arg("-c")
            .arg(conf)
            .env("HOME", dir.path());
        let mut running = Running::start(role, dir.path(), command.env_remove("NAMESRV_ADDR"));
        running.wait_for("boot success", BOOT);
        running
    };
    let namesrv = format!("listenPort={namesrv_port}\nbindAddress=::1\n");
    let _namesrv = start("namesrv", conf("n.conf", namesrv));
    let broker = format!(
        "listenPort={port}\nbindAddress=127.0.0.1;[::1]\nbrokerIP1=::1\nbrokerIP2=::1\nmappedFileSizeCommitLog=1048576\nstorePathRootDir={}\nhttpAddress=127.0.0.1:{}\nnamesrvAddr=[::1]:{namesrv_port}\n",
        dir.path().join("store").display(),
        free_port()
    );
    let broker = start("broker", conf("b.conf", broker));
    has(&broker.output(), &[&format!("[::1]:{port}] boot success")]);
    for address in ["127.0.0.1", "::1"] {
        for port in [port, port - 2] {
            TcpStream::connect((address, port)).unwrap_or_else(|e| panic!("{address} {port}: {e}"));
        }
    }
    let mut send = Command::new(sluice_binary());
    send.args(["send", "-n", &format!("[::1]:{namesrv_port}"), "T", "hello"]);
    let sent = send.output().expect("sluice send");
    assert!(sent.status.success(), "{sent:?}");
    has(&text(&sent.stdout), &["stored in"]);
}
