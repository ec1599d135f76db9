//! What a hook answers, as the broker carries it out.

use sluice_plugin_block as block;

/// Edits in one answer.
const EDITS_MAX: usize = 4096;
/// Bytes of all bodies and values in one answer: many edits may point at the same bytes.
const BYTES_MAX: usize = 32 << 20;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Sets a property.
    SetProperty(String, String),
    /// Removes a property.
    DeleteProperty(String),
    /// Refuses the message, with a response code (none: MESSAGE_ILLEGAL) and a reason.
    Reject(Option<i32>, String),
    /// Replaces the body.
    SetBody(Vec<u8>),
    /// Sends it to another topic.
    SetTopic(String),
    /// Sends it to this queue.
    SetQueue(i32),
    /// Delays it by so many milliseconds.
    SetDelay(u64),
    /// Keeps it from the group.
    Drop,
}

/// Edits and the rows they are for, in the order given.
pub type Edits = Vec<(usize, Edit)>;

/// Reads an answer for so many rows: all of it, or none.
///
/// # Errors
/// A text: what is wrong with the answer.
pub(crate) fn read(answer: &[u8], rows: usize) -> Result<Edits, String> {
    let edits = block::Edits::parse(answer, rows).map_err(|error| error.to_string())?;
    if edits.iter().nth(EDITS_MAX).is_some() {
        return Err(format!("more than {EDITS_MAX} edits"));
    }
    let bytes: usize = edits.iter().map(|(_, edit)| size(edit)).sum();
    if bytes > BYTES_MAX {
        return Err(format!(
            "edits of {bytes} bytes, at most {BYTES_MAX} are taken"
        ));
    }
    edits
        .iter()
        .map(|(row, edit)| Ok((row, owned(edit)?)))
        .collect()
}

fn size(edit: block::Edit<'_>) -> usize {
    match edit {
        block::Edit::SetProperty { key, value } => key.len() + value.len(),
        block::Edit::SetBody(body) => body.len(),
        block::Edit::Reject { reason, .. } => reason.len(),
        block::Edit::SetTopic(topic) => topic.len(),
        _ => 0,
    }
}

fn owned(edit: block::Edit<'_>) -> Result<Edit, String> {
    Ok(match edit {
        block::Edit::SetProperty { key, value } => {
            let value = std::str::from_utf8(value);
            let value = value.map_err(|_| format!("the value of {key:?} is not UTF-8"))?;
            Edit::SetProperty(property(key)?, property(value)?)
        }
        block::Edit::DeleteProperty { key } => Edit::DeleteProperty(key.to_owned()),
        block::Edit::Reject { code, reason } => Edit::Reject(code, reason.to_owned()),
        block::Edit::SetBody(body) => Edit::SetBody(body.to_vec()),
        block::Edit::SetTopic(topic) => Edit::SetTopic(topic.to_owned()),
        block::Edit::SetQueue(queue) => {
            let queue = i32::try_from(queue);
            Edit::SetQueue(queue.map_err(|_| "a queue id beyond all queues".to_owned())?)
        }
        block::Edit::SetDelay(ms) => Edit::SetDelay(ms),
        block::Edit::Drop => Edit::Drop,
    })
}

/// Separators of the properties string can't be part of a name or value; empty ones get lost.
fn property(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['\u{1}', '\u{2}']) {
        return Err(format!("{text:?} can't be a property's name or value"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let mut writer = block::EditsWriter::new();
        let set = |key, value| block::Edit::SetProperty { key, value };
        writer.push(0, set("k", b"v"));
        writer.push(1, block::Edit::Drop);
        let edits = read(writer.bytes(), 2).unwrap();
        let expected = [
            (0, Edit::SetProperty("k".into(), "v".into())),
            (1, Edit::Drop),
        ];
        assert_eq!(edits, expected);
        assert!(read(writer.bytes(), 1).is_err(), "there is no second row");
        writer.push(0, set("a\u{1}b", b"v"));
        assert!(read(writer.bytes(), 2).unwrap_err().contains("property"));
        writer.clear();
        writer.push(0, set("k", b"\xff"));
        assert!(read(writer.bytes(), 1).unwrap_err().contains("UTF-8"));
        writer.clear();
        (0..=EDITS_MAX).for_each(|_| writer.push(0, block::Edit::Drop));
        assert!(read(writer.bytes(), 1).unwrap_err().contains("4096"));
    }
}
