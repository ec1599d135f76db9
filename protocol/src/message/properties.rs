//! The properties string: `name U+0001 value U+0002`, repeated.
//!
//! The last separator may be missing on input. Pieces without U+0001, with an empty name, or
//! shorter than three characters are no properties, as in Java's `string2messageProperties`.

use memchr::{memchr, memchr_iter, memrchr};

/// Ends a name.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Ends a property.
pub const PROPERTY_SEPARATOR: u8 = 2;

/// Index keys, separated by one blank.
pub const KEYS: &str = "KEYS";
/// Tag.
pub const TAGS: &str = "TAGS";
/// `false`: the producer does not wait for flush and replicas.
pub const WAIT: &str = "WAIT";
/// What a client orders by; such a message counts as one of type FIFO.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// Delay level 1..=18.
pub const DELAY: &str = "DELAY";
/// Original topic of a retry message.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Original topic of a delayed or half message.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Original queue of a delayed or half message.
pub const REAL_QID: &str = "REAL_QID";
/// `true`: half message.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group of a transaction.
pub const PGROUP: &str = "PGROUP";
/// Queue's smallest offset at pull time, added by consumers.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// Queue's end at pull time, added by consumers.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// Id of the first delivery of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Reconsume count to store, sent by clients that put the message back themselves.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Limit of retries for this message.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region id.
pub const MSG_REGION: &str = "MSG_REGION";
/// Trace switch.
pub const TRACE_ON: &str = "TRACE_ON";
/// The producer's unique id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Cluster that stored the message; replies are addressed by it.
pub const CLUSTER: &str = "CLUSTER";
/// POP checkpoint handle, never accepted from producers.
pub const POP_CK: &str = "POP_CK";
/// When a message that came back was popped first, Unix milliseconds.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Messages of an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// Queue offset of the first message of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Relative delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Relative delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Absolute delivery time, Unix milliseconds.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// The time up to which the timer keeps a message, Unix milliseconds.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When the timer took it, Unix milliseconds.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When the timer gave it away, Unix milliseconds.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often the timer has stored it again on its way to a far time.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Topic and unique key of the message that this one recalls, `+` between them.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";

/// All properties in order, duplicates included. Text that is not UTF-8 is passed over.
pub fn iter(text: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    pieces(text).filter_map(|piece| {
        let at = memchr(NAME_VALUE_SEPARATOR, piece)?;
        let (name, value) = (&piece[..at], &piece[at + 1..]);
        if name.is_empty() || value.is_empty() {
            return None;
        }
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
}

/// What lies between separators, in order.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(PROPERTY_SEPARATOR, text).chain([text.len()]);
    ends.scan(0, |start, end| {
        let piece = &text[*start..end];
        *start = end + 1;
        Some(piece)
    })
}

/// Value of `name`, which holds no separator; the last of equal names wins, as in Java.
pub fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let [value] = find_each(text, [name]);
    value
}

/// [`find`] of each name, in one pass.
pub fn find_each<'a, const N: usize>(text: &'a [u8], names: [&str; N]) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    let mut missing = N;
    // From the back, and reading nothing of other properties but their names: sends look for many.
    let mut end = text.len();
    while missing > 0 {
        let before = memrchr(PROPERTY_SEPARATOR, &text[..end]);
        let piece = &text[before.map_or(0, |at| at + 1)..end];
        for (name, value) in names.iter().zip(&mut values) {
            if value.is_none() {
                *value = value_in(piece, name);
                missing -= usize::from(value.is_some());
            }
        }
        match before {
            Some(at) => end = at,
            None => break,
        }
    }
    values
}

/// The value, if the piece is a property of that name.
fn value_in<'a>(piece: &'a [u8], name: &str) -> Option<&'a str> {
    if piece.get(name.len()) != Some(&NAME_VALUE_SEPARATOR) || name.is_empty() {
        return None;
    }
    let value = piece.strip_prefix(name.as_bytes())?.get(1..)?;
    if value.is_empty() {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// Appends one property.
pub fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    if !out.is_empty() && out.last() != Some(&PROPERTY_SEPARATOR) {
        out.push(PROPERTY_SEPARATOR);
    }
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value.as_bytes());
    out.push(PROPERTY_SEPARATOR);
}

/// A copy without the named properties; everything else stays byte for byte.
pub fn without(text: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for piece in text.split_inclusive(|&b| b == PROPERTY_SEPARATOR) {
        let name = piece
            .split(|&b| b == NAME_VALUE_SEPARATOR)
            .next()
            .unwrap_or_default();
        if !names.iter().any(|unwanted| unwanted.as_bytes() == name) {
            out.extend_from_slice(piece);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_equal_names_wins_and_the_last_separator_may_miss() {
        let text = b"a\x011\x02b\x012\x02a\x013";
        assert_eq!(find(text, "a"), Some("3"));
        assert_eq!(find(text, "b"), Some("2"));
        assert_eq!(find(text, "c"), None);
    }

    #[test]
    fn what_is_found_is_the_last_of_all_properties() {
        let texts: [&[u8]; 8] = [
            b"ab\x011\x02a\x012\x02",
            b"a\x011\x02a\x01\xff\x02",
            b"a\x011\x02a\x01\x02a",
            b"a\x01\x01b\x02\x02",
            b"\x01a\x02a\x011\x012",
            b"\xff\x011\x02\x02a\x01\xc3\xa9",
            b"",
            b"\x02\x01\x02",
        ];
        for text in texts {
            for name in ["a", "ab", "b", ""] {
                let all = iter(text).filter(|(found, _)| *found == name);
                assert_eq!(
                    find(text, name),
                    all.last().map(|(_, value)| value),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn pieces_that_are_no_properties_are_passed_over() {
        assert_eq!(
            iter(b"novalue\x02\x01noname\x02empty\x01\x02ok\x01v\x02").collect::<Vec<_>>(),
            [("ok", "v")]
        );
    }

    #[test]
    fn put_closes_an_open_end_and_without_leaves_the_rest_alone() {
        let mut text = b"a\x011".to_vec();
        put(&mut text, "b", "2");
        assert_eq!(text, b"a\x011\x02b\x012\x02");
        assert_eq!(without(&text, &["a"]), b"b\x012\x02");
    }

    /// Java's `string2messageProperties`, and the text that is not UTF-8 left out.
    fn plainly(text: &[u8]) -> Vec<(&str, &str)> {
        let pieces = text.split(|&b| b == PROPERTY_SEPARATOR);
        let pairs = pieces.filter_map(|piece| {
            let at = piece.iter().position(|&b| b == NAME_VALUE_SEPARATOR)?;
            let (name, value) = (&piece[..at], &piece[at + 1..]);
            let text = |bytes| std::str::from_utf8(bytes).ok();
            Some((text(name)?, text(value)?))
        });
        pairs
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn all_ways_find_the_same(bytes in proptest::collection::vec(
            proptest::sample::select(vec![1u8, 2, b'a', b'b', 0xFF]), 0..24,
        )) {
            let plain = plainly(&bytes);
            proptest::prop_assert_eq!(iter(&bytes).collect::<Vec<_>>(), plain.clone());
            let names = ["a", "b", "ab", "c", ""];
            let last = |name| plain.iter().rfind(|(other, _)| *other == name);
            let wanted = names.map(|name| last(name).map(|(_, value)| *value));
            proptest::prop_assert_eq!(find_each(&bytes, names), wanted);
            proptest::prop_assert_eq!(names.map(|name| find(&bytes, name)), wanted);
        }
    }
}
