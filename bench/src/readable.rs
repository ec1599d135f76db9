//! Which of many connections have something to read (epoll).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::socket::{PATIENCE, Socket};

/// As many are told at once.
const EVENTS: usize = 256;

/// The connections of one thread. One alone is not asked for: reading it waits by itself.
pub struct Readable {
    epoll: Option<OwnedFd>,
    ready: Vec<usize>,
}

impl Readable {
    /// Of these connections, which are named by their places.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn of<'a>(sockets: impl ExactSizeIterator<Item = &'a Socket>) -> io::Result<Readable> {
        if sockets.len() == 1 {
            return Ok(Readable {
                epoll: None,
                ready: vec![0],
            });
        }
        // SAFETY: epoll_create1 has no preconditions.
        let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        for (place, socket) in (0..).zip(sockets) {
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: place,
            };
            let fd = socket.as_raw_fd();
            // SAFETY: both descriptors are open, and the event lives through the call.
            let added = unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
            };
            checked(added)?;
        }
        Ok(Readable {
            epoll: Some(epoll),
            ready: Vec::new(),
        })
    }

    /// Waits for some; reading one of these once does not block.
    ///
    /// # Errors
    /// There was nothing to read within [`PATIENCE`].
    pub fn wait(&mut self) -> io::Result<&[usize]> {
        let Some(epoll) = &self.epoll else {
            return Ok(&self.ready);
        };
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let patience = PATIENCE.as_millis() as i32;
        // SAFETY: the kernel writes at most so many events.
        let count = checked(unsafe {
            libc::epoll_wait(
                epoll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as i32,
                patience,
            )
        })?;
        if count == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.ready.clear();
        let places = events[..count as usize].iter();
        self.ready.extend(places.map(|event| event.u64 as usize));
        Ok(&self.ready)
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
