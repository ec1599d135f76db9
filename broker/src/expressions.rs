//! Compiled expressions of subscriptions: compiled once, asked for with every pull.
//!
//! What an expression means may hang on the functions and filters bound to its topic, so one that
//! was compiled before the last change of plugins is compiled again. What needs a plugin for that is
//! compiled away from the threads that serve connections: a plugin may take as long as its limits allow.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use sluice_filters::sql92::{Argument, Function, Functions};
use sluice_filters::{Language, MessageFilter, TagFilter, language};
use sluice_plugins::functions::BoundFunctions;
use sluice_remoting::Responder;

use crate::Broker;
use crate::error::Refusal;

/// Expressions of one group on one topic: more come only from clients that disagree or are hostile.
const OF_GROUP_MAX: usize = 8;
/// Topics and groups with an expression; beyond, all are compiled again.
const GROUPS_MAX: usize = 10_000;
/// Expressions in plugins' languages, each with a guest of its own; beyond, those go that nobody waits with.
const SPOKEN_MAX: usize = 256;
/// Before an expression that did not compile is tried again: a plugin may have failed for the moment.
const REFUSED_MS: i64 = 5_000;

/// By topic and group.
#[derive(Default)]
pub(crate) struct Expressions {
    by_group: RwLock<HashMap<String, HashMap<String, Vec<Entry>>>>,
}

struct Entry {
    language: String,
    text: String,
    /// The plugins and the moment it was compiled by.
    at: Moment,
    compiled: Compiled,
}

/// When an expression is asked for or was compiled.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Of the plugins.
    generation: u64,
    now_ms: i64,
}

type Compiled = Result<Arc<dyn MessageFilter>, String>;

/// What passes, or what has to be compiled first.
pub(crate) enum Passing {
    /// It is at hand.
    Filter(Arc<dyn MessageFilter>),
    /// A plugin takes part in it: see [`Broker::compile_aside`].
    Uncompiled(Expression),
}

/// An expression of a group on a topic.
#[derive(Debug)]
pub(crate) struct Expression {
    topic: String,
    group: String,
    language: String,
    text: String,
}

impl Entry {
    fn is_spoken(&self) -> bool {
        self.language != language::SQL92
    }

    /// Nobody waits with it.
    fn is_idle(&self) -> bool {
        self.compiled
            .as_ref()
            .map_or(true, |filter| Arc::strong_count(filter) == 1)
    }

    fn holds(&self, at: Moment) -> bool {
        let lasts = self.compiled.is_ok() || at.now_ms - self.at.now_ms < REFUSED_MS;
        self.at.generation == at.generation && lasts
    }
}

impl Expressions {
    fn get(
        &self,
        at: Moment,
        topic: &str,
        group: &str,
        expression: (&str, &str),
    ) -> Option<Compiled> {
        let by_group = self.by_group.read();
        let entries = by_group.get(topic)?.get(group)?;
        let entry = entries
            .iter()
            .find(|entry| (&*entry.language, &*entry.text) == expression)?;
        entry.holds(at).then(|| entry.compiled.clone())
    }

    fn keep(&self, topic: &str, group: &str, entry: Entry) {
        let mut by_topic = self.by_group.write();
        if by_topic.values().map(HashMap::len).sum::<usize>() >= GROUPS_MAX {
            by_topic.clear();
        }
        if entry.is_spoken() {
            make_room(&mut by_topic);
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

fn make_room(by_topic: &mut HashMap<String, HashMap<String, Vec<Entry>>>) {
    let groups = || by_topic.values().flat_map(HashMap::values);
    if groups().flatten().filter(|entry| entry.is_spoken()).count() < SPOKEN_MAX {
        return;
    }
    let groups = by_topic.values_mut().flat_map(HashMap::values_mut);
    groups.for_each(|entries| entries.retain(|entry| !entry.is_spoken() || !entry.is_idle()));
}

/// Finds out whether an expression calls functions at all.
#[derive(Default)]
struct Asked(AtomicBool);

impl Functions for &Asked {
    fn resolve(&self, _: &str, _: &[Argument<'_>]) -> Result<Arc<dyn Function>, String> {
        self.0.store(true, Ordering::Relaxed);
        Err("it is looked for elsewhere".to_owned())
    }
}

/// SQL92 as such; `None` when it calls functions.
fn plain_sql92(text: &str) -> Option<Compiled> {
    let asked = Asked::default();
    let compiled = language::Sql92Language(&asked).compile(text);
    (!asked.0.load(Ordering::Relaxed)).then(|| compiled.map_err(|error| error.to_string()))
}

impl Broker {
    /// What an expression of a group on a topic lets pass, as far as that is known or soon found out;
    /// absent and empty types are tags.
    ///
    /// # Errors
    /// It does not compile, its functions are not bound there, or its type is unknown or switched off.
    pub(crate) fn passing(
        &self,
        topic: &str,
        group: &str,
        language: Option<&str>,
        text: &str,
    ) -> Result<Passing, Refusal> {
        let language = match language {
            None | Some("" | language::TAG) => {
                let filter = TagFilter::parse(text)
                    .ok_or_else(|| Refusal::SubscriptionParse(format!("no tag is in {text:?}")))?;
                return Ok(Passing::Filter(Arc::new(filter)));
            }
            Some(language) => language,
        };
        if !self.config().enable_property_filter {
            return Err(Refusal::System(format!(
                "The broker does not support consumer to filter message by {language}"
            )));
        }
        let at = self.moment();
        if let Some(known) = self.expressions.get(at, topic, group, (language, text)) {
            return as_answer(known).map(Passing::Filter);
        }
        let expression = Expression {
            topic: topic.to_owned(),
            group: group.to_owned(),
            language: language.to_owned(),
            text: text.to_owned(),
        };
        let plain = match language {
            language::SQL92 => plain_sql92(text),
            _ => None,
        };
        match plain {
            Some(compiled) => as_answer(self.keep(expression, at, compiled)).map(Passing::Filter),
            None => Ok(Passing::Uncompiled(expression)),
        }
    }

    /// Compiles an expression on a thread that may wait for plugins, and goes on with the request, or
    /// refuses it.
    pub(crate) fn compile_aside<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        expression: Expression,
        request: T,
        then: impl FnOnce(&Arc<Broker>, T, Arc<dyn MessageFilter>) + Send + 'static,
    ) {
        self.aside_for_plugins(request, move |broker, request| {
            match as_answer(broker.compiled(expression)) {
                Ok(filter) => then(broker, request, filter),
                Err(refusal) => broker.refuse(request.into(), refusal),
            }
        });
    }

    /// As [`Broker::passing`], for a thread that may wait for plugins.
    ///
    /// # Errors
    /// It can't be compiled.
    pub(crate) fn expression(
        &self,
        topic: &str,
        group: &str,
        language: Option<&str>,
        text: &str,
    ) -> Result<Arc<dyn MessageFilter>, Refusal> {
        match self.passing(topic, group, language, text)? {
            Passing::Filter(filter) => Ok(filter),
            Passing::Uncompiled(expression) => as_answer(self.compiled(expression)),
        }
    }

    fn compiled(&self, expression: Expression) -> Compiled {
        let at = self.moment();
        let Expression {
            topic,
            group,
            language,
            text,
        } = &expression;
        // Whoever came before may have done it.
        if let Some(known) = self.expressions.get(at, topic, group, (language, text)) {
            return known;
        }
        let compiled = match &**language {
            language::SQL92 => {
                let functions = BoundFunctions {
                    host: self.plugins.clone(),
                    topic: topic.clone(),
                    group: group.clone(),
                };
                let compiled = language::Sql92Language(functions).compile(text);
                compiled.map_err(|error| error.to_string())
            }
            other => self.plugins.compile(other, text, topic, group),
        };
        self.keep(expression, at, compiled)
    }

    fn keep(&self, expression: Expression, at: Moment, compiled: Compiled) -> Compiled {
        let entry = Entry {
            language: expression.language,
            text: expression.text,
            at,
            compiled: compiled.clone(),
        };
        self.expressions
            .keep(&expression.topic, &expression.group, entry);
        compiled
    }

    fn moment(&self) -> Moment {
        Moment {
            generation: self.plugins.generation(),
            now_ms: self.now_ms(),
        }
    }
}

fn as_answer(compiled: Compiled) -> Result<Arc<dyn MessageFilter>, Refusal> {
    compiled.map_err(Refusal::SubscriptionParse)
}
