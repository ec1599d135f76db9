//! Expressions of subscriptions in languages that plugins bring.

use std::sync::{Arc, Weak};

use sluice_filters::MessageFilter;

use super::{EXPRESSION, Host, version_of};
use crate::World;
use crate::binding::{Binding, Bound, Policy};
use crate::error::PluginError;
use crate::language::Spoken;
use crate::library::{Plugins, Version};
use crate::limits::Limits;

/// Compiled expressions in use; each has instances of its own, of which the engine has a thousand.
const SPOKEN_MAX: usize = 512;

impl Host {
    /// Lets a plugin compile an expression of its own language; the language's name is the plugin's. It
    /// starts a guest, which may take as long as its limits allow.
    ///
    /// # Errors
    /// A text for the subscriber: there is no such language, what the plugin says of the expression, or
    /// that too many are in use.
    pub fn compile(
        &self,
        language: &str,
        expression: &str,
        topic: &str,
        group: &str,
    ) -> Result<Arc<dyn MessageFilter>, String> {
        let plugins = self.plugins();
        let found = self.spoken_by(&plugins, language, topic, group)?;
        let binding = Binding {
            plugin: language.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            params: [(EXPRESSION.to_owned(), expression.to_owned())].into(),
            policy: Policy::Accept,
            order: 0,
            kv: false,
            limits: Limits::of(World::Language),
            current: found.version,
            previous: None,
            shadow: None,
            canary: None,
        };
        match self.start(&plugins, binding, None) {
            Ok(bound) => self.keep_spoken(Arc::new(bound)),
            Err(PluginError::Refused { why, .. }) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The version that serves where the language is bound to topic and group, else the newest.
    fn spoken_by<'a>(
        &self,
        plugins: &'a Plugins,
        language: &str,
        topic: &str,
        group: &str,
    ) -> Result<&'a Version, String> {
        let is_language =
            |versions: &[Version]| versions.last().is_some_and(|v| v.world == World::Language);
        if !plugins.get(language).is_some_and(|v| is_language(v)) {
            let others = plugins.iter().filter(|(_, v)| is_language(v));
            let mut known = vec!["TAG", "SQL92"];
            known.extend(others.map(|(name, _)| &**name));
            return Err(format!(
                "expression type `{language}` is unknown; known: {}",
                known.join(", ")
            ));
        }
        let chain = self.table.bound(World::Language, topic, group);
        let promoted = chain
            .iter()
            .map(|bound| bound.spec())
            .find(|spec| spec.plugin == language)
            .map(|spec| spec.current);
        version_of(plugins, language, promoted).map_err(|error| error.to_string())
    }

    fn keep_spoken(&self, bound: Arc<Bound>) -> Result<Arc<dyn MessageFilter>, String> {
        let mut spoken = self.spoken.lock();
        spoken.retain(|known| Weak::strong_count(known) > 0);
        if spoken.len() >= SPOKEN_MAX {
            return Err(format!(
                "{SPOKEN_MAX} expressions of plugins' languages are in use, no more are taken now"
            ));
        }
        spoken.push(Arc::downgrade(&bound));
        Ok(Arc::new(Spoken(bound)))
    }
}
