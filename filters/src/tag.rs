//! Tag expressions: `*`, or tags joined by `||`.

use sluice_protocol::message::java_hash;

use crate::MessageFilter;

/// A tag expression, compared by hash on the ConsumeQueue alone.
///
/// Two tags may share a hash; consumers compare the text again, as Java's do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Hashes of the tags; empty means all messages.
    codes: Vec<i32>,
}

impl TagFilter {
    /// Everything passes.
    pub const fn all() -> Self {
        TagFilter { codes: Vec::new() }
    }

    /// Parses an expression: absent, empty or `*` is everything, else tags between `||`, blanks
    /// around them and empty ones dropped. `None` when nothing but separators is left.
    ///
    /// ```
    /// use sluice_filters::{MessageFilter, TagFilter};
    /// let filter = TagFilter::parse("TagA || TagB").unwrap();
    /// assert!(filter.may_match_tags_code(2598919));
    /// assert!(!filter.may_match_tags_code(0));
    /// ```
    pub fn parse(expression: &str) -> Option<Self> {
        if expression.is_empty() || expression == "*" {
            return Some(TagFilter::all());
        }
        let codes: Vec<i32> = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(java_hash)
            .collect();
        (!codes.is_empty()).then_some(TagFilter { codes })
    }

    /// Whether every message passes.
    pub fn passes_all(&self) -> bool {
        self.codes.is_empty()
    }
}

impl MessageFilter for TagFilter {
    fn may_match_tags_code(&self, tags_code: i64) -> bool {
        // Java compares the low 32 bits: a unit may carry more in the high ones.
        self.codes.is_empty() || self.codes.contains(&(tags_code as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_as_java_reads_them() {
        assert!(TagFilter::parse("").unwrap().passes_all());
        assert!(TagFilter::parse("*").unwrap().passes_all());
        assert_eq!(TagFilter::parse(" || |||| "), None);
        let filter = TagFilter::parse("a|| b ||").unwrap();
        assert!(filter.may_match_tags_code(i64::from(java_hash("b"))));
        assert!(!filter.may_match_tags_code(i64::from(java_hash("c"))));
    }
}
