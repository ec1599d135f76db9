//! Expression languages, looked up by the expression type of a subscription.

use std::sync::Arc;

use crate::sql92::Functions;
use crate::{ExpressionError, MessageFilter, Sql92, TagFilter};

/// A language that subscriptions are written in: TAG, SQL92, or one that a plugin brings.
pub trait Language: Send + Sync {
    /// The expression type that asks for it.
    fn name(&self) -> &str;

    /// Compiles `expression`.
    ///
    /// # Errors
    /// For the person who wrote the expression: where it is wrong, and what was expected.
    fn compile(&self, expression: &str) -> Result<Arc<dyn MessageFilter>, ExpressionError>;
}

/// Expression type of tag expressions.
pub const TAG: &str = "TAG";
/// Expression type of SQL92 expressions.
pub const SQL92: &str = "SQL92";

/// Tag expressions.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagLanguage;

impl Language for TagLanguage {
    fn name(&self) -> &str {
        TAG
    }

    fn compile(&self, expression: &str) -> Result<Arc<dyn MessageFilter>, ExpressionError> {
        let filter = TagFilter::parse(expression).ok_or(ExpressionError::NoTag)?;
        Ok(Arc::new(filter))
    }
}

/// SQL92 with the functions it may call.
pub struct Sql92Language<F>(pub F);

impl<F: Functions> Language for Sql92Language<F> {
    fn name(&self) -> &str {
        SQL92
    }

    fn compile(&self, expression: &str) -> Result<Arc<dyn MessageFilter>, ExpressionError> {
        Ok(Arc::new(Sql92::compile(expression, &self.0)?))
    }
}

/// The languages there are.
#[derive(Clone, Default)]
pub struct Languages {
    known: Vec<Arc<dyn Language>>,
}

impl Languages {
    /// TAG and SQL92, the latter calling `functions`.
    pub fn built_in(functions: impl Functions + 'static) -> Self {
        let mut languages = Languages::default();
        languages.add(Arc::new(TagLanguage));
        languages.add(Arc::new(Sql92Language(functions)));
        languages
    }

    /// Adds a language, in place of one of the same name.
    pub fn add(&mut self, language: Arc<dyn Language>) {
        self.remove(language.name());
        self.known.push(language);
    }

    /// Takes a language away; filters that it has compiled stay.
    pub fn remove(&mut self, name: &str) {
        self.known.retain(|language| language.name() != name);
    }

    /// The language of an expression type, exactly as written; absent or empty is [`TAG`].
    ///
    /// # Errors
    /// [`ExpressionError::UnknownLanguage`].
    pub fn get(
        &self,
        expression_type: Option<&str>,
    ) -> Result<&Arc<dyn Language>, ExpressionError> {
        let name = expression_type
            .filter(|name| !name.is_empty())
            .unwrap_or(TAG);
        let found = self.known.iter().find(|language| language.name() == name);
        found.ok_or_else(|| ExpressionError::UnknownLanguage {
            name: name.to_owned(),
            known: self.names().join(", "),
        })
    }

    /// Names of all languages.
    pub fn names(&self) -> Vec<&str> {
        self.known.iter().map(|language| language.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql92::NoFunctions;

    struct Nothing;
    impl Language for Nothing {
        fn name(&self) -> &str {
            "NOTHING"
        }
        fn compile(&self, expression: &str) -> Result<Arc<dyn MessageFilter>, ExpressionError> {
            Err(ExpressionError::Language(format!("no {expression}")))
        }
    }

    #[test]
    fn languages_are_found_by_expression_type() {
        let mut languages = Languages::built_in(NoFunctions);
        let name = |languages: &Languages, expression_type| {
            languages
                .get(expression_type)
                .map(|found| found.name().to_owned())
        };
        assert_eq!(name(&languages, None).as_deref(), Ok("TAG"));
        assert_eq!(name(&languages, Some("")).as_deref(), Ok("TAG"));
        assert_eq!(name(&languages, Some("SQL92")).as_deref(), Ok("SQL92"));
        assert_eq!(
            name(&languages, Some("sql92")).unwrap_err().to_string(),
            "expression type `sql92` is unknown; known: TAG, SQL92"
        );
        languages.add(Arc::new(Nothing));
        languages.add(Arc::new(Nothing));
        assert_eq!(languages.names(), ["TAG", "SQL92", "NOTHING"]);
        let nothing = languages.get(Some("NOTHING")).expect("it has been added");
        let refused = nothing
            .compile("thing")
            .err()
            .map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some("no thing"));
        languages.remove("NOTHING");
        assert!(languages.get(Some("NOTHING")).is_err());
    }

    #[test]
    fn built_in_languages_refuse_what_they_can_not_read() {
        let languages = Languages::built_in(NoFunctions);
        let refused = |expression_type, expression| {
            let language = languages.get(expression_type).expect("a language");
            language
                .compile(expression)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refused(None, "a || b"), None);
        assert_eq!(
            refused(None, "||").as_deref(),
            Some("no tag between the separators")
        );
        assert_eq!(refused(Some(SQL92), "a = 1"), None);
        assert_eq!(
            refused(Some(SQL92), "a = ").as_deref(),
            Some("column 5: found the end, expected a value")
        );
    }
}
