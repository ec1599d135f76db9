//! Tables as a broker calls them: of libraries written in C, and of Rust types.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use libloading::{Library, Symbol};
use sluice_plugin::{
    Binding, Column, ConsumeHook, Edits, Filter, Function, Language, Message, Needs, SendHook,
    Value, Verdict, host, kv,
};
use sluice_plugin_block::{self as block, BlockWriter, Edit, Fields, Values, Verdicts};
use sluice_plugin_native::abi::{self, Plugin, Text};
use sluice_plugin_native::entry;

/// The broker's side of the host table.
#[derive(Default)]
struct Broker {
    logs: RefCell<Vec<String>>,
    kv: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    answer: RefCell<Vec<u8>>,
}

impl Broker {
    fn table(&self) -> abi::Host {
        abi::Host {
            abi_version: abi::ABI_VERSION,
            struct_size: size_of::<abi::Host>() as u32,
            context: ptr::from_ref(self).cast_mut().cast(),
            log,
            now,
            counter_add,
            body,
            property,
            kv_get,
            kv_set,
            kv_compare_and_set,
            kv_delete,
        }
    }

    fn say(&self, bytes: Vec<u8>, answer: *mut Text) -> i32 {
        self.answer.replace(bytes);
        // SAFETY: the plugin's, during the call.
        unsafe { answer.write(Text::of(&self.answer.borrow())) };
        abi::OK
    }
}

/// # Safety
/// `context` is that of [`Broker::table`].
unsafe fn broker<'a>(context: *mut c_void) -> &'a Broker {
    // SAFETY: as the caller promises.
    unsafe { &*context.cast::<Broker>() }
}

fn copied(text: Text) -> Vec<u8> {
    // SAFETY: texts are good during the call that gets them.
    unsafe { text.bytes() }.unwrap_or_default().to_vec()
}

fn line(text: Text) -> String {
    String::from_utf8(copied(text)).unwrap()
}

// SAFETY of all blocks below: the tables are called with the context of `Broker::table`.
unsafe extern "C" fn log(context: *mut c_void, level: u32, message: Text) {
    // SAFETY: as above.
    let broker = unsafe { broker(context) };
    broker
        .logs
        .borrow_mut()
        .push(format!("{level} {}", line(message)));
}
unsafe extern "C" fn now(_: *mut c_void) -> u64 {
    u64::MAX
}
unsafe extern "C" fn counter_add(context: *mut c_void, name: Text, delta: u64) {
    // SAFETY: as above.
    unsafe { broker(context) }
        .logs
        .borrow_mut()
        .push(format!("{} +{delta}", line(name)));
}
unsafe extern "C" fn body(context: *mut c_void, row: u32, answer: *mut Text) -> i32 {
    // SAFETY: as above.
    unsafe { broker(context) }.say(format!("body {row}").into(), answer)
}
unsafe extern "C" fn property(c: *mut c_void, row: u32, name: Text, answer: *mut Text) -> i32 {
    if row > 0 {
        return abi::NONE;
    }
    // SAFETY: as above.
    unsafe { broker(c) }.say(format!("{} of {row}", line(name)).into(), answer)
}
unsafe extern "C" fn kv_get(context: *mut c_void, key: Text, answer: *mut Text) -> i32 {
    // SAFETY: as above.
    let broker = unsafe { broker(context) };
    let found = broker.kv.borrow().get(&copied(key)).cloned();
    found.map_or(abi::NONE, |value| broker.say(value, answer))
}
unsafe extern "C" fn kv_set(
    c: *mut c_void,
    key: Text,
    value: Text,
    _: u64,
    error: *mut Text,
) -> i32 {
    // SAFETY: as above.
    let broker = unsafe { broker(c) };
    if line(key) == "full" {
        broker.say(b"the quota is used up".to_vec(), error);
        return abi::REFUSED;
    }
    broker.kv.borrow_mut().insert(copied(key), copied(value));
    abi::OK
}
unsafe extern "C" fn kv_compare_and_set(
    context: *mut c_void,
    key: Text,
    old: Text,
    new: Text,
    ttl_ms: u64,
    error: *mut Text,
) -> i32 {
    // SAFETY: as above.
    let found = unsafe { broker(context) }
        .kv
        .borrow()
        .get(&copied(key))
        .cloned();
    // SAFETY: texts are good during the call that gets them.
    if found.as_deref() != unsafe { old.bytes() } {
        return abi::UNEQUAL;
    }
    // SAFETY: as above.
    unsafe { kv_set(context, key, new, ttl_ms, error) }
}
unsafe extern "C" fn kv_delete(context: *mut c_void, key: Text, _: *mut Text) -> i32 {
    // SAFETY: as above.
    unsafe { broker(context) }
        .kv
        .borrow_mut()
        .remove(&copied(key));
    abi::OK
}

/// An instance of a table.
struct Instance<'a> {
    table: &'a Plugin,
    at: *mut c_void,
    needs: abi::Needs,
    broker: Broker,
}

impl<'a> Instance<'a> {
    fn new(
        table: &'a Plugin,
        expression: &str,
        arguments: u32,
        params: &[(&str, &str)],
    ) -> Result<Self, (i32, String)> {
        assert_eq!((table.abi_version, table.reserved), (abi::ABI_VERSION, 0));
        assert_eq!(table.struct_size as usize, size_of::<Plugin>());
        let broker = Broker::default();
        let text = |text: &str| Text::of(text.as_bytes());
        let params: Vec<_> = params
            .iter()
            .map(|(key, value)| [text(key), text(value)])
            .collect();
        let asked = abi::Binding {
            struct_size: size_of::<abi::Binding>() as u32,
            arguments,
            expression: text(expression),
            topic: text("topic"),
            group: Text::NOTHING,
            params: params.as_ptr(),
            params_len: params.len() as u32,
        };
        let mut needs = abi::Needs {
            properties: ptr::null(),
            properties_len: 0,
            fields: 0,
            body: 0,
            pure: 0,
        };
        let (mut at, mut error) = (ptr::null_mut(), Text::NOTHING);
        // SAFETY: everything is there during the call, as the header asks.
        let code = unsafe {
            table.configure.unwrap()(&broker.table(), &asked, &mut at, &mut needs, &mut error)
        };
        match code {
            abi::OK => Ok(Instance {
                table,
                at,
                needs,
                broker,
            }),
            code => Err((code, line(error))),
        }
    }

    fn properties(&self) -> Vec<String> {
        // SAFETY: the instance's needs are there for as long as the instance.
        let names = unsafe {
            std::slice::from_raw_parts(self.needs.properties, self.needs.properties_len as usize)
        };
        names.iter().map(|name| line(*name)).collect()
    }

    fn call(&self, entry: Option<abi::Call>, block: &[u8]) -> Result<Vec<u8>, i32> {
        let mut answer = Text::NOTHING;
        // SAFETY: everything is there during the call, as the header asks.
        let code =
            unsafe { entry.unwrap()(self.at, &self.broker.table(), Text::of(block), &mut answer) };
        if code == abi::OK {
            Ok(copied(answer))
        } else {
            Err(code)
        }
    }

    fn see(&self, entry: Option<abi::See>, block: &[u8]) -> i32 {
        // SAFETY: everything is there during the call, as the header asks.
        unsafe { entry.unwrap()(self.at, &self.broker.table(), Text::of(block)) }
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        unsafe { self.table.destroy.unwrap()(self.at) };
    }
}

/// A block of one column.
fn column(values: &[Option<&str>]) -> Vec<u8> {
    let mut writer = BlockWriter::new();
    writer.begin(values.len(), 1, Fields::NONE, false);
    for (row, value) in values.iter().enumerate() {
        if let Some(value) = value {
            writer.cell(row, 0, value.as_bytes());
        }
    }
    writer.bytes().unwrap().to_vec()
}

fn c_library(name: &str, source: &Path) -> Library {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let done = Command::new(compiler)
        .args([
            "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
        ])
        .args([here.join("../c"), here.to_owned()].map(|folder| format!("-I{}", folder.display())))
        .arg(here.join(source))
        .arg("-o")
        .arg(&library)
        .status();
    assert!(done.expect("a C compiler").success());
    // SAFETY: the library has no initialisers.
    unsafe { Library::new(library) }.unwrap()
}

fn judges_big_orders(table: &Plugin) {
    let filter = Instance::new(table, "", 0, &[("min", "1"), ("min", "10")]).unwrap();
    assert_eq!(filter.properties(), ["amount"]);
    assert_eq!(
        (filter.needs.fields, filter.needs.body, filter.needs.pure),
        (0, 0, 1)
    );
    let block = column(&[Some("11"), Some("10"), None, Some("x"), Some("-11")]);
    let answer = filter.call(table.filter_block, &block).unwrap();
    let [pass, drop] = [Verdict::Pass, Verdict::Drop];
    assert!(
        Verdicts::parse(&answer, 5)
            .unwrap()
            .iter()
            .eq([pass, drop, drop, drop, drop])
    );
    let fixed = 24 + 5 * 8;
    for end in 0..fixed {
        assert_eq!(
            filter.call(table.filter_block, &block[..end]),
            Err(abi::MALFORMED)
        );
    }
    // Hostile cells are absent ones.
    for at in fixed - 5 * 8..fixed {
        let mut hostile = block.clone();
        hostile[at] = 0xff;
        assert_eq!(filter.call(table.filter_block, &hostile).unwrap().len(), 5);
    }

    let (code, error) = Instance::new(table, "", 0, &[("min", "ten")])
        .err()
        .unwrap();
    assert_eq!(code, abi::REFUSED);
    assert!(error.contains("min"), "{error}");
}

#[test]
fn a_filter_in_c() {
    let library = c_library("big_orders", Path::new("examples/big_orders.c"));
    // SAFETY: the header says what the symbol is.
    let table: Symbol<unsafe extern "C" fn() -> *const Plugin> =
        unsafe { library.get(abi::SYMBOL.as_bytes()) }.unwrap();
    // SAFETY: the table lives as long as the library.
    judges_big_orders(unsafe { &*table() });
}

#[test]
fn the_header_and_the_rust_structs_are_laid_out_alike() {
    let library = c_library("layout", Path::new("tests/layout.c"));
    // SAFETY: this is what layout.c exports.
    let layout: Symbol<unsafe extern "C" fn() -> *const u32> =
        unsafe { library.get(b"sluice_layout") }.unwrap();
    let expected = [
        size_of::<Text>(),
        offset_of!(Text, len),
        size_of::<abi::Host>(),
        offset_of!(abi::Host, context),
        offset_of!(abi::Host, log),
        offset_of!(abi::Host, kv_delete),
        size_of::<abi::Binding>(),
        offset_of!(abi::Binding, expression),
        offset_of!(abi::Binding, params),
        offset_of!(abi::Binding, params_len),
        size_of::<abi::Needs>(),
        offset_of!(abi::Needs, properties_len),
        offset_of!(abi::Needs, pure),
        size_of::<Plugin>(),
        offset_of!(Plugin, configure),
        offset_of!(Plugin, call_block),
        offset_of!(Plugin, after_consume),
        offset_of!(Plugin, destroy),
    ];
    // SAFETY: the array has as many elements as `expected`.
    let found = unsafe { std::slice::from_raw_parts(layout(), expected.len()) };
    assert_eq!(found, expected.map(|bytes| bytes as u32));
}

struct BigOrders(Column<i64>, i64);

impl Filter for BigOrders {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        Ok(BigOrders(
            needs.property("amount"),
            binding.parse("min")?.unwrap_or(100),
        ))
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        message
            .get(self.0)
            .is_some_and(|amount| amount > self.1)
            .into()
    }
}

#[test]
fn a_filter_in_rust() {
    judges_big_orders(&entry::filter::<BigOrders>());
}

/// Panics at what it is told to.
struct Panics(String);

impl Filter for Panics {
    fn configure(binding: &Binding, _: &mut Needs) -> Result<Self, String> {
        let at = binding.require("at")?;
        assert_ne!(at, "configure");
        Ok(Panics(at.to_owned()))
    }

    fn filter(&mut self, _: &Message<'_>) -> Verdict {
        panic!("as told");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop");
    }
}

#[test]
fn no_panic_reaches_the_broker() {
    let table = entry::filter::<Panics>();
    let refused = Instance::new(&table, "", 0, &[("at", "configure")])
        .err()
        .unwrap();
    assert_eq!(refused.0, abi::BROKEN);
    let filter = Instance::new(&table, "", 0, &[("at", "drop")]).unwrap();
    assert_eq!(
        filter.call(table.filter_block, &column(&[None])),
        Err(abi::BROKEN)
    );
}

/// Uses everything that the broker offers.
struct Calls;

impl SendHook for Calls {
    fn configure(_: &Binding, _: &mut Needs) -> Result<Self, String> {
        kv::set("configured", b"yes", 0)?;
        Ok(Calls)
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        host::log(host::Level::Warn, "before");
        host::counter_add("calls", 2);
        assert_eq!(kv::get("configured").as_deref(), Some(&b"yes"[..]));
        assert_eq!(kv::compare_and_set("configured", None, b"", 0), Ok(false));
        assert_eq!(
            kv::compare_and_set("configured", Some(b"yes"), b"no", 0),
            Ok(true)
        );
        assert_eq!(kv::set("full", b"", 0), Err("the quota is used up".into()));
        kv::delete("configured").unwrap();
        assert_eq!(kv::get("configured"), None);
        kv::set("configured", b"yes", 0).unwrap();
        assert_eq!(host::now(), u64::MAX);
        edits.set_body(host::body(message.row()));
        edits.set_topic(&host::property(message.row(), "p").unwrap_or_default());
    }

    fn after_send(&mut self, _: &Message<'_>) {
        host::log(host::Level::Info, "after");
    }
}

impl ConsumeHook for Calls {
    fn configure(_: &Binding, _: &mut Needs) -> Result<Self, String> {
        Ok(Calls)
    }

    fn before_deliver(&mut self, _: &Message<'_>, edits: &mut Edits<'_>) {
        edits.drop_message();
    }

    fn after_consume(&mut self, _: &Message<'_>) {
        host::log(host::Level::Debug, "consumed");
    }
}

#[test]
fn hooks_call_the_broker() {
    let table = entry::send_hook::<Calls>();
    let hook = Instance::new(&table, "", 0, &[]).unwrap();
    hook.broker
        .kv
        .borrow_mut()
        .insert(b"configured".into(), b"yes".into());
    let rows = column(&[None, None]);
    let answer = hook.call(table.before_send, &rows).unwrap();
    let expected = [
        (0, Edit::SetBody(b"body 0")),
        (0, Edit::SetTopic("p of 0")),
        (1, Edit::SetBody(b"body 1")),
        (1, Edit::SetTopic("")),
    ];
    assert!(block::Edits::parse(&answer, 2).unwrap().iter().eq(expected));
    assert_eq!(hook.see(table.after_send, &rows), abi::OK);
    assert_eq!(hook.see(table.after_send, b"x"), abi::MALFORMED);
    assert_eq!(
        *hook.broker.logs.borrow(),
        [
            "2 before", "calls +2", "2 before", "calls +2", "1 after", "1 after"
        ]
    );

    let table = entry::consume_hook::<Calls>();
    let hook = Instance::new(&table, "", 0, &[]).unwrap();
    let answer = hook.call(table.before_deliver, &rows).unwrap();
    assert!(
        block::Edits::parse(&answer, 2)
            .unwrap()
            .iter()
            .eq([(0, Edit::Drop), (1, Edit::Drop)])
    );
    assert_eq!(hook.see(table.after_consume, &rows), abi::OK);
    assert_eq!(*hook.broker.logs.borrow(), ["0 consumed", "0 consumed"]);
}

/// As a language: the text that a message must have; as a function: the length of its argument.
struct Given(Column<str>, String);

impl Language for Given {
    fn compile(expression: &str, _: &Binding, needs: &mut Needs) -> Result<Self, String> {
        Ok(Given(needs.property("p"), expression.to_owned()))
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        (message.get(self.0) == Some(self.1.as_str())).into()
    }
}

impl Function for Given {
    fn configure(_: &Binding, arguments: usize, needs: &mut Needs) -> Result<Self, String> {
        Ok(Given(needs.argument(0), arguments.to_string()))
    }

    fn call<'a>(&'a mut self, message: &Message<'a>) -> Value<'a> {
        message.get(self.0).map_or(Value::Text(&self.1), |text| {
            Value::Integer(text.len() as i64)
        })
    }
}

#[test]
fn languages_and_functions() {
    let table = entry::language::<Given>();
    let language = Instance::new(&table, "eu", 0, &[]).unwrap();
    let answer = language
        .call(table.filter_block, &column(&[Some("eu"), None]))
        .unwrap();
    assert_eq!(answer, [1, 0]);

    let table = entry::function::<Given>();
    let function = Instance::new(&table, "", 1, &[]).unwrap();
    let answer = function
        .call(table.call_block, &column(&[Some("eu"), None]))
        .unwrap();
    let expected = [Value::Integer(2), Value::Text("1")];
    assert!(Values::parse(&answer, 2).unwrap().iter().eq(expected));
}
