//! What the command line takes.

use clap::{Args, Command, FromArgMatches};
use sluice_admin::args::{Plugin, Task};

fn parse(arguments: &str) -> Result<Plugin, String> {
    let command = Plugin::augment_args(Command::new("plugin")).no_binary_name(true);
    let matches = command.try_get_matches_from(arguments.split_whitespace());
    let matches = matches.map_err(|error| error.to_string())?;
    Plugin::from_arg_matches(&matches).map_err(|error| error.to_string())
}

#[test]
fn the_options_fit_together() {
    Plugin::augment_args(Command::new("plugin")).debug_assert();
}

#[test]
fn a_binding_is_read() {
    let line = "bind big-orders@2 --topic Orders --set min=1=2 --set empty= --policy dead-letter --order -3 --grant kv --limit deadlineMs=20";
    let Task::Bind(asked) = parse(line).unwrap().task else {
        panic!("not a bind");
    };
    let bind = asked.of;
    assert_eq!(
        (&*bind.plugin.name, bind.plugin.version),
        ("big-orders", Some(2))
    );
    assert_eq!(bind.params[0], ("min".to_owned(), "1=2".to_owned()));
    assert_eq!(bind.params[1], ("empty".to_owned(), String::new()));
    assert_eq!((bind.order, bind.grants.len(), &*bind.group), (-3, 1, ""));
    assert_eq!(bind.limits, [("deadlineMs".to_owned(), 20)]);
}

#[test]
fn mistakes_are_named() {
    let told = |line: &str| parse(line).unwrap_err();
    assert!(told("bind x@two --topic T").contains("number is expected after `@`"));
    assert!(told("bind x --topic T --set min").contains("name=value is expected"));
    assert!(told("bind x --topic T --limit deadlineMs=long").contains("no whole number"));
    assert!(told("bind x --topic T --policy maybe").contains("is no policy"));
    assert!(told("bind x").contains("--topic"));
    assert!(told("new filtre x").contains("there are filter, "));
    assert!(told("canary x@2").contains("--percent"));
    assert!(told("canary x --percent 5 --off").contains("cannot be used"));
    assert!(told("test --store d").contains("--topic"));
}
