//! The structs of `sluice_native.h`, for plugins in Rust and for the broker. What each entry may do
//! and who owns what is said there.

use std::ffi::c_void;

/// `SLUICE_NATIVE_ABI`.
pub const ABI_VERSION: u32 = 1;
/// The exported function, for the loader.
pub const SYMBOL: &str = "sluice_plugin_v1";

/// All is well.
pub const OK: i32 = 0;
/// `configure` and the key-value store: the text says why not.
pub const REFUSED: i32 = 1;
/// This call failed; the instance can go on.
pub const CALL_FAILED: i32 = 2;
/// The block can't be read.
pub const MALFORMED: i32 = 3;
/// The instance can't go on: the broker destroys it.
pub const BROKEN: i32 = 4;
/// The broker: no such property or key.
pub const NONE: i32 = 5;
/// `kv_compare_and_set`: another value is there, nothing was set.
pub const UNEQUAL: i32 = 6;

/// `sluice_text`: bytes somewhere else; no address: nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Their address.
    pub at: *const u8,
    /// How many.
    pub len: u32,
}

impl Text {
    /// No bytes.
    pub const NOTHING: Text = Text {
        at: std::ptr::null(),
        len: 0,
    };

    /// Those of a slice.
    ///
    /// # Panics
    /// With 4 GiB or more, which no block has.
    pub fn of(bytes: &[u8]) -> Text {
        let len = u32::try_from(bytes.len()).expect("texts of the interface are below 4 GiB");
        Text {
            at: bytes.as_ptr(),
            len,
        }
    }

    /// The bytes; `None` when there is no address.
    ///
    /// # Safety
    /// They are there for as long as `'a`, and nobody changes them.
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        if self.at.is_null() {
            return None;
        }
        // SAFETY: as the caller promises.
        Some(unsafe { std::slice::from_raw_parts(self.at, self.len as usize) })
    }
}

/// `sluice_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// `SLUICE_KIND_FILTER`.
    Filter = 1,
    /// `SLUICE_KIND_LANGUAGE`.
    Language = 2,
    /// `SLUICE_KIND_FUNCTION`.
    Function = 3,
    /// `SLUICE_KIND_SEND_HOOK`.
    SendHook = 4,
    /// `SLUICE_KIND_CONSUME_HOOK`.
    ConsumeHook = 5,
}

/// `sluice_native_host`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "as in the header")]
pub struct Host {
    pub abi_version: u32,
    pub struct_size: u32,
    pub context: *mut c_void,
    pub log: unsafe extern "C" fn(*mut c_void, u32, Text),
    pub now: unsafe extern "C" fn(*mut c_void) -> u64,
    pub counter_add: unsafe extern "C" fn(*mut c_void, Text, u64),
    pub body: unsafe extern "C" fn(*mut c_void, u32, *mut Text) -> i32,
    pub property: unsafe extern "C" fn(*mut c_void, u32, Text, *mut Text) -> i32,
    pub kv_get: unsafe extern "C" fn(*mut c_void, Text, *mut Text) -> i32,
    pub kv_set: unsafe extern "C" fn(*mut c_void, Text, Text, u64, *mut Text) -> i32,
    pub kv_compare_and_set:
        unsafe extern "C" fn(*mut c_void, Text, Text, Text, u64, *mut Text) -> i32,
    pub kv_delete: unsafe extern "C" fn(*mut c_void, Text, *mut Text) -> i32,
}

/// `sluice_native_binding`, with its `sluice_binding`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "as in the header")]
pub struct Binding {
    pub struct_size: u32,
    pub arguments: u32,
    pub expression: Text,
    pub topic: Text,
    pub group: Text,
    pub params: *const [Text; 2],
    pub params_len: u32,
}

/// `sluice_native_needs`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "as in the header")]
pub struct Needs {
    pub properties: *const Text,
    pub properties_len: u32,
    pub fields: u32,
    pub body: u32,
    pub pure: u32,
}

/// `configure`.
pub type Configure = unsafe extern "C" fn(
    *const Host,
    *const Binding,
    *mut *mut c_void,
    *mut Needs,
    *mut Text,
) -> i32;
/// `sluice_native_call`.
pub type Call = unsafe extern "C" fn(*mut c_void, *const Host, Text, *mut Text) -> i32;
/// `sluice_native_see`.
pub type See = unsafe extern "C" fn(*mut c_void, *const Host, Text) -> i32;
/// `destroy`.
pub type Destroy = unsafe extern "C" fn(*mut c_void);

/// `sluice_native_plugin`. A loader checks `abi_version`, `struct_size` and what the kind must have
/// before it calls anything.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "as in the header")]
pub struct Plugin {
    pub abi_version: u32,
    pub struct_size: u32,
    pub kind: u32,
    pub reserved: u32,
    pub configure: Option<Configure>,
    pub filter_block: Option<Call>,
    pub call_block: Option<Call>,
    pub before_send: Option<Call>,
    pub after_send: Option<See>,
    pub before_deliver: Option<Call>,
    pub after_consume: Option<See>,
    pub destroy: Option<Destroy>,
}

impl Plugin {
    /// A table of a kind without entries.
    pub const fn new(kind: Kind) -> Self {
        Plugin {
            abi_version: ABI_VERSION,
            struct_size: size_of::<Plugin>() as u32,
            kind: kind as u32,
            reserved: 0,
            configure: None,
            filter_block: None,
            call_block: None,
            before_send: None,
            after_send: None,
            before_deliver: None,
            after_consume: None,
            destroy: None,
        }
    }
}
