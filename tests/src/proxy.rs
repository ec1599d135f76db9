//! The Java proxy in cluster mode, in front of a name server and brokers of either kind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sluice_protocol::code::{request, response};

use crate::java::JavaPeer;
use crate::ports::free_port;
use crate::process::{Running, wait_until};
use crate::wire::{Wire, command};

const BOOT: Duration = Duration::from_secs(90);

/// A running proxy.
pub struct Proxy {
    grpc: String,
    remoting: String,
    running: Running,
}

impl Proxy {
    /// Starts a proxy for the brokers that `namesrv` knows; its files are in `dir`.
    pub fn start(dir: &Path, namesrv: &str) -> Self {
        await_cluster(namesrv);
        let home = dir.join("proxy");
        let (grpc, remoting) = (free_port(), free_port());
        let config = home.join("rmq-proxy.json");
        fs::create_dir_all(&home).expect("directory of the proxy");
        fs::write(&config, settings(namesrv, grpc, remoting)).expect("configuration of the proxy");
        let mut command = JavaPeer::proxy()
            // Its own consumer does not look into the file.
            .with_property(&format!("rocketmq.namesrv.addr={namesrv}"))
            .server_program("org.apache.rocketmq.proxy.ProxyStartup", &home, "512m");
        command.arg("-pc").arg(config).env("RMQ_PROXY_HOME", &home);
        let mut running = Running::start("proxy", &home, &mut command);
        running.wait_for("startup successfully", BOOT);
        Self {
            grpc: format!("127.0.0.1:{grpc}"),
            remoting: format!("127.0.0.1:{remoting}"),
            running,
        }
    }

    /// `host:port` for gRPC clients.
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// `host:port` for remoting clients, to which it is name server and broker in one.
    pub fn remoting(&self) -> &str {
        &self.remoting
    }

    /// Everything it printed.
    pub fn output(&self) -> String {
        self.running.output()
    }
}

/// A Java broker is registered some time after it says that it is ready; without a broker, the proxy ends.
fn await_cluster(namesrv: &str) {
    let mut wire = Wire::connect(namesrv).expect("the name server");
    let route = command(
        request::GET_ROUTEINFO_BY_TOPIC,
        &[("topic", "DefaultCluster")],
        &[],
    );
    wait_until("route of the cluster", BOOT, || {
        let answer = wire.ask(&route).expect("answer of the name server");
        (answer.code == response::SUCCESS).then_some(())
    });
}

/// Acks of one request go on as one BATCH_ACK_MESSAGE, which is not its default. Times are shorter than
/// its defaults, so that tests need not wait for them.
fn settings(namesrv: &str, grpc: u16, remoting: u16) -> String {
    format!(
        r#"{{
  "rocketMQClusterName": "DefaultCluster",
  "proxyMode": "CLUSTER",
  "namesrvAddr": "{namesrv}",
  "localServeAddr": "127.0.0.1",
  "remotingAccessAddr": "127.0.0.1",
  "grpcServerPort": {grpc},
  "remotingListenPort": {remoting},
  "enableBatchAck": true,
  "minInvisibleTimeMillsForRecv": 1000,
  "grpcClientConsumerMinLongPollingTimeoutMillis": 1000,
  "transactionHeartbeatPeriodSecond": 1
}}"#
    )
}
