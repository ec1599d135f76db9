#!/bin/sh
# Fuzzes one decoder, or each in turn, with coverage guidance, on the stable compiler:
#
#     fuzz/run.sh                    every target, 30 seconds each
#     fuzz/run.sh all 5              every target, five seconds each
#     fuzz/run.sh command 600        one target, ten minutes
#     fuzz/run.sh command FILE       runs one input again, for example an artifact
#
# The instrumentation is LLVM's own, asked for by flags that stable rustc passes on. Naming the
# target triple keeps it away from build scripts. A find lies in fuzz/artifacts/TARGET; make a plain
# test of it.
set -eu
cd "$(dirname "$0")"

targets="command headers record batch properties fastjson bodies registration"
case "${1:-all}" in all) ;; *) targets=$1 ;; esac
work="${2:-30}"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
triple=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done

bins=$(printf -- '--bin %s ' $targets)
cargo build --quiet --release --bin seeds
RUSTFLAGS="$flags --cfg fuzzing" cargo build --quiet --release --target "$triple" $bins

fuzz() {
    target=$1
    corpus="$PWD/corpus/$target"
    artifacts="$PWD/artifacts/$target"
    binary="$CARGO_TARGET_DIR/$triple/release/$target"
    mkdir -p "$corpus" "$artifacts"
    if [ -f "$work" ]; then
        "$binary" "$work"
        return
    fi
    "$CARGO_TARGET_DIR/release/seeds" "$target" ../tests/golden "$corpus"
    # Inputs of up to 64 KiB: the limits are what a small multiple of that may take.
    "$binary" "$corpus" -max_total_time="$work" -max_len=65536 -timeout=10 -rss_limit_mb=256 \
        -malloc_limit_mb=16 -artifact_prefix="$artifacts/" -print_final_stats=1 -verbosity=0
}

for target in $targets; do
    fuzz "$target"
done
