//! Name servers and brokers, ours and Java's, started alike from the same property files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::java::JavaPeer;
use crate::plugins::Plugins;
use crate::ports::{free_broker_port, free_port};
use crate::process::Running;

/// How long a server may take to be ready; the JVM on a busy machine needs most of it.
const BOOT: Duration = Duration::from_secs(90);
/// How long a server may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(60);

/// Whose program a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The official server.
    Java,
    /// The program under test.
    Sluice,
}

/// The `sluice` binary: `$SLUICE_BIN`, or the one built beside the running program.
///
/// # Panics
/// If there is none.
pub fn sluice_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return PathBuf::from(path);
    }
    let program = std::env::current_exe().expect("path of the running program");
    // Tests lie one folder deeper than binaries.
    let found = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("sluice"))
        .find(|path| path.is_file());
    found.expect(
        "no sluice binary: run `cargo build -p sluice` with the same profile, or set SLUICE_BIN",
    )
}

/// Lines of property files that win over the usual ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct More<'a> {
    /// Of the name server.
    pub namesrv: &'a str,
    /// Of the broker.
    pub broker: &'a str,
}

/// A name server that can be stopped and started again on the same directory and port.
pub struct NameServer {
    kind: Kind,
    home: PathBuf,
    port: u16,
    /// Lines of the property file behind our own.
    more: String,
    address: String,
    running: Option<Running>,
}

impl NameServer {
    /// Starts a name server whose files are in `dir`, on a free port; `more` are further lines of its
    /// property file.
    pub fn start(kind: Kind, dir: &Path, more: &str) -> Self {
        let port = free_port();
        let mut name_server = Self {
            kind,
            home: dir.join("namesrv"),
            port,
            more: more.to_owned(),
            address: format!("127.0.0.1:{port}"),
            running: None,
        };
        name_server.start_again();
        name_server
    }

    /// Starts a stopped name server again.
    pub fn start_again(&mut self) {
        let (port, home) = (self.port, &self.home);
        let config = write(
            home,
            "namesrv.conf",
            &format!(
                "listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={0}/kv.json\nconfigStorePath={0}/namesrv.properties\n{more}",
                home.display(),
                more = self.more
            ),
        );
        let mut command = match self.kind {
            Kind::Java => JavaPeer::server().server_program(
                "org.apache.rocketmq.namesrv.NamesrvStartup",
                home,
                "256m",
            ),
            Kind::Sluice => sluice("namesrv"),
        };
        let mut running = Running::start("namesrv", home, command.arg("-c").arg(config));
        running.wait_for("boot success", BOOT);
        self.running = Some(running);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.running.take().expect("a running name server").kill();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let running = self.running.take();
        running.expect("a running name server").terminate(STOP)
    }

    /// `host:port` for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Process id.
    ///
    /// # Panics
    /// If it does not run.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the name server runs").id()
    }

    /// Everything it printed since it was last started.
    pub fn output(&self) -> String {
        self.running
            .as_ref()
            .map(Running::output)
            .unwrap_or_default()
    }
}

/// A broker that can be stopped and started again on the same directory and port.
pub struct Broker {
    home: PathBuf,
    namesrv: String,
    port: u16,
    http_port: u16,
    /// Lines of the property file behind our own.
    more: String,
    running: Option<Running>,
}

impl Broker {
    /// Starts a broker with its store in `<dir>/broker/store`, on a free port; `more` are lines of
    /// its property file that win over the usual ones.
    pub fn start(kind: Kind, dir: &Path, namesrv: &str, more: &str) -> Self {
        let mut broker = Self {
            home: dir.join("broker"),
            namesrv: namesrv.to_owned(),
            more: more.to_owned(),
            port: free_broker_port(),
            http_port: free_port(),
            running: None,
        };
        broker.start_again(kind);
        broker
    }

    /// Starts a stopped broker again: another program may go on with the same store.
    pub fn start_again(&mut self, kind: Kind) {
        assert!(
            self.running.is_none(),
            "the broker on port {} still runs",
            self.port
        );
        let config = write(&self.home, "broker.conf", &self.properties());
        let mut command = match kind {
            Kind::Java => JavaPeer::server().server_program(
                "org.apache.rocketmq.broker.BrokerStartup",
                &self.home,
                "1g",
            ),
            Kind::Sluice => sluice("broker"),
        };
        command.args(["-n", &self.namesrv]).arg("-c").arg(config);
        let mut running = Running::start("broker", &self.home, &mut command);
        running.wait_for("boot success", BOOT);
        self.running = Some(running);
    }

    /// The wait in the send queue is longer than Java's 200 ms, which a busy machine exceeds by itself.
    fn properties(&self) -> String {
        let store = self.home.join("store");
        format!(
            "httpAddress=127.0.0.1:{http}\nbrokerName=broker-a\nbrokerClusterName=DefaultCluster\nbrokerId=0\nlistenPort={port}\nhaListenPort={ha}\n\
             brokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nautoCreateTopicEnable=true\nmappedFileSizeCommitLog=67108864\n\
             waitTimeMillsInSendQueue=5000\nenablePropertyFilter=true\nrecallMessageEnable=true\n\
             transactionOpBatchInterval=1000\ntransactionCheckInterval=5000\ntransactionCheckMax=3\n\
             storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n{more}",
            more = self.more,
            port = self.port,
            ha = self.port + 1,
            http = self.http_port,
            store = store.display()
        )
    }

    /// `host:port` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where Sluice is administered.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Administration of plugins, of Sluice.
    pub fn plugins(&self) -> Plugins {
        Plugins::at(self.http_port)
    }

    /// Process id.
    ///
    /// # Panics
    /// If it does not run.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the broker runs").id()
    }

    /// `storePathRootDir`.
    pub fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// Its property file as it is now.
    pub fn settings(&self) -> String {
        fs::read_to_string(self.home.join("broker.conf")).expect("broker.conf")
    }

    /// Everything it printed since it was last started.
    pub fn output(&self) -> String {
        self.running
            .as_ref()
            .map(Running::output)
            .unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.running.take().expect("a running broker").kill();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.running
            .take()
            .expect("a running broker")
            .terminate(STOP)
    }
}

/// A name server and one broker in a temporary directory.
pub struct Cluster {
    /// The broker.
    pub broker: Broker,
    /// The name server.
    pub namesrv: NameServer,
    // Last, so that it goes after the processes that use it.
    dir: TempDir,
}

impl Cluster {
    /// Starts both as `kind`.
    pub fn start(kind: Kind) -> Self {
        Self::of(kind, kind, More::default())
    }

    /// Starts both as `kind`, with further settings.
    pub fn start_with(kind: Kind, more: More<'_>) -> Self {
        Self::of(kind, kind, more)
    }

    /// Starts a name server of one kind and a broker of another.
    pub fn mixed(namesrv: Kind, broker: Kind) -> Self {
        Self::of(namesrv, broker, More::default())
    }

    fn of(namesrv: Kind, broker: Kind, more: More<'_>) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let namesrv = NameServer::start(namesrv, dir.path(), more.namesrv);
        let broker = Broker::start(broker, dir.path(), namesrv.address(), more.broker);
        Self {
            broker,
            namesrv,
            dir,
        }
    }

    /// The temporary directory, for what clients write.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn sluice(role: &str) -> Command {
    let mut command = Command::new(sluice_binary());
    command.arg(role);
    command
}

fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    fs::create_dir_all(dir).expect("directory of a server");
    let path = dir.join(name);
    fs::write(&path, content).expect("configuration file");
    path
}
