//! Commands as an operator types them, and what they print.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sluice_tests::cluster::Cluster;
use sluice_tests::mqadmin::Mqadmin;

/// A port nobody listens on.
const NOBODY: &str = "127.0.0.1:1";

/// A command, and what it printed.
pub struct Said {
    pub command: String,
    pub printed: String,
}

/// One version of mqadmin at work on one cluster.
pub struct Script<'a> {
    pub cluster: &'a Cluster,
    version: &'static str,
    mqadmin: Mqadmin,
    home: PathBuf,
    names: BTreeMap<&'static str, String>,
    said: Vec<Said>,
}

impl<'a> Script<'a> {
    pub fn start(version: &'static str, cluster: &'a Cluster) -> Self {
        let home = cluster.dir().join(format!("mqadmin-{version}"));
        let mqadmin = Mqadmin::start(version, cluster.namesrv.address(), &home);
        let mut script = Self {
            cluster,
            version,
            mqadmin,
            home,
            names: BTreeMap::new(),
            said: Vec::new(),
        };
        script.name("broker", cluster.broker.address());
        script.name("namesrv", cluster.namesrv.address());
        script.name("nobody", NOBODY);
        script.name("v", version[..1].to_owned());
        script
    }

    /// Whether this is mqadmin 5.x.
    pub fn is_5(&self) -> bool {
        self.version.starts_with('5')
    }

    /// Where commands find files, and leave them.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `{name}` stands for `value` in what follows.
    pub fn name(&mut self, name: &'static str, value: impl Into<String>) {
        self.names.insert(name, value.into());
    }

    /// Runs a command, with the name server's address at its end, and keeps what it prints for comparison.
    pub fn say(&mut self, command: &str) -> String {
        let printed = self.quietly(command);
        self.said.push(Said {
            command: format!("{} {command}", self.version),
            printed: printed.clone(),
        });
        printed
    }

    /// As [`Script::say`], of mqadmin 5.x only.
    pub fn say_5(&mut self, command: &str) {
        if self.is_5() {
            self.say(command);
        }
    }

    /// Keeps what a command has left somewhere for comparison.
    pub fn note(&mut self, what: &str, text: String) {
        self.said.push(Said {
            command: format!("{} @{what}", self.version),
            printed: text,
        });
    }

    /// Runs a command whose output nobody compares.
    pub fn quietly(&mut self, command: &str) -> String {
        let typed = self.typed(command);
        let mut words: Vec<&str> = typed.split(' ').collect();
        let namesrv = self.cluster.namesrv.address();
        if !command.starts_with('@') || command.starts_with("@endless") {
            words.extend(["-n", namesrv]);
        }
        let printed = self.mqadmin.run(&words);
        printed.replace(&*self.cluster.dir().to_string_lossy(), "DIR")
    }

    fn typed(&self, command: &str) -> String {
        let mut typed = command.to_owned();
        for (name, value) in &self.names {
            typed = typed.replace(&format!("{{{name}}}"), value);
        }
        typed
    }

    /// Everything said.
    pub fn into_said(self) -> Vec<Said> {
        self.said
    }
}

/// The commands that were run, without their options.
pub fn commands(said: &[Said]) -> BTreeSet<String> {
    let typed = said.iter().map(|said| said.command.split(' '));
    let names = typed.filter_map(|mut words| {
        let name = words.nth(1)?;
        if name == "@endless" {
            return words.nth(1);
        }
        Some(match name {
            "@monitor" => "startMonitoring",
            other => other,
        })
    });
    let named = names.filter(|name| !name.starts_with('@') && *name != "help");
    named.map(str::to_owned).collect()
}
