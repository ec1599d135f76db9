//! Bytes from a peer: cut into frames, decoded, and what decodes survives being written again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sluice_protocol::{RemotingCommand, Serialization, frame};

const FRAME_SIZE_MAX: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = BytesMut::from(bytes);
    while let Ok(Some(frame)) = frame::split(&mut buffer, FRAME_SIZE_MAX) {
        assert!(frame.len() <= FRAME_SIZE_MAX);
        match RemotingCommand::decode(&frame) {
            Ok(command) => survives(command),
            // The connection would be closed here.
            Err(_) => return,
        }
    }
});

fn survives(command: RemotingCommand) {
    let again = RemotingCommand::decode(&command.encode()).expect("our own frames decode");
    assert_eq!((again.opaque, again.flag), (command.opaque, command.flag));
    assert_eq!(again.body, command.body);
    if command.serialization == Serialization::Json {
        assert_eq!((again.code, again.remark), (command.code, command.remark));
        assert_eq!(again.ext, command.ext);
    }
}
