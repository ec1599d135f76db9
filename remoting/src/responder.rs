//! The right and the duty to answer one request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use bytestring::ByteString;
use sluice_protocol::code::response;
use sluice_protocol::{RemotingCommand, Serialization};

use crate::connection::Connection;

/// Longest remark sent, bytes. Remarks repeat what a peer sent, and a header has room for 16 MiB
/// only.
const REMARK_SIZE_MAX: usize = 4096;

/// Answers one request, exactly once: dropped without an answer, it answers code 1 itself.
///
/// A one-way request has one as well; its answers go nowhere.
#[derive(Debug)]
pub struct Responder {
    connection: Arc<Connection>,
    opaque: i32,
    serialization: Serialization,
    /// Nothing is due any more, or never was.
    settled: bool,
    parked: bool,
}

impl Responder {
    pub(crate) fn new(connection: &Arc<Connection>, request: &RemotingCommand) -> Self {
        connection.unanswered.fetch_add(1, Ordering::Relaxed);
        Responder {
            connection: connection.clone(),
            opaque: request.opaque,
            serialization: request.serialization,
            settled: request.is_one_way(),
            parked: false,
        }
    }

    /// The answer without body or fields, to be completed and given to [`Responder::answer`].
    pub fn response(&self, code: i32) -> RemotingCommand {
        RemotingCommand {
            opaque: self.opaque,
            serialization: self.serialization,
            ..RemotingCommand::request(code, self.opaque).response(code)
        }
    }

    /// Sends the answer.
    pub fn answer(self, response: RemotingCommand) {
        self.answer_with(response, &[]);
    }

    /// Sends the answer with `slices` behind its body, uncopied.
    pub fn answer_with(mut self, mut response: RemotingCommand, slices: &[Bytes]) {
        response.opaque = self.opaque;
        response.serialization = self.serialization;
        response.remark = response.remark.map(shortened);
        response.flag |= sluice_protocol::command::FLAG_RESPONSE;
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Err(error) = self.connection.send(&response, slices) {
            self.send_system_error(format!("the answer can't be sent: {error}").into());
        }
    }

    /// Refuses the request with an explanation.
    pub fn refuse(self, code: i32, remark: impl Into<String>) {
        let mut response = self.response(code);
        response.remark = Some(remark.into().into());
        self.answer(response);
    }

    /// The answer waits for an event that may be far off, as a long poll's does: a shutdown does
    /// not wait for it.
    pub fn park(&mut self) {
        if !std::mem::replace(&mut self.parked, true) {
            self.connection.parked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Leaves the request unanswered on purpose: some requests have no answer in some cases.
    pub fn stay_silent(mut self) {
        self.settled = true;
    }

    fn send_system_error(&self, remark: ByteString) {
        let mut response = self.response(response::SYSTEM_ERROR);
        response.remark = Some(remark);
        if let Err(error) = self.connection.send(&response, &[]) {
            tracing::error!(peer = %self.connection.peer(), %error, "not even a refusal fits into a frame");
        }
    }

    /// Whether nobody waits for the answer.
    pub fn is_one_way(&self) -> bool {
        self.settled
    }

    /// The connection the request came from.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

fn shortened(remark: ByteString) -> ByteString {
    if remark.len() <= REMARK_SIZE_MAX {
        return remark;
    }
    let end = (0..=REMARK_SIZE_MAX).rfind(|end| remark.is_char_boundary(*end));
    ByteString::from(&remark[..end.unwrap_or(0)])
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.send_system_error("the request failed inside the server, its log says why".into());
        }
        if self.parked {
            self.connection.parked.fetch_sub(1, Ordering::Relaxed);
        }
        self.connection.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}
