//! Compiled expressions of subscriptions: compiled once, asked for with every pull.
//!
//! What an expression means may hang on the functions and filters bound to its topic, so one that
//! was compiled before the last change of plugins is compiled again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use sluice_filters::{Language, MessageFilter, TagFilter, language};
use sluice_plugins::functions::BoundFunctions;

use crate::Broker;
use crate::error::Refusal;

/// Expressions of one group on one topic: more come only from clients that disagree or are hostile.
const OF_GROUP_MAX: usize = 8;
/// Topics and groups with an expression; beyond, all are compiled again.
const GROUPS_MAX: usize = 10_000;

/// By topic and group.
#[derive(Default)]
pub(crate) struct Expressions {
    by_group: RwLock<HashMap<String, HashMap<String, Vec<Entry>>>>,
}

struct Entry {
    language: String,
    text: String,
    /// Of the plugins when it was compiled.
    generation: u64,
    compiled: Compiled,
}

type Compiled = Result<Arc<dyn MessageFilter>, String>;

impl Expressions {
    fn get(
        &self,
        generation: u64,
        topic: &str,
        group: &str,
        expression: (&str, &str),
    ) -> Option<Compiled> {
        let by_group = self.by_group.read();
        let entries = by_group.get(topic)?.get(group)?;
        let entry = entries
            .iter()
            .find(|entry| (&*entry.language, &*entry.text) == expression)?;
        (entry.generation == generation).then(|| entry.compiled.clone())
    }

    fn keep(&self, topic: &str, group: &str, entry: Entry) {
        let mut by_topic = self.by_group.write();
        if by_topic.values().map(HashMap::len).sum::<usize>() >= GROUPS_MAX {
            by_topic.clear();
        }
        let groups = by_topic.entry(topic.to_owned()).or_default();
        let entries = groups.entry(group.to_owned()).or_default();
        entries.retain(|old| (&old.language, &old.text) != (&entry.language, &entry.text));
        if entries.len() >= OF_GROUP_MAX {
            entries.remove(0);
        }
        entries.push(entry);
    }
}

impl Broker {
    /// What an expression of a group on a topic lets pass; absent and empty types are tags.
    ///
    /// # Errors
    /// It does not compile, its functions are not bound there, or its type is unknown or switched off.
    pub(crate) fn expression(
        &self,
        topic: &str,
        group: &str,
        language: Option<&str>,
        text: &str,
    ) -> Result<Arc<dyn MessageFilter>, Refusal> {
        let language = match language {
            None | Some("" | language::TAG) => {
                let filter = TagFilter::parse(text)
                    .ok_or_else(|| Refusal::SubscriptionParse(format!("no tag is in {text:?}")))?;
                return Ok(Arc::new(filter));
            }
            Some(language) => language,
        };
        if !self.config().enable_property_filter {
            return Err(Refusal::System(format!(
                "The broker does not support consumer to filter message by {language}"
            )));
        }
        let generation = self.plugins.generation();
        let known = self
            .expressions
            .get(generation, topic, group, (language, text));
        let compiled = known.unwrap_or_else(|| {
            let compiled = self.compile(topic, group, language, text);
            let entry = Entry {
                language: language.to_owned(),
                text: text.to_owned(),
                generation,
                compiled: compiled.clone(),
            };
            self.expressions.keep(topic, group, entry);
            compiled
        });
        compiled.map_err(Refusal::SubscriptionParse)
    }

    fn compile(&self, topic: &str, group: &str, language: &str, text: &str) -> Compiled {
        let functions = BoundFunctions {
            host: self.plugins.clone(),
            topic: topic.to_owned(),
            group: group.to_owned(),
        };
        match language {
            language::SQL92 => language::Sql92Language(functions).compile(text),
            other => return self.plugins.compile(other, text, topic, group),
        }
        .map_err(|error| error.to_string())
    }
}
