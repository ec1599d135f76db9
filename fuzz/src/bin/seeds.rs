//! Writes the seeds of one target: what the recorded vectors of Apache RocketMQ hold for it.
//!
//! `seeds TARGET GOLDEN_DIRECTORY CORPUS_DIRECTORY`

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, golden, corpus] = arguments.as_slice() else {
        return Err("seeds TARGET GOLDEN_DIRECTORY CORPUS_DIRECTORY".into());
    };
    fs::create_dir_all(corpus)?;
    let mut count = 0;
    for version in fs::read_dir(golden)? {
        for seed in seeds(target, &version?.path())? {
            fs::write(Path::new(corpus).join(format!("golden-{count}")), seed)?;
            count += 1;
        }
    }
    println!("{count} seeds for {target}");
    Ok(())
}

/// What a compressed registration of two topics unpacks to.
const REGISTRATION: &[u8] = b"\0\0\0\x0d{\"counter\":7}\0\0\0\x02\0\0\0\x21orders 4 8 6 SINGLE_TAG {\"a\":\"b\"}\0\0\0\x1e%RETRY%g1 1 1 6 SINGLE_TAG {} \0\0\0\x02[]\0\0\0\0";

/// What the vectors of one RocketMQ version hold; a directory without vectors holds nothing.
fn seeds(target: &str, version: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let (file, field) = match target {
        "command" | "headers" => ("frames.txt", "frame"),
        "record" => ("messages.txt", "bytes"),
        "batch" => ("messages.txt", "bytes"),
        "properties" => ("messages.txt", "properties"),
        "fastjson" | "bodies" => ("bodies.txt", ""),
        "registration" => return Ok(vec![REGISTRATION.to_vec()]),
        other => return Err(format!("unknown target {other}").into()),
    };
    let path = version.join(file);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    if field.is_empty() {
        return Ok(lines.map(|(_, body)| body.as_bytes().to_vec()).collect());
    }
    lines
        .filter(|(name, _)| *name == field)
        .map(|(_, hex)| from_hex(hex).ok_or_else(|| format!("not hexadecimal: {hex}").into()))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let pairs = digits?;
    Some(
        pairs
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}
