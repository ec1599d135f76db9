//! What a message of a test is expected to come to, and whether it did.

use std::collections::BTreeMap;

use sluice_plugins::hooks::Edit;
use sluice_protocol::message::{Record, properties};

/// What should come of a message; what is absent may be anything.
#[derive(Debug, Default)]
pub(crate) struct Expectation {
    pub(crate) verdict: Option<String>,
    /// The body after a hook.
    pub(crate) body: Option<String>,
    /// Properties after a hook; none where there should be none.
    pub(crate) properties: BTreeMap<String, Option<String>>,
}

/// What a plugin made of a message.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// As an expectation names it.
    pub(crate) verdict: String,
    /// Changes, a refusal's reason, or why it failed.
    pub(crate) why: String,
    /// It did not answer as a plugin has to.
    pub(crate) failed: bool,
    /// The message after a hook.
    pub(crate) after: Option<After>,
}

/// A message after a hook.
#[derive(Debug)]
pub(crate) struct After {
    properties: Vec<u8>,
    body: Vec<u8>,
}

impl Judged {
    pub(crate) fn failed(why: String) -> Judged {
        Judged {
            verdict: "fail".to_owned(),
            why,
            failed: true,
            after: None,
        }
    }
}

impl After {
    /// A message with a hook's edits. Topic, queue and delay are not part of what is expected.
    pub(crate) fn edits(record: &Record<'_>, edits: &[Edit]) -> After {
        let mut after = After {
            properties: record.properties().to_vec(),
            body: record.body().to_vec(),
        };
        for edit in edits {
            match edit {
                Edit::SetProperty(name, value) => {
                    after.properties = properties::without(&after.properties, &[name]);
                    properties::put(&mut after.properties, name, value);
                }
                Edit::DeleteProperty(name) => {
                    after.properties = properties::without(&after.properties, &[name]);
                }
                Edit::SetBody(body) => after.body.clone_from(body),
                Edit::Reject(..)
                | Edit::SetTopic(_)
                | Edit::SetQueue(_)
                | Edit::SetDelay(_)
                | Edit::Drop => {}
            }
        }
        after
    }
}

impl Expectation {
    /// Each way in which it came out otherwise. A failure that nobody expected is one.
    pub(crate) fn differences(&self, judged: &Judged) -> Vec<String> {
        let mut differences = Vec::new();
        match &self.verdict {
            Some(expected) if *expected != judged.verdict => {
                differences.push(format!("expected {expected}"));
            }
            None if judged.failed => differences.push("it failed".to_owned()),
            _ => {}
        }
        let Some(after) = &judged.after else {
            if self.body.is_some() || !self.properties.is_empty() {
                differences.push("only hooks that answer change messages".to_owned());
            }
            return differences;
        };
        if let Some(body) = &self.body
            && body.as_bytes() != after.body
        {
            let found = String::from_utf8_lossy(&after.body);
            differences.push(format!("body: expected {body:?}, found {found:?}"));
        }
        for (name, expected) in &self.properties {
            let found = properties::find(&after.properties, name);
            if found != expected.as_deref() {
                differences.push(format!("{name}: expected {expected:?}, found {found:?}"));
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(verdict: &str) -> Judged {
        Judged {
            verdict: verdict.to_owned(),
            ..Judged::default()
        }
    }

    #[test]
    fn another_verdict_differs_and_so_does_a_failure_that_nobody_expected() {
        let expects = |verdict: Option<&str>| Expectation {
            verdict: verdict.map(str::to_owned),
            ..Expectation::default()
        };
        let differs = |verdict, judged| !expects(verdict).differences(&judged).is_empty();
        assert!(!differs(Some("pass"), judged("pass")));
        assert!(differs(Some("pass"), judged("drop")));
        assert!(!differs(None, judged("drop")));
        assert!(differs(None, Judged::failed("trap".to_owned())));
        assert!(!differs(Some("fail"), Judged::failed("trap".to_owned())));
    }

    #[test]
    fn a_changed_message_is_compared() {
        let expectation = Expectation {
            verdict: None,
            body: Some("b".to_owned()),
            properties: [
                ("card".to_owned(), Some("****".to_owned())),
                ("secret".to_owned(), None),
            ]
            .into(),
        };
        let with = |properties: &[u8], body: &[u8]| Judged {
            after: Some(After {
                properties: properties.to_vec(),
                body: body.to_vec(),
            }),
            ..judged("pass")
        };
        assert!(
            expectation
                .differences(&with(b"card\x01****\x02", b"b"))
                .is_empty()
        );
        let differences = expectation.differences(&with(b"card\x014111\x02secret\x01x", b"c"));
        assert_eq!(differences.len(), 3, "{differences:?}");
        assert!(!expectation.differences(&judged("pass")).is_empty());
    }
}
