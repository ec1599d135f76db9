//! Retries of a split group: all lie in its one retry topic, which every share reads at its own pace. A retry
//! names the share that gave the message back, and nobody else gets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_filters::{MessageFilter, Verdict};
use sluice_protocol::message::{Record, properties, tags_code};

use crate::Broker;
use crate::clients::Share;
use crate::clients::share::digest_of;
use crate::expressions::Passing;

/// The digest of the share that gave a message back; ours.
pub(crate) const RETRY_SHARE: &str = "RETRY_SHARE";

/// Properties of a message that the share gives back.
pub(crate) fn mark(properties: &[u8], share: &Share) -> Vec<u8> {
    let mut text = properties::without(properties, &[RETRY_SHARE]);
    properties::put(&mut text, RETRY_SHARE, share.digest());
    text
}

/// What a share gets of the group's retry topic: what it gave back itself. What names no share that the group
/// has (it was given back before the group was split, or sent again by an operator) is for each share that
/// would get the message in its own topic.
struct OwnRetries {
    own: String,
    /// Digests of all shares of the group.
    shares: Vec<String>,
    /// By topic; `None`: a plugin takes part, and the retry is delivered rather than lost.
    wanted: BTreeMap<String, Option<Arc<dyn MessageFilter>>>,
}

impl Broker {
    /// The filter of a share's pulls from the group's retry topic.
    pub(crate) fn own_retries(&self, group: &str, share: &Share) -> Arc<dyn MessageFilter> {
        let digest = |name: &String| digest_of(name).map(str::to_owned);
        let filter = |topic: &str| {
            let subscription = share.subscriptions.get(topic)?;
            if subscription.class_filter_mode {
                return None;
            }
            let language = Some(&*subscription.expression_type);
            match self.passing(topic, group, language, &subscription.sub_string) {
                Ok(Passing::Filter(filter)) => Some(filter),
                _ => None,
            }
        };
        let topics = share.subscriptions.keys();
        Arc::new(OwnRetries {
            own: share.digest().to_owned(),
            shares: self
                .offsets
                .shares_of(group)
                .iter()
                .filter_map(digest)
                .collect(),
            wanted: topics.map(|topic| (topic.clone(), filter(topic))).collect(),
        })
    }
}

impl OwnRetries {
    /// Whether it is another share's; what is nobody's is judged by what it is.
    fn is_foreign(&self, properties: &[u8]) -> bool {
        let of = properties::find(properties, RETRY_SHARE);
        of.is_some_and(|of| of != self.own && self.shares.iter().any(|share| share == of))
    }

    fn is_own(&self, properties: &[u8]) -> bool {
        properties::find(properties, RETRY_SHARE) == Some(&self.own)
    }

    fn wants(&self, record: &Record<'_>) -> Verdict {
        if self.is_own(record.properties()) {
            return Verdict::Pass;
        }
        if self.is_foreign(record.properties()) {
            return Verdict::Drop;
        }
        let Some(topic) = record.property(properties::RETRY_TOPIC) else {
            return Verdict::Pass;
        };
        let Some(wanted) = self.wanted.get(topic) else {
            return Verdict::Drop;
        };
        let Some(filter) = wanted else {
            return Verdict::Pass;
        };
        if !filter.may_match_tags_code(tags_code(record.property(properties::TAGS))) {
            return Verdict::Drop;
        }
        let mut verdict = [Verdict::Pass];
        if filter.needs_record() {
            filter.judge(std::slice::from_ref(record), &mut verdict);
        }
        verdict[0]
    }
}

impl MessageFilter for OwnRetries {
    fn may_match_tags_code(&self, _: i64) -> bool {
        true
    }

    fn needs_record(&self) -> bool {
        true
    }

    fn judge(&self, records: &[Record<'_>], verdicts: &mut [Verdict]) {
        for (record, verdict) in records.iter().zip(verdicts) {
            *verdict = self.wants(record);
        }
    }

    fn may_wake(&self, _: i64, properties: &[u8]) -> bool {
        !self.is_foreign(properties)
    }

    fn is_slow(&self) -> bool {
        let mut filters = self.wanted.values().flatten();
        filters.any(|filter| filter.is_slow())
    }
}
