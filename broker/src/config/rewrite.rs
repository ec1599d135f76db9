//! Changes of settings, written into the property file they came from.

use sluice_protocol::java_properties;

/// The text of a property file with some keys changed: everything else, comments too, stays as it
/// is. A key that is there several times is changed where it counts, at its last place; one that is
/// missing is added at the end.
pub(super) fn rewritten(text: &str, changes: &[(&str, &str)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let known = java_properties::parse(text);
    for (key, value) in changes {
        let setting = format!("{key}={}", escaped(value));
        let place = known
            .iter()
            .rposition(|property| property.key.eq_ignore_ascii_case(key));
        match place {
            None => lines.push(setting),
            Some(at) => {
                let first = known[at].line - 1;
                for continued in continuations(&lines, first) {
                    // A line taken away would move those below; a comment in its place does not.
                    lines[continued] = "#".to_owned();
                }
                lines[first] = setting;
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The lines on which the setting that begins on line `first` goes on.
fn continuations(lines: &[String], first: usize) -> std::ops::Range<usize> {
    let goes_on = |line: &String| line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
    let more = lines[first..]
        .iter()
        .take_while(|line| goes_on(line))
        .count();
    first + 1..(first + 1 + more).min(lines.len())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_touched() {
        let text = "# broker of the shop\nbrokerName=b\n namesrvAddr = a:1;\\\n   b:2\nbrokerPermission=6\nbrokerPermission : 4\n";
        let changes = [
            ("brokerPermission", "2"),
            ("namesrvAddr", "c:3"),
            ("regionId", r"east\1"),
        ];
        let now = rewritten(text, &changes);
        assert_eq!(
            now,
            "# broker of the shop\nbrokerName=b\nnamesrvAddr=c:3\n#\nbrokerPermission=6\nbrokerPermission=2\nregionId=east\\\\1\n"
        );
        let read = java_properties::parse(&now);
        let last = |key: &str| {
            read.iter()
                .rfind(|p| p.key == key)
                .map(|p| p.value.as_str())
        };
        assert_eq!(last("regionId"), Some(r"east\1"));
        assert_eq!(last("namesrvAddr"), Some("c:3"));
        assert_eq!(rewritten("", &[("a", "1")]), "a=1\n");
    }
}
