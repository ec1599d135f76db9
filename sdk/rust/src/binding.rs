//! What a plugin is bound to.

use std::str::FromStr;

/// Topic, group and settings of a binding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// The topic.
    pub topic: String,
    /// The consumer group; empty when bound for all groups.
    pub group: String,
    /// The settings, as the operator wrote them.
    pub params: Vec<(String, String)>,
}

impl Binding {
    /// A setting; of equal names the last counts.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A setting that must be there.
    ///
    /// # Errors
    /// A text that names it, when it is not.
    pub fn require(&self, name: &str) -> Result<&str, String> {
        self.param(name)
            .ok_or_else(|| ["the setting ", name, " is missing"].concat())
    }

    /// A setting read as a number or what else can be made of text; `None` when it is not there.
    ///
    /// # Errors
    /// A text that names it and its value, when it can't be read.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.param(name) else {
            return Ok(None);
        };
        let unreadable = |_| ["the setting ", name, " can't be read: ", text].concat();
        text.parse().map(Some).map_err(unreadable)
    }
}
