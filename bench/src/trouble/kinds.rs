//! The troubles, by name.

use anyhow::Result;

use super::Trouble;
use super::{files, lagging, maker, retention};
use crate::subjects::Subject;

/// A trouble that lasts until it is ended.
pub trait Lasting {
    /// Ends it, and says what happened meanwhile.
    ///
    /// # Errors
    /// Nothing did, or it ended before its time.
    fn end(self: Box<Self>) -> Result<String>;
}

/// Begins a trouble on a broker that has not been used.
type Begin = fn(&Trouble, &mut Subject) -> Result<Box<dyn Lasting>>;

/// A kind of trouble.
pub struct TroubleKind {
    /// Its name.
    pub name: &'static str,
    /// `flushDiskType` of the broker.
    pub flush: &'static str,
    /// More lines of its property file.
    pub settings: &'static str,
    /// It is the machine's, and comes over the floor as over a broker, which has no sync flush.
    pub of_machine: bool,
    /// How it begins.
    pub begin: Begin,
}

const ASYNC: &str = "ASYNC_FLUSH";
const SYNC: &str = "SYNC_FLUSH";

const fn quiet(flush: &'static str) -> TroubleKind {
    TroubleKind {
        name: "quiet",
        flush,
        settings: "",
        of_machine: true,
        begin: |_, _| Ok(Box::new(Quiet)),
    }
}

/// What troubles are compared with: those of the same flush mode.
pub const QUIET: [TroubleKind; 2] = [quiet(ASYNC), quiet(SYNC)];

/// All of them.
pub const KINDS: [TroubleKind; 7] = [
    TroubleKind {
        name: "page-cache pressure",
        flush: ASYNC,
        settings: "",
        of_machine: true,
        begin: maker::page_cache,
    },
    TroubleKind {
        name: "retention",
        flush: ASYNC,
        settings: retention::SETTINGS,
        of_machine: false,
        begin: retention::begin,
    },
    TroubleKind {
        name: "commit log roll",
        flush: ASYNC,
        settings: files::SMALL_LOG_FILES,
        of_machine: false,
        begin: files::commit_log,
    },
    TroubleKind {
        name: "index roll",
        flush: ASYNC,
        settings: files::SMALL_INDEX_FILES,
        of_machine: false,
        begin: files::index,
    },
    TroubleKind {
        name: "lagging group",
        flush: ASYNC,
        settings: "",
        of_machine: false,
        begin: lagging::begin,
    },
    TroubleKind {
        name: "slow disk sync",
        flush: ASYNC,
        settings: "",
        of_machine: true,
        begin: maker::disk_syncs,
    },
    TroubleKind {
        name: "slow disk sync",
        flush: SYNC,
        settings: "",
        of_machine: false,
        begin: maker::disk_syncs,
    },
];

struct Quiet;

impl Lasting for Quiet {
    fn end(self: Box<Self>) -> Result<String> {
        Ok(String::new())
    }
}
