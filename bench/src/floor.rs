//! The floor: what a send costs this machine when nobody decides anything. A server reads frames, copies their
//! bodies into a file that is there already, and answers; and each of the raw costs below it, one by one.

mod costs;
mod server;

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};

pub use costs::print as print_costs;
pub use server::serve;

/// The server in a process of its own, so that its CPU time is its own.
pub struct Floor {
    child: Child,
    address: String,
}

impl Floor {
    /// Starts it; it keeps bodies in a temporary file.
    ///
    /// # Errors
    /// This program can't be run again.
    pub fn start() -> Result<Floor> {
        let program = std::env::current_exe().context("path of this program")?;
        let mut child = Command::new(program)
            .arg("floor-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the floor's server")?;
        let output = child.stdout.take().context("its output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        ensure!(
            !address.is_empty(),
            "the floor's server has said no address"
        );
        Ok(Floor {
            child,
            address: address.trim().to_owned(),
        })
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
