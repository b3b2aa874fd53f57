//! Anchors and counts on small texts; the recipes themselves on the published packages.

use super::count::changed_lines;
use super::*;

const FILE: &str = "\
fn first(ids: &Ids) {
    let id = ids.next();
    let answer = self
        .channel
        .validate(share)
        .map_err(wrong)?;
    send(answer);
}

fn second(ids: &Ids) {
    let id = ids.next();
    loop {
        send(id);
    }
}
";

fn insert(anchors: &str) -> Insert {
    let text = format!("purpose = 'p'\nfile = 'f'\n{anchors}\nlines = '''\ntell(id);\n'''\n");
    toml::from_str(&text).expect("an insert")
}

/// The lines that are new, with their numbers.
fn applied(anchors: &str) -> Vec<(usize, String)> {
    let after = insert(anchors).apply(FILE, "/hooks").unwrap();
    assert_eq!(changed_lines(FILE, &after), 1, "{after}");
    after
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("tell"))
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect()
}

#[test]
fn lines_go_before_and_after_their_anchor_with_its_indentation() {
    assert_eq!(applied("before = 'fn second('"), [(10, "tell(id);".to_owned())]);
    assert_eq!(applied("after = 'send(answer);'"), [(8, "    tell(id);".to_owned())]);
    assert_eq!(applied("before = 'send(id);'"), [(13, "        tell(id);".to_owned())]);
    assert_eq!(applied("after = 'loop {'"), [(13, "        tell(id);".to_owned())]);
    assert_eq!(applied("replace = 'send(answer);'"), [(7, "    tell(id);".to_owned())]);
}

#[test]
fn white_space_in_an_anchor_stands_for_any() {
    let over_lines = "after = 'let answer = self .channel .validate(share) .map_err(wrong)?;'";
    assert_eq!(applied(over_lines), [(7, "    tell(id);".to_owned())]);
    // The end of a chain: the lines belong to the statement, not to its last call.
    assert_eq!(applied("after = '.map_err(wrong)?;'"), [(7, "    tell(id);".to_owned())]);
}

#[test]
fn a_block_narrows_the_search_to_its_end() {
    assert_eq!(applied("within = 'fn first('\nafter = 'let id'"), [(3, "    tell(id);".to_owned())]);
    assert_eq!(applied("within = 'fn second('\nafter = 'let id'"), [(12, "    tell(id);".to_owned())]);
    let beyond = insert("within = 'fn first('\nafter = 'loop {'").apply(FILE, "");
    let (purpose, text) = ("p".to_owned(), "loop {".to_owned());
    assert_eq!(beyond, Err(ApplyError::NoAnchor { purpose, text, within: (1, 8) }));
}

#[test]
fn what_does_not_match_once_is_refused_with_its_lines() {
    let error = |anchors| insert(anchors).apply(FILE, "").unwrap_err().to_string();
    assert_eq!(error("after = 'let id = ids.next();'"), "\"p\": `let id = ids.next();` is in lines 2, 11");
    assert_eq!(error("after = 'nowhere'"), "\"p\": no `nowhere` in lines 1 to 15");
    assert_eq!(error("within = 'fn third('\nafter = 'let id'"), "\"p\": no line has `fn third(`");
    assert_eq!(error("within = '(ids: &Ids) {'\nafter = 'x'"), "\"p\": `(ids: &Ids) {` begins a block in lines 1, 10");
}

#[test]
fn an_insert_needs_one_anchor() {
    for anchors in ["", "after = 'a'\nbefore = 'b'", "after = 'a'\nreplace = 'b'"] {
        let text = format!(
            "package = 'p'\nversion = '1'\nlimit = 1\n[[insert]]\npurpose = 'two'\nfile = 'f'\n{anchors}\nlines = 'x'"
        );
        let error = Recipe::parse(&text, Path::new("r.toml")).unwrap_err();
        assert!(matches!(error, RecipeError::Anchors { ref purpose, .. } if purpose == "two"), "{error}");
    }
}

#[test]
fn changed_and_added_and_removed_lines_count_once() {
    for (before, after, lines) in [
        ("a\nb\nc\n", "a\nb\nc\n", 0),
        ("a\nb\nc\n", "a\nx\nc\n", 1),
        ("a\nb\nc\n", "a\nx\ny\nc\n", 2),
        ("a\nb\nc\n", "a\nb\nx\ny\nc\n", 2),
        ("a\nb\nc\n", "a\nc\n", 1),
        ("a\nb\nc\n", "x\nb\ny\n", 2),
        ("", "a\n\nb\n", 3),
    ] {
        assert_eq!(changed_lines(before, after), lines, "{before:?} {after:?}");
    }
}

#[test]
fn the_pool_needs_no_more_lines_than_its_limit() {
    stays_within_its_limit(&Recipe::pool().unwrap());
}

#[test]
fn the_translator_needs_no_more_lines_than_its_limit() {
    stays_within_its_limit(&Recipe::translator().unwrap());
}

fn stays_within_its_limit(recipe: &Recipe) {
    let patched = Patched::new(recipe).unwrap();
    let count = patched.count(recipe).unwrap();
    assert!(count.total() <= recipe.limit, "{count:?}");
    // Every line of ours is counted. A line of theirs may be wrapped because of one of ours; that counts too.
    let diff = patched.diff(recipe).unwrap();
    let added = diff.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).count();
    let ours: usize = recipe.inserts.iter().map(|insert| insert.lines.trim_matches('\n').lines().count()).sum();
    assert!(count.total() >= added && added >= ours, "{count:?}, {ours} lines of ours\n{diff}");
    for insert in recipe.inserts.iter().filter(|insert| insert.file.extension().is_some_and(|it| it == "rs")) {
        has_the_lines_that_rustfmt_gives_it(insert, patched.after());
    }
}

/// rustfmt leaves a whole function alone when a text in it is too long to break. There our lines would count as they are
/// written; so they are formatted by themselves, at their depth.
fn has_the_lines_that_rustfmt_gives_it(insert: &Insert, after: &Path) {
    let lines: Vec<&str> = insert.lines.trim_matches('\n').lines().collect();
    let text = std::fs::read_to_string(after.join(&insert.file)).unwrap();
    // Lines that rustfmt changed are not in a place that it leaves alone.
    let Some(first) = text.lines().find(|line| line.trim() == lines[0].trim()) else { return };
    let depth = (first.len() - first.trim_start().len()) / 4;
    let open = if depth == 0 { String::new() } else { format!("fn f() {{{}", "loop {".repeat(depth - 1)) };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.rs");
    std::fs::write(&file, format!("{open}\n{}\n{}", lines.join("\n"), "}".repeat(depth))).unwrap();
    let rustfmt = std::process::Command::new("rustfmt").args(["--edition", "2024"]).arg(&file).output().unwrap();
    if !rustfmt.status.success() {
        // A part of a statement, which has no form of its own.
        return;
    }
    let formatted = std::fs::read_to_string(&file).unwrap();
    let ours: Vec<&str> = formatted.lines().map(str::trim).skip(depth).take(lines.len()).collect();
    let written: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    assert_eq!(ours, written, "{formatted}");
    assert_eq!(formatted.lines().count(), lines.len() + 2 * depth, "{formatted}");
}

/// Who follows the guide writes what the stories run.
#[test]
fn the_guide_has_every_line_of_the_recipes() {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/integrating.md")).unwrap();
    for recipe in [Recipe::pool().unwrap(), Recipe::translator().unwrap()] {
        for insert in &recipe.inserts {
            let (lines, purpose) = (insert.lines.trim(), &insert.purpose);
            assert!(guide.contains(lines), "{}: the guide lacks the lines of {purpose:?}: {lines}", recipe.package);
        }
    }
}
