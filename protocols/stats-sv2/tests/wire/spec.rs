//! SPEC.md names every message with its number, fields and types as the code has them.

use crate::every_message::every_message;
use crate::json::Json;
use stats_sv2::{event, session};

const SPEC: &str = include_str!("../../SPEC.md");

/// Name, number and (field, type) of each table in SPEC.md.
type Table = (String, u8, Vec<(String, String)>);

fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in SPEC.lines() {
        if let Some(heading) = line.strip_prefix("#### 0x") {
            let (number, name) = heading.split_once(' ').unwrap();
            tables.push((name.to_owned(), u8::from_str_radix(number, 16).unwrap(), Vec::new()));
        } else if line.starts_with("## ") || line.starts_with("### ") {
            // What follows is no field table until the next message.
            tables.push((String::new(), 0, Vec::new()));
        } else if let (Some(row), Some((_, _, fields))) = (line.strip_prefix("| "), tables.last_mut()) {
            let mut cells = row.split(" | ");
            let (name, ty) = (cells.next().unwrap(), cells.next().unwrap_or_default());
            if name != "Field" {
                fields.push((name.to_owned(), ty.to_owned()));
            }
        }
    }
    tables.retain(|(name, ..)| !name.is_empty());
    tables
}

/// Name of the SV2 type of a field, without a value of it.
fn type_of<M, F: Json>(_: fn(&M) -> &F) -> String {
    F::TYPE.to_owned()
}

#[test]
fn the_text_has_the_fields_of_the_code() {
    let mut expected: Vec<Table> = Vec::new();
    macro_rules! expect {
        ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {$(
            expected.push((
                stringify!($name).to_owned(),
                $module::$name::TYPE,
                vec![$( (
                    stringify!($field).to_owned(),
                    type_of(|message: &$module::$name| &message.$field),
                ), )*],
            ));
        )*};
    }
    every_message!(expect);
    for (found, expected) in tables().iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(tables().len(), expected.len());
}
