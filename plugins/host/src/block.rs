//! Packs messages into the block that guests read, only what they need of them.

use sluice_filters::properties::{Key, find_last};
use sluice_plugin_block::{BlockWriter, Field, Fields};

use crate::error::CallError;
use crate::instance::Needs;
use crate::row::{BODY_MAX, Row};

/// Memory that a thread keeps for its next block.
const KEPT: usize = 256 << 10;

/// What a guest needs of each message, made ready to be found.
#[derive(Debug)]
pub(crate) struct Columns {
    /// At most 64.
    properties: Vec<Key>,
    fields: Fields,
    body: bool,
}

impl From<&Needs> for Columns {
    fn from(needs: &Needs) -> Columns {
        Columns {
            properties: needs.properties.iter().map(|name| Key::new(name)).collect(),
            // Bits that are no fields were refused when the guest was set up.
            fields: Fields::from_bits(needs.fields).unwrap_or_default(),
            body: needs.body,
        }
    }
}

/// A function's argument in one row.
pub type Cell<'a> = Option<&'a [u8]>;

thread_local! {
    static WRITER: std::cell::RefCell<BlockWriter> =
        const { std::cell::RefCell::new(BlockWriter::new()) };
}

/// Packs what a guest needs of rows and hands the block to `call`. `arguments` come before
/// the needed properties: as many cells for each row of a function's call; none for other guests.
///
/// # Errors
/// Bodies, unfolded, that are too much for one call: a few bytes can unfold to very many. One row alone
/// is never too much for that. And a block beyond what its offsets reach.
pub(crate) fn with_block<T>(
    columns: &Columns,
    rows: &[Row<'_>],
    arguments: &[Vec<Cell<'_>>],
    call: impl FnOnce(&[u8]) -> T,
) -> Result<T, CallError> {
    WRITER.with_borrow_mut(|writer| {
        let packed = pack(writer, columns, rows, arguments);
        let block = writer
            .bytes()
            .map_err(|error| CallError::Answer(error.to_string()));
        let large = block.as_ref().map_or(true, |block| block.len() > KEPT);
        let result = packed.and(block).map(call);
        if large {
            writer.shrink_to(KEPT);
        }
        result
    })
}

fn pack(
    writer: &mut BlockWriter,
    columns: &Columns,
    rows: &[Row<'_>],
    arguments: &[Vec<Cell<'_>>],
) -> Result<(), CallError> {
    let mut unfolded = 0_u64;
    let given = arguments.first().map_or(0, Vec::len);
    let (names, fields) = (&columns.properties, columns.fields);
    writer.begin(rows.len(), given + names.len(), fields, columns.body);
    for (at, row) in rows.iter().enumerate() {
        for (column, cell) in arguments.get(at).into_iter().flatten().enumerate() {
            if let Some(cell) = cell {
                writer.cell(at, column, cell);
            }
        }
        let mut found = 0_u64;
        find_last(row.properties, names, |column, value| {
            let first = found & (1 << column) == 0;
            if first {
                found |= 1 << column;
                writer.cell(at, given + column, value);
            }
            first
        });
        for field in ALL.into_iter().filter(|field| fields.contains(*field)) {
            writer.field(at, field, row.field(field));
        }
        if columns.body
            // A body that can't be unfolded is empty.
            && let Ok(body) = row.plain_body()
        {
            unfolded += body.len() as u64;
            if unfolded > BODY_MAX && rows.len() > 1 {
                return Err(CallError::Bodies(BODY_MAX));
            }
            writer.body(at, &body);
        }
    }
    Ok(())
}

const ALL: [Field; 7] = [
    Field::QueueOffset,
    Field::StoreTime,
    Field::BornTime,
    Field::QueueId,
    Field::SysFlag,
    Field::TagsCode,
    Field::ReconsumeTimes,
];

#[cfg(test)]
mod tests {
    use sluice_plugin_block::Block;

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

    #[test]
    fn a_block_holds_what_is_needed_and_the_last_of_equal_names() {
        let needs = Needs {
            properties: vec!["a".to_owned(), "b".to_owned()],
            body: true,
            fields: 1 | 8,
            pure: true,
        };
        let rows = [
            row(b"a\x011\x02c\x019\x02a\x012"),
            row(b"b\x01x\x02a\x01\x02"),
        ];
        with_block(&Columns::from(&needs), &rows, &[], |block| {
            let block = Block::parse(block).unwrap();
            assert_eq!(block.cell(0, 0), Some(&b"2"[..]));
            assert_eq!(block.cell(0, 1), None);
            assert_eq!(block.cell(1, 0), None);
            assert_eq!(block.cell(1, 1), Some(&b"x"[..]));
            assert_eq!(block.body(1), Some(&b"body"[..]));
            assert_eq!(block.field(0, Field::QueueOffset), Some(7));
            assert_eq!(block.field(1, Field::QueueId), Some(3));
        })
        .unwrap();
    }

    #[test]
    fn arguments_come_before_properties() {
        let needs = Needs {
            properties: vec!["a".to_owned()],
            ..Needs::default()
        };
        let arguments = [vec![Some(&b"x"[..]), None]];
        with_block(
            &Columns::from(&needs),
            &[row(b"a\x011")],
            &arguments,
            |block| {
                let block = Block::parse(block).unwrap();
                let cells: Vec<Cell<'_>> = (0..3).map(|column| block.cell(0, column)).collect();
                assert_eq!(cells, [Some(&b"x"[..]), None, Some(&b"1"[..])]);
            },
        )
        .unwrap();
    }
}
