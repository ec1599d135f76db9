//! Requests and answers over one connection, several of them in flight.

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use sluice_tests::wire::Wire;

/// Keeps `in_flight` requests in flight until `count` of them have succeeded. What `answered` adds to the
/// bytes it is given is sent, too.
///
/// # Errors
/// A request is refused or not answered.
pub fn fly(
    wire: &mut Wire,
    count: i32,
    in_flight: i32,
    mut request: impl FnMut() -> RemotingCommand,
    mut answered: impl FnMut(&RemotingCommand, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && sent - done < in_flight {
            wire.out.extend_from_slice(&request().encode());
            sent += 1;
        }
        wire.flush()?;
        let mut next = Some(wire.read().context("no answer")?);
        while let Some(command) = next {
            if command.is_response() {
                answered(succeeded(&command)?, &mut wire.out)?;
                done += 1;
            }
            next = wire.next_read()?;
        }
    }
    Ok(wire.flush()?)
}

/// The next answer; what the broker itself asks meanwhile is passed over.
///
/// # Errors
/// None comes.
pub fn answer(wire: &mut Wire) -> Result<RemotingCommand> {
    loop {
        let command = wire.read().context("no answer")?;
        if command.is_response() {
            return Ok(command);
        }
    }
}

/// Sends one request while no other is in flight, and waits for its success.
///
/// # Errors
/// It is refused or not answered.
pub fn ask(wire: &mut Wire, request: &RemotingCommand) -> Result<RemotingCommand> {
    wire.out.extend_from_slice(&request.encode());
    wire.flush()?;
    let answer = answer(wire)?;
    succeeded(&answer)?;
    Ok(answer)
}

/// # Errors
/// The answer is a refusal.
pub fn succeeded(answer: &RemotingCommand) -> Result<&RemotingCommand> {
    let (code, remark) = (answer.code, answer.remark());
    ensure!(code == response::SUCCESS, "refused: {code} {remark}");
    Ok(answer)
}

/// A number in an answer's header.
///
/// # Errors
/// There is none.
pub fn number(answer: &RemotingCommand, name: &str) -> Result<i64> {
    let value = answer.ext.get(name).and_then(|value| value.parse().ok());
    value.with_context(|| format!("{name} of an answer: {:?}", answer.ext))
}
