//! A name server's door that notes how large what a broker registers is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::BytesMut;
use sluice_protocol::frame;

/// Passes on what broker and name server say to each other.
pub struct Relay {
    address: String,
    largest: Arc<AtomicUsize>,
}

impl Relay {
    /// In front of a name server; its threads end with this program.
    ///
    /// # Errors
    /// The system has no port.
    pub fn to(namesrv: &str) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let largest = Arc::new(AtomicUsize::new(0));
        let (namesrv, seen) = (namesrv.to_owned(), largest.clone());
        thread::spawn(move || {
            for broker in listener.incoming().flatten() {
                // A connection that can't be passed on ends, which the broker notices.
                let _ = pass_on(broker, &namesrv, &seen);
            }
        });
        Ok(Relay { address, largest })
    }

    /// `host:port` for the broker.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes of the largest frame that the broker has sent.
    pub fn largest(&self) -> usize {
        self.largest.load(Ordering::Relaxed)
    }
}

fn pass_on(broker: TcpStream, namesrv: &str, largest: &Arc<AtomicUsize>) -> io::Result<()> {
    let namesrv = TcpStream::connect(namesrv)?;
    let (mut asking, mut asked) = (broker.try_clone()?, namesrv.try_clone()?);
    let (mut answering, mut answered) = (namesrv, broker);
    let largest = largest.clone();
    thread::spawn(move || {
        let mut frames = BytesMut::new();
        let _ = copy(&mut asking, &mut asked, |bytes| {
            frames.extend_from_slice(bytes);
            while let Ok(Some(whole)) = frame::split(&mut frames, frame::FRAME_SIZE_MAX) {
                largest.fetch_max(whole.len(), Ordering::Relaxed);
            }
        });
    });
    thread::spawn(move || copy(&mut answering, &mut answered, |_| {}));
    Ok(())
}

/// Until one of them ends; then the other is told.
fn copy(from: &mut TcpStream, to: &mut TcpStream, mut seen: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            read => {
                seen(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
        }
    }
}
