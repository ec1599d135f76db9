//! The macros that make a module of a type. Outside WASM they only check that the type will do.

/// Exports a type that is a [`Filter`](crate::Filter) as a module of the world `filter`.
#[macro_export]
macro_rules! export_filter {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: Filter;
            "configure" = configure(binding) -> needs { $crate::run::filter::<$plugin> };
            "filter-batch" = filter_batch -> bytes { $crate::run::filter_batch };
        }
    };
}

/// Exports a type that is a [`Language`](crate::Language) as a module of the world `language`.
#[macro_export]
macro_rules! export_language {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: Language;
            "compile" = compile(expression, binding) -> needs { $crate::run::language::<$plugin> };
            "filter-batch" = filter_batch -> bytes { $crate::run::language_batch };
        }
    };
}

/// Exports a type that is a [`Function`](crate::Function) as a module of the world `function`.
#[macro_export]
macro_rules! export_function {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: Function;
            "configure" = configure(binding, arguments) -> needs { $crate::run::function::<$plugin> };
            "call-batch" = call_batch -> bytes { $crate::run::call_batch };
        }
    };
}

/// Exports a type that is a [`SendHook`](crate::SendHook) as a module of the world `send-hook`.
#[macro_export]
macro_rules! export_send_hook {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: SendHook;
            "configure" = configure(binding) -> needs { $crate::run::send_hook::<$plugin> };
            "before-send" = before_send -> bytes { $crate::run::before_send };
            "after-send" = after_send { $crate::run::after_send };
        }
    };
}

/// Exports a type that is a [`ConsumeHook`](crate::ConsumeHook) as a module of the world
/// `consume-hook`.
#[macro_export]
macro_rules! export_consume_hook {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: ConsumeHook;
            "configure" = configure(binding) -> needs { $crate::run::consume_hook::<$plugin> };
            "before-deliver" = before_deliver -> bytes { $crate::run::before_deliver };
            "after-consume" = after_consume { $crate::run::after_consume };
        }
    };
}

/// Exports a type that is an [`AllocateStrategy`](crate::AllocateStrategy) as a module of the world
/// `allocate-strategy`.
#[macro_export]
macro_rules! export_allocate_strategy {
    ($plugin:ty) => {
        $crate::export_module! {
            $plugin: AllocateStrategy;
            "configure" = configure(binding) -> nothing {
                <$plugin as $crate::AllocateStrategy>::configure
            };
            "allocate" = allocate;
        }
    };
}

/// The common part of the others: the instance, and one function for each line.
#[doc(hidden)]
#[macro_export]
macro_rules! export_module {
    ($plugin:ty: $kind:ident; $($line:tt)*) => {
        const _: () = {
            const fn is_a_plugin<P: $crate::$kind>() {}
            is_a_plugin::<$plugin>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: $crate::wasm::Instance<$plugin> =
                    const { $crate::wasm::Instance::new() };
            }
            $crate::export_functions! { $plugin; $($line)* }
        };
    };
}

/// What each line of [`export_module!`] becomes: arguments as the canonical ABI flattens them.
#[doc(hidden)]
#[macro_export]
macro_rules! export_functions {
    ($plugin:ty;) => {};
    ($plugin:ty; $name:literal = $function:ident(binding) -> $answer:ident { $configure:expr }; $($rest:tt)*) => {
        #[unsafe(export_name = $name)]
        extern "C" fn $function(
            topic: *mut u8, topic_len: usize, group: *mut u8, group_len: usize,
            params: *mut [$crate::wasm::Text; 2], params_len: usize,
        ) -> *const u32 {
            $crate::wasm::log_panics();
            // SAFETY: the broker calls this, with what it gives away by the canonical ABI.
            let binding = unsafe {
                $crate::wasm::binding(topic, topic_len, group, group_len, params, params_len)
            };
            INSTANCE.with(|instance| instance.$answer($configure(&binding)))
        }
        $crate::export_functions! { $plugin; $($rest)* }
    };
    ($plugin:ty; $name:literal = $function:ident(binding, arguments) -> needs { $configure:expr }; $($rest:tt)*) => {
        #[unsafe(export_name = $name)]
        extern "C" fn $function(
            topic: *mut u8, topic_len: usize, group: *mut u8, group_len: usize,
            params: *mut [$crate::wasm::Text; 2], params_len: usize, arguments: usize,
        ) -> *const u32 {
            $crate::wasm::log_panics();
            // SAFETY: the broker calls this, with what it gives away by the canonical ABI.
            let binding = unsafe {
                $crate::wasm::binding(topic, topic_len, group, group_len, params, params_len)
            };
            INSTANCE.with(|instance| instance.needs($configure(&binding, arguments)))
        }
        $crate::export_functions! { $plugin; $($rest)* }
    };
    ($plugin:ty; $name:literal = $function:ident(expression, binding) -> needs { $configure:expr }; $($rest:tt)*) => {
        #[unsafe(export_name = $name)]
        extern "C" fn $function(
            expression: *mut u8, expression_len: usize,
            topic: *mut u8, topic_len: usize, group: *mut u8, group_len: usize,
            params: *mut [$crate::wasm::Text; 2], params_len: usize,
        ) -> *const u32 {
            $crate::wasm::log_panics();
            // SAFETY: as below.
            let expression = unsafe { $crate::wasm::text(expression, expression_len) };
            // SAFETY: the broker calls this, with what it gives away by the canonical ABI.
            let binding = unsafe {
                $crate::wasm::binding(topic, topic_len, group, group_len, params, params_len)
            };
            INSTANCE.with(|instance| instance.needs($configure(&expression, &binding)))
        }
        $crate::export_functions! { $plugin; $($rest)* }
    };
    ($plugin:ty; $name:literal = $function:ident -> bytes { $call:expr }; $($rest:tt)*) => {
        #[unsafe(export_name = $name)]
        extern "C" fn $function(block: *mut u8, block_len: usize) -> *const u32 {
            // SAFETY: the broker calls this, with a block that it gives away by the canonical ABI.
            INSTANCE.with(|instance| unsafe { instance.call(block, block_len, $call) })
        }
        $crate::export_functions! { $plugin; $($rest)* }
    };
    ($plugin:ty; $name:literal = $function:ident { $see:expr }; $($rest:tt)*) => {
        #[unsafe(export_name = $name)]
        extern "C" fn $function(block: *mut u8, block_len: usize) {
            // SAFETY: the broker calls this, with a block that it gives away by the canonical ABI.
            INSTANCE.with(|instance| unsafe { instance.see(block, block_len, $see) })
        }
        $crate::export_functions! { $plugin; $($rest)* }
    };
    ($plugin:ty; "allocate" = allocate;) => {
        #[unsafe(export_name = "allocate")]
        extern "C" fn allocate(
            group: *mut u8, group_len: usize, current: *mut u8, current_len: usize,
            queues: *mut $crate::wasm::Queue, queues_len: usize,
            clients: *mut $crate::wasm::Text, clients_len: usize,
        ) -> *const u32 {
            // SAFETY: the broker calls this, with what it gives away by the canonical ABI.
            let (group, current, queues, clients) = unsafe {
                (
                    $crate::wasm::text(group, group_len),
                    $crate::wasm::text(current, current_len),
                    $crate::wasm::queues(queues, queues_len),
                    $crate::wasm::texts(clients, clients_len),
                )
            };
            INSTANCE.with(|instance| {
                instance.indexes(|plugin| {
                    $crate::AllocateStrategy::allocate(plugin, &group, &current, &queues, &clients)
                })
            })
        }
    };
}
