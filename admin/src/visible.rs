//! Texts of strangers on a terminal: a message, a client's id or a server's answer may hold what steers it.

use std::io::{self, Write};

/// A text in which what would steer a terminal is written out, as `\u{1b}`: control characters, and
/// those that turn the direction of writing. Its lines and tabs stay.
pub fn visible(text: &str) -> String {
    written_out(text, |character| {
        steers(character) && !['\n', '\t'].contains(&character)
    })
}

/// The same of a text that is to stay within its line.
pub(crate) fn in_line(text: &str) -> String {
    written_out(text, steers)
}

fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn written_out(text: &str, is_meant: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_meant(character) {
            true => shown.extend(character.escape_unicode()),
            false => shown.push(character),
        }
    }
    shown
}

/// Writes texts to a terminal as [`visible`] ones.
pub(crate) struct Visible<'a>(pub(crate) &'a mut dyn Write);

impl Write for Visible<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is formatted comes in whole characters.
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(visible(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        assert_eq!(visible("a\x1b[2Jb\r\n\tc"), "a\\u{1b}[2Jb\\u{d}\n\tc");
        assert_eq!(visible("\x7f\u{9b}m"), "\\u{7f}\\u{9b}m");
        assert_eq!(visible("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
        assert_eq!(visible("müller 漢字 👍"), "müller 漢字 👍");
        assert_eq!(in_line("a\nb"), "a\\u{a}b");
    }

    #[test]
    fn what_is_written_to_a_terminal_does_not_steer_it() {
        let mut out = Vec::new();
        let body = "\x1b]52;c;ü\x07";
        writeln!(Visible(&mut out), "BODY: {body}").unwrap();
        let shown = "BODY: \\u{1b}]52;c;ü\\u{7}\n";
        assert_eq!(String::from_utf8(out).unwrap(), shown);
    }
}
