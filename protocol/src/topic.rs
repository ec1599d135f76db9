//! Names of topics and groups: what is allowed, what is special.

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of topics the system keeps for itself.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Template of auto-created topics.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Load tests.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Decisions about half messages.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that nobody decided.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Legacy.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Messages with an arbitrary delay.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

/// Topic sysFlag: belongs to a unit.
pub const SYS_FLAG_UNIT: i32 = 1;
/// Topic sysFlag: has subscribers in units.
pub const SYS_FLAG_UNIT_SUB: i32 = 2;

/// Longest topic a client may name, in characters.
pub const TOPIC_LENGTH_MAX: usize = 127;
/// Longest group, in characters.
pub const GROUP_LENGTH_MAX: usize = 255;

/// Groups every broker has.
pub const SYSTEM_GROUPS: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Bits of a permission (`PermName`).
pub mod perm {
    /// Consumers may read.
    pub const READ: i32 = 4;
    /// Producers may write.
    pub const WRITE: i32 = 2;
    /// New topics may take after it.
    pub const INHERIT: i32 = 1;

    /// `RWX` with `-` for what is missing.
    pub fn text(perm: i32) -> String {
        [(READ, 'R'), (WRITE, 'W'), (INHERIT, 'X')]
            .map(|(bit, letter)| if perm & bit != 0 { letter } else { '-' })
            .iter()
            .collect()
    }
}

/// A name that can't be a topic; the text is what clients show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Empty or blanks only.
    #[error("The specified topic is blank.")]
    Blank,
    /// Something else than letters, digits, `%`, `|`, `_` and `-`.
    #[error("The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    Characters,
    /// More than [`TOPIC_LENGTH_MAX`]; retry topics of long groups may have more.
    #[error("The specified topic is longer than topic max length.")]
    Length,
}

/// Begins the names of Java's light queues, which share the records of other topics and are in no table.
pub const LMQ_PREFIX: &str = "%LMQ%";

/// Checks a topic's name.
///
/// # Errors
/// [`TopicError`] in Java's words.
pub fn validate(topic: &str) -> Result<(), TopicError> {
    if topic.trim().is_empty() {
        Err(TopicError::Blank)
    } else if !has_legal_characters(topic) {
        Err(TopicError::Characters)
    } else if topic.len()
        > if topic.starts_with(RETRY_PREFIX) {
            GROUP_LENGTH_MAX
        } else {
            TOPIC_LENGTH_MAX
        }
    {
        Err(TopicError::Length)
    } else {
        Ok(())
    }
}

/// Whether a group may be called so.
pub fn is_valid_group(group: &str) -> bool {
    !group.is_empty() && group.len() <= GROUP_LENGTH_MAX && has_legal_characters(group)
}

fn has_legal_characters(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
}

/// Whether the topic is the system's own: it can't be created or deleted.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_PREFIX)
        || topic == AUTO_CREATE_TOPIC
        || topic == BENCHMARK_TOPIC
        || is_send_forbidden(topic)
}

/// Whether clients must not send to the topic.
pub fn is_send_forbidden(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | TRANS_HALF_TOPIC
            | TRANS_OP_HALF_TOPIC
            | TRANS_CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
    )
}

/// Whether the group is the system's own.
pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with("CID_RMQ_SYS_")
}
