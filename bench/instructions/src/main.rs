//! `sluice-instructions`: how many instructions each hot function takes, beside what the file of counts
//! says. It runs itself under valgrind, so that the time of day and its neighbours do not matter.

mod callgrind;
mod counts;
mod maker;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use sluice_instructions::{ALL, Call, HotFunction};

use crate::counts::{Counts, comparison};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.txt");
const USAGE: &str = "sluice-instructions            compares with bench/instructions.txt
sluice-instructions --write    writes it anew
sluice-instructions probe NAME CALLS    calls one function, under whatever tool";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => compare(),
        ["--write"] => write(),
        ["probe", name, calls] => probe(name, calls.parse()?),
        _ => bail!("usage:\n{USAGE}"),
    }
}

/// Compares with the file, and fails when a function grew, or when the file lists others.
fn compare() -> Result<ExitCode> {
    let text = fs::read_to_string(FILE).context(FILE)?;
    let was: Counts = text.parse().context(FILE)?;
    let is = count()?;
    let comparison = comparison(&was, &is);
    print!("{comparison}");
    Ok(if comparison.passes() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write() -> Result<ExitCode> {
    fs::write(FILE, count()?.to_string()).context(FILE)?;
    println!("written: {}", Path::new(FILE).canonicalize()?.display());
    Ok(ExitCode::SUCCESS)
}

fn count() -> Result<Counts> {
    ensure!(
        !cfg!(debug_assertions),
        "this is not optimised: cargo run --profile counted -p sluice-instructions"
    );
    let mut counts = Counts {
        maker: maker::maker(),
        ..Counts::default()
    };
    for function in ALL {
        let per_call = callgrind::per_call(function).context(function.name)?;
        counts.functions.insert(function.name.to_owned(), per_call);
    }
    Ok(counts)
}

fn probe(name: &str, calls: u32) -> Result<ExitCode> {
    let is_it = |function: &&HotFunction| function.name == name;
    let mut call = ALL
        .iter()
        .find(is_it)
        .with_context(|| format!("no hot function is called {name}"))?
        .set_up();
    call_often(&mut call, calls);
    Ok(ExitCode::SUCCESS)
}

/// Its name is where valgrind begins to count: see [`callgrind`].
#[inline(never)]
fn call_often(call: &mut Call, calls: u32) {
    (0..calls).for_each(|_| call());
}
