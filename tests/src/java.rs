//! The official Java programs: their class paths, our programs compiled against them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

/// The client versions that the tests run with.
pub const CLIENT_VERSIONS: [&str; 2] = ["4.9.8", "5.3.3"];
/// A client of the age that sends to the VIP channel unless told otherwise.
pub const OLD_CLIENT_VERSION: &str = "4.2.0";
/// The version of the Java broker, name server, tools and proxy.
pub const SERVER_VERSION: &str = "5.3.3";
/// The version of the gRPC client, which only the proxy understands.
pub const GRPC_CLIENT_VERSION: &str = "5.0.8";

/// What a modern JDK must open for the Java servers.
const SERVER_FLAGS: [&str; 6] = [
    "--add-exports",
    "java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports",
    "java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.nio=ALL-UNNAMED",
];

/// The official Java code of one version, ready to run.
#[derive(Clone, Debug)]
pub struct JavaPeer {
    version: String,
    classpath: String,
    /// What the JVM is told, system properties as `-Dname=value` among it.
    options: Vec<String>,
}

impl JavaPeer {
    /// Our programs compiled against client `version`.
    pub fn client(version: &str) -> Self {
        cached(version, || {
            let jars = classpath(version, "");
            let major = version.split('.').next().unwrap_or(version);
            let parts = ["main".to_owned(), format!("compat-{major}")];
            let classes = compile(version, &jars, &parts);
            let resources = java_dir().join("src/main/resources");
            format!("{}:{}:{jars}", resources.display(), classes.display())
        })
    }

    /// Our program compiled against the client of [`OLD_CLIENT_VERSION`].
    pub fn old_client() -> Self {
        let mut peer = cached(OLD_CLIENT_VERSION, || {
            let jars = classpath(OLD_CLIENT_VERSION, "");
            let classes = compile(OLD_CLIENT_VERSION, &jars, &["old".to_owned()]);
            let resources = java_dir().join("src/main/resources");
            format!("{}:{}:{jars}", resources.display(), classes.display())
        });
        // Its Netty is older than the walls between a JDK's modules.
        let opened = ["--add-opens", "java.base/java.nio=ALL-UNNAMED"];
        peer.options.extend(opened.map(str::to_owned));
        peer
    }

    /// Broker, name server and tools of [`SERVER_VERSION`].
    pub fn server() -> Self {
        let key = format!("{SERVER_VERSION}-server");
        cached(&key, || {
            let resources = java_dir().join("src/main/resources");
            format!(
                "{}:{}",
                resources.display(),
                classpath(SERVER_VERSION, "server")
            )
        })
    }

    /// The proxy of [`SERVER_VERSION`].
    pub fn proxy() -> Self {
        cached("proxy", || classpath(SERVER_VERSION, "proxy"))
    }

    /// Our programs compiled against the gRPC client; their remoting clients are of [`SERVER_VERSION`].
    pub fn grpc_client() -> Self {
        cached("grpc", || {
            let jars = classpath(SERVER_VERSION, "grpc");
            let parts = ["main", "compat-5", "grpc"].map(str::to_owned);
            let classes = compile("grpc", &jars, &parts);
            let resources = java_dir().join("src/main/resources");
            format!("{}:{}:{jars}", resources.display(), classes.display())
        })
    }

    /// Our programs that use the server's own classes.
    pub fn server_classes() -> Self {
        let key = format!("{SERVER_VERSION}-server-classes");
        cached(&key, || {
            let jars = classpath(SERVER_VERSION, "server");
            let name = format!("{SERVER_VERSION}-server");
            let classes = compile(&name, &jars, &["server".to_owned()]);
            let resources = java_dir().join("src/main/resources");
            format!("{}:{}:{jars}", resources.display(), classes.display())
        })
    }

    /// Also sets a system property, `name=value`, in everything it starts.
    pub fn with_property(mut self, property: &str) -> Self {
        self.options.push(format!("-D{property}"));
        self
    }

    /// `java <main> ...` of a client or tool program; what it writes goes under `home`.
    pub fn program(&self, main: &str, home: &Path) -> Command {
        let mut command = self.jvm(home);
        command
            .args([
                "-Xmx700m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Dfile.encoding=UTF-8",
            ])
            .arg(format!(
                "-Drocketmq.client.logRoot={}",
                home.join("client-logs").display()
            ))
            .arg(main);
        command
    }

    /// `java <main> ...` of a load: with the JVM's own choice of compilers, which a load has the time
    /// to profit from.
    pub fn load_program(&self, main: &str, home: &Path) -> Command {
        let mut command = self.jvm(home);
        command
            .args(["-Xmx1g", "-XX:+UseSerialGC"])
            .arg(format!(
                "-Drocketmq.client.logRoot={}",
                home.join("client-logs").display()
            ))
            .arg(main);
        command
    }

    /// `java <main> ...` of a server with at most `heap` (as in `1g`) of heap.
    pub fn server_program(&self, main: &str, home: &Path, heap: &str) -> Command {
        let mut command = self.jvm(home);
        command
            .args(SERVER_FLAGS)
            .arg(format!("-Xmx{heap}"))
            .arg(main);
        command.env("ROCKETMQ_HOME", home);
        command
    }

    fn jvm(&self, home: &Path) -> Command {
        let mut command = Command::new("java");
        command
            .env("CLASSPATH", &self.classpath)
            .env_remove("NAMESRV_ADDR")
            .args(&self.options)
            .arg(format!("-Duser.home={}", home.display()))
            .arg(format!("-Drocketmq.log.root={}", home.display()));
        command
    }

    /// Its class path.
    pub fn classpath(&self) -> &str {
        &self.classpath
    }

    /// The version of the Java code.
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn cached(key: &str, make: impl FnOnce() -> String) -> JavaPeer {
    static PEERS: Mutex<Option<HashMap<String, JavaPeer>>> = Mutex::new(None);
    let mut peers = PEERS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let peers = peers.get_or_insert_with(HashMap::new);
    if let Some(peer) = peers.get(key) {
        return peer.clone();
    }
    let peer = JavaPeer {
        version: key.to_owned(),
        classpath: make(),
        options: Vec::new(),
    };
    peers.insert(key.to_owned(), peer.clone());
    peer
}

fn java_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("java")
}

/// Where class paths and classes are kept between runs.
fn cache_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let dir = target.join("java");
    fs::create_dir_all(&dir).expect("directory for Java classes");
    dir.canonicalize()
        .expect("path of the directory for Java classes")
}

/// The jars of `version` with a profile of the POM (or none), from the cached list or else from Maven
/// (without the network first).
fn classpath(version: &str, profile: &str) -> String {
    let list = match profile {
        "" => format!("{version}.cp"),
        profile => format!("{version}-{profile}.cp"),
    };
    let list = cache_dir().join(list);
    if let Ok(jars) = fs::read_to_string(&list)
        && !jars.is_empty()
        && jars.split(':').all(|jar| Path::new(jar).exists())
    {
        return jars;
    }
    let mut arguments = vec![
        "dependency:build-classpath".to_owned(),
        format!("-Drocketmq.version={version}"),
        format!("-Dgrpc.client.version={GRPC_CLIENT_VERSION}"),
        format!("-Dmdep.outputFile={}", list.display()),
    ];
    if !profile.is_empty() {
        arguments.push(format!("-P{profile}"));
    }
    if !maven(&arguments, true) {
        assert!(
            maven(&arguments, false),
            "Maven did not find RocketMQ {version}: see its output above"
        );
    }
    fs::read_to_string(&list).expect("class path written by Maven")
}

fn maven(arguments: &[String], offline: bool) -> bool {
    let mut command = Command::new("mvn");
    command
        .arg("-q")
        .arg("-B")
        .current_dir(java_dir())
        .args(arguments);
    if offline {
        command.arg("-o");
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("mvn does not start ({error}); install it: apt-get install -y maven openjdk-17-jdk-headless")
    });
    if !output.status.success() && !offline {
        eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    }
    output.status.success()
}

/// Compiles the programs of `parts` unless their classes are newer than every source.
fn compile(name: &str, jars: &str, parts: &[String]) -> PathBuf {
    let classes = cache_dir().join(format!("{name}-classes"));
    let sources = sources(parts);
    let stamp = classes.join(".compiled");
    if modified(&stamp) > sources.iter().filter_map(|source| modified(source)).max() {
        return classes;
    }
    fs::create_dir_all(&classes).expect("directory for classes");
    let output = Command::new("javac")
        .args(["-encoding", "UTF-8", "--release", "17", "-nowarn", "-Xlint:-options", "-cp", jars, "-d"])
        .arg(&classes)
        .args(&sources)
        .output()
        .unwrap_or_else(|error| panic!("javac does not start ({error}); install it: apt-get install -y openjdk-17-jdk-headless"));
    assert!(
        output.status.success(),
        "javac for {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(&stamp, "").expect("stamp of the compilation");
    classes
}

fn sources(parts: &[String]) -> Vec<PathBuf> {
    let root = java_dir().join("src");
    parts
        .iter()
        .map(|part| root.join(part).join("java/sluice/interop"))
        .flat_map(|dir| {
            fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        })
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "java")
        })
        .collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
