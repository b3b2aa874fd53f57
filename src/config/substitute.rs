//! Environment variables in string values: `${NAME}` becomes the variable's value, `$${` a plain `${`. Done after parsing,
//! so that no value can change the structure of the file, and in values only, never in keys.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// Variables shorter than this are shown in error messages as they are: hiding "1" would garble the text.
const HIDE_FROM: usize = 4;

/// Looks up an environment variable; a parameter, so that tests need not change the process's environment.
pub(crate) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Substitutes in every string of the table.
pub(crate) fn substitute(table: &mut DeTable<'_>, text: &str, lookup: Lookup<'_>, problems: &mut Problems) {
    for (_, value) in table.iter_mut() {
        in_value(value, text, lookup, problems);
    }
}

fn in_value(value: &mut Spanned<DeValue<'_>>, text: &str, lookup: Lookup<'_>, problems: &mut Problems) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(string) if string.contains("${") => {
            *string = expand(string, &span, text, lookup, problems).into();
        }
        DeValue::Array(array) => array.iter_mut().for_each(|value| in_value(value, text, lookup, problems)),
        DeValue::Table(table) => substitute(table, text, lookup, problems),
        _ => {}
    }
}

fn expand(value: &str, span: &Range<usize>, text: &str, lookup: Lookup<'_>, problems: &mut Problems) -> String {
    // The place inside the literal, if it stands there unescaped; else the whole literal.
    let place = |reference: &str| {
        let inside = text.get(span.clone()).and_then(|literal| literal.find(reference));
        inside.map_or(span.clone(), |at| span.start + at..span.start + at + reference.len())
    };
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            problems.push(
                Problem::error(place(&rest[start..]), "`${` without `}`")
                    .help("write `${NAME}` for an environment variable, `$${` for the two characters themselves"),
            );
            return out;
        };
        let reference = &rest[start..=start + end];
        let name = &reference[2..reference.len() - 1];
        if !is_name(name) {
            problems.push(
                Problem::error(place(reference), format!("`{name}` is no name of an environment variable"))
                    .help("letters, digits and `_`, not beginning with a digit"),
            );
        } else if let Some(found) = lookup(name) {
            if found.len() >= HIDE_FROM {
                problems.hide(found.clone(), reference.to_owned());
            }
            out.push_str(&found);
        } else {
            problems.push(
                Problem::error(place(reference), format!("the environment variable {name} is not set"))
                    .help(format!("set {name} for the sidecar, or write the value itself")),
            );
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    out
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
