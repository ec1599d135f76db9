#!/bin/sh
# Builds std for wasm32-unknown-unknown where `rustup target add` can't fetch it: from Debian's
# rust-src of the very version of the installed rustc, checked by hash.
#
#   tests/guests/rust-std.sh DIR     DIR/sysroot, to be used as RUSTFLAGS="--sysroot DIR/sysroot"
#
# About 25 s and 120 MB. Keep DIR/sysroot between runs: Debian drops old backports.
set -eu
version=1.95.0
package=rust-src=1.95.0+dfsg1-2~bpo13+1
sha256=7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b

dir=$(mkdir -p "${1:?a folder}" && cd "$1" && pwd)
target=$dir/sysroot/lib/rustlib/wasm32-unknown-unknown/lib
[ -f "$dir/sysroot/whole" ] && exit 0
rustc --version | grep -qF " $version " || { echo "this is for rustc $version only" >&2; exit 1; }

# A package list of its own, beside the machine's.
debian=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | head -n 1)
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/maker/src" "$target"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $debian trixie-backports main" >"$dir/apt/sources.list"
apt="apt-get -qq -o Dir::Etc::sourcelist=$dir/apt/sources.list -o Dir::Etc::sourceparts=-
    -o Dir::State::lists=$dir/apt/lists -o Dir::Cache=$dir/apt/cache -o Acquire::Languages=none"
cd "$dir"
if [ ! -f rust-src.deb ]; then
    $apt update
    $apt download "$package"
    mv rust-src_*.deb rust-src.deb
fi
echo "$sha256  rust-src.deb" | sha256sum -c - >/dev/null
dpkg-deb --fsys-tarfile rust-src.deb | tar x --wildcards "./usr/src/rustc-$version/library/*"

# A crate without content makes cargo build all of std. Bitcode is for guests with lto; paths are
# mapped so that no module holds the name of a folder here.
printf '[package]\nname = "maker"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >maker/Cargo.toml
: >maker/src/lib.rs
cd maker
RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$dir/usr/src/rustc-$version/library" \
    RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$dir/usr/src/rustc-$version=/rustc --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build -q --release -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown --target-dir "$dir/maker/target"
cp target/wasm32-unknown-unknown/release/deps/*.rlib "$target/"
rm -f "$target"/libmaker-*.rlib
# Build scripts and macros still need the host's own std.
host=$(rustc -vV | sed -n 's/^host: //p')
ln -sfn "$(rustc --print sysroot)/lib/rustlib/$host" "$dir/sysroot/lib/rustlib/$host"
: >"$dir/sysroot/whole"
