//! Java's `.properties` text, as `java.util.Properties` reads it, in UTF-8.

/// One setting and the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Line number, from 1.
    pub line: usize,
    /// Key, escapes resolved.
    pub key: String,
    /// Value, escapes resolved; trailing blanks are still there, as in Java.
    pub value: String,
}

/// Reads all settings in order. Every text is readable: what is no setting is a key without value.
///
/// ```
/// let read = sluice_protocol::java_properties::parse("# note\na = b\\\n  c\nd:\\u4e2d");
/// assert_eq!((read[0].line, read[0].key.as_str(), read[0].value.as_str()), (2, "a", "bc"));
/// assert_eq!((read[1].line, read[1].key.as_str(), read[1].value.as_str()), (4, "d", "中"));
/// ```
pub fn parse(text: &str) -> Vec<Property> {
    logical_lines(text)
        .into_iter()
        .map(|(line, text)| split(line, &text))
        .collect()
}

/// Lines as `java.util.Properties` ends them: at `\n`, `\r`, or both together.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((line, after)) = text.split_once(['\n', '\r']) else {
            return rest.take();
        };
        let both = text[line.len()..].starts_with("\r\n");
        rest = Some(if both { &after[1..] } else { after });
        Some(line)
    })
}

/// Lines with their continuations joined; blank ones and comments are left out.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (at, raw) in natural_lines(text).enumerate() {
        let line = raw.trim_start_matches([' ', '\t', '\x0C']);
        if !continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let escapes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        let kept = if escapes % 2 == 1 {
            &line[..line.len() - 1]
        } else {
            line
        };
        match lines.last_mut() {
            Some((_, joined)) if continued => joined.push_str(kept),
            _ => lines.push((at + 1, kept.to_owned())),
        }
        continued = escapes % 2 == 1;
    }
    lines
}

fn split(line: usize, text: &str) -> Property {
    const BLANKS: [char; 3] = [' ', '\t', '\x0C'];
    let mut escaped = false;
    let end = text.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest
        .strip_prefix(['=', ':'])
        .unwrap_or(rest)
        .trim_start_matches(BLANKS);
    Property {
        line,
        key: unescape(key),
        value: unescape(value),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            _ => match rest.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('f') => out.push('\x0C'),
                Some('u') => out.push(
                    code_unit(&mut rest)
                        .map_or(char::REPLACEMENT_CHARACTER, |unit| joined(unit, &mut rest)),
                ),
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}

/// The four hexadecimal digits behind `\u`: one UTF-16 code unit. Of fewer, none is taken.
fn code_unit(rest: &mut std::str::Chars<'_>) -> Option<u16> {
    let text = rest.as_str();
    let digits = text
        .get(..4)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    *rest = text[4..].chars();
    u16::from_str_radix(digits, 16).ok()
}

/// The character of a code unit, which may be the first half of two escapes.
fn joined(unit: u16, rest: &mut std::str::Chars<'_>) -> char {
    let mut ahead = rest.as_str().strip_prefix("\\u").map(str::chars);
    let second = ahead.as_mut().and_then(code_unit);
    let pair = second.and_then(|second| char::decode_utf16([unit, second]).next()?.ok());
    match (pair, ahead) {
        (Some(pair), Some(ahead)) if pair.len_utf16() == 2 => {
            *rest = ahead;
            pair
        }
        _ => char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// The name of `names` nearest to a mistyped key, if it is near at all; case does not count.
pub fn nearest<'a>(names: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    let key = key.to_lowercase();
    names
        .map(|name| (distance(&name.to_lowercase(), &key), name))
        .filter(|(edits, _)| *edits <= 3)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Edits that make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_escapes_and_comments() {
        let read = parse("a=1\n b : 2 \n!x\n\nc 3\nd\\==4\ne\n  # note\nf=a\\\\\n");
        let pairs: Vec<_> = read
            .iter()
            .map(|p| (p.line, p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                (1, "a", "1"),
                (2, "b", "2 "),
                (5, "c", "3"),
                (6, "d=", "4"),
                (7, "e", ""),
                (9, "f", "a\\")
            ]
        );
    }

    #[test]
    fn two_escapes_make_one_character_beyond_the_basic_plane() {
        let value = |text: &str| parse(&format!("a={text}"))[0].value.clone();
        assert_eq!(value("x\\ud83d\\ude80y"), "x\u{1F680}y");
        assert_eq!(value("\\u4e2d\\u6587"), "中文");
        assert_eq!(value("\\ud83dx"), "\u{FFFD}x");
        assert_eq!(value("\\ud83d\\u0041"), "\u{FFFD}A");
        assert_eq!(value("\\u12"), "\u{FFFD}12");
        assert_eq!(value("\\u+123"), "\u{FFFD}+123");
    }

    #[test]
    fn lines_end_at_cr_lf_and_both() {
        let read = parse("a=1\rb=2\r\nc=3\n\rd=4\\\r\n  5\r");
        let pairs: Vec<_> = read
            .iter()
            .map(|p| (p.line, p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (5, "d", "45")]
        );
    }
}
