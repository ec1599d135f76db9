//! Native libraries: the C ABI of `sdk/native/sluice_native.h`, from the broker's side.
//!
//! A library is trusted code: it runs in this process, unguarded, and is never unloaded. What is
//! checked is that it is what the operator meant (see `trust`) and that it speaks this ABI; its texts
//! are read as the header says, its answers as everybody's.

use std::cell::RefCell;
use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::time::Instant;

use libloading::os::unix::{self, RTLD_LOCAL, RTLD_NOW};
use sluice_plugin_native::abi::{self, Kind, Plugin, Text};

use crate::World;
use crate::error::CallError;
use crate::instance::{AtHand, COLUMNS_MAX, Needs, Place, SetUp, Shared};
use crate::kv::Kv;
use crate::limits::Limits;

/// A loaded library's table, checked: what its kind must have is there.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    pub(crate) world: World,
    configure: abi::Configure,
    entry: abi::Call,
    after: Option<abi::See>,
    destroy: abi::Destroy,
}

impl Library {
    /// Loads a library and checks its table. It stays in the process whatever comes out.
    ///
    /// The path must hold its content's hash: the loader takes a file that it has met for the library
    /// it has loaded. The file must be trusted, for its initialisers run before anything is checked.
    pub(crate) fn load(path: &Path) -> Result<Library, String> {
        // A function that is found nowhere is to be missed now: in the midst of a call that would
        // end the broker.
        let flags = RTLD_NOW | RTLD_LOCAL;
        // SAFETY: the operator vouches for the file, initialisers included.
        let library = unsafe { unix::Library::open(Some(path), flags) };
        let library = library.map_err(|error| format!("it can't be loaded: {error}"))?;
        // Nothing of it may go while its functions may be called: for ever.
        let library: &'static unix::Library = Box::leak(Box::new(library));
        type Export = unsafe extern "C" fn() -> *const Plugin;
        // SAFETY: the header says that a symbol of this name is such a function.
        let export = unsafe { library.get::<Export>(abi::SYMBOL.as_bytes()) };
        let export =
            export.map_err(|_| format!("it is no plugin: it does not export `{}`", abi::SYMBOL))?;
        // SAFETY: as above; it may be called at any time.
        let table = unsafe { export() };
        // SAFETY: what it gives is a table, which lives as long as the library.
        unsafe { Library::check(table) }
    }

    /// # Safety
    /// `table` is null or the address of a table that begins with version and size, and is there
    /// for ever.
    unsafe fn check(table: *const Plugin) -> Result<Library, String> {
        if !table.is_aligned() || table.is_null() {
            return Err("its table of functions is not there".to_owned());
        }
        // SAFETY: every version of the table begins with these two.
        let (version, size) = unsafe { ((*table).abi_version, (*table).struct_size) };
        if version != abi::ABI_VERSION {
            return Err(format!(
                "its abi_version is {version}, this broker's is {}",
                abi::ABI_VERSION
            ));
        }
        if (size as usize) < size_of::<Plugin>() {
            return Err(format!(
                "the struct_size of its table is {size}, at least {} are expected",
                size_of::<Plugin>()
            ));
        }
        // SAFETY: it has this version and, as it says itself, at least this size.
        let table = unsafe { *table };
        let world = world(table.kind)
            .ok_or_else(|| format!("this broker does not know its kind, {}", table.kind))?;
        let (name, entry) = match world {
            World::Function => ("call_block", table.call_block),
            World::SendHook => ("before_send", table.before_send),
            World::ConsumeHook => ("before_deliver", table.before_deliver),
            _ => ("filter_block", table.filter_block),
        };
        let after = match world {
            World::SendHook => Some(there(world, "after_send", table.after_send)?),
            World::ConsumeHook => Some(there(world, "after_consume", table.after_consume)?),
            _ => None,
        };
        Ok(Library {
            world,
            configure: there(world, "configure", table.configure)?,
            entry: there(world, name, entry)?,
            after,
            destroy: there(world, "destroy", table.destroy)?,
        })
    }
}

fn world(kind: u32) -> Option<World> {
    const WORLDS: [(Kind, World); 5] = [
        (Kind::Filter, World::Filter),
        (Kind::Language, World::Language),
        (Kind::Function, World::Function),
        (Kind::SendHook, World::SendHook),
        (Kind::ConsumeHook, World::ConsumeHook),
    ];
    let found = WORLDS.iter().find(|(known, _)| *known as u32 == kind);
    found.map(|(_, world)| *world)
}

fn there<T>(world: World, name: &str, entry: Option<T>) -> Result<T, String> {
    entry.ok_or_else(|| format!("its table lacks `{name}`, which a {world} must have"))
}

/// A live instance.
pub(crate) struct Instance {
    library: Library,
    /// The plugin's; absent until it is set up.
    made: Option<*mut c_void>,
    limits: Limits,
    shared: Shared,
}

// SAFETY: the header has the plugin promise that its instances may change threads between calls;
// everything else in here may anyway.
unsafe impl Send for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(made) = self.made.take() {
            // SAFETY: `configure` made it, and nobody uses it any more.
            unsafe { (self.library.destroy)(made) }
        }
    }
}

impl Instance {
    /// Sets up an instance; what it then needs.
    pub(crate) fn start(
        library: &Library,
        place: &Place,
        set_up: &SetUp,
        limits: Limits,
        shared: &Shared,
    ) -> Result<(Instance, Needs), CallError> {
        let mut instance = Instance {
            library: *library,
            made: None,
            limits,
            shared: shared.clone(),
        };
        let needs = match set_up {
            SetUp::Later => Needs::default(),
            SetUp::Configure => instance.configure(place, "", 0)?,
            SetUp::Compile(expression) => instance.configure(place, expression, 0)?,
            SetUp::Function(arguments) => instance.configure(place, "", *arguments)?,
        };
        Ok((instance, needs))
    }

    fn configure(
        &mut self,
        place: &Place,
        expression: &str,
        arguments: u32,
    ) -> Result<Needs, CallError> {
        let text = |text: &str| Text::of(text.as_bytes());
        let params: Vec<[Text; 2]> = place
            .params
            .iter()
            .map(|(name, value)| [text(name), text(value)])
            .collect();
        let binding = abi::Binding {
            struct_size: size_of::<abi::Binding>() as u32,
            arguments,
            expression: text(expression),
            topic: text(&place.topic),
            group: text(&place.group),
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
        let (mut made, mut error) = (ptr::null_mut(), Text::NOTHING);
        let at_hand = AtHand {
            now_ms: 0,
            rows: &[],
        };
        let context = self.context(at_hand);
        // SAFETY: everything is there during the call, as the header asks.
        let code = unsafe {
            let host = context.table();
            (self.library.configure)(&host, &binding, &mut made, &mut needs, &mut error)
        };
        match code {
            abi::OK => self.made = Some(made),
            abi::REFUSED => {
                // SAFETY: the text is good until this thread's next `configure`.
                return Err(CallError::Refused(unsafe { lossy(error) }));
            }
            code => return Err(CallError::Start(failure(code).to_string())),
        }
        // SAFETY: what it needs is good until the instance is destroyed.
        unsafe { read_needs(&needs) }
    }

    /// Gives a block to the kind's entry.
    pub(crate) fn call(&mut self, block: &[u8], at_hand: AtHand<'_>) -> Result<Vec<u8>, CallError> {
        let made = self.made()?;
        let context = self.context(at_hand);
        let mut answer = Text::NOTHING;
        // SAFETY: everything is there during the call, as the header asks, and `&mut` lets one call
        // at a time in.
        let code = unsafe {
            let host = context.table();
            (self.library.entry)(made, &host, Text::of(block), &mut answer)
        };
        if code != abi::OK {
            return Err(failure(code));
        }
        let most = self.limits.answer_bytes;
        if answer.len as usize > most {
            return Err(CallError::Answer(format!(
                "{} bytes, at most {most} are taken",
                answer.len
            )));
        }
        // SAFETY: the answer is good until the instance's next call, and copied before it.
        Ok(unsafe { answer.bytes() }.unwrap_or_default().to_vec())
    }

    /// Gives a block to the kind's function for what is done.
    pub(crate) fn call_after(
        &mut self,
        block: &[u8],
        at_hand: AtHand<'_>,
    ) -> Result<(), CallError> {
        let Some(after) = self.library.after else {
            return Ok(());
        };
        let made = self.made()?;
        let context = self.context(at_hand);
        // SAFETY: as in `call`.
        let code = unsafe { after(made, &context.table(), Text::of(block)) };
        match code {
            abi::OK => Ok(()),
            code => Err(failure(code)),
        }
    }

    fn made(&self) -> Result<*mut c_void, CallError> {
        let made = self.made;
        made.ok_or_else(|| CallError::Start("it is not set up".to_owned()))
    }

    fn context<'a>(&'a self, at_hand: AtHand<'a>) -> Context<'a> {
        Context {
            limits: &self.limits,
            shared: &self.shared,
            at_hand,
            answer: RefCell::default(),
        }
    }
}

/// What a code other than `OK` says.
fn failure(code: i32) -> CallError {
    match code {
        abi::CALL_FAILED => CallError::Failed("it says that this call failed".to_owned()),
        abi::MALFORMED => CallError::Failed("it says that it can't read the block".to_owned()),
        abi::BROKEN => CallError::Broken,
        code => CallError::Answer(format!("the code {code}, which means nothing here")),
    }
}

/// # Safety
/// The names are there.
unsafe fn read_needs(needs: &abi::Needs) -> Result<Needs, CallError> {
    let count = needs.properties_len as usize;
    if count > COLUMNS_MAX || (count > 0 && needs.properties.is_null()) {
        return Err(CallError::Start(format!(
            "it needs {count} properties, at most {COLUMNS_MAX} are given"
        )));
    }
    let names = match count {
        0 => &[],
        // SAFETY: as the caller promises.
        count => unsafe { std::slice::from_raw_parts(needs.properties, count) },
    };
    Ok(Needs {
        // SAFETY: as the caller promises.
        properties: names.iter().map(|name| unsafe { lossy(*name) }).collect(),
        body: needs.body != 0,
        fields: needs.fields,
        pure: needs.pure != 0,
    })
}

/// A text of the plugin's, for people or as a name; what is not UTF-8 in it is replaced.
///
/// # Safety
/// As [`Text::bytes`].
unsafe fn lossy(text: Text) -> String {
    // SAFETY: as the caller promises.
    let bytes = unsafe { text.bytes() }.unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// A key of the plugin's; `None` when it is not UTF-8, as keys are.
///
/// # Safety
/// As [`Text::bytes`].
unsafe fn key(text: Text) -> Option<String> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { text.bytes() }.unwrap_or_default();
    String::from_utf8(bytes.to_vec()).ok()
}

/// What the broker does for an instance during one call.
struct Context<'a> {
    limits: &'a Limits,
    shared: &'a Shared,
    at_hand: AtHand<'a>,
    /// What was answered last: good until the next question.
    answer: RefCell<Vec<u8>>,
}

impl Context<'_> {
    /// The table for a call: to be used while this context is where it is now.
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

    fn kv(&self) -> Result<&Kv, String> {
        let kv = self.shared.kv.as_deref();
        kv.ok_or_else(|| "kv is not granted to this binding".to_owned())
    }

    /// # Safety
    /// `answer` can be written.
    unsafe fn answer(&self, bytes: Option<Vec<u8>>, answer: *mut Text) -> i32 {
        let Some(bytes) = bytes else {
            return abi::NONE;
        };
        // SAFETY: as the caller promises.
        unsafe { self.say(bytes, answer) };
        abi::OK
    }

    /// # Safety
    /// `error` can be written.
    unsafe fn result(&self, done: Result<bool, String>, error: *mut Text) -> i32 {
        match done {
            Ok(true) => abi::OK,
            Ok(false) => abi::UNEQUAL,
            Err(why) => {
                // SAFETY: as the caller promises.
                unsafe { self.say(why.into_bytes(), error) };
                abi::REFUSED
            }
        }
    }

    /// # Safety
    /// `to` can be written.
    unsafe fn say(&self, bytes: Vec<u8>, to: *mut Text) {
        self.answer.replace(bytes);
        // SAFETY: as the caller promises.
        unsafe { to.write(Text::of(&self.answer.borrow())) };
    }
}

/// The context of a call under way.
///
/// # Safety
/// `context` is that of [`Context::table`], during the call that the table was made for.
unsafe fn called<'a>(context: *mut c_void) -> &'a Context<'a> {
    // SAFETY: as the caller promises.
    unsafe { &*context.cast::<Context<'a>>() }
}

fn not_text() -> String {
    "a key must be UTF-8".to_owned()
}

// SAFETY of the functions below: the header has the plugin promise to call them during a call of its
// own, on that thread, with that call's context, with texts that are there and answers that can be
// written. None of them panics: that would end the broker.

unsafe extern "C" fn log(context: *mut c_void, level: u32, message: Text) {
    // SAFETY: as above.
    let (context, message) = unsafe { (called(context), lossy(message)) };
    let level = match level {
        0 => "debug",
        1 => "info",
        2 => "warn",
        _ => "error",
    };
    let line = (level, context.at_hand.now_ms, &*message);
    let logs = &context.shared.logs;
    logs.say(Instant::now(), context.limits.log_lines, line);
}

unsafe extern "C" fn now(context: *mut c_void) -> u64 {
    // SAFETY: as above.
    unsafe { called(context) }.at_hand.now_ms
}

unsafe extern "C" fn counter_add(context: *mut c_void, name: Text, delta: u64) {
    // SAFETY: as above.
    let (context, name) = unsafe { (called(context), lossy(name)) };
    context.shared.stats.count(&name, delta);
}

unsafe extern "C" fn body(context: *mut c_void, row: u32, answer: *mut Text) -> i32 {
    // SAFETY: as above.
    let context = unsafe { called(context) };
    let row = context.at_hand.rows.get(row as usize);
    // A body that can't be unfolded is empty.
    let body = row.map(|row| row.plain_body().unwrap_or_default().into_owned());
    // SAFETY: as above.
    unsafe { context.answer(body, answer) }
}

unsafe extern "C" fn property(
    context: *mut c_void,
    row: u32,
    name: Text,
    answer: *mut Text,
) -> i32 {
    // SAFETY: as above.
    let (context, name) = unsafe { (called(context), lossy(name)) };
    let row = context.at_hand.rows.get(row as usize);
    let value = row.and_then(|row| row.property(&name));
    let value = value.map(|value| value.as_bytes().to_vec());
    // SAFETY: as above.
    unsafe { context.answer(value, answer) }
}

unsafe extern "C" fn kv_get(context: *mut c_void, name: Text, answer: *mut Text) -> i32 {
    // SAFETY: as above.
    let (context, name) = unsafe { (called(context), key(name)) };
    let Ok(kv) = context.kv() else {
        return abi::REFUSED;
    };
    let value = name.and_then(|name| kv.get(&name, context.at_hand.now_ms));
    // SAFETY: as above.
    unsafe { context.answer(value, answer) }
}

unsafe extern "C" fn kv_set(
    context: *mut c_void,
    name: Text,
    value: Text,
    ttl_ms: u64,
    error: *mut Text,
) -> i32 {
    // SAFETY: as above.
    let (context, name, value) = unsafe { (called(context), key(name), value.bytes()) };
    let set = || {
        let (name, value) = (name.ok_or_else(not_text)?, value.unwrap_or_default());
        let now_ms = context.at_hand.now_ms;
        context.kv()?.set(name, value.to_vec(), now_ms, ttl_ms)
    };
    // SAFETY: as above.
    unsafe { context.result(set().map(|()| true), error) }
}

unsafe extern "C" fn kv_compare_and_set(
    context: *mut c_void,
    name: Text,
    old: Text,
    fresh: Text,
    ttl_ms: u64,
    error: *mut Text,
) -> i32 {
    // SAFETY: as above.
    let (context, name) = unsafe { (called(context), key(name)) };
    // SAFETY: as above.
    let (old, fresh) = unsafe { (old.bytes(), fresh.bytes()) };
    let set = || {
        let (name, fresh) = (name.ok_or_else(not_text)?, fresh.unwrap_or_default());
        let now_ms = context.at_hand.now_ms;
        let kv = context.kv()?;
        kv.compare_and_set(name, old, fresh.to_vec(), now_ms, ttl_ms)
    };
    // SAFETY: as above.
    unsafe { context.result(set(), error) }
}

unsafe extern "C" fn kv_delete(context: *mut c_void, name: Text, error: *mut Text) -> i32 {
    // SAFETY: as above.
    let (context, name) = unsafe { (called(context), key(name)) };
    let delete = || {
        let name = name.ok_or_else(not_text)?;
        context.kv()?.delete(&name);
        Ok(true)
    };
    // SAFETY: as above.
    unsafe { context.result(delete(), error) }
}

/// Who this process runs as.
pub(crate) fn user() -> u32 {
    // SAFETY: it takes nothing and can't fail.
    unsafe { libc::geteuid() }
}
