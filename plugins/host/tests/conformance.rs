//! The built-in languages as plugins: the same code behind the plugin interface answers alike, so the
//! interface leaves nothing out that a language needs.

use std::sync::Arc;

use sluice_filters::conformance::{Case, differences, sql92_cases, tag_cases};
use sluice_filters::{ExpressionError, Language, MessageFilter};
use sluice_plugins::Host;

mod common;
use common::open;

/// A language that a host's plugin of that name brings.
struct Brought<'h>(&'h Host, &'static str);

impl Language for Brought<'_> {
    fn name(&self) -> &str {
        self.1
    }

    fn compile(&self, expression: &str) -> Result<Arc<dyn MessageFilter>, ExpressionError> {
        let compiled = self.0.compile(self.1, expression, "T", "G");
        compiled.map_err(ExpressionError::Language)
    }
}

fn check(name: &'static str, module: &[u8], cases: &[Case]) {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    host.put(name, module, 0).unwrap();
    let wrong = differences(&Brought(&host, name), cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql92_through_the_plugin_interface_judges_as_java_does() {
    let module = include_bytes!("../../sql92-language/sql92-language.wasm");
    check("sql92-language", module, &sql92_cases());
}

#[test]
fn tags_through_the_plugin_interface_judge_as_java_does() {
    let module = include_bytes!("../../tag-language/tag-language.wasm");
    check("tag-language", module, &tag_cases());
}

/// What the plugin can't do: the broker compiles parentheses nested deeper than 32 on a thread with a
/// stack of its own, and a guest has no threads. It refuses them in words, and the instance lives.
#[test]
fn parentheses_beyond_one_stack_are_refused_and_up_to_it_work() {
    let dir = tempfile::tempdir().unwrap();
    let host = open(&dir);
    let module = include_bytes!("../../sql92-language/sql92-language.wasm");
    host.put("sql92-language", module, 0).unwrap();
    let nested = |deep: usize| {
        let expression = format!("{}a = 1{}", "(".repeat(deep), ")".repeat(deep));
        host.compile("sql92-language", &expression, "T", "G").err()
    };
    assert_eq!(nested(32), None);
    let refusal = nested(33).expect("a refusal");
    assert!(
        refusal.contains("no stack for the expression's parentheses"),
        "{refusal}"
    );
}
