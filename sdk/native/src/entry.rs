//! The entries of the table, for each kind of plugin.

use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sluice_plugin::host::{Host, with_host};
use sluice_plugin::run::{self, Answer, Called, Configured};
use sluice_plugin::{Binding, ConsumeHook, Filter, Function, Language, Needs, SendHook};

use crate::abi::{self, Kind, Text};
use crate::broker::Broker;

/// What the broker holds a pointer to.
struct Instance<P> {
    plugin: P,
    answer: Answer,
    /// Kept alive: the broker reads the names through `properties`.
    needs: Needs,
    properties: Vec<Text>,
    /// Shared with the thread only while a call lasts, so that the instance may change threads.
    broker: Rc<Broker>,
}

thread_local! {
    /// The words of the last refusal, which the broker reads after `configure`.
    static REFUSAL: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The table of a filter.
pub const fn filter<P: Filter + Send>() -> abi::Plugin {
    let mut table = abi::Plugin::new(Kind::Filter);
    table.configure = Some(configure_filter::<P>);
    table.filter_block = Some(filter_block::<P>);
    table.destroy = Some(destroy::<P>);
    table
}

/// The table of a language.
pub const fn language<P: Language + Send>() -> abi::Plugin {
    let mut table = abi::Plugin::new(Kind::Language);
    table.configure = Some(compile::<P>);
    table.filter_block = Some(language_block::<P>);
    table.destroy = Some(destroy::<P>);
    table
}

/// The table of a function.
pub const fn function<P: Function + Send>() -> abi::Plugin {
    let mut table = abi::Plugin::new(Kind::Function);
    table.configure = Some(configure_function::<P>);
    table.call_block = Some(call_block::<P>);
    table.destroy = Some(destroy::<P>);
    table
}

/// The table of a send hook.
pub const fn send_hook<P: SendHook + Send>() -> abi::Plugin {
    let mut table = abi::Plugin::new(Kind::SendHook);
    table.configure = Some(configure_send_hook::<P>);
    table.before_send = Some(before_send::<P>);
    table.after_send = Some(after_send::<P>);
    table.destroy = Some(destroy::<P>);
    table
}

/// The table of a consume hook.
pub const fn consume_hook<P: ConsumeHook + Send>() -> abi::Plugin {
    let mut table = abi::Plugin::new(Kind::ConsumeHook);
    table.configure = Some(configure_consume_hook::<P>);
    table.before_deliver = Some(before_deliver::<P>);
    table.after_consume = Some(after_consume::<P>);
    table.destroy = Some(destroy::<P>);
    table
}

/// An entry with the signature of `configure`.
macro_rules! configure {
    ($name:ident, $kind:ident, |$binding:ident, $asked:ident| $configure:expr) => {
        unsafe extern "C" fn $name<P: $kind>(
            host: *const abi::Host,
            binding: *const abi::Binding,
            instance: *mut *mut c_void,
            needs: *mut abi::Needs,
            error: *mut Text,
        ) -> i32 {
            let make = |$binding: &Binding, $asked: &abi::Binding| $configure;
            // SAFETY: the broker calls this as the header says.
            unsafe { configure::<P>(host, binding, instance, needs, error, make) }
        }
    };
}

/// An entry with the signature of `sluice_native_call`.
macro_rules! call {
    ($name:ident, $kind:ident, $run:path) => {
        unsafe extern "C" fn $name<P: $kind>(
            instance: *mut c_void,
            host: *const abi::Host,
            block: Text,
            answer: *mut Text,
        ) -> i32 {
            // SAFETY: the broker calls this as the header says.
            unsafe { call::<P>(instance, host, block, answer, $run) }
        }
    };
}

/// An entry with the signature of `sluice_native_see`.
macro_rules! see {
    ($name:ident, $kind:ident, $run:path) => {
        unsafe extern "C" fn $name<P: $kind>(
            instance: *mut c_void,
            host: *const abi::Host,
            block: Text,
        ) -> i32 {
            let mut nothing = Text::NOTHING;
            fn see<'a, P: $kind>(plugin: &mut P, block: &[u8], _: &'a mut Answer) -> Called<'a> {
                $run(plugin, block).map(|()| &[][..])
            }
            // SAFETY: the broker calls this as the header says.
            unsafe { call::<P>(instance, host, block, &mut nothing, see) }
        }
    };
}

configure!(
    configure_filter,
    Filter,
    |binding, _asked| run::filter::<P>(binding)
);
configure!(compile, Language, |binding, asked| {
    // SAFETY: the broker's during the call.
    let expression = unsafe { owned(asked.expression) };
    run::language::<P>(&expression, binding)
});
configure!(configure_function, Function, |binding, asked| {
    run::function::<P>(binding, asked.arguments as usize)
});
configure!(configure_send_hook, SendHook, |binding, _asked| {
    run::send_hook::<P>(binding)
});
configure!(configure_consume_hook, ConsumeHook, |binding, _asked| {
    run::consume_hook::<P>(binding)
});
call!(filter_block, Filter, run::filter_batch);
call!(language_block, Language, run::language_batch);
call!(call_block, Function, run::call_batch);
call!(before_send, SendHook, run::before_send);
call!(before_deliver, ConsumeHook, run::before_deliver);
see!(after_send, SendHook, run::after_send);
see!(after_consume, ConsumeHook, run::after_consume);

/// A text of the broker's; what is not UTF-8 in it is replaced.
///
/// # Safety
/// As [`Text::bytes`].
unsafe fn owned(text: Text) -> String {
    // SAFETY: as the caller promises.
    let bytes = unsafe { text.bytes() }.unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// # Safety
/// As the header says of `sluice_native_binding`.
unsafe fn binding_of(asked: &abi::Binding) -> Binding {
    let params = if asked.params_len == 0 {
        &[][..]
    } else {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts(asked.params, asked.params_len as usize) }
    };
    // SAFETY: as the caller promises, here and below.
    let text = |text: Text| unsafe { owned(text) };
    Binding {
        topic: text(asked.topic),
        group: text(asked.group),
        params: params
            .iter()
            .map(|[key, value]| (text(*key), text(*value)))
            .collect(),
    }
}

/// # Safety
/// As the header says of `configure`.
unsafe fn configure<P>(
    host: *const abi::Host,
    asked: *const abi::Binding,
    instance: *mut *mut c_void,
    needs: *mut abi::Needs,
    error: *mut Text,
    configure: impl FnOnce(&Binding, &abi::Binding) -> Configured<P>,
) -> i32 {
    let guarded = guard(|| {
        // SAFETY: as the caller promises.
        let asked = unsafe { &*asked };
        // SAFETY: as the caller promises.
        let binding = unsafe { binding_of(asked) };
        let broker = Rc::new(Broker::new());
        // SAFETY: as the caller promises.
        let configured = unsafe { with_broker(&broker, host, || configure(&binding, asked)) };
        configured.map(|(plugin, needs)| Instance {
            properties: needs
                .properties()
                .iter()
                .map(|name| Text::of(name.as_bytes()))
                .collect(),
            plugin,
            answer: Answer::new(),
            needs,
            broker,
        })
    });
    let made = match guarded {
        None => return abi::BROKEN,
        Some(Ok(made)) => Box::new(made),
        Some(Err(reason)) => {
            let text = REFUSAL.with(|refusal| {
                refusal.replace(reason);
                Text::of(refusal.borrow().as_bytes())
            });
            // SAFETY: as the caller promises.
            unsafe { error.write(text) };
            return abi::REFUSED;
        }
    };
    let wanted = abi::Needs {
        properties: made.properties.as_ptr(),
        properties_len: made.properties.len() as u32,
        fields: made.needs.fields().bits(),
        body: made.needs.wants_body().into(),
        pure: made.needs.is_pure().into(),
    };
    // SAFETY: as the caller promises.
    unsafe {
        needs.write(wanted);
        instance.write(Box::into_raw(made).cast());
    }
    abi::OK
}

/// # Safety
/// As the header says of `sluice_native_call`.
unsafe fn call<P>(
    instance: *mut c_void,
    host: *const abi::Host,
    block: Text,
    answer: *mut Text,
    run: impl for<'a> FnOnce(&mut P, &[u8], &'a mut Answer) -> Called<'a>,
) -> i32 {
    let guarded = guard(|| {
        // SAFETY: the pointer is that of `configure`, and in use by this call alone.
        let instance = unsafe { &mut *instance.cast::<Instance<P>>() };
        // SAFETY: the block is the broker's during the call.
        let block = unsafe { block.bytes() }.unwrap_or_default();
        let Instance {
            plugin,
            answer,
            broker,
            ..
        } = instance;
        // SAFETY: as the caller promises.
        unsafe { with_broker(broker, host, || run(plugin, block, answer).map(Text::of)) }
    });
    match guarded {
        None => abi::BROKEN,
        Some(Err(_)) => abi::MALFORMED,
        Some(Ok(text)) => {
            // SAFETY: as the caller promises; the text lies in the instance's answer.
            unsafe { answer.write(text) };
            abi::OK
        }
    }
}

unsafe extern "C" fn destroy<P>(instance: *mut c_void) {
    guard(|| {
        // SAFETY: the pointer is that of `configure`, and never used again.
        drop(unsafe { Box::from_raw(instance.cast::<Instance<P>>()) });
    });
}

/// Lets the plugin call the broker for as long as `call` lasts.
///
/// # Safety
/// The table can be called on this thread until then.
unsafe fn with_broker<R>(
    broker: &Rc<Broker>,
    host: *const abi::Host,
    call: impl FnOnce() -> R,
) -> R {
    // SAFETY: as the caller promises; nothing calls the broker after `call`.
    unsafe { broker.set(host) };
    with_host(Rc::clone(broker) as Rc<dyn Host>, call)
}

/// `None` when `call` panics: no panic may reach the broker.
fn guard<R>(call: impl FnOnce() -> R) -> Option<R> {
    // A plugin that has panicked is not called again: the broker destroys it.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => Some(done),
        Err(panic) => {
            // What it carries might panic when it is dropped.
            std::mem::forget(panic);
            None
        }
    }
}
