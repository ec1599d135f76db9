//! Processes that hold connections: this program once more.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{HeartbeatData, ProducerData};
use sluice_protocol::code::request;
use sluice_tests::wire::send;

use crate::flight::succeeded;
use crate::peer::Peer;
use crate::process::raise_open_file_limit;

const TOPIC: &str = "DefaultCluster";

/// Makes connections, sends a heartbeat and a message over each, says so, and holds them until its input ends.
///
/// # Errors
/// A connection is not served, or has ended when all of them are there.
pub fn hold(broker: &str, count: usize) -> Result<()> {
    raise_open_file_limit()?;
    let connect = |number| served(broker, number).with_context(|| format!("connection {number}"));
    let mut peers = (0..count).map(connect).collect::<Result<Vec<_>>>()?;
    println!("{count}");
    io::stdin().read_to_end(&mut Vec::new())?;
    for (number, peer) in peers.iter_mut().enumerate() {
        message(peer).with_context(|| format!("connection {number} at the end"))?;
    }
    Ok(())
}

fn served(broker: &str, number: usize) -> Result<Peer> {
    let mut peer = Peer::connect(broker)?;
    let producer = ProducerData {
        group_name: "shop".to_owned(),
    };
    let heartbeat = HeartbeatData {
        client_id: format!("10.0.0.1@{}#{number}", std::process::id()),
        producer_data_set: vec![producer],
        ..HeartbeatData::default()
    };
    let body = serde_json::to_vec(&heartbeat)?;
    let heartbeat = RemotingCommand::request(request::HEART_BEAT, 0).with_body(body);
    succeeded(&peer.ask(&heartbeat)?)?;
    message(&mut peer)?;
    Ok(peer)
}

fn message(peer: &mut Peer) -> Result<()> {
    succeeded(&peer.ask(&send(TOPIC, "", b"one of many"))?)?;
    Ok(())
}

/// The processes.
pub struct Clients {
    children: Vec<Child>,
    served: usize,
}

impl Clients {
    /// Starts them, and waits until all connections have been served.
    ///
    /// # Errors
    /// One was not.
    pub fn start(broker: &str, processes: usize, count: usize) -> Result<Clients> {
        let mut clients = Clients {
            children: Vec::new(),
            served: 0,
        };
        for process in 0..processes {
            // The first ones take what does not divide.
            let share = count / processes + usize::from(process < count % processes);
            clients.children.push(child(broker, share)?);
        }
        for child in &mut clients.children {
            let output = child.stdout.take().context("output of a client")?;
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line)?;
            let served: usize = line.trim().parse().context("a client has failed")?;
            clients.served += served;
        }
        ensure!(clients.served == count, "{} are served", clients.served);
        Ok(clients)
    }

    /// Connections that were served.
    pub fn served(&self) -> usize {
        self.served
    }

    /// Has each connection send once more, and ends them.
    ///
    /// # Errors
    /// One was not served any more.
    pub fn end(mut self) -> Result<()> {
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for mut child in std::mem::take(&mut self.children) {
            let status = child.wait()?;
            ensure!(status.success(), "a client has failed: {status}");
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn child(broker: &str, count: usize) -> Result<Child> {
    let program = std::env::current_exe().context("path of this program")?;
    let mut command = Command::new(program);
    command.args(["connections-client", broker, &count.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().context("a client")
}
