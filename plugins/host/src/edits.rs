//! What a hook answers: changes of the rows it was given. The layout stands in `sdk/wit/plugin.wit`.

/// Edits in one answer.
const EDITS_MAX: usize = 4096;
const EDIT: usize = 24;

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

/// Reads an answer for so many rows.
///
/// # Errors
/// A text: what is wrong with the answer, and where.
pub(crate) fn read(answer: &[u8], rows: usize) -> Result<Edits, String> {
    if answer.is_empty() {
        return Ok(Edits::new());
    }
    let count = word(answer, 0)? as usize;
    if count > EDITS_MAX {
        return Err(format!("{count} edits, at most {EDITS_MAX} are taken"));
    }
    (0..count)
        .map(|at| edit(answer, 4 + at * EDIT, rows))
        .collect()
}

fn word(answer: &[u8], at: usize) -> Result<u32, String> {
    let bytes = answer.get(at..at + 4);
    let bytes = bytes.ok_or_else(|| format!("it ends before byte {}", at + 4))?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn bytes(answer: &[u8], at: usize) -> Result<&[u8], String> {
    let (offset, length) = (word(answer, at)? as usize, word(answer, at + 4)? as usize);
    let end = offset.checked_add(length);
    let found = end.and_then(|end| answer.get(offset..end));
    found.ok_or_else(|| format!("bytes {offset}+{length} lie outside of it"))
}

fn text(answer: &[u8], at: usize) -> Result<String, String> {
    let text = std::str::from_utf8(bytes(answer, at)?);
    text.map(str::to_owned)
        .map_err(|_| format!("the text of the edit at {at} is not UTF-8"))
}

fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no {what}"))
}

fn edit(answer: &[u8], at: usize, rows: usize) -> Result<(usize, Edit), String> {
    let row = word(answer, at)? as usize;
    if row >= rows {
        return Err(format!("it edits row {row} of {rows}"));
    }
    let (key, value) = (at + 8, at + 16);
    let edit = match word(answer, at + 4)? {
        1 => Edit::SetProperty(
            property(text(answer, key)?)?,
            property(text(answer, value)?)?,
        ),
        2 => Edit::DeleteProperty(text(answer, key)?),
        3 => {
            let code = text(answer, key)?;
            let code = match &*code {
                "" => None,
                code => Some(number(code, "response code")?),
            };
            Edit::Reject(code, text(answer, value)?)
        }
        4 => Edit::SetBody(bytes(answer, value)?.to_vec()),
        5 => Edit::SetTopic(text(answer, value)?),
        6 => Edit::SetQueue(number(&text(answer, value)?, "queue id")?),
        7 => Edit::SetDelay(number(&text(answer, value)?, "number of milliseconds")?),
        8 => Edit::Drop,
        other => return Err(format!("{other} is no operation")),
    };
    Ok((row, edit))
}

/// Separators of the properties string can't be part of a name or value; empty ones get lost.
fn property(text: String) -> Result<String, String> {
    if text.is_empty() || text.contains(['\u{1}', '\u{2}']) {
        return Err(format!("{text:?} can't be a property's name or value"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(edits: &[(u32, u32, &str, &str)]) -> Vec<u8> {
        let mut out = (edits.len() as u32).to_le_bytes().to_vec();
        let mut bytes_at = 4 + edits.len() * EDIT;
        let mut texts = Vec::new();
        for (row, op, key, value) in edits {
            let value_at = bytes_at + key.len();
            let words = [
                *row,
                *op,
                bytes_at as u32,
                key.len() as u32,
                value_at as u32,
                value.len() as u32,
            ];
            words
                .iter()
                .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            texts.extend_from_slice(key.as_bytes());
            texts.extend_from_slice(value.as_bytes());
            bytes_at = value_at + value.len();
        }
        out.extend_from_slice(&texts);
        out
    }

    #[test]
    fn every_operation_is_read() {
        let edits = [
            (0, 1, "k", "v"),
            (1, 2, "k", ""),
            (0, 3, "17", "no"),
            (0, 3, "", "why"),
            (0, 4, "", "body"),
            (0, 5, "", "T"),
            (0, 6, "", "3"),
            (0, 7, "", "1000"),
            (1, 8, "", ""),
        ];
        let read = read(&answer(&edits), 2).unwrap();
        assert_eq!(
            read,
            [
                (0, Edit::SetProperty("k".into(), "v".into())),
                (1, Edit::DeleteProperty("k".into())),
                (0, Edit::Reject(Some(17), "no".into())),
                (0, Edit::Reject(None, "why".into())),
                (0, Edit::SetBody(b"body".to_vec())),
                (0, Edit::SetTopic("T".into())),
                (0, Edit::SetQueue(3)),
                (0, Edit::SetDelay(1000)),
                (1, Edit::Drop),
            ]
        );
        assert_eq!(super::read(b"", 2), Ok(vec![]));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let wrong = |edits: &[(u32, u32, &str, &str)]| read(&answer(edits), 1).unwrap_err();
        assert!(wrong(&[(1, 2, "k", "")]).contains("row 1 of 1"));
        assert!(wrong(&[(0, 9, "", "")]).contains("9 is no operation"));
        assert!(wrong(&[(0, 6, "", "x")]).contains("queue id"));
        assert!(wrong(&[(0, 1, "a\u{1}b", "v")]).contains("property"));
        let whole = answer(&[(0, 1, "key", "value")]);
        for size in 1..whole.len() {
            assert!(read(&whole[..size], 1).is_err(), "cut to {size}");
        }
        assert!(read(&[0xff; 64], 1).unwrap_err().contains("at most"));
    }
}
