//! A plain socket that speaks frames: for what no official client does, and for loads, as it takes as
//! little of the machine as it can.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{sys_flag, view};
use sluice_protocol::{RemotingCommand, frame};

/// How long the broker may leave a request unanswered.
const ANSWER: Duration = Duration::from_secs(30);
const READ_SIZE: usize = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    /// What [`Wire::flush`] sends.
    pub out: Vec<u8>,
}

impl Wire {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(broker: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Wire {
            stream,
            buffer: BytesMut::new(),
            out: Vec::new(),
        })
    }

    /// Sends what has gathered.
    ///
    /// # Errors
    /// The broker takes no more.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next answer; waits for it.
    ///
    /// # Errors
    /// None came in time, or the connection ended.
    pub fn read(&mut self) -> io::Result<RemotingCommand> {
        loop {
            if let Some(answer) = self.next_read()? {
                return Ok(answer);
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + READ_SIZE, 0);
            let read = self.stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The same connection once more, for another thread.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn same(&self) -> io::Result<Wire> {
        Ok(Wire {
            stream: self.stream.try_clone()?,
            buffer: BytesMut::new(),
            out: Vec::new(),
        })
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// As [`Wire::flush`] and [`Wire::read`].
    pub fn ask(&mut self, request: &RemotingCommand) -> io::Result<RemotingCommand> {
        self.out.extend_from_slice(&request.encode());
        self.flush()?;
        self.read()
    }

    /// Sends one request of some fields and waits for its answer.
    ///
    /// # Errors
    /// As [`Wire::ask`].
    pub fn request(
        &mut self,
        code: i32,
        fields: &[(&'static str, &str)],
        body: &[u8],
    ) -> io::Result<RemotingCommand> {
        self.ask(&command(code, fields, body))
    }

    /// The next answer that has already come.
    ///
    /// # Errors
    /// What came is no frame.
    pub fn next_read(&mut self) -> io::Result<Option<RemotingCommand>> {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let whole = frame::split(&mut self.buffer, frame::FRAME_SIZE_MAX).map_err(broken)?;
        let command = whole.map(|whole| RemotingCommand::decode(&whole));
        command.transpose().map_err(broken)
    }
}

/// A request of some fields.
pub fn command(code: i32, fields: &[(&'static str, &str)], body: &[u8]) -> RemotingCommand {
    let mut command = RemotingCommand::request(code, 1).with_body(body.to_vec());
    for (name, value) in fields {
        command.ext.put(*name, *value);
    }
    command
}

/// A SEND_MESSAGE_V2 to queue 0 of a topic that is made for it if need be.
pub fn send(topic: &str, properties: &str, body: &[u8]) -> RemotingCommand {
    let fields = [
        ("a", "shop"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    command(request::SEND_MESSAGE_V2, &fields, body)
}

/// An UPDATE_AND_CREATE_TOPIC.
pub fn create_topic(name: &str, queues: i32) -> RemotingCommand {
    let queues = queues.to_string();
    let fields = [
        ("topic", name),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &*queues),
        ("writeQueueNums", &*queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    command(request::UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

/// A PULL_MESSAGE of up to 32 messages, whatever their tags, that waits for none.
pub fn pull(group: &str, topic: &str, queue_id: i32, offset: i64) -> RemotingCommand {
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &*queue_id.to_string()),
        ("queueOffset", &*offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", &*sys_flag::PULL_SUBSCRIPTION.to_string()),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    command(request::PULL_MESSAGE, &fields, b"")
}

/// Bodies and store times of all that lies in queue 0 of a topic.
///
/// # Panics
/// The broker does not answer.
pub fn delivered(address: &str, topic: &str) -> Vec<(String, i64)> {
    let mut wire = Wire::connect(address).expect("the broker");
    let mut all = Vec::new();
    loop {
        let answer = wire.ask(&pull("readers", topic, 0, all.len() as i64));
        let answer = answer.expect("an answer");
        if answer.code != response::SUCCESS {
            return all;
        }
        for record in view::records(&answer.body) {
            let record = record.expect("a record");
            let body = String::from_utf8_lossy(record.body()).into_owned();
            all.push((body, record.store_timestamp()));
        }
    }
}
