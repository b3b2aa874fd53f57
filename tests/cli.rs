//! The command line as its user meets it: the real binary, its exit codes, what it prints.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli {
    mod advice;
    mod check;
    mod dead_letters;
    mod keys;
    mod patience;
    mod process;
    mod quotes;
    mod running;
}
