//! The worlds of `sdk/wit/plugin.wit`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a plugin is, told by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// Passes or drops messages on their way to a group.
    Filter,
    /// An expression language.
    Language,
    /// A function in SQL92.
    Function,
    /// Before and after a message is stored.
    SendHook,
    /// Before messages leave, and when they are consumed.
    ConsumeHook,
    /// Which consumer gets which queues.
    AllocateStrategy,
}

impl World {
    /// All of them.
    pub const ALL: [World; 6] = [
        World::Filter,
        World::Language,
        World::Function,
        World::SendHook,
        World::ConsumeHook,
        World::AllocateStrategy,
    ];

    /// Every function that some world exports.
    pub const FUNCTIONS: [&'static str; 9] = [
        "configure",
        "compile",
        "filter-batch",
        "call-batch",
        "before-send",
        "after-send",
        "before-deliver",
        "after-consume",
        "allocate",
    ];

    /// The world whose functions are exported; `None` when they are those of no world.
    pub fn of(exports: impl Fn(&str) -> bool) -> Option<World> {
        // A language has a filter's function, too.
        let order = [
            World::Language,
            World::Filter,
            World::Function,
            World::SendHook,
            World::ConsumeHook,
            World::AllocateStrategy,
        ];
        order
            .into_iter()
            .find(|world| exports(world.set_up()) && exports(world.entry()))
    }

    /// Its name in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            World::Filter => "filter",
            World::Language => "language",
            World::Function => "function",
            World::SendHook => "send-hook",
            World::ConsumeHook => "consume-hook",
            World::AllocateStrategy => "allocate-strategy",
        }
    }

    /// The function called once for a new instance.
    pub const fn set_up(self) -> &'static str {
        match self {
            World::Language => "compile",
            _ => "configure",
        }
    }

    /// The function called for every block.
    pub const fn entry(self) -> &'static str {
        match self {
            World::Filter | World::Language => "filter-batch",
            World::Function => "call-batch",
            World::SendHook => "before-send",
            World::ConsumeHook => "before-deliver",
            World::AllocateStrategy => "allocate",
        }
    }

    /// The function called when all is done, if there is one.
    pub const fn after(self) -> Option<&'static str> {
        match self {
            World::SendHook => Some("after-send"),
            World::ConsumeHook => Some("after-consume"),
            _ => None,
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for World {
    type Err = String;

    fn from_str(text: &str) -> Result<World, String> {
        World::ALL
            .into_iter()
            .find(|world| world.name() == text)
            .ok_or_else(|| {
                let names = World::ALL.map(World::name).join(", ");
                format!("{text:?} is no kind of plugin; there are {names}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_told_by_all_it_exports() {
        let of = |names: &[&str]| World::of(|name| names.contains(&name));
        assert_eq!(of(&["configure", "filter-batch"]), Some(World::Filter));
        assert_eq!(of(&["compile", "filter-batch"]), Some(World::Language));
        assert_eq!(
            of(&["configure", "allocate"]),
            Some(World::AllocateStrategy)
        );
        assert_eq!(of(&["filter-batch"]), None);
        assert_eq!(of(&["configure"]), None);
    }
}
