//! The folder `sdk` is part of the program (`sluice plugin new`): a change there builds it anew.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../sdk");
}
