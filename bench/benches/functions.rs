//! The hot functions of a send and a pull, one by one: `cargo bench -p sluice-bench`.

use divan::Bencher;
use sluice_instructions::{ALL, HotFunction};

fn main() {
    divan::main();
}

#[divan::bench(args = ALL, sample_count = 500)]
fn hot(bencher: Bencher, function: &HotFunction) {
    let mut call = function.set_up();
    bencher.bench_local(|| call());
}
