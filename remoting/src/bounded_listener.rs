//! A listener for HTTP sides: who connects there must not take the files that clients and the store need.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time; who comes then waits until one ends.
const CONNECTIONS: usize = 256;
/// A connection on which nothing has moved for this long is ended: longer than any answer takes.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// After a failed accept, as when there are no more files.
const AGAIN: Duration = Duration::from_millis(100);

/// Accepts so many connections at a time, none of them silent for long.
#[derive(Debug)]
pub struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl BoundedListener {
    /// Takes over a listener.
    pub fn new(listener: TcpListener) -> Self {
        Self::with(listener, CONNECTIONS, SILENCE_MAX)
    }

    fn with(listener: TcpListener, connections: usize, silence_max: Duration) -> Self {
        BoundedListener {
            listener,
            places: Arc::new(Semaphore::new(connections)),
            silence_max,
        }
    }

    /// The next connection. It waits for a place first: until then it is the system that keeps it.
    pub async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let places = self.places.clone();
        let place = places.acquire_owned().await.expect("it is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let silence = Box::pin(tokio::time::sleep(self.silence_max));
                    let stream = BoundedStream {
                        stream,
                        silence,
                        silence_max: self.silence_max,
                        _place: place,
                    };
                    return (stream, peer);
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system can't say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that has one of the places.
#[derive(Debug)]
pub struct BoundedStream {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl BoundedStream {
    /// The address by which the peer came.
    ///
    /// # Errors
    /// The system can't say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Passes on what a call on the stream gave: something that moved begins the silence anew.
    fn moved<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            let until = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(until);
            return done;
        }
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved(cx, done)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_loses_the_place_to_who_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = BoundedListener::with(listener, 1, SILENCE_MAX);
        let first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        let (mut served, peer) = bounded.accept().await;
        assert_eq!(peer, first.local_addr().unwrap());
        let waits = tokio::time::timeout(SILENCE_MAX / 2, bounded.accept()).await;
        assert!(waits.is_err(), "there is one place");
        // The test's clock goes on by itself while nothing else can happen.
        let ended = served.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        drop(served);
        let (_, peer) = bounded.accept().await;
        assert_eq!(peer, second.local_addr().unwrap());
    }
}
