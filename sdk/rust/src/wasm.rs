//! The carrier WASM: a core module's functions in the canonical ABI's terms. Used by the macros.
//!
//! The broker allocates what it hands over with `cabi_realloc`, which is the global allocator, and
//! gives it away: arguments become values of ours. What is answered stays where it is until the
//! next call.

use std::alloc::Layout;
use std::cell::{RefCell, UnsafeCell};

use sluice_plugin_block::Malformed;

use crate::run::{Answer, Called, Configured};
use crate::{Binding, MessageQueue, Needs};

pub(crate) mod imports;

/// A string or list in linear memory: address and length.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Text {
    at: *mut u8,
    len: usize,
}

impl Text {
    const fn none() -> Self {
        Text {
            at: std::ptr::null_mut(),
            len: 0,
        }
    }

    /// Borrowed: for answers.
    fn of(bytes: &[u8]) -> Self {
        Text {
            at: bytes.as_ptr().cast_mut(),
            len: bytes.len(),
        }
    }
}

/// The record `message-queue`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    topic: Text,
    broker: Text,
    queue_id: u32,
}

/// Allocates what the broker hands over, by the canonical ABI's rules. Without memory it traps.
#[unsafe(export_name = "cabi_realloc")]
extern "C" fn realloc(old: *mut u8, old_len: usize, align: usize, len: usize) -> *mut u8 {
    if len == 0 {
        // Never read, never freed: a list without elements.
        return std::ptr::without_provenance_mut(align);
    }
    let Ok(layout) = Layout::from_size_align(len, align) else {
        panic!("more memory is asked for than there can be");
    };
    let at = if old_len == 0 {
        // SAFETY: the length is not 0.
        unsafe { std::alloc::alloc(layout) }
    } else {
        // SAFETY: the broker passes what an earlier call answered, with its length and alignment:
        // they made a layout then.
        unsafe {
            let old_layout = Layout::from_size_align_unchecked(old_len, align);
            std::alloc::realloc(old, old_layout, len)
        }
    };
    if at.is_null() {
        std::alloc::handle_alloc_error(layout);
    }
    at
}

/// A list that the broker has handed over.
///
/// # Safety
/// `at` comes from `cabi_realloc` with `len` elements of `T` in it, and nobody else owns them.
unsafe fn list<T>(at: *mut T, len: usize) -> Vec<T> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: as the caller promises; size and alignment are those of the canonical ABI, which are
    // those of `T`.
    unsafe { Vec::from_raw_parts(at, len, len) }
}

/// A string that the broker has handed over.
///
/// # Safety
/// As [`list`].
pub unsafe fn text(at: *mut u8, len: usize) -> String {
    // SAFETY: as the caller promises.
    let bytes = unsafe { list(at, len) };
    // The canonical ABI gives only UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Strings that the broker has handed over.
///
/// # Safety
/// As [`list`], and for each of the strings.
pub unsafe fn texts(at: *mut Text, len: usize) -> Vec<String> {
    // SAFETY: as the caller promises.
    let texts = unsafe { list(at, len) };
    // SAFETY: as the caller promises.
    texts
        .into_iter()
        .map(|each| unsafe { text(each.at, each.len) })
        .collect()
}

/// The record `binding`.
///
/// # Safety
/// As [`texts`].
pub unsafe fn binding(
    topic: *mut u8,
    topic_len: usize,
    group: *mut u8,
    group_len: usize,
    params: *mut [Text; 2],
    params_len: usize,
) -> Binding {
    // SAFETY: as the caller promises.
    let owned = |each: Text| unsafe { text(each.at, each.len) };
    // SAFETY: as the caller promises.
    let params = unsafe { list(params, params_len) };
    Binding {
        topic: owned(Text {
            at: topic,
            len: topic_len,
        }),
        group: owned(Text {
            at: group,
            len: group_len,
        }),
        params: params
            .into_iter()
            .map(|[key, value]| (owned(key), owned(value)))
            .collect(),
    }
}

/// A list of the record `message-queue`.
///
/// # Safety
/// As [`texts`].
pub unsafe fn queues(at: *mut Queue, len: usize) -> Vec<MessageQueue> {
    // SAFETY: as the caller promises.
    let owned = |each: Text| unsafe { text(each.at, each.len) };
    // SAFETY: as the caller promises.
    let queues = unsafe { list(at, len) };
    let owned = queues.into_iter().map(|queue| MessageQueue {
        topic: owned(queue.topic),
        broker: owned(queue.broker),
        queue_id: queue.queue_id,
    });
    owned.collect()
}

/// Lets a panic leave its words in the plugin's log before it ends the instance.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::host::log(crate::host::Level::Error, &panic.to_string());
    }));
}

/// The words of an answer that is more than one number; the broker reads them behind the pointer.
///
/// | answer | words |
/// |---|---|
/// | `list<u8>` | address, length |
/// | `result<needs, string>` | 0, properties (address, length), body, fields, pure; or 1, text |
/// | `result<list<u32>, string>` | 0, list; or 1, text |
type Words = [u32; 6];

/// The plugin of this instance, with what it has answered last.
#[derive(Debug)]
pub struct Instance<P> {
    state: RefCell<State<P>>,
    /// Outside of `state`, because the broker reads it when the call is over.
    words: UnsafeCell<Words>,
}

#[derive(Debug)]
struct State<P> {
    plugin: Option<P>,
    answer: Answer,
    needs: Option<Needs>,
    properties: Vec<Text>,
    indexes: Vec<u32>,
    error: String,
}

impl<P> Instance<P> {
    /// Not configured yet.
    #[allow(clippy::new_without_default, reason = "it is made in a constant")]
    pub const fn new() -> Self {
        let state = State {
            plugin: None,
            answer: Answer::new(),
            needs: None,
            properties: Vec::new(),
            indexes: Vec::new(),
            error: String::new(),
        };
        Instance {
            state: RefCell::new(state),
            words: UnsafeCell::new([0; 6]),
        }
    }

    /// Answers `result<needs, string>`.
    pub fn needs(&self, configured: Configured<P>) -> *const u32 {
        let state = &mut *self.state.borrow_mut();
        match configured {
            Err(error) => self.refuse(state, error),
            Ok((plugin, needs)) => {
                state.plugin = Some(plugin);
                let needs = state.needs.insert(needs);
                state.properties.clear();
                let names = needs.properties().iter();
                state
                    .properties
                    .extend(names.map(|name| Text::of(name.as_bytes())));
                let [at, len] = words_of(state.properties.as_ptr(), state.properties.len());
                let (body, pure) = (u32::from(needs.wants_body()), u32::from(needs.is_pure()));
                self.say([0, at, len, body, needs.fields().bits(), pure])
            }
        }
    }

    /// Answers `result<_, string>`.
    pub fn nothing(&self, configured: Result<P, String>) -> *const u32 {
        let state = &mut *self.state.borrow_mut();
        match configured {
            Err(error) => self.refuse(state, error),
            Ok(plugin) => {
                state.plugin = Some(plugin);
                self.say([0; 6])
            }
        }
    }

    /// Calls the plugin with a block and answers `list<u8>`.
    ///
    /// # Safety
    /// As [`text`].
    pub unsafe fn call(
        &self,
        block: *mut u8,
        block_len: usize,
        call: impl for<'a> FnOnce(&mut P, &[u8], &'a mut Answer) -> Called<'a>,
    ) -> *const u32 {
        // SAFETY: as the caller promises.
        let block = unsafe { list(block, block_len) };
        let state = &mut *self.state.borrow_mut();
        let called = call(configured(&mut state.plugin), &block, &mut state.answer);
        let bytes = or_trap(called);
        let [at, len] = words_of(bytes.as_ptr(), bytes.len());
        self.say([at, len, 0, 0, 0, 0])
    }

    /// Lets the plugin see a block.
    ///
    /// # Safety
    /// As [`text`].
    pub unsafe fn see(
        &self,
        block: *mut u8,
        block_len: usize,
        see: impl FnOnce(&mut P, &[u8]) -> Result<(), Malformed>,
    ) {
        // SAFETY: as the caller promises.
        let block = unsafe { list(block, block_len) };
        let state = &mut *self.state.borrow_mut();
        or_trap(see(configured(&mut state.plugin), &block));
    }

    /// Answers `result<list<u32>, string>`.
    pub fn indexes(&self, allocate: impl FnOnce(&P) -> Result<Vec<u32>, String>) -> *const u32 {
        let state = &mut *self.state.borrow_mut();
        match allocate(configured(&mut state.plugin)) {
            Err(error) => self.refuse(state, error),
            Ok(indexes) => {
                state.indexes = indexes;
                let [at, len] = words_of(state.indexes.as_ptr(), state.indexes.len());
                self.say([0, at, len, 0, 0, 0])
            }
        }
    }

    fn refuse(&self, state: &mut State<P>, error: String) -> *const u32 {
        state.error = error;
        let [at, len] = words_of(state.error.as_ptr(), state.error.len());
        self.say([1, at, len, 0, 0, 0])
    }

    fn say(&self, words: Words) -> *const u32 {
        // SAFETY: one thread, and no reference into it is ever made: the broker alone reads it,
        // when the call is over.
        unsafe { self.words.get().write(words) };
        self.words.get().cast()
    }
}

fn words_of<T>(at: *const T, len: usize) -> [u32; 2] {
    [at as usize as u32, len as u32]
}

/// The broker configures an instance before it calls it.
fn configured<P>(plugin: &mut Option<P>) -> &mut P {
    match plugin {
        Some(plugin) => plugin,
        None => panic!("called before it was configured"),
    }
}

/// The broker's blocks are well-formed; one that is not can only end the instance.
fn or_trap<T>(called: Result<T, Malformed>) -> T {
    match called {
        Ok(answer) => answer,
        Err(_) => panic!("the block is malformed"),
    }
}
