//! `{{name}}(value, size)`: in which bucket of that size a value lies.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Function, Message, Needs, Value, export_function};

struct Bucket {
    value: Column<i64>,
    size: Column<i64>,
}

impl Function for Bucket {
    fn configure(_: &Binding, arguments: usize, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        if arguments != 2 {
            return Err("value and size are expected".into());
        }
        Ok(Bucket {
            value: needs.argument(0),
            size: needs.argument(1),
        })
    }

    fn call<'a>(&'a mut self, message: &Message<'a>) -> Value<'a> {
        match (message.get(self.value), message.get(self.size)) {
            (Some(value), Some(size)) if size > 0 => Value::Integer(value.div_euclid(size)),
            _ => Value::Null,
        }
    }
}

export_function!(Bucket);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn a_value_lies_in_one_bucket() {
        let call = |value| Sample::new().argument(value).argument(Some("10"));
        let mut plugin = testing::function::<Bucket>(&[], 2).unwrap();
        plugin.values(
            &[call(Some("25")), call(Some("-1")), call(None)],
            |values| {
                assert_eq!(values, [Value::Integer(2), Value::Integer(-1), Value::Null]);
            },
        );
    }

    #[test]
    fn another_number_of_arguments_is_refused() {
        assert!(testing::function::<Bucket>(&[], 1).is_err());
    }
}
