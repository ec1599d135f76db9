//! The functions that each message pays for, with one set of inputs for whoever measures them: the
//! program of this package counts their instructions, the benchmarks of `bench/benches` take their time.

mod broker;
mod commands;
mod filters;
pub mod inputs;
mod records;
mod store;

use std::fmt;

use sluice_protocol::Serialization;

/// One call of a hot function, its inputs at hand.
pub type Call = Box<dyn FnMut()>;

/// A function that many messages a second pay for.
#[derive(Debug)]
pub struct HotFunction {
    /// What it is called in the file of counts; unique.
    pub name: &'static str,
    /// Calls that are counted: so many that what differs from run to run, the seeds of hash tables for
    /// instance, is lost in them.
    pub calls: u32,
    /// The function, as valgrind names it, inside of which alone instructions are counted; without it
    /// all that the process does is counted.
    pub inside: Option<&'static str>,
    set_up: fn() -> Call,
}

impl HotFunction {
    const fn light(name: &'static str, set_up: fn() -> Call) -> HotFunction {
        HotFunction {
            name,
            calls: 10_000,
            inside: None,
            set_up,
        }
    }

    const fn heavy(name: &'static str, set_up: fn() -> Call) -> HotFunction {
        HotFunction {
            calls: 1_000,
            ..HotFunction::light(name, set_up)
        }
    }

    /// A request's whole way: what the broker does with all that one read has brought, but for the reading
    /// and the writing.
    const fn whole(name: &'static str, set_up: fn() -> Call) -> HotFunction {
        HotFunction {
            calls: 200,
            inside: Some(broker::TOGETHER),
            ..HotFunction::light(name, set_up)
        }
    }

    /// Makes what a call needs.
    ///
    /// # Panics
    /// There is no directory or no port to be had.
    pub fn set_up(&self) -> Call {
        (self.set_up)()
    }
}

impl fmt::Display for HotFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them, by name. Bodies have 1 KiB.
pub const ALL: &[HotFunction] = &[
    HotFunction::heavy("append", store::append),
    HotFunction::heavy("append-and-dispatch", store::append_and_dispatch),
    HotFunction::whole("broker-pull-of-32", broker::pull_of_32),
    HotFunction::whole("broker-send-binary-32", || {
        broker::sends_32(Serialization::RocketMq)
    }),
    HotFunction::whole("broker-send-json-32", || {
        broker::sends_32(Serialization::Json)
    }),
    HotFunction::light("crc", records::crc),
    HotFunction::light("decode-send-binary", || {
        commands::decode_send(Serialization::RocketMq)
    }),
    HotFunction::light("decode-send-json", || {
        commands::decode_send(Serialization::Json)
    }),
    HotFunction::light("encode-send-answer-binary", || {
        commands::encode_send_answer(Serialization::RocketMq)
    }),
    HotFunction::light("encode-send-answer-json", || {
        commands::encode_send_answer(Serialization::Json)
    }),
    HotFunction::light("lay-out-record", records::lay_out),
    HotFunction::light("match-tags-all", || filters::match_tags("*")),
    HotFunction::light("match-tags-four", || {
        filters::match_tags("TagB || TagC || TagD || TagE")
    }),
    HotFunction::light("match-tags-one", || filters::match_tags("TagA")),
    HotFunction::light("parse-record", records::parse),
    HotFunction::heavy("read-32-of-the-tail", store::read_32_of_the_tail),
    HotFunction::light("split-32-frames", commands::split_32_frames),
    HotFunction::heavy("sql92-compile", filters::compile_sql92),
    HotFunction::heavy("sql92-judge-64-equal", || {
        filters::judge_sql92("region = 'eu' AND amount > 100")
    }),
    HotFunction::heavy("sql92-judge-64-in", || {
        filters::judge_sql92("region IN ('eu', 'us', 'cn') AND amount BETWEEN 99.5 AND 1000.0")
    }),
    HotFunction::heavy("sql92-judge-64-contains", || {
        filters::judge_sql92("region = 'us' OR UNIQ_KEY CONTAINS '2C3D'")
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_can_be_called_and_called_again() {
        for function in ALL {
            let mut call = function.set_up();
            call();
            call();
        }
    }

    #[test]
    fn names_are_unique_words() {
        let names: std::collections::BTreeSet<_> =
            ALL.iter().map(|function| function.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(!names.iter().any(|name| name.contains(char::is_whitespace)));
    }
}
