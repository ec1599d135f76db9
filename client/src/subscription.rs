//! What a consumer wants of a topic.

use sluice_protocol::body::SubscriptionData;

use crate::error::ClientError;
use crate::message::ReceivedMessage;

/// Which messages of a topic a consumer wants. Strings convert to tag filters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every message.
    #[default]
    All,
    /// Messages with one of the tags in `A || B`.
    Tags(String),
    /// Messages for which a SQL92 expression over their properties is true. The broker checks its
    /// syntax when the consumer starts.
    Sql(String),
    /// Messages that pass an expression of a language that a plugin of the broker brings. The broker
    /// compiles it when the consumer starts.
    Language {
        /// The plugin's name.
        name: String,
        /// The expression.
        expression: String,
    },
}

impl Filter {
    /// Messages with one of the tags in `A || B`; `*` and the empty text stand for every message.
    pub fn tags(expression: impl Into<String>) -> Self {
        Filter::Tags(expression.into())
    }

    /// Messages for which the SQL92 expression is true, such as `amount > 10 AND region IN ('cn')`.
    pub fn sql(expression: impl Into<String>) -> Self {
        Filter::Sql(expression.into())
    }

    /// Messages that pass an expression of a plugin's language, as `region =~ ^eu-` of `regex`.
    pub fn language(name: impl Into<String>, expression: impl Into<String>) -> Self {
        Filter::Language {
            name: name.into(),
            expression: expression.into(),
        }
    }

    pub(crate) fn subscription(
        &self,
        topic: &str,
        version: i64,
    ) -> Result<SubscriptionData, ClientError> {
        let tags = match self {
            Filter::All => "*",
            Filter::Tags(expression) => expression,
            Filter::Sql(expression) => return compiled(topic, "SQL92", expression, version),
            Filter::Language { name, expression } => {
                return compiled(topic, name, expression, version);
            }
        };
        SubscriptionData::tags(topic, tags, version)
            .ok_or_else(|| ClientError::invalid(format!("tag expression {tags:?}"), "holds no tag"))
    }
}

impl From<&str> for Filter {
    fn from(tags: &str) -> Self {
        Filter::tags(tags)
    }
}

/// What a broker compiles.
fn compiled(
    topic: &str,
    language: &str,
    expression: &str,
    version: i64,
) -> Result<SubscriptionData, ClientError> {
    if expression.trim().is_empty() {
        let what = format!("{language} expression");
        return Err(ClientError::invalid(what, "must not be empty"));
    }
    Ok(SubscriptionData {
        expression_type: language.to_owned(),
        sub_string: expression.to_owned(),
        sub_version: version,
        topic: topic.to_owned(),
        ..SubscriptionData::default()
    })
}

/// The broker compares hashes only: this compares the tag itself.
pub(crate) fn wants(subscription: &SubscriptionData, message: &ReceivedMessage) -> bool {
    subscription.tags_set.is_empty()
        || message
            .tag()
            .is_some_and(|tag| subscription.tags_set.iter().any(|wanted| wanted == tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::tests::received;

    fn tags_of(expression: &str) -> Vec<String> {
        Filter::tags(expression)
            .subscription("T", 0)
            .unwrap()
            .tags_set
    }

    #[test]
    fn tag_expressions() {
        let none: [&str; 0] = [];
        for everything in ["", "*"] {
            assert_eq!(tags_of(everything), none);
            assert_eq!(
                Filter::tags(everything)
                    .subscription("T", 0)
                    .unwrap()
                    .sub_string,
                "*"
            );
        }
        assert_eq!(tags_of("A"), ["A"]);
        assert_eq!(tags_of("A || B"), ["A", "B"]);
        assert_eq!(tags_of("A|| ||B||"), ["A", "B"]);
        assert_eq!(tags_of("A || *"), ["A", "*"]);
        assert_eq!(tags_of("A|B"), ["A|B"]);
        for wrong in ["||", "  ", " || "] {
            assert!(
                Filter::tags(wrong).subscription("T", 0).is_err(),
                "{wrong:?}"
            );
        }
        assert!(Filter::sql(" ").subscription("T", 0).is_err());
    }

    #[test]
    fn hashes_that_collide_are_told_apart_by_their_text() {
        let subscription = Filter::tags("Aa").subscription("T", 0).unwrap();
        assert_eq!(subscription.code_set, [2112]);
        let of = |tag: &str| received("T", 0, &Message::new("T", "x").tag(tag));
        assert!(wants(&subscription, &of("Aa")));
        assert!(!wants(&subscription, &of("BB")));
        assert!(!wants(
            &subscription,
            &received("T", 0, &Message::new("T", "x"))
        ));
        let all = Filter::All.subscription("T", 0).unwrap();
        assert!(wants(&all, &of("BB")));
    }
}
