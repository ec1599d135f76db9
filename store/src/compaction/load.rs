//! What is done to a compacted queue's files before they serve: they are paired, what a crash left of a
//! round is settled, and what may not have been synced is given up: the commit log still has it.

use sluice_protocol::message::Record;
use sluice_protocol::message::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, RECORD_SIZE_MIN};

use super::java_s;
use super::queue::{CompactedQueue, Piece};
use super::units::{UNIT, Unit};
use crate::commit_log::{BLANK_SIZE, be32, file_start, is_zero};
use crate::config::StoreConfig;
use crate::dispatch::unit_tags_code;
use crate::error::{At, StoreError};
use crate::files::{File, Open};

/// Where a round writes what will replace pieces.
pub(crate) const REWRITTEN: &str = "rewritten";
/// Where Java does. What a crash leaves there is complete nowhere, and Java's next round would take it
/// for its own.
const JAVA_S: &str = "compacting";
/// Bytes cleared at once.
const CLEAR: u64 = 1 << 20;

/// Loads the files. From the queue offset `doubtful` on nothing may have been synced; `None` when the
/// store was closed properly.
pub(crate) fn load_pieces(
    queue: &CompactedQueue,
    config: &StoreConfig,
    doubtful: Option<i64>,
    position: i64,
) -> Result<(), StoreError> {
    let files = &queue.cache.files;
    let rewritten = queue.log_dir.join(REWRITTEN);
    java_s::settle(queue)?;
    let cut_short = files.exists(&rewritten);
    let logs = starts(queue, &queue.log_dir, queue.sizes.log)?;
    let queues = starts(queue, &queue.queue_dir, queue.sizes.queue)?;
    let mut pieces: Vec<Piece> = Vec::new();
    for &start in &logs {
        let is_last = Some(&start) == logs.last();
        let piece = match doubtful.filter(|_| is_last) {
            _ if cut_short || !queues.contains(&start) => rebuild(queue, start, is_last, config)?,
            Some(doubtful) => read_until(queue, start, doubtful)?,
            None => match read(queue, start)? {
                Some(piece) => piece,
                None => rebuild(queue, start, is_last, config)?,
            },
        };
        let last = pieces.last().map_or(-1, |before| before.last);
        // A round had put its records into the piece before, and was cut short.
        let stale = piece.units > 0 && piece.first <= last;
        if stale || (piece.units == 0 && !is_last) {
            remove(queue, start)?;
        } else {
            pieces.push(piece);
        }
    }
    for start in queues.into_iter().filter(|start| !logs.contains(start)) {
        remove(queue, start)?;
    }
    let dirs = [&queue.log_dir, &queue.queue_dir];
    if cut_short {
        // A process that was killed may not have made its renames durable: they must be before the
        // directory is gone that tells of them.
        for dir in dirs
            .into_iter()
            .flat_map(|dir| [dir.clone(), dir.join(REWRITTEN)])
        {
            if files.exists(&dir) {
                files.sync_dir(&dir).at("sync", &dir)?;
            }
        }
    }
    for path in dirs
        .into_iter()
        .flat_map(|dir| [JAVA_S, REWRITTEN].map(|name| dir.join(name)))
    {
        if files.exists(&path) {
            queue.cache.remove_dir(&path)?;
        }
    }
    let last = pieces.last().copied();
    queue.set_pieces(pieces, position);
    match (last, doubtful) {
        // Those before were synced when they were full.
        (Some(last), Some(doubtful)) if last.units > 0 => {
            cut(queue, doubtful.max(last.first), position)
        }
        _ => Ok(()),
    }
}

/// Where the files of a directory begin.
fn starts(
    queue: &CompactedQueue,
    dir: &std::path::Path,
    size: u64,
) -> Result<Vec<i64>, StoreError> {
    let files = &queue.cache.files;
    let mut starts = Vec::new();
    for entry in files.list(dir).at("list", dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            continue;
        }
        match file_start(&entry.name) {
            None => {
                tracing::warn!(path = %path.display(), "not a file of a compacted queue, ignored; Java would refuse to start");
            }
            // Being made when the process died.
            Some(_) if entry.size == 0 => files.remove_file(&path).at("remove", &path)?,
            Some(_) if entry.size != size => {
                return Err(StoreError::FileSize {
                    path,
                    size: entry.size,
                    expected: size,
                });
            }
            Some(start) => starts.push(start),
        }
    }
    Ok(starts)
}

fn remove(queue: &CompactedQueue, start: i64) -> Result<(), StoreError> {
    let files = &queue.cache.files;
    for path in [queue.log_path(start), queue.queue_path(start)] {
        if files.exists(&path) {
            queue.cache.remove_file(&path)?;
            let dir = path.parent().unwrap_or(&path);
            files.sync_dir(dir).at("sync", dir)?;
        }
    }
    Ok(())
}

/// A piece whose queue file tells all. `None` when its last record is not where that says: a Java broker
/// was killed between the replacement of the one file and of the other.
fn read(queue: &CompactedQueue, start: i64) -> Result<Option<Piece>, StoreError> {
    let every = Piece {
        units: queue.sizes.queue / UNIT,
        ..Piece::empty(start)
    };
    let mut piece = Piece::empty(start);
    // What is no unit reads as behind all of them.
    let units = queue.bisect(&every, |_| true)?;
    let of =
        |at: u64| -> Result<Option<Unit>, StoreError> { Ok(queue.units_of(&every, at, 1)?.pop()) };
    if units > 0
        && let (Some(first), Some(last)) = (of(0)?, of(units - 1)?)
    {
        piece.units = units;
        (piece.first, piece.last) = (first.queue_offset, last.queue_offset);
        if last.position < start || queue.record(&piece, &last)?.is_none() {
            return Ok(None);
        }
        piece.end = (last.position - start) as u64 + last.size as u64;
    }
    Ok(Some(piece))
}

/// A piece up to a queue offset; behind it both files are cleared.
fn read_until(queue: &CompactedQueue, start: i64, limit: i64) -> Result<Piece, StoreError> {
    let every = Piece {
        units: queue.sizes.queue / UNIT,
        ..Piece::empty(start)
    };
    let mut piece = Piece::empty(start);
    for unit in queue.units_of(&every, 0, every.units)? {
        let follows = unit.position == start + piece.end as i64
            && (piece.units == 0 || unit.queue_offset > piece.last);
        if !follows || unit.queue_offset >= limit {
            break;
        }
        piece.add(&unit);
    }
    clear_behind(queue, &piece)?;
    Ok(piece)
}

/// A piece by what its log file holds up to the first record that is not whole; its queue file is made
/// to say the same, and both are cleared behind. Behind the last record of the last piece lies what a crash
/// has torn, and the commit log has it; behind any other lies damage, which is kept aside.
fn rebuild(
    queue: &CompactedQueue,
    start: i64,
    is_last: bool,
    config: &StoreConfig,
) -> Result<Piece, StoreError> {
    let log = queue.log_file(start)?;
    let mut piece = Piece::empty(start);
    let mut units = Vec::new();
    while piece.units < queue.sizes.units_max() {
        let Some(unit) = unit_at(&*log, &piece, config, queue.sizes.log) else {
            break;
        };
        unit.encode(&mut units);
        piece.add(&unit);
    }
    let path = queue.queue_path(start);
    let (files, dir) = (&queue.cache.files, &queue.queue_dir);
    files.create_dir_all(dir).at("create", dir)?;
    let made = files.open(&path, Open::Sparse(queue.sizes.queue));
    let file = made.at("create", &path)?;
    let mut there = vec![0; units.len()];
    file.read_at(0, &mut there).at("read", &path)?;
    if there != units {
        file.write_at(0, &units).at("write", &path)?;
    }
    if !is_last {
        keep_damage(queue, &piece, config)?;
    }
    clear_behind(queue, &piece)?;
    Ok(piece)
}

/// Keeps what lies behind a piece's records in `quarantine`, unless the piece ends there.
fn keep_damage(
    queue: &CompactedQueue,
    piece: &Piece,
    config: &StoreConfig,
) -> Result<(), StoreError> {
    let (log, path) = (queue.log_file(piece.start)?, queue.log_path(piece.start));
    let end = log.data_end(piece.end).at("read", &path)?;
    let end = end.min(queue.sizes.log);
    if piece.end >= end || is_zero(&*log, piece.end, end).at("read", &path)? {
        return Ok(());
    }
    let size = (end - piece.end) as usize;
    let bytes = log.slice(piece.end, size).at("read", &path)?;
    if size >= BLANK_SIZE as usize && be32(&bytes, 4) as u32 == MAGIC_BLANK {
        return Ok(());
    }
    let dir = config.root.join("quarantine");
    let files = &queue.cache.files;
    files.create_dir_all(&dir).at("create", &dir)?;
    let (topic, id) = (&queue.topic, queue.queue_id);
    let name = format!(
        "compaction-{topic}-{id}-{:020}",
        piece.start + piece.end as i64
    );
    let aside = dir.join(name);
    files.put(&aside, &bytes).at("write", &aside)?;
    files.sync_dir(&dir).at("sync", &dir)?;
    tracing::error!(
        topic,
        id,
        aside = %aside.display(),
        "a damaged part of compacted messages was set aside"
    );
    Ok(())
}

/// Clears what lies behind the records and units of a piece, and syncs both files.
fn clear_behind(queue: &CompactedQueue, piece: &Piece) -> Result<(), StoreError> {
    let (log, file) = (queue.log_file(piece.start)?, queue.queue_file(piece.start)?);
    let path = queue.queue_path(piece.start);
    clear(&*file, piece.units * UNIT, queue.sizes.queue).at("clear", &path)?;
    file.sync().at("sync", &path)?;
    let path = queue.log_path(piece.start);
    clear(&*log, piece.end, queue.sizes.log).at("clear", &path)?;
    log.sync().at("sync", &path)
}

/// The unit of the whole record behind those that the piece has.
fn unit_at(log: &dyn File, piece: &Piece, config: &StoreConfig, size: u64) -> Option<Unit> {
    let at = piece.end;
    if at + RECORD_SIZE_MIN as u64 > size {
        return None;
    }
    let head = log.slice(at, 8).ok()?;
    let (length, magic) = (be32(&head, 0), be32(&head, 4) as u32);
    let whole = length >= RECORD_SIZE_MIN as i32 && at + length as u64 <= size;
    if !whole || (magic != MAGIC_V1 && magic != MAGIC_V2) {
        return None;
    }
    let bytes = log.slice(at, length as usize).ok()?;
    let record = Record::parse(&bytes).ok()?;
    let ascends = piece.units == 0 || record.queue_offset() > piece.last;
    let sound = record.check_crc().is_ok() && ascends && record.queue_offset() >= 0;
    sound.then(|| Unit {
        position: piece.start + at as i64,
        size: length,
        tags_code: unit_tags_code(&record, config),
        store_time: record.store_timestamp(),
        queue_offset: record.queue_offset(),
    })
}

/// Writes zeroes from `at` on wherever there is something else.
fn clear(file: &dyn File, mut at: u64, size: u64) -> std::io::Result<()> {
    let end = file.data_end(at)?.min(size);
    while at < end {
        let next = (at + CLEAR).min(end);
        if !is_zero(file, at, next)? {
            file.write_at(at, &vec![0; (next - at) as usize])?;
        }
        at = next;
    }
    Ok(())
}

/// Gives up all from a queue offset on.
pub(crate) fn cut(queue: &CompactedQueue, limit: i64, position: i64) -> Result<(), StoreError> {
    let mut pieces = queue.state.read().pieces.clone();
    while let Some(piece) = pieces.pop_if(|piece| piece.units == 0 || piece.last >= limit) {
        let kept = queue.bisect(&piece, |unit| unit.queue_offset < limit)?;
        if kept == 0 {
            remove(queue, piece.start)?;
            continue;
        }
        let mut shorter = Piece::empty(piece.start);
        let units = queue.units_of(&piece, 0, kept)?;
        units.iter().for_each(|unit| shorter.add(unit));
        if kept < piece.units {
            clear_behind(queue, &shorter)?;
        }
        pieces.push(shorter);
        break;
    }
    queue.set_pieces(pieces, position.min(limit - 1));
    Ok(())
}
