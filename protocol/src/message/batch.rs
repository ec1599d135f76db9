//! The body of a batch send: several messages in one request.
//!
//! ```text
//! TOTALSIZE i32 = 20 + body + 2 + properties    MAGIC i32 = 0    BODYCRC i32 = 0    FLAG i32
//! BODYLENGTH i32, BODY    PROPERTIESLENGTH i16, PROPERTIES
//! ```
//!
//! Topic, queue, times and hosts come from the request header. Source: `MessageDecoder.encodeMessages`.

use super::properties;

/// Smallest item: no body, no properties.
pub const ITEM_SIZE_MIN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// The user's own flag.
    pub flag: i32,
    /// Body, never compressed.
    pub body: &'a [u8],
    /// Properties string.
    pub properties: &'a [u8],
}

impl BatchItem<'_> {
    /// What a queue unit of its own would say of its tags.
    pub fn tags_code(&self) -> i64 {
        super::tags_code(properties::find(self.properties, properties::TAGS))
    }
}

/// A batch body that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch item {index} at byte {at} is malformed: {what}")]
pub struct BatchError {
    /// Which item, from 0.
    pub index: usize,
    /// Byte position where the item starts.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Appends `item` to a batch body.
pub fn put(out: &mut Vec<u8>, item: BatchItem<'_>) {
    let size = ITEM_SIZE_MIN + item.body.len() + item.properties.len();
    out.extend_from_slice(&(size as i32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&(item.body.len() as i32).to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&(item.properties.len() as i16).to_be_bytes());
    out.extend_from_slice(item.properties);
}

/// The items of a batch body, in order; stops at the first malformed one.
pub fn iter(body: &[u8]) -> impl Iterator<Item = Result<BatchItem<'_>, BatchError>> {
    let mut at = 0;
    let mut index = 0;
    std::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let item = item(rest).map_err(|what| BatchError { index, at, what });
        match item {
            Ok((item, size)) => {
                at += size;
                index += 1;
                Some(Ok(item))
            }
            Err(error) => {
                at = body.len();
                Some(Err(error))
            }
        }
    })
}

fn item(bytes: &[u8]) -> Result<(BatchItem<'_>, usize), &'static str> {
    let i32_at = |at: usize| {
        bytes
            .get(at..at + 4)
            .map(|b| i32::from_be_bytes(b.try_into().expect("four bytes")))
    };
    let total = i32_at(0).ok_or("cut short")?;
    let bytes = usize::try_from(total)
        .ok()
        .and_then(|total| bytes.get(..total))
        .ok_or("its size exceeds the body")?;
    if bytes.len() < ITEM_SIZE_MIN {
        return Err("its size is below the minimum of 22 bytes");
    }
    let flag = i32_at(12).ok_or("cut short")?;
    let body_size = i32_at(16)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or("negative body length")?;
    let properties_length_at = 20usize
        .checked_add(body_size)
        .ok_or("body length exceeds the item")?;
    let body = bytes
        .get(20..properties_length_at)
        .ok_or("body length exceeds the item")?;
    let length = bytes
        .get(properties_length_at..properties_length_at + 2)
        .ok_or("no room for the properties length")?;
    let length = i16::from_be_bytes(length.try_into().expect("two bytes"));
    let properties_size = usize::try_from(length).map_err(|_| "negative properties length")?;
    let properties_at = properties_length_at + 2;
    let properties = bytes
        .get(properties_at..properties_at + properties_size)
        .ok_or("properties length exceeds the item")?;
    if properties_at + properties_size != bytes.len() {
        return Err("its parts do not add up to its size");
    }
    Ok((
        BatchItem {
            flag,
            body,
            properties,
        },
        bytes.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let items = [
            BatchItem {
                flag: 1,
                body: b"a",
                properties: b"WAIT\x01true\x02",
            },
            BatchItem {
                flag: 0,
                body: b"",
                properties: b"",
            },
        ];
        let mut body = Vec::new();
        items.iter().for_each(|item| put(&mut body, *item));
        assert_eq!(iter(&body).collect::<Result<Vec<_>, _>>().unwrap(), items);
        for cut in 1..body.len() {
            let parsed: Vec<_> = iter(&body[..cut]).collect();
            assert!(cut == 33 || parsed.last().unwrap().is_err(), "{cut}");
        }
    }

    #[test]
    fn hostile_lengths_are_named() {
        let mut body = Vec::new();
        put(
            &mut body,
            BatchItem {
                flag: 0,
                body: b"abc",
                properties: b"",
            },
        );
        for (at, bytes) in [
            (0, [0x7F, 0xFF, 0xFF, 0xFF]),
            (0, [0xFF; 4]),
            (16, [0x7F, 0xFF, 0xFF, 0xFF]),
            (16, [0xFF; 4]),
        ] {
            let mut damaged = body.clone();
            damaged[at..at + 4].copy_from_slice(&bytes);
            assert!(iter(&damaged).next().unwrap().is_err());
        }
    }
}
