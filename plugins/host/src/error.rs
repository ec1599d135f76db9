//! What can go wrong with plugins.

use std::io;
use std::path::PathBuf;

/// An operator's or client's request about plugins that can't be met.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The upload is no plugin.
    #[error("{0}")]
    Upload(String),
    /// A name that can't be one.
    #[error(
        "{0:?} can't be a plugin's name: 1 to 64 of a-z, A-Z, 0-9, `-` and `_`, beginning with a letter"
    )]
    Name(String),
    /// Nothing has that name.
    #[error("there is no plugin {0:?}")]
    NoPlugin(String),
    /// The plugin has no such version.
    #[error("plugin {name:?} has no version {version:?}; it has {has}")]
    NoVersion {
        /// The plugin.
        name: String,
        /// What was asked for.
        version: String,
        /// Versions there are.
        has: String,
    },
    /// Nothing is bound there.
    #[error("{plugin:?} is not bound to topic {topic:?}, group {group:?}")]
    NoBinding {
        /// The plugin.
        plugin: String,
        /// The topic.
        topic: String,
        /// The group; empty = all.
        group: String,
    },
    /// Still in use.
    #[error("{what} is in use by {by}; unbind it first")]
    InUse {
        /// What was to be removed.
        what: String,
        /// The bindings.
        by: String,
    },
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The plugin itself does not take what it is bound to or its settings.
    #[error("plugin {plugin} refuses: {why}")]
    Refused {
        /// Name and version.
        plugin: String,
        /// In its own words.
        why: String,
    },
    /// The plugin can't be started.
    #[error("plugin {plugin} can't be started: {why}")]
    Start {
        /// Name and version.
        plugin: String,
        /// Why.
        why: String,
    },
    /// More than a limit of this broker allows.
    #[error("{0}")]
    Limit(String),
    /// Files of plugins can't be read or written.
    #[error("{path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of plugins is not what was written.
    #[error("{path:?} can't be used: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No engine.
    #[error("plugins can't be run here: {0}")]
    Engine(String),
}

/// How a guest's call ended badly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It trapped; the text is the trap's.
    #[error("trapped: {0}")]
    Trap(String),
    /// It was stopped at its deadline.
    #[error("stopped after {0} ms")]
    Timeout(u64),
    /// It says itself that the call failed; it can go on.
    #[error("failed: {0}")]
    Failed(String),
    /// It says itself that it can't go on.
    #[error("broke down")]
    Broken,
    /// The bodies of its block are too much for one call; nothing was called.
    #[error("the bodies of one block have over {0} bytes")]
    Bodies(u64),
    /// It answered something that is no answer.
    #[error("answered wrongly: {0}")]
    Answer(String),
    /// It does not take its expression, its settings or what it is bound to; in its own words.
    #[error("refuses: {0}")]
    Refused(String),
    /// It could not be instantiated or configured.
    #[error("can't be started: {0}")]
    Start(String),
    /// The broker has no more instances at the moment; the plugin has done nothing wrong.
    #[error("all instances that this broker can run at once are taken")]
    NoRoom,
}

impl CallError {
    /// Whether it speaks against the plugin.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, CallError::NoRoom)
    }
}
