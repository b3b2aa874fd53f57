//! The files in `configs/` are good, complete, and say the truth about defaults.

use super::*;

/// The complete ones.
const COMPLETE: [(&str, &str); 2] =
    [("pool.toml", include_str!("../../configs/pool.toml")), ("proxy.toml", include_str!("../../configs/proxy.toml"))];
const MINIMAL: &str = include_str!("../../configs/minimal.toml");

fn load(text: &str) -> Loaded {
    let file = SourceFile { path: "example.toml".into(), text: text.to_owned() };
    Config::parse(file, &crate::registry::built_in(), &|_| None).unwrap_or_else(|error| match error {
        ConfigError::Invalid { findings } => panic!("{}", findings.render(false)),
        error => panic!("{error}"),
    })
}

/// Everything that the configuration says, the sinks' own settings included.
fn everything(config: &Config) -> String {
    let sinks: Vec<String> = config.sinks.iter().map(|sink| format!("{:?}", sink.settings)).collect();
    format!("{config:#?}\n{sinks:#?}")
}

/// Whether the line shows a default: `#key = value`.
fn shows_default(line: &str) -> bool {
    line.strip_prefix('#')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.contains(" = "))
}

#[test]
fn every_example_is_good() {
    for text in COMPLETE.map(|(_, text)| text).into_iter().chain([MINIMAL]) {
        let loaded = load(text);
        assert!(loaded.findings.problems.is_empty(), "{}", loaded.findings.render(false));
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    for (name, text) in COMPLETE {
        let lines: Vec<&str> = text.lines().collect();
        let before = everything(&load(text).config);
        let defaults: Vec<usize> = (0..lines.len()).filter(|index| shows_default(lines[*index])).collect();
        assert!(defaults.len() > 20, "{name} shows {} defaults", defaults.len());
        for index in defaults {
            let mut changed: Vec<&str> = lines.clone();
            changed[index] = &lines[index][1..];
            let after = everything(&load(&changed.join("\n")).config);
            assert_eq!(before, after, "{name}:{} is not the default: {}", index + 1, lines[index]);
        }
    }
}

/// An unknown key makes the reader list all known ones: each must be in the file.
#[test]
fn every_setting_is_in_the_complete_examples() {
    let tables = [
        "server",
        "server.limits",
        "journal",
        "admin",
        "log",
        "sinks.history",
        "sinks.history.retry",
        "sinks.history.retention",
        "sinks.dashboard",
        "sinks.dashboard.source",
        "sinks.events",
    ];
    for (name, text) in COMPLETE {
        for table in tables {
            let header = format!("\n[{table}]\n");
            assert!(text.contains(&header), "{name} lacks [{table}]");
            let text_with_unknown = text.replace(&header, &format!("{header}unknown_key_of_the_test = 1\n"));
            let file = SourceFile { path: name.into(), text: text_with_unknown };
            let Err(ConfigError::Invalid { findings }) = Config::parse(file, &crate::registry::built_in(), &|_| None)
            else {
                panic!("an unknown key in [{table}] is not found");
            };
            let help = findings.problems[0].help.clone().unwrap_or_default();
            let known = help.strip_prefix("known keys: ").unwrap_or_else(|| panic!("[{table}]: {help}"));
            for key in known.split(", ") {
                let written = text.lines().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))
                        || line.ends_with(&format!(".{key}]"))
                        || line.ends_with(&format!(".{key}]]"))
                });
                let is_short_form = short_form::KEYS.contains(&key);
                assert!(written || is_short_form, "{name} does not show {key} of [{table}]");
            }
        }
    }
}

/// Sinks that stand in the examples without being switched on: the rules that hold for the others hold for them.
#[test]
fn sinks_that_are_commented_out_are_good_and_complete() {
    for (name, text) in COMPLETE {
        let header = "# [sinks.metrics]\n";
        let (before, block) = text.split_once(header).unwrap_or_else(|| panic!("{name} lacks {header}"));
        let (block, after) = block.split_once("\n\n").unwrap_or((block, ""));
        let lines: Vec<&str> = block.lines().map(|line| line.trim_start_matches("# ")).collect();
        // The token's file is an example; nothing is there.
        let written =
            lines.iter().filter(|line| !line.starts_with("auth")).fold(String::new(), |all, line| all + line + "\n");
        load(&format!("{before}[sinks.metrics]\n{written}\n{after}"));
        let unknown = format!("{before}[sinks.metrics]\nunknown_key_of_the_test = 1\n{written}\n{after}");
        let file = SourceFile { path: name.into(), text: unknown };
        let Err(ConfigError::Invalid { findings }) = Config::parse(file, &crate::registry::built_in(), &|_| None)
        else {
            panic!("an unknown key is not found in {name}");
        };
        let help = findings.problems[0].help.clone().unwrap_or_default();
        let known = help.strip_prefix("known keys: ").unwrap_or_else(|| panic!("{name}: {help}"));
        // The keys of every sink's driver are shown where the first sink is.
        for key in known.split(", ") {
            let shown =
                lines.iter().any(|line| line.starts_with(&format!("{key} = "))) || text.contains(&format!("#{key} = "));
            assert!(
                shown || text.contains(&format!(".{key}]")) || text.contains(&format!("# {key} = ")),
                "{name} lacks {key}"
            );
        }
    }
}
