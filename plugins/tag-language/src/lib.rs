//! Expression language: tags as they are built in, through the plugin interface.
//!
//! Built from the very code of the broker's TAG; the conformance suite holds both to the same answers.

#![forbid(unsafe_code)]

use sluice_filters::{ExpressionError, MessageFilter, TagFilter};
use sluice_plugin::{Binding, Field, Language, Message, Needs, Verdict, export_language};

struct Tag(TagFilter);

impl Language for Tag {
    fn compile(expression: &str, _: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        needs.field(Field::TagsCode);
        let filter = TagFilter::parse(expression).ok_or(ExpressionError::NoTag);
        filter.map(Tag).map_err(|error| error.to_string())
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let code = message.field(Field::TagsCode).unwrap_or(0);
        self.0.may_match_tags_code(code).into()
    }
}

export_language!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn tags_are_compared_by_their_code() {
        // `java_hash("TagA")`.
        let sample = || Sample::new().field(Field::TagsCode, 2_598_919);
        let judge = |expression| {
            let mut plugin = testing::language::<Tag>(expression, &[]).unwrap();
            plugin.judge(&[sample(), Sample::new().field(Field::TagsCode, 1)])
        };
        assert_eq!(judge("TagA || TagB"), [Verdict::Pass, Verdict::Drop]);
        assert_eq!(judge("*"), [Verdict::Pass, Verdict::Pass]);
        assert_eq!(
            testing::language::<Tag>(" || ", &[]).err().as_deref(),
            Some("no tag between the separators")
        );
    }
}
