//! What the command line takes.

use clap::{Args, Command, FromArgMatches, Subcommand};
use sluice_admin::args::{
    BrokerTask, Cluster, ClusterTask, Group, GroupTask, Message, NamesrvTask, Plugin, Producer,
    Task, Topic,
};

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

/// The line as a noun reads it.
fn read<T: Args + FromArgMatches>(arguments: &str) -> Result<T, String> {
    let command = T::augment_args(Command::new("noun")).no_binary_name(true);
    let matches = command.try_get_matches_from(arguments.split_whitespace());
    let matches = matches.map_err(|error| error.to_string())?;
    T::from_arg_matches(&matches).map_err(|error| error.to_string())
}

#[test]
fn every_noun_s_options_fit_together() {
    for command in [
        Topic::augment_args(Command::new("topic")),
        Group::augment_args(Command::new("group")),
        Message::augment_args(Command::new("message")),
        Cluster::augment_args(Command::new("cluster")),
        Producer::augment_args(Command::new("producer")),
        BrokerTask::augment_subcommands(Command::new("broker")),
        NamesrvTask::augment_subcommands(Command::new("namesrv")),
    ] {
        command.debug_assert();
    }
}

#[test]
fn a_group_goes_to_one_place() {
    let line = "reset billing orders --to-offset 7 --queue broker-a:1 --yes";
    let GroupTask::Reset(asked) = read::<Group>(line).unwrap().task else {
        panic!("not a reset");
    };
    assert_eq!(
        (asked.of.target.to_offset, asked.of.sure.yes),
        (Some(7), true)
    );
    assert_eq!((asked.servers.timeout, asked.servers.json), (3, false));
    let told = |line: &str| read::<Group>(line).unwrap_err();
    assert!(told("reset billing orders").contains("--to-earliest"));
    assert!(told("reset billing orders --to-latest --to-offset 7").contains("cannot be used"));
    assert!(told("reset billing orders --to-time yesterday").contains("is expected"));
}

#[test]
fn a_watch_is_bounded_if_wanted() {
    let watched = |line: &str| match read::<Cluster>(line).unwrap().task {
        ClusterTask::Show(asked) => (asked.watch.every, asked.watch.times),
    };
    assert_eq!(watched("show"), (None, None));
    assert_eq!(watched("show --watch"), (Some(2), None));
    assert_eq!(watched("show --watch 5 --times 3"), (Some(5), Some(3)));
    assert!(read::<Cluster>("show --times 3").is_err());
}

#[test]
fn a_message_is_found_by_one_thing() {
    let told = |line: &str| read::<Message>(line).unwrap_err();
    assert!(told("find").contains("--key"));
    assert!(told("find --key a --id b").contains("cannot be used"));
    assert!(read::<Message>("find --key a --topic T --from 2h").is_ok());
    assert!(
        read::<Topic>("perm orders rwx")
            .unwrap_err()
            .contains("rw, r, w or none")
    );
}
