//! How many files this process may have open, and how many of them connections leave to others.

use tokio::net::TcpStream;

/// Connections leave a quarter of the files to the store and whoever else needs one, but no more than so many:
/// a store that can't open its next file is worse than a client that has to come again.
const KEPT_BACK_MAX: u64 = 1_024;

/// The limit of open files, as it was when a server began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFiles {
    /// None where there is no limit.
    max: Option<u64>,
}

impl OpenFiles {
    /// What the system says now.
    pub(crate) fn allowed() -> OpenFiles {
        OpenFiles {
            max: system::files_max(),
        }
    }

    /// Why a connection that was just accepted is one too many, if it is. The system gives the lowest number
    /// that is free: whose is high came when nearly all files were open, whoever has them.
    pub(crate) fn refusal(self, stream: &TcpStream) -> Option<String> {
        let max = self.max?;
        let kept_back = kept_back(max);
        (system::number(stream) >= max - kept_back).then(|| {
            format!("the limit of {max} open files is nearly reached: the last {kept_back} are not for connections")
        })
    }
}

fn kept_back(max: u64) -> u64 {
    (max / 4).min(KEPT_BACK_MAX)
}

impl std::fmt::Display for OpenFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.max {
            Some(max) => write!(f, "{max}"),
            None => f.write_str("unlimited"),
        }
    }
}

#[cfg(unix)]
mod system {
    use std::os::fd::AsRawFd;

    use rustix::process::{Resource, getrlimit};
    use tokio::net::TcpStream;

    pub(super) fn files_max() -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }

    pub(super) fn number(stream: &TcpStream) -> u64 {
        u64::try_from(stream.as_raw_fd()).unwrap_or(0)
    }
}

#[cfg(not(unix))]
mod system {
    use tokio::net::TcpStream;

    pub(super) fn files_max() -> Option<u64> {
        None
    }

    pub(super) fn number(_: &TcpStream) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_back_while_that_is_little() {
        assert_eq!([256, 1_024, 1_048_576].map(kept_back), [64, 256, 1_024]);
    }
}
