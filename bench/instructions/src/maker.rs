//! What made the counts: all that changes them though nobody changed the code.

use std::process::Command;

/// Compiler, C library (its are `malloc` and `memcpy`), valgrind and processor.
pub fn maker() -> String {
    [
        env!("RUSTC_VERSION").to_owned(),
        first_line("getconf", "GNU_LIBC_VERSION"),
        first_line("valgrind", "--version"),
        processor().to_owned(),
    ]
    .join(", ")
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = output.unwrap_or_default();
    match line.lines().next() {
        Some(line) => line.to_owned(),
        None => format!("no {program}"),
    }
}

/// Valgrind imitates the processor that it runs on, up to AVX2: crc32 and memcpy choose their code by it.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "x86_64 with AVX2";
    }
    std::env::consts::ARCH
}
