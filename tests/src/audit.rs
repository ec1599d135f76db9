//! A producer and a consumer that write down what was acknowledged and what was received.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::java::{JavaPeer, SERVER_VERSION};
use crate::process::{Running, wait_until};

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);
/// How long delivery may take after a restart: the client looks for its broker every 30 s.
const DELIVERY: Duration = Duration::from_secs(90);

/// An official producer that sends unique ids without end.
pub struct AuditProducer {
    running: Running,
    acked: PathBuf,
}

impl AuditProducer {
    /// Starts sending ids `<prefix>-0...` to `topic`, and returns after the first acknowledgement.
    pub fn start(namesrv: &str, topic: &str, prefix: &str, dir: &Path) -> Self {
        Self::program("sluice.interop.AuditProducer", namesrv, topic, prefix, dir)
    }

    /// The same with the client's own settings: it tries another broker when one fails.
    pub fn patient(namesrv: &str, topic: &str, prefix: &str, dir: &Path) -> Self {
        let program = "sluice.interop.AuditProducer";
        Self::program_with(program, [namesrv, topic, prefix], dir, &["patient"])
    }

    /// Panics if the client itself has given a send up, with each attempt that took long.
    pub fn assert_no_send_failed(&self, when: &str) {
        let output = self.running.output();
        let failed = output.lines().any(|line| line.starts_with("FAILED"));
        assert!(!failed, "sends failed {when}:\n{output}");
    }

    /// The same with transactions: ids are committed or rolled back by their number, see
    /// `TransactionAuditProducer.java`.
    pub fn transactional(namesrv: &str, topic: &str, prefix: &str, dir: &Path) -> Self {
        let program = "sluice.interop.TransactionAuditProducer";
        Self::program(program, namesrv, topic, prefix, dir)
    }

    fn program(program: &str, namesrv: &str, topic: &str, prefix: &str, dir: &Path) -> Self {
        Self::program_with(program, [namesrv, topic, prefix], dir, &[])
    }

    fn program_with(
        program: &str,
        [namesrv, topic, prefix]: [&str; 3],
        dir: &Path,
        more: &[&str],
    ) -> Self {
        let acked = dir.join(format!("{prefix}.acked"));
        let mut command = JavaPeer::client(SERVER_VERSION).program(program, dir);
        command.args([namesrv, topic]).arg(&acked).arg(prefix);
        command.args(more);
        let mut running = Running::start(&format!("producer-{prefix}"), dir, &mut command);
        running.wait_for("READY", START);
        Self { running, acked }
    }

    /// How many were acknowledged so far.
    pub fn count(&self) -> usize {
        lines(&self.acked).len()
    }

    /// Every id acknowledged so far.
    pub fn acked(&self) -> HashSet<String> {
        lines(&self.acked).into_iter().collect()
    }

    /// Waits until `more` further ids have been acknowledged.
    pub fn wait_for_more(&self, more: usize) {
        let goal = self.count() + more;
        wait_until(
            &format!("{more} more acknowledged messages"),
            DELIVERY,
            || (self.count() >= goal).then_some(()),
        );
    }

    /// Stops sending; every acknowledged id.
    pub fn stop(mut self) -> HashSet<String> {
        self.running.finish(END);
        lines(&self.acked).into_iter().collect()
    }
}

/// An official push consumer that writes down every delivery.
pub struct AuditConsumer {
    running: Running,
    received: PathBuf,
}

impl AuditConsumer {
    /// Starts consuming `topic` from its beginning, or where `group` stopped.
    pub fn start(namesrv: &str, topic: &str, group: &str, name: &str, dir: &Path) -> Self {
        let received = dir.join(format!("{name}.received"));
        let mut command =
            JavaPeer::client(SERVER_VERSION).program("sluice.interop.AuditConsumer", dir);
        command.args([namesrv, topic, group]).arg(&received);
        let mut running = Running::start(&format!("consumer-{name}"), dir, &mut command);
        running.wait_for("READY", START);
        Self { running, received }
    }

    /// Every delivery so far, in order, repeated ones too.
    pub fn received(&self) -> Vec<String> {
        lines(&self.received)
    }

    /// Waits until every one of `acked` was received; panics with some of the lost ones.
    pub fn wait_for_all(&self, acked: &HashSet<String>) {
        let end = std::time::Instant::now() + DELIVERY;
        loop {
            let received: HashSet<String> = self.received().into_iter().collect();
            let mut lost: Vec<&String> = acked.difference(&received).collect();
            if lost.is_empty() {
                return;
            }
            lost.sort();
            assert!(
                std::time::Instant::now() < end,
                "{} of {} acknowledged messages were not received, among them {:?}",
                lost.len(),
                acked.len(),
                &lost[..lost.len().min(10)]
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops in order, so that the group's offsets are stored; every delivery.
    pub fn stop(mut self) -> Vec<String> {
        self.running.finish(END);
        lines(&self.received)
    }
}

/// The whole lines of a file that may still grow.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}
