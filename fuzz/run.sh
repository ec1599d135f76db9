#!/bin/sh
# Fuzzes one decoder, or each in turn, with coverage guidance, on the stable compiler:
#
#     fuzz/run.sh                    every target, 30 seconds each
#     fuzz/run.sh command 600        one target, ten minutes
#     fuzz/run.sh command FILE       runs one input again, for example an artifact
#
# The instrumentation is LLVM's own, asked for by flags that stable rustc passes on. Naming the
# target triple keeps it away from build scripts. A find lies in fuzz/artifacts/TARGET; make a plain
# test of it.
set -eu
cd "$(dirname "$0")"

targets="command record batch properties fastjson"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
triple=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done

fuzz() {
    target=$1
    corpus="$PWD/corpus/$target"
    artifacts="$PWD/artifacts/$target"
    mkdir -p "$corpus" "$artifacts"
    cargo run --quiet --release --bin seeds -- "$target" ../tests/golden "$corpus"
    RUSTFLAGS="$flags --cfg fuzzing" cargo build --quiet --release --target "$triple" --bin "$target"
    binary="$CARGO_TARGET_DIR/$triple/release/$target"
    if [ -f "$2" ]; then
        "$binary" "$2"
        return
    fi
    "$binary" "$corpus" -max_total_time="$2" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=512 -artifact_prefix="$artifacts/" -print_final_stats=1
}

for target in ${1:-$targets}; do
    fuzz "$target" "${2:-30}"
done
