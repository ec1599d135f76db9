//! The unmodified `mqadmin` of one version, which runs command after command in one process.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::Duration;

use crate::java::JavaPeer;
use crate::process::{Running, wait_until};

/// A command's own limit is 60 s, the start of the JVM comes on top of the first.
const COMMAND: Duration = Duration::from_secs(90);
/// Letters of hexadecimal digits from which on they are an id.
const ID_LENGTH: usize = 16;

/// `mqadmin`, waiting for commands. Ended on drop.
pub struct Mqadmin {
    running: Running,
    input: ChildStdin,
    home: PathBuf,
    /// Commands run so far, and how much of the output they are.
    done: (usize, usize),
}

impl Mqadmin {
    /// Starts it for a name server; what commands write goes under `home`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(version: &str, namesrv: &str, home: &Path) -> Self {
        let conf = home.join("conf");
        std::fs::create_dir_all(&conf).expect("home of mqadmin");
        // 4.9.8 refuses to start without.
        std::fs::write(conf.join("logback_tools.xml"), "<configuration/>").expect("log settings");
        let mut command = JavaPeer::client(version).program("sluice.interop.Mqadmin", home);
        command.env("ROCKETMQ_HOME", home).current_dir(home);
        let mut running = Running::start("mqadmin", home, command.arg(namesrv));
        Self {
            input: running.input(),
            running,
            home: home.to_owned(),
            done: (0, 0),
        }
    }

    /// What a command prints, errors without their stack included.
    ///
    /// # Panics
    /// If mqadmin ends, or takes too long.
    pub fn run(&mut self, words: &[&str]) -> String {
        writeln!(self.input, "{}", words.join("\t")).expect("mqadmin reads");
        let end = format!("\n=== {}\n", self.done.0);
        let printed = wait_until(&format!("mqadmin {words:?}"), COMMAND, || {
            let output = self.running.output();
            let printed = output.get(self.done.1..)?.split_once(&end)?.0;
            Some(printed.to_owned())
        });
        self.done.0 += 1;
        self.done.1 += printed.len() + end.len();
        let printed = printed.replace(&*self.home.to_string_lossy(), "HOME");
        let said = printed.lines().filter(|line| !is_of_a_stack(line));
        said.collect::<Vec<_>>().join("\n")
    }
}

fn is_of_a_stack(line: &str) -> bool {
    line.starts_with("\tat ") || line.starts_with("\t... ")
}

/// Lines with their numbers, ids and white space masked, and how often each is there. Response codes stay.
pub fn shape(printed: &str) -> BTreeMap<String, usize> {
    let mut shape = BTreeMap::new();
    let lines = printed.lines().map(mask);
    for line in lines.filter(|line| !line.is_empty()) {
        *shape.entry(line).or_default() += 1;
    }
    shape
}

fn mask(line: &str) -> String {
    let mut masked: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let is_code = masked.last().is_some_and(|before| before == "CODE:");
        masked.push(if is_code {
            word.to_owned()
        } else {
            mask_word(word)
        });
    }
    masked.join(" ")
}

/// Digits of numbers become one `#`, and so do ids and hash codes of Java's objects.
fn mask_word(word: &str) -> String {
    let mut masked = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit());
        let run = end.unwrap_or(rest.len());
        let is_hash = masked.ends_with('@') && run > 0;
        if run >= ID_LENGTH || is_hash {
            masked.push('#');
            rest = &rest[run..];
            continue;
        }
        let c = if first.is_ascii_digit() { '#' } else { first };
        if c != '#' || !masked.ends_with('#') {
            masked.push(c);
        }
        rest = &rest[first.len_utf8()..];
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_are_masked_and_codes_are_not() {
        let printed = "a=7F000001A1B2C3D4E5F60718Sent b-42x 3.25 c@0af1}\n  CODE: 17  DESC: 17\n\n";
        let shape = shape(printed);
        let lines: Vec<&str> = shape.keys().map(String::as_str).collect();
        assert_eq!(lines, ["CODE: 17 DESC: #", "a=#Sent b-#x #.# c@#}"]);
    }
}
