//! Each kind of plugin, as an author tests it.

use std::rc::Rc;

use sluice_plugin::host::{Host, Level, with_host};
use sluice_plugin::testing::{self, Double, Sample};
use sluice_plugin::{
    Binding, Column, ConsumeHook, Edit, Edits, Field, Filter, Function, Language, Message, Needs,
    SendHook, Value, Verdict, host, kv,
};

/// Says how each column was read.
struct Reads {
    text: Column<str>,
    bytes: Column<[u8]>,
    integer: Column<i64>,
    float: Column<f64>,
    boolean: Column<bool>,
}

impl Filter for Reads {
    fn configure(_: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.body();
        needs.field(Field::StoreTime);
        Ok(Reads {
            text: needs.property("p"),
            bytes: needs.property("p"),
            integer: needs.property("p"),
            float: needs.property("p"),
            boolean: needs.property("p"),
        })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let read = format!(
            "{:?} {:?} {:?} {:?} {:?} {} {:?} {:?} {:?}",
            message.get(self.text),
            message.get(self.bytes).map(<[u8]>::len),
            message.get(self.integer),
            message.get(self.float),
            message.get(self.boolean),
            message.has(self.text),
            message.body(),
            message.field(Field::StoreTime),
            message.field(Field::QueueId),
        );
        host::log(Level::Info, &read);
        Verdict::Pass
    }
}

#[test]
fn columns_are_read_as_what_they_are_declared() {
    let mut plugin = testing::filter::<Reads>(&[]).unwrap();
    assert_eq!(
        plugin.needs().properties(),
        ["p"],
        "a property asked for twice is one column"
    );
    let samples = [
        Sample::new()
            .property("p", "-7")
            .body([1])
            .field(Field::StoreTime, 5),
        Sample::new().property("p", "1.5"),
        Sample::new().property("p", "TRUE").property("p", "False"),
        Sample::new().property("p", [0xff]),
        Sample::new().property("q", "7"),
    ];
    plugin.filter(&samples);
    let read: Vec<_> = plugin
        .host
        .logs()
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        read,
        [
            "Some(\"-7\") Some(2) Some(-7) Some(-7.0) None true [1] Some(5) None",
            "Some(\"1.5\") Some(3) None Some(1.5) None true [] Some(0) None",
            "Some(\"False\") Some(5) None None Some(false) true [] Some(0) None",
            "None Some(1) None None None true [] Some(0) None",
            "None None None None None false [] Some(0) None",
        ]
    );
}

/// Judges only every second row.
struct Half;

impl Filter for Half {
    fn configure(_: &Binding, _: &mut Needs) -> Result<Self, String> {
        Ok(Half)
    }

    fn filter(&mut self, _: &Message<'_>) -> Verdict {
        unreachable!("it judges whole blocks")
    }

    fn filter_batch(&mut self, messages: sluice_plugin::Messages<'_>, verdicts: &mut [Verdict]) {
        assert_eq!(messages.len(), verdicts.len());
        verdicts
            .iter_mut()
            .step_by(2)
            .for_each(|verdict| *verdict = Verdict::Hold);
    }
}

#[test]
fn a_row_that_was_not_judged_has_failed() {
    let mut plugin = testing::filter::<Half>(&[]).unwrap();
    let verdicts = plugin.filter(&[Sample::new(), Sample::new(), Sample::new()]);
    assert_eq!(verdicts, [Verdict::Hold, Verdict::Failed, Verdict::Hold]);
}

/// `join(a, b)` with a property between; the text lives in the plugin.
struct Join {
    arguments: [Column<str>; 2],
    between: Column<str>,
    text: String,
}

impl Function for Join {
    fn configure(_: &Binding, arguments: usize, needs: &mut Needs) -> Result<Self, String> {
        assert_eq!(arguments, 2);
        Ok(Join {
            arguments: [needs.argument(0), needs.argument(2)],
            between: needs.property("between"),
            text: String::new(),
        })
    }

    fn call<'a>(&'a mut self, message: &Message<'a>) -> Value<'a> {
        let Some(between) = message.get(self.between) else {
            return Value::Failed;
        };
        let [a, b] = self.arguments.map(|argument| message.get(argument));
        self.text = format!("{a:?}{between}{b:?}");
        Value::Text(&self.text)
    }
}

#[test]
fn arguments_come_before_properties() {
    let mut plugin = testing::function::<Join>(&[], 2).unwrap();
    let sample = Sample::new().argument(Some("x")).argument(Some("y"));
    plugin.values(
        &[sample.clone().property("between", "-"), sample],
        |values| {
            assert_eq!(values, [Value::Text("Some(\"x\")-None"), Value::Failed]);
        },
    );
}

/// Makes every edit there is.
struct Everything;

impl Everything {
    fn edit(&self, message: &Message<'_>, edits: &mut Edits<'_>) {
        if message.row() == 0 {
            return;
        }
        edits.set_property("k", "v");
        edits.delete_property("k");
        edits.set_body(host::body(message.row()));
        edits.set_topic("t");
        edits.set_queue(3);
        edits.set_delay(1000);
        edits.reject("no");
        edits.reject_with(1, &host::property(message.row(), "why").unwrap_or_default());
        edits.drop_message();
    }
}

impl SendHook for Everything {
    fn configure(_: &Binding, _: &mut Needs) -> Result<Self, String> {
        Ok(Everything)
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        self.edit(message, edits);
    }
}

impl ConsumeHook for Everything {
    fn configure(_: &Binding, _: &mut Needs) -> Result<Self, String> {
        Ok(Everything)
    }

    fn before_deliver(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        self.edit(message, edits);
    }
}

#[test]
fn hooks_edit_their_rows() {
    let samples = [
        Sample::new(),
        Sample::new().body("body").property("why", "because"),
    ];
    let expected = [
        Edit::SetProperty {
            key: "k",
            value: b"v",
        },
        Edit::DeleteProperty { key: "k" },
        Edit::SetBody(b"body"),
        Edit::SetTopic("t"),
        Edit::SetQueue(3),
        Edit::SetDelay(1000),
        Edit::Reject {
            code: None,
            reason: "no",
        },
        Edit::Reject {
            code: Some(1),
            reason: "because",
        },
        Edit::Drop,
    ];
    let expected = expected.map(|edit| (1, edit));
    let mut hook = testing::send_hook::<Everything>(&[]).unwrap();
    hook.before_send(&samples, |edits| assert_eq!(edits, expected));
    hook.after_send(&samples);
    let mut hook = testing::consume_hook::<Everything>(&[]).unwrap();
    hook.before_deliver(&samples, |edits| assert_eq!(edits, expected));
    hook.after_consume(&samples);
}

struct Only(String);

impl Language for Only {
    fn compile(expression: &str, binding: &Binding, _: &mut Needs) -> Result<Self, String> {
        binding
            .require("dialect")
            .map(|dialect| Only([dialect, expression].concat()))
    }

    fn filter(&mut self, _: &Message<'_>) -> Verdict {
        (self.0 == "ab").into()
    }
}

#[test]
fn a_language_gets_expression_and_binding() {
    let mut plugin = testing::language::<Only>("b", &[("dialect", "x"), ("dialect", "a")]).unwrap();
    assert_eq!(plugin.judge(&[Sample::new()]), [Verdict::Pass]);
    let refused = testing::language::<Only>("b", &[]).unwrap_err();
    assert_eq!(refused, "the setting dialect is missing");
}

#[test]
fn settings_are_read() {
    let binding = testing::binding(&[("n", "7"), ("text", "x")]);
    assert_eq!(binding.parse::<i64>("n"), Ok(Some(7)));
    assert_eq!(binding.parse::<i64>("absent"), Ok(None));
    assert_eq!(
        binding.parse::<i64>("text"),
        Err("the setting text can't be read: x".into())
    );
}

#[test]
fn the_double_forgets_by_its_own_clock() {
    let double = Rc::new(Double::new());
    with_host(double.clone(), || {
        assert_eq!(kv::compare_and_set("k", None, b"1", 10), Ok(true));
        assert_eq!(kv::compare_and_set("k", None, b"2", 10), Ok(false));
        assert_eq!(kv::compare_and_set("k", Some(b"1"), b"2", 10), Ok(true));
        double.set_now(9);
        assert_eq!((host::now(), kv::get("k")), (9, Some(b"2".to_vec())));
        double.set_now(10);
        assert_eq!(kv::get("k"), None);
        kv::set("k", b"3", 0).unwrap();
        double.set_now(u64::MAX);
        assert_eq!(kv::get("k"), Some(b"3".to_vec()));
        kv::delete("k").unwrap();
        assert_eq!(kv::get("k"), None);
    });
}

#[test]
fn a_panic_gives_the_thread_its_host_back() {
    let outer = Rc::new(Double::new());
    with_host(outer.clone(), || {
        let inner: Rc<dyn Host> = Rc::new(Double::new());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            with_host(inner, || panic!("in a plugin"));
        }));
        assert!(panicked.is_err());
        host::counter_add("n", 2);
    });
    assert_eq!(outer.counter("n"), 2);
}
