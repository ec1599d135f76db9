//! What the commands do.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use sluice_broker::BrokerConfig;
use sluice_broker::config::FlushDiskType;
use sluice_namesrv::{NameServer, NamesrvConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Broker, Command, Dev, Namesrv, Sluice};
use crate::config;
use crate::demo;
use crate::logs;
use crate::operate;
use crate::plugin;
use crate::plugin_compile;
use crate::settings;
use crate::store;

/// Carries out a command; servers run until SIGTERM or SIGINT.
pub async fn run(args: Sluice) -> Result<()> {
    match args.command {
        Command::Dev(dev) => run_dev(dev).await,
        Command::Namesrv(mut namesrv) => match namesrv.task.take() {
            Some(task) => operate::namesrv(&namesrv, task).await,
            None => run_namesrv(namesrv).await,
        },
        Command::Broker(mut broker) => match broker.task.take() {
            Some(task) => operate::broker(&broker, task).await,
            None => run_broker(broker).await,
        },
        Command::Topic(asked) => operate::topic(asked).await,
        Command::Cluster(asked) => operate::cluster(asked).await,
        Command::Producer(asked) => operate::producer(asked).await,
        Command::Admin(asked) => operate::admin(asked).await,
        Command::Completion(asked) => operate::completion(&asked),
        Command::Plugin(plugin) => plugin::run(plugin),
        Command::Tx(asked) => operate::tx(asked),
        Command::Dlq(asked) => operate::dlq(asked),
        Command::Message(asked) => operate::message(asked).await,
        Command::Group(asked) => operate::group(asked).await,
        Command::Timer(asked) => operate::timer(asked),
        Command::Store(store) => store::run(store),
        Command::Config(asked) => config::run(asked.task),
        Command::Send(send) => {
            demo::send(&send.namesrv_addr, &send.topic, send.body, send.tag).await
        }
        Command::Recv(recv) => demo::receive(recv).await,
    }
}

async fn run_dev(dev: Dev) -> Result<()> {
    let stop = Stop::catch()?;
    let temporary = dev
        .ephemeral
        .then(tempfile::tempdir)
        .transpose()
        .context("a temporary directory can't be made")?;
    let root = temporary
        .as_ref()
        .map_or(dev.data.clone(), |directory| directory.path().to_owned());
    let mut namesrv = NamesrvConfig::at(SocketAddr::new(dev.bind, dev.namesrv_port));
    namesrv.kv_config_path = Some(root.join("namesrv").join("kvConfig.json"));
    let name_server = NameServer::start(namesrv).await?;
    let namesrv_address = reachable(name_server.address());
    let config = dev_broker(&dev, &root, namesrv_address);
    let compile = plugin_compile::in_child();
    let broker = sluice_broker::Broker::start(config, None, compile).await?;
    if let Ok(address) = broker.address().parse() {
        name_server.set_broker_beside(address);
    }
    println!("The Name Server boot success. serializeType=JSON, address {namesrv_address}");
    println!(
        "The broker[{}, {}] boot success. serializeType=JSON and name server is {namesrv_address}",
        broker.broker().config().broker_name,
        broker.address(),
    );
    println!("Messages are kept in {}", root.display());
    if let Some(http) = broker.http_address() {
        println!("Plugins are administered at http://{http}");
    }
    let served = serve_dev(&dev, namesrv_address, broker.broker(), stop).await;
    broker.shutdown().await?;
    name_server.shutdown().await;
    served
}

/// Until SIGTERM or SIGINT, also while the demonstration runs.
async fn serve_dev(
    dev: &Dev,
    name_server: SocketAddr,
    broker: &Arc<sluice_broker::Broker>,
    stop: Stop,
) -> Result<()> {
    let stopped = stop.told();
    tokio::pin!(stopped);
    if dev.demo {
        let address = name_server.to_string();
        tokio::select! {
            shown = demo::show_messages_flowing(&address, broker) => shown?,
            () = &mut stopped => return Ok(()),
        }
    }
    println!("Next: point a RocketMQ client at {name_server}, or try (Ctrl-C here ends)");
    println!("  sluice recv -n {name_server} Hello");
    println!("  sluice send -n {name_server} Hello world");
    stopped.await;
    Ok(())
}

fn dev_broker(dev: &Dev, root: &Path, name_server: SocketAddr) -> BrokerConfig {
    let defaults = BrokerConfig::default();
    let ip = match dev.bind {
        ip if ip.is_unspecified() => defaults.broker_ip1.clone(),
        ip => ip.to_string(),
    };
    BrokerConfig {
        broker_ip1: ip.clone(),
        broker_ip2: ip,
        bind_address: dev.bind.to_string(),
        listen_port: dev.broker_port,
        namesrv_addr: Some(name_server.to_string()),
        http_address: Some(SocketAddr::new(loopback(dev.bind), dev.http_port).to_string()),
        store_path_root_dir: root.to_owned(),
        // A developer's disk need not give a gibibyte for one message.
        mapped_file_size_commit_log: 64 << 20,
        flush_disk_type: if dev.sync_flush {
            FlushDiskType::SyncFlush
        } else {
            FlushDiskType::AsyncFlush
        },
        ..defaults
    }
}

/// This machine alone, in the family of `ip`.
fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Where this machine reaches a listener of its own.
fn reachable(listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, listener.port()))
        }
        _ => listener,
    }
}

async fn run_namesrv(args: Namesrv) -> Result<()> {
    let stop = Stop::catch()?;
    let config = settings::namesrv(&args)?;
    if let Some(path) = &args.config_file {
        logs::say(&format!(
            "load config properties file OK, {}",
            path.display()
        ));
    }
    if args.print {
        return print(&config.to_properties());
    }
    let server = NameServer::start(config).await?;
    logs::say(&format!(
        "The Name Server boot success. serializeType=JSON, address {}",
        server.address()
    ));
    if let Some(page) = server.page_address() {
        tracing::info!(%page, "name servers are told over HTTP at /rocketmq/nsaddr");
    }
    stop.told().await;
    server.shutdown().await;
    Ok(())
}

async fn run_broker(args: Broker) -> Result<()> {
    let stop = Stop::catch()?;
    let config = settings::broker(&args)?;
    if args.print {
        return print(&config.to_properties());
    }
    if args.print_important {
        return print(&config.important());
    }
    if args.enable_proxy {
        tracing::warn!(
            "--enable-proxy: gRPC clients are not served; remoting clients use the broker's own port"
        );
    }
    let compile = plugin_compile::in_child();
    let broker = sluice_broker::Broker::start(config, args.config_file, compile).await?;
    let config = broker.broker().config();
    let name_servers = config
        .namesrv_addr
        .as_ref()
        .map(|addresses| format!(" and name server is {addresses}"))
        .unwrap_or_default();
    logs::say(&format!(
        "The broker[{}, {}] boot success. serializeType=JSON{name_servers}",
        config.broker_name,
        broker.address()
    ));
    stop.told().await;
    broker.shutdown().await?;
    Ok(())
}

/// Prints; a reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output can't be written")
        }
        _ => Ok(()),
    }
}

/// SIGTERM and SIGINT, caught from the moment this exists: made before a server says that it is
/// ready, so that whoever reads that line may stop it in order.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Catches both.
    pub fn catch() -> Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub async fn told(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One connection is one file, and queues are files too: the soft limit of 1,024 is raised to what
/// the system allows.
pub fn raise_open_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a whole, living rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max
        {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
