//! Filter: looks at a value in a JSON body.
//!
//! Settings: `path`, names and array positions joined by dots (`order.items.0.price`), or a JSON
//! pointer (`/order/items/0/price`, RFC 6901) where names hold dots; and one of `equals` (a text, or
//! JSON for other values), `above` and `below` (numbers, both allowed), or none: the
//! value must be there and not be null. A body that is no JSON does not pass.

#![forbid(unsafe_code)]

use serde_json::Value;
use sluice_plugin::{Binding, Filter, Message, Needs, Verdict, export_filter};

struct JsonBody {
    pointer: String,
    test: Test,
}

/// What the value must be.
enum Test {
    Present,
    /// A text, or what it means as JSON.
    Equals(String, Option<Value>),
    Between {
        above: f64,
        below: f64,
    },
}

impl Filter for JsonBody {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        needs.body();
        let path = binding.require("path")?;
        let pointer = match path {
            "" => return Err("the setting path is empty".into()),
            pointer if pointer.starts_with('/') => pointer.to_owned(),
            dotted => [
                "/",
                &dotted
                    .replace('~', "~0")
                    .replace('/', "~1")
                    .replace('.', "/"),
            ]
            .concat(),
        };
        let (above, below) = (binding.parse("above")?, binding.parse("below")?);
        let test = match (binding.param("equals"), above, below) {
            (None, None, None) => Test::Present,
            (Some(text), None, None) => {
                Test::Equals(text.to_owned(), serde_json::from_str(text).ok())
            }
            (Some(_), ..) => return Err("equals does not go with above and below".into()),
            (None, above, below) => Test::Between {
                above: above.unwrap_or(f64::NEG_INFINITY),
                below: below.unwrap_or(f64::INFINITY),
            },
        };
        Ok(JsonBody { pointer, test })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let Ok(body) = serde_json::from_slice::<Value>(message.body()) else {
            return Verdict::Drop;
        };
        body.pointer(&self.pointer)
            .is_some_and(|value| self.test.holds(value))
            .into()
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Test::Present => !value.is_null(),
            Test::Equals(text, json) => {
                value.as_str() == Some(text) || json.as_ref() == Some(value)
            }
            Test::Between { above, below } => value
                .as_f64()
                .is_some_and(|number| number > *above && number < *below),
        }
    }
}

export_filter!(JsonBody);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    const ORDER: &str =
        r#"{"order": {"items": [{"price": 12.5, "a/b~c": "kühl"}], "paid": true, "by": null}}"#;

    fn passes(settings: &[(&str, &str)], body: &str) -> bool {
        let mut plugin = testing::filter::<JsonBody>(settings).unwrap();
        plugin.filter(&[Sample::new().body(body)]) == [Verdict::Pass]
    }

    #[test]
    fn values_are_found_by_path_and_by_pointer() {
        assert!(passes(&[("path", "order.items.0.price")], ORDER));
        assert!(passes(&[("path", "/order/items/0/price")], ORDER));
        assert!(passes(
            &[("path", "order.items.0.a/b~c"), ("equals", "kühl")],
            ORDER
        ));
        for absent in ["order.items.1", "order.by", "order.items.price", "x"] {
            assert!(!passes(&[("path", absent)], ORDER), "{absent}");
        }
    }

    #[test]
    fn values_are_compared() {
        let price = ("path", "order.items.0.price");
        assert!(passes(&[price, ("above", "12")], ORDER));
        assert!(passes(&[price, ("above", "12"), ("below", "13")], ORDER));
        assert!(!passes(&[price, ("below", "12.5")], ORDER));
        assert!(passes(&[price, ("equals", "12.5")], ORDER));
        assert!(passes(&[("path", "order.paid"), ("equals", "true")], ORDER));
        assert!(!passes(
            &[("path", "order.paid"), ("equals", "\"true\"")],
            ORDER
        ));
        assert!(!passes(&[("path", "order.paid"), ("above", "0")], ORDER));
    }

    #[test]
    fn bodies_that_are_no_json_do_not_pass() {
        for body in ["", "{", "{\"a\":1} x", &"[".repeat(100_000)] {
            assert!(!passes(&[("path", "a")], body));
        }
    }

    #[test]
    fn settings_without_sense_are_refused() {
        let both = [("path", "a"), ("equals", "1"), ("above", "1")];
        for settings in [
            &both[..],
            &[("path", "")],
            &[],
            &[("path", "a"), ("above", "x")],
        ] {
            assert!(testing::filter::<JsonBody>(settings).is_err());
        }
    }
}
