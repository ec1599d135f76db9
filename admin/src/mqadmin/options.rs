//! Options as commons-cli reads them: `-t T`, `-tT`, `-t=T`, `-topic T`, `--topic T`, `--topic=T`, and
//! beginnings of long names that only one has. Of repeated options the first counts, words that belong
//! to none are left aside.

use std::collections::BTreeMap;

use super::commands::Command;
use crate::error::AdminError;

/// An option of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opt {
    short: &'static str,
    long: &'static str,
    is_required: bool,
    is_flag: bool,
    /// One of those of which exactly one is required.
    is_grouped: bool,
}

/// What was given, by short name.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<&'static str, String>);

impl Given {
    pub(super) fn has(&self, short: &str) -> bool {
        self.0.contains_key(short)
    }

    /// Without blanks around it, as Java reads it.
    pub(super) fn get(&self, short: &str) -> Option<&str> {
        self.0.get(short).map(|value| value.trim())
    }

    /// A required one: it is there.
    pub(super) fn need(&self, short: &str) -> String {
        self.get(short).unwrap_or_default().to_owned()
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(
        &self,
        short: &str,
        otherwise: T,
    ) -> Result<T, AdminError> {
        let Some(text) = self.get(short) else {
            return Ok(otherwise);
        };
        text.parse()
            .map_err(|_| AdminError::Command(format!("-{short} is {text:?}, a number is expected")))
    }

    /// As Java's `Boolean.parseBoolean`.
    pub(super) fn truth(&self, short: &str, otherwise: bool) -> bool {
        self.get(short)
            .map_or(otherwise, |text| text.eq_ignore_ascii_case("true"))
    }

    /// Options of Java's that are not carried out here; `false` asks for nothing.
    pub(super) fn refuse(&self, shorts: &[&str], instead: &str) -> Result<(), AdminError> {
        let asks = |short: &&&str| {
            let value = self.get(short);
            value.is_some_and(|value| !value.eq_ignore_ascii_case("false"))
        };
        match shorts.iter().find(asks) {
            None => Ok(()),
            Some(short) => Err(wrong(format!(
                "-{short} is not carried out here: {instead}"
            ))),
        }
    }
}

const COMMON: [Opt; 2] = [
    Opt {
        short: "h",
        long: "help",
        is_required: false,
        is_flag: true,
        is_grouped: false,
    },
    Opt {
        short: "n",
        long: "namesrvAddr",
        is_required: false,
        is_flag: false,
        is_grouped: false,
    },
];

/// The options of a command, Java's two common ones with them.
fn of(command: &Command) -> Vec<Opt> {
    let mut options = COMMON.to_vec();
    let mut is_grouped = false;
    for word in command.options.split_whitespace() {
        is_grouped |= word.starts_with('{');
        let plain = word.trim_matches(['{', '}', '*', '!']);
        if let Some((short, long)) = plain.split_once(':') {
            options.push(Opt {
                short,
                long,
                is_required: word.ends_with('*'),
                is_flag: word.ends_with('!'),
                is_grouped,
            });
        }
        is_grouped &= !word.ends_with('}');
    }
    options
}

pub(super) fn parse(command: &Command, words: &[String]) -> Result<Given, AdminError> {
    let options = of(command);
    let mut given = Given::default();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        if !word.starts_with('-') || word == "-" {
            continue;
        }
        let (option, value) = read(&options, word)?;
        let value = match (option.is_flag, value) {
            (true, _) => String::new(),
            (false, Some(value)) => value.to_owned(),
            (false, None) => {
                // A value may begin with a hyphen, unless it is an option.
                let next = words.next_if(|next| !is_option(&options, next));
                next.ok_or_else(|| wrong(format!("Missing argument for option: {}", option.short)))?
                    .to_owned()
            }
        };
        given.0.entry(option.short).or_insert(value);
    }
    if !given.has("h") {
        check(&options, &given)?;
    }
    Ok(given)
}

fn is_option(options: &[Opt], word: &str) -> bool {
    let is_number = word.parse::<f64>().is_ok();
    word.starts_with('-') && word.len() > 1 && !is_number && read(options, word).is_ok()
}

/// The option that a word names, and its value if that is in the word.
fn read<'a>(options: &[Opt], word: &'a str) -> Result<(Opt, Option<&'a str>), AdminError> {
    let name = word.trim_start_matches('-');
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let is_short = !word.starts_with("--");
    if is_short && let Some(option) = options.iter().find(|option| option.short == name) {
        return Ok((*option, value));
    }
    if let Some(option) = options.iter().find(|option| option.long == name) {
        return Ok((*option, value));
    }
    let begun: Vec<&Opt> = options
        .iter()
        .filter(|option| !name.is_empty() && option.long.starts_with(name))
        .collect();
    match begun[..] {
        [one] => return Ok((*one, value)),
        [] => {}
        _ => {
            let longs: Vec<String> = begun.iter().map(|it| format!("'{}'", it.long)).collect();
            return Err(wrong(format!(
                "Ambiguous option: '{word}'  (could be: {})",
                longs.join(", ")
            )));
        }
    }
    // `-r16`: the value is glued on.
    let glued = options.iter().find_map(|option| {
        let rest = word.strip_prefix('-')?.strip_prefix(option.short)?;
        (is_short && !option.is_flag && !rest.is_empty()).then_some((*option, Some(rest)))
    });
    glued.ok_or_else(|| wrong(format!("Unrecognized option: {word}")))
}

fn check(options: &[Opt], given: &Given) -> Result<(), AdminError> {
    let grouped: Vec<&Opt> = options.iter().filter(|option| option.is_grouped).collect();
    let chosen: Vec<&&Opt> = grouped
        .iter()
        .filter(|option| given.has(option.short))
        .collect();
    if let [first, second, ..] = chosen[..] {
        return Err(wrong(format!(
            "The option '{}' was specified but an option from this group has already been selected: '{}'",
            second.short, first.short
        )));
    }
    let mut lacking: Vec<String> = options
        .iter()
        .filter(|option| option.is_required && !given.has(option.short))
        .map(|option| option.short.to_owned())
        .collect();
    if !grouped.is_empty() && chosen.is_empty() {
        let names: Vec<String> = grouped
            .iter()
            .map(|option| format!("-{} {}", option.short, option.long))
            .collect();
        lacking.insert(0, format!("[{}]", names.join(", ")));
    }
    match &lacking[..] {
        [] => Ok(()),
        [one] => Err(wrong(format!("Missing required option: {one}"))),
        many => Err(wrong(format!(
            "Missing required options: {}",
            many.join(", ")
        ))),
    }
}

fn wrong(text: String) -> AdminError {
    AdminError::Command(text)
}

/// How a command is used.
pub(super) fn usage(command: &Command) -> String {
    let mut options = of(command);
    options.sort_by_key(|option| option.short);
    let grouped: Vec<String> = options
        .iter()
        .filter(|option| option.is_grouped)
        .map(|option| format!("-{} <arg>", option.short))
        .collect();
    let mut line = format!("usage: mqadmin {}", command.name);
    if !grouped.is_empty() {
        line.push_str(&format!(" {}", grouped.join(" | ")));
    }
    for option in options.iter().filter(|option| !option.is_grouped) {
        let value = if option.is_flag { "" } else { " <arg>" };
        line.push_str(&match option.is_required {
            true => format!(" -{}{value}", option.short),
            false => format!(" [-{}{value}]", option.short),
        });
    }
    let rows = options.iter().map(|option| {
        let value = if option.is_flag { "" } else { " <arg>" };
        match option.short == option.long {
            true => format!("    --{}{value}\n", option.long),
            false => format!(" -{},--{}{value}\n", option.short, option.long),
        }
    });
    format!("{line}\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::commands::COMMANDS;
    use super::*;

    fn command(name: &str) -> &'static Command {
        let found = COMMANDS.iter().find(|command| command.name == name);
        found.unwrap()
    }

    fn given(name: &str, words: &str) -> Result<Given, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        parse(command(name), &words).map_err(|error| error.to_string())
    }

    #[test]
    fn java_s_spellings_are_read() {
        let read = given(
            "updateTopic",
            "-b a:1 -topic T -r16 --writeQ=4 -p 2 left over",
        )
        .unwrap();
        let values = ["b", "t", "r", "w", "p"].map(|short| read.need(short));
        assert_eq!(values, ["a:1", "T", "16", "4", "2"]);
        let first = given("topicStatus", "--topic=A -t B").unwrap();
        assert_eq!(first.get("t"), Some("A"));
        let negative = given("updateKvConfig", "-s a -k b -v -1").unwrap();
        assert_eq!(negative.get("v"), Some("-1"));
    }

    #[test]
    fn java_s_complaints_are_made() {
        let wrong = |name, words| given(name, words).unwrap_err();
        assert_eq!(wrong("topicStatus", ""), "Missing required option: t");
        assert_eq!(wrong("deleteTopic", ""), "Missing required options: t, c");
        assert_eq!(wrong("topicStatus", "-z"), "Unrecognized option: -z");
        assert_eq!(wrong("topicStatus", "-t"), "Missing argument for option: t");
        assert_eq!(
            wrong("updateTopic", "-b a:1 -c C -t T"),
            "The option 'c' was specified but an option from this group has already been selected: 'b'"
        );
        for (name, words) in [("updateTopic", "-t T"), ("updateTopicPerm", "-t T -p 4")] {
            assert_eq!(
                wrong(name, words),
                "Missing required option: [-b brokerAddr, -c clusterName]"
            );
        }
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        let refused = |words| {
            let given = given("queryMsgById", words).unwrap();
            let refused = given.refuse(&["s", "g"], "do it otherwise");
            refused.err().map(|error| error.to_string())
        };
        let why = "-g is not carried out here: do it otherwise";
        assert_eq!(refused("-i 1 -g readers").as_deref(), Some(why));
        assert!(refused("-i 1 -s true").is_some());
        assert_eq!(refused("-i 1 -s false -d x"), None);
    }

    #[test]
    fn every_command_has_a_usage() {
        for command in COMMANDS {
            assert!(usage(command).contains(" -h,--help\n"), "{}", command.name);
        }
        let usage = usage(super::tests::command("updateTopic"));
        assert!(
            usage.starts_with("usage: mqadmin updateTopic -b <arg> | -c <arg> [-a <arg>]"),
            "{usage}"
        );
        assert!(usage.contains(" -t <arg>") && usage.contains(" -t,--topic <arg>\n"));
    }
}
