//! Packs messages into the block that guests read; the layout stands in `sdk/wit/plugin.wit`.

use memchr::memchr;
use sluice_protocol::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

use crate::instance::Needs;
use crate::row::Row;

const VERSION: u16 = 1;
const HEADER: usize = 24;
const ABSENT: u32 = u32::MAX;

/// A column's value in one row.
pub(crate) type Cell<'a> = Option<&'a [u8]>;

/// Packs rows for a guest with these needs. `arguments` come before the needed properties: `cells`
/// of a function's call, as many for each row; none for other guests.
pub(crate) fn pack<'a>(
    out: &mut Vec<u8>,
    needs: &Needs,
    rows: &[Row<'a>],
    arguments: &[Vec<Cell<'a>>],
) {
    let given = arguments.first().map_or(0, Vec::len);
    let columns = given + needs.properties.len();
    out.clear();
    header(out, needs, rows.len(), columns);
    fields(out, needs.fields, rows);
    let cells_at = out.len();
    let body_cells = if needs.body { rows.len() } else { 0 };
    out.resize(cells_at + (rows.len() * columns + body_cells) * 8, 0);
    let mut cells: Vec<Cell<'a>> = vec![None; columns];
    for (index, row) in rows.iter().enumerate() {
        if let Some(arguments) = arguments.get(index) {
            cells[..given].copy_from_slice(arguments);
        }
        columns_of(row.properties, &needs.properties, &mut cells[given..]);
        for (column, cell) in cells.iter().enumerate() {
            put(out, cells_at + (index * columns + column) * 8, *cell);
        }
    }
    if needs.body {
        let bodies_at = cells_at + rows.len() * columns * 8;
        for (index, row) in rows.iter().enumerate() {
            // A body that can't be unfolded is absent.
            let body = row.plain_body().ok();
            put(out, bodies_at + index * 8, body.as_deref());
        }
    }
}

fn header(out: &mut Vec<u8>, needs: &Needs, rows: usize, columns: usize) {
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(HEADER as u16).to_le_bytes());
    let words = [
        rows as u32,
        columns as u32,
        needs.fields,
        u32::from(needs.body),
        0,
    ];
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn fields(out: &mut Vec<u8>, bits: u32, rows: &[Row<'_>]) {
    for bit in (0..32).map(|at| 1 << at).filter(|bit| bits & bit != 0) {
        for row in rows {
            out.extend_from_slice(&row.field(bit).to_le_bytes());
        }
    }
}

/// Appends a value and points the cell at it.
fn put(out: &mut Vec<u8>, cell_at: usize, value: Cell<'_>) {
    let (offset, length) = match value {
        None => (0, ABSENT),
        Some(value) => (out.len() as u32, value.len() as u32),
    };
    out[cell_at..cell_at + 4].copy_from_slice(&offset.to_le_bytes());
    out[cell_at + 4..cell_at + 8].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

/// The values of the named properties, in one walk along the string; of equal names the last counts.
fn columns_of<'a>(properties: &'a [u8], names: &[String], cells: &mut [Cell<'a>]) {
    cells.fill(None);
    if names.is_empty() {
        return;
    }
    let mut rest = properties;
    while !rest.is_empty() {
        let end = memchr(PROPERTY_SEPARATOR, rest).unwrap_or(rest.len());
        let piece = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let Some(at) = memchr(NAME_VALUE_SEPARATOR, piece) else {
            continue;
        };
        let (name, value) = (&piece[..at], &piece[at + 1..]);
        if value.is_empty() {
            continue;
        }
        for (wanted, cell) in names.iter().zip(cells.iter_mut()) {
            if wanted.as_bytes() == name {
                *cell = Some(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(properties: &[u8]) -> Row<'_> {
        Row {
            properties,
            body: b"body",
            sys_flag: 0,
            queue_id: 3,
            queue_offset: 7,
            store_time_ms: 0,
            born_time_ms: 0,
            reconsume_times: 0,
        }
    }

    fn word(block: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
    }

    fn cell(block: &[u8], at: usize) -> Cell<'_> {
        let (offset, length) = (word(block, at) as usize, word(block, at + 4));
        (length != ABSENT).then(|| &block[offset..offset + length as usize])
    }

    #[test]
    fn a_block_is_laid_out_as_the_interface_says() {
        let needs = Needs {
            properties: vec!["a".to_owned(), "b".to_owned()],
            body: true,
            fields: 1 | 8,
            pure: true,
        };
        let rows = [row(b"a\x011\x02c\x019\x02a\x012"), row(b"b\x01x\x02")];
        let mut block = vec![1, 2, 3];
        pack(&mut block, &needs, &rows, &[]);
        assert_eq!(block[..4], [1, 0, 24, 0]);
        let words: Vec<u32> = (4..24).step_by(4).map(|at| word(&block, at)).collect();
        assert_eq!(words, [2, 2, 9, 1, 0]);
        assert_eq!((word(&block, 24), word(&block, 32)), (7, 7));
        assert_eq!((word(&block, 40), word(&block, 48)), (3, 3));
        let cells: Vec<Cell<'_>> = (56..104).step_by(8).map(|at| cell(&block, at)).collect();
        let expected: [Cell<'_>; 6] = [
            Some(b"2"),
            None,
            None,
            Some(b"x"),
            Some(b"body"),
            Some(b"body"),
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn arguments_come_before_properties() {
        let needs = Needs {
            properties: vec!["a".to_owned()],
            ..Needs::default()
        };
        let mut block = Vec::new();
        let arguments = [vec![Some(&b"x"[..]), None]];
        pack(&mut block, &needs, &[row(b"a\x011")], &arguments);
        let cells: Vec<Cell<'_>> = (24..48).step_by(8).map(|at| cell(&block, at)).collect();
        assert_eq!(cells, [Some(&b"x"[..]), None, Some(&b"1"[..])]);
    }
}
