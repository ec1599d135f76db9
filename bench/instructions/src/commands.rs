//! Bytes to commands and back.

use std::hint::black_box;

use bytes::BytesMut;
use sluice_protocol::code::{request, response};
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::{RemotingCommand, Serialization, frame};

use crate::Call;
use crate::inputs::send_request;

pub fn decode_send(serialization: Serialization) -> Call {
    let frame = send_request(serialization).encode();
    Box::new(move || {
        let command = RemotingCommand::decode(black_box(&frame)).expect("a command");
        let header = SendMessageRequestHeader::decode(&command.ext).expect("a header");
        black_box(&header);
    })
}

pub fn encode_send_answer(serialization: Serialization) -> Call {
    let mut out = BytesMut::with_capacity(4096);
    Box::new(move || {
        let mut answer = RemotingCommand::request(request::SEND_MESSAGE_V2, 7);
        answer = answer.response(response::SUCCESS);
        answer.serialization = serialization;
        answer.ext.put("msgId", "7F00000100002A9F0000000000000000");
        answer.ext.put("queueId", "1");
        answer.ext.put("queueOffset", "123456");
        answer.ext.put("MSG_REGION", "DefaultRegion");
        answer.ext.put("TRACE_ON", "true");
        out.clear();
        answer.encode_head(0, &mut out).expect("it fits");
        black_box(&out);
    })
}

/// The bytes of a read are copied each time, as they come from the system.
pub fn split_32_frames() -> Call {
    let read = send_request(Serialization::Json).encode().repeat(32);
    let mut buffer = BytesMut::new();
    Box::new(move || {
        buffer.extend_from_slice(black_box(&read));
        while let Some(frame) = frame::split(&mut buffer, frame::FRAME_SIZE_MAX).expect("a frame") {
            black_box(&frame);
        }
    })
}
