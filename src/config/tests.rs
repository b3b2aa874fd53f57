//! What the reader of a bad configuration sees: place, message, suggestion. And that the good ones are good.

use std::path::Path;

use super::*;

/// Environment of the tests.
fn variables(name: &str) -> Option<String> {
    match name {
        "STATE" => Some("/var/lib/sidecar".to_owned()),
        "POOL_TOKEN" => Some("correct horse battery staple".to_owned()),
        "BAD_AGE" => Some("not-a-duration".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    let file = SourceFile { path: "test.toml".into(), text: text.to_owned() };
    Config::parse(file, &crate::registry::built_in(), &variables)
}

fn load(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|error| match error {
        ConfigError::Invalid { findings } => panic!("{}", findings.render(false)),
        error => panic!("{error}"),
    })
}

/// Every problem as `line:column [offending text] message | help`.
fn problems(text: &str) -> Vec<String> {
    let findings = match parse(text) {
        Ok(loaded) => loaded.findings,
        Err(ConfigError::Invalid { findings }) => *findings,
        Err(error) => panic!("{error}"),
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .to_json()
        .iter()
        .map(|problem| {
            let (line, column) = (&problem["line"], &problem["column"]);
            let (offending, message) = (text(&problem["text"]), text(&problem["message"]));
            let offending = offending.lines().next().unwrap_or_default();
            format!("{line}:{column} [{offending}] {message} | {}", text(&problem["help"]))
        })
        .collect()
}

/// Each expected piece list must be found in the problem of the same place, in order; there must be no other problem.
#[track_caller]
fn check(text: &str, expected: &[&[&str]]) {
    let found = problems(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, pieces) in found.iter().zip(expected) {
        for piece in *pieces {
            assert!(found.contains(piece), "`{piece}` is not in `{found}`");
        }
    }
}

/// A configuration without faults; cases add one.
const GOOD: &str = "\
[server]
listen = \"127.0.0.1:4000\"
[journal]
path = \"state/journal.db\"
[sinks.history]
type = \"sqlite\"
path = \"state/stats.db\"
";

#[test]
fn a_good_configuration_has_nothing_to_say() {
    check(GOOD, &[]);
    let config = load(GOOD).config;
    assert_eq!(config.server.listen, "127.0.0.1:4000".parse().unwrap());
    assert_eq!(config.admin.listen, "127.0.0.1:4010".parse().unwrap());
    assert_eq!(config.journal, JournalConfig::new("state/journal.db"));
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_known_one() {
    check(
        &GOOD.replace("listen", "lisen"),
        &[&["2:1 [lisen] ", "unknown key `lisen` in [server]", "did you mean `listen`?"]],
    );
    check(&format!("{GOOD}evnets = [\"*\"]\n"), &[&["8:1 [evnets] ", "in [sinks.history]", "did you mean `events`?"]]);
    check(&format!("{GOOD}retry = {{ max_agee = \"1h\" }}\n"), &[&["8:11 [max_agee] ", "did you mean `max_age`?"]]);
    check(&format!("{GOOD}[sinkz.a]\n"), &[&["8:2 [sinkz] ", "unknown table `sinkz`", "did you mean `sinks`?"]]);
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    check(
        "\
[server]
listen = 4000
lisen = \"x\"
[server.limits]
max_sessions = \"many\"
silent_after = \"60\"
[journal]
path = \"j.db\"
max_bytes = \"2 GBit\"
max_age = 24
when_full = \"block_all\"
durability = \"powr\"
[admin]
listen = \"localhost\"
[sinks.history]
type = \"sqlit\"
path = \"stats.db\"
events = [\"share_*\", \"qoute_*\"]
[sinks.log]
path = \"events.jsonl\"
[bridges.pool]
type = \"sri2\"
[log]
filter = \"loud,,=\"
",
        &[
            &["2:10 [4000] ", "integer `4000`", "quotes"],
            &["3:1 [lisen] ", "did you mean `listen`?"],
            &["5:16 [\"many\"] ", "whole number from 1 to 4294967295"],
            &["6:16 [\"60\"] ", "\"60\" is no duration"],
            &["9:13 [\"2 GBit\"] ", "is no size"],
            &["10:11 [24] ", "integer `24`", "\"10s\""],
            &["11:13 [\"block_all\"] ", "`block_all`", "block"],
            &["12:14 [\"powr\"] ", "did you mean `power`?"],
            &["14:10 [\"localhost\"] ", "no address to listen on"],
            &["16:8 [\"sqlit\"] ", "no type `sqlit`", "did you mean `sqlite`?"],
            &["18:22 [\"qoute_*\"] ", "no event is named `qoute_*`", "did you mean `quote_*`?"],
            &["19:8 [log] ", "lacks `type`", "prometheus, sqlite"],
            &["22:8 [\"sri2\"] ", "no type `sri2`", "did you mean `sri`?"],
            &["24:10 [\"loud,,=\"] ", "no log filter"],
        ],
    );
}

#[test]
fn a_required_key_that_is_missing_is_named() {
    check(
        "[server]\n[sinks.a]\ntype = \"sqlite\"\n",
        &[&["1:1 [] ", "[journal] lacks `path`"], &["2:8 [a] ", "[sinks.a] lacks `path`"]],
    );
}

#[test]
fn syntax_errors_come_alone() {
    let found = problems("[server]\nlisten = 127.0.0.1:4000\nlisen = 1\n[sinks.x]\ntype = sqlite\n");
    assert!(found.len() >= 2, "{found:#?}");
    assert!(found[0].starts_with("2:") && found.last().unwrap().starts_with("5:"), "{found:#?}");
    assert!(found.iter().all(|problem| !problem.contains("lisen")), "{found:#?}");
}

#[test]
fn one_port_and_one_file_belong_to_one_component() {
    check(
        &format!("{GOOD}[admin]\nlisten = \"127.0.0.1:4000\"\n"),
        &[&["9:10 ", "[server] and [admin] both use the address 127.0.0.1:4000"]],
    );
    check(
        &format!("{}[admin]\nlisten = \"127.0.0.1:4000\"\n", GOOD.replace("127.0.0.1", "0.0.0.0")),
        &[&["whoever reaches 0.0.0.0:4000"], &["9:10 ", "both use the address"]],
    );
    check(
        &format!("{GOOD}[sinks.log]\ntype = \"log-file\"\npath = \"state/../state/./stats.db\"\n"),
        &[&["10:8 [\"state/../state/./stats.db\"]", "[sinks.history] and [sinks.log] both use the file"]],
    );
    check(
        &GOOD.replace("stats.db", "journal.db"),
        &[&["7:8 [\"state/journal.db\"]", "[journal] and [sinks.history] both use the file"]],
    );
    check(&format!("{GOOD}[admin]\nlisten = \"127.0.0.1:0\"\n").replace(":4000", ":0"), &[]);
}

#[test]
fn errors_inside_tables_do_not_hide_those_between_them() {
    check(
        "[server]\nlisen = \"127.0.0.1:4010\"\n[journal]\npath = \"a.db\"\nmax_age = 24\n[sinks.a]\ntype = \
         \"sqlite\"\npath = \"a.db\"\nevents = [\"*x*x*\"]\n",
        &[
            &["2:1 [lisen] "],
            &["5:11 [24] "],
            &["8:8 [\"a.db\"]", "[journal] and [sinks.a] both use the file"],
            &["9:11 [\"*x*x*\"]"],
        ],
    );
    // An address that cannot be read is none, and does not stand for the default.
    check(
        "[server]\nlisten = \"x\"\n[admin]\nlisten = \"127.0.0.1:4000\"\n[journal]\npath = \"a.db\"\n",
        &[&["2:10 [\"x\"]"]],
    );
}

#[test]
fn environment_variables_stand_in_string_values_only() {
    let config = load(&GOOD.replace("state/journal.db", "${STATE}/journal-$${STATE}.db")).config;
    assert_eq!(config.journal.path, Path::new("/var/lib/sidecar/journal-${STATE}.db"));
    check(&GOOD.replace("state/journal", "${NOWHERE}/journal"), &[&["4:9 [${NOWHERE}] ", "NOWHERE is not set"]]);
    check(&GOOD.replace("state/journal", "${STATE/journal"), &[&["4:9 ", "`${` without `}`"]]);
    check(&GOOD.replace("state/journal", "${9x}"), &[&["4:9 [${9x}] ", "`9x` is no name"]]);
    check(&format!("{GOOD}[\"${{STATE}}\"]\n"), &[&["unknown table `${STATE}`"]]);
}

#[test]
fn values_of_variables_are_not_shown() {
    let found = problems(&format!("{GOOD}retry = {{ max_age = \"${{BAD_AGE}}\" }}\n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("${BAD_AGE}") && !found[0].contains("not-a-duration"), "{found:?}");
}

#[test]
fn secrets_come_from_files_and_variables_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "tr0ub4dor\n").unwrap();
    let text = format!(
        "{GOOD}[[server.tokens]]\npublishers = [\"pool-*\"]\ntoken_file = {path:?}\n[[server.tokens]]\npublishers = \
         [\"*\"]\ntoken_env = \"POOL_TOKEN\"\n"
    );
    let config = load(&text).config;
    let auth = &config.server.auth;
    assert!(auth.allows("tr0ub4dor", "pool-1") && !auth.allows("tr0ub4dor", "proxy-1"));
    assert!(auth.allows("correct horse battery staple", "proxy-1") && !auth.allows("", "proxy-1"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("tr0ub4dor") && !shown.contains("correct horse"), "{shown}");
}

#[test]
fn faults_of_secrets_are_told_where_they_are_named() {
    let tokens = |body: &str| format!("{GOOD}[[server.tokens]]\npublishers = [\"*\"]\n{body}\n");
    check(&tokens("token_file = \"/no/such/file\""), &[&["10:14 ", "cannot read the secret file /no/such/file"]]);
    check(&tokens("token_env = \"NOWHERE\""), &[&["10:13 ", "NOWHERE is not set"]]);
    check(&tokens("token = \"hunter2\""), &[&["10:1 [token] ", "token_file"]]);
    check(&tokens(""), &[&["8:1 ", "names no secret", "does not belong in this file"]]);
    check(&tokens("token_env = \"POOL_TOKEN\"\ntoken_file = \"x\""), &[&["10:1 [token_env]", "both name the secret"]]);
    let twice = "token_env = \"POOL_TOKEN\"\n[[server.tokens]]\npublishers = [\"a\"]\ntoken_env = \"POOL_TOKEN\"";
    check(&tokens(twice), &[&["11:1 ", "have the same token"]]);
    check(
        &format!("{GOOD}[server.noise]\nauthority_key_env = \"POOL_TOKEN\"\n"),
        &[&["9:21 ", "no authority key", "keygen noise"]],
    );
}

#[test]
fn the_admin_listener_stays_on_this_host_unless_told() {
    let remote = format!("{GOOD}[admin]\nlisten = \"0.0.0.0:4010\"\n");
    check(&remote, &[&["9:10 ", "can be reached from other hosts", "allow_remote"]]);
    check(&format!("{remote}allow_remote = true\n"), &[]);
}

#[test]
fn the_short_form_means_the_two_embedded_sinks() {
    for (text, listen, dashboard, admin, folder) in [
        (
            "[server]\ntcp_port = 4000\nhttp_port = 8080\ndb_path = \".devenv/state/pool-stats/stats.db\"\n",
            "127.0.0.1:4000",
            "127.0.0.1:8080",
            "127.0.0.1:4010",
            ".devenv/state/pool-stats",
        ),
        (
            "[server]\ntcp_port = 4001\nhttp_port = 8081\ndb_path = \".devenv/state/proxy-stats/stats.db\"\n",
            "127.0.0.1:4001",
            "127.0.0.1:8081",
            "127.0.0.1:4011",
            ".devenv/state/proxy-stats",
        ),
    ] {
        check(text, &[]);
        let config = load(text).config;
        assert_eq!(config.server.listen, listen.parse().unwrap());
        assert_eq!(config.admin.listen, admin.parse().unwrap());
        assert_eq!(config.journal.path, Path::new(folder).join("stats.journal.db"));
        let [history, pages] = &config.sinks[..] else { panic!("{:?}", config.sinks) };
        assert_eq!((history.name.as_str(), history.type_name), ("history", "sqlite"));
        assert_eq!(history.settings.claims(), [sidecar_core::Claim::File(Path::new(folder).join("stats.db"))]);
        assert_eq!((pages.name.as_str(), pages.type_name), ("dashboard", "dashboard"));
        assert_eq!(pages.settings.claims(), [sidecar_core::Claim::Listen(dashboard.parse().unwrap())]);
        assert_eq!(pages.settings.reads_histories_of()[0].sink, "history");
    }
}

/// A dashboard with these lines in its table, which begins in line 4 of the file.
fn dashboard(lines: &str) -> String {
    format!(
        "[sinks.history]\ntype = \"sqlite\"\npath = \"s.db\"\n[sinks.pages]\ntype = \"dashboard\"\n{lines}\n\
         [journal]\npath = \"j.db\"\n"
    )
}

#[test]
fn a_dashboard_names_a_history_of_the_same_file() {
    check(&dashboard("history = \"history\""), &[]);
    check(
        &dashboard("history = \"histroy\""),
        &[&[
            "6:11 [\"histroy\"] ",
            "`history` of [sinks.pages] names `histroy`",
            "no such sink",
            "did you mean `history`",
        ]],
    );
    check(
        &dashboard("history = \"pages\""),
        &[&["6:11 ", "a sink of type `dashboard`, which keeps no history", "history"]],
    );
    check(
        "[sinks.pages]\ntype = \"dashboard\"\nhistory = \"history\"\n[journal]\npath = \"j.db\"\n",
        &[&["3:11 ", "no such sink", "add [sinks.history]"]],
    );
    check(&dashboard(""), &[&["4:8 ", "[sinks.pages] lacks `history`", "add a line `history = \"history\"`"]]);
    let two = dashboard("").replace("[journal]", "[sinks.old]\ntype = \"sqlite\"\npath = \"o.db\"\n[journal]");
    check(&two, &[&["lacks `history`", "`history = \"history\"` or `history = \"old\"`"]]);
    check(
        "[sinks.pages]\ntype = \"dashboard\"\n[journal]\npath = \"j.db\"\n",
        &[&[
            "lacks `history`",
            "add [sinks.history] with type = \"sqlite\" and a path, and here `history = \"history\"`",
        ]],
    );
}

#[test]
fn a_dashboard_stays_on_this_host_unless_somebody_said_who_may_look() {
    let remote = |auth: &str| dashboard(&format!("history = \"history\"\nlisten = \"0.0.0.0:8080\"\n{auth}"));
    check(&remote(""), &[&["7:10 [\"0.0.0.0:8080\"] ", "can be reached from other hosts", "auth"]]);
    check(&remote("auth = \"none\""), &[]);
    check(&remote("auth = { token_file = \"/nowhere/token\" }"), &[&["8:8 ", "/nowhere/token", "keygen token"]]);
    let local = |lines: &str| dashboard(&format!("history = \"history\"\n{lines}"));
    check(&local("auth = \"a-secret-token\""), &[&["7:8 ", "a token never stands in this file"]]);
    check(
        &local("auth = { token = \"a-secret-token\" }"),
        &[&["7:8 ", "needs one of"], &["7:10 ", "unknown key `token`"]],
    );
    check(&local("listen = \"localhost:80\""), &[&["7:10 ", "no address to listen on"]]);
    check(&local("max_live_clients = 256"), &[&["7:20 ", "leaves no connection"]]);
    check(&local("redact = [\"address\"]"), &[&["`address` is not possible here", "addresses"]]);
    check(&local("listen = \"127.0.0.1:4010\""), &[&["7:10 ", "both use the address 127.0.0.1:4010"]]);
}

#[test]
fn a_sink_that_shows_the_present_starts_with_it() {
    use sidecar_pipeline::StartAt;
    let starts = |text: &str| load(text).config.sinks.iter().map(|sink| sink.driver.start).collect::<Vec<_>>();
    assert_eq!(starts(&dashboard("history = \"history\"")), [StartAt::Earliest, StartAt::Latest]);
    assert_eq!(starts(&dashboard("history = \"history\"\nstart = \"earliest\"")), [StartAt::Earliest; 2]);
}

#[test]
fn the_short_form_does_not_mix_with_what_it_stands_for() {
    check(
        "[server]\nhttp_port = 8080\n[sinks.h]\ntype = \"sqlite\"\npath = \"s.db\"\n",
        &[&["2:1 [http_port] ", "without `db_path`"]],
    );
    check(
        "[server]\nhttp_port = 8080\ndb_path = \"s.db\"\n[sinks.dashboard]\ntype = \"dashboard\"\nhistory = \"history\"\n",
        &[&["4:8 [dashboard] ", "already means the sink `dashboard`"]],
    );
    check(
        "[server]\ntcp_port = 4000\nlisten = \"127.0.0.1:4000\"\ndb_path = \"s.db\"\n",
        &[&["2:1 [tcp_port] ", "both say where to listen"]],
    );
    check(
        "[server]\ndb_path = \"s.db\"\n[sinks.history]\ntype = \"sqlite\"\npath = \"t.db\"\n",
        &[&["3:8 [history] ", "already means the sink `history`"]],
    );
    check("[server]\ntcp_port = 70000\ndb_path = \"s.db\"\n", &[&["2:12 [70000] ", "expected u16", "0 to 65535"]]);
}

#[test]
fn values_without_meaning_are_refused() {
    check(&format!("{GOOD}events = []\n"), &[&["8:10 [[]]", "wants nothing"]]);
    check(&format!("{GOOD}timeout = \"0s\"\n"), &[&["8:11 ", "`timeout` is zero"]]);
    check(
        &format!("{GOOD}retry = {{ initial_backoff = \"1m\", max_backoff = \"1s\" }}\n"),
        &[&["8:9 ", "`retry.initial_backoff` (1m)"]],
    );
    check(&GOOD.replace("[sinks.history]", "[sinks.\"a b\"]"), &[&["5:8 ", "no name for a component"]]);
    check(
        &GOOD.replace("path = \"state/journal.db\"", "path = \"j.db\"\nmax_delay = \"1h\""),
        &[&["5:13 ", "max_delay"]],
    );
    check(&format!("{GOOD}[server.limits]\nsilent_after = \"2s\"\n"), &[&["heartbeat"]]);
    check(&format!("{GOOD}[server.limits]\nname_held_for = \"2s\"\n"), &[&["name_held_for", "heartbeat"]]);
    check(&format!("{GOOD}[server.limits]\nwrite_timeout = \"0s\"\n"), &[&["write_timeout", "zero"]]);
    check(&format!("{GOOD}[server.limits]\nmax_handshakes = 0\n"), &[&["9:18 ", "from 1"]]);
}

#[test]
fn two_bridges_do_not_read_one_program() {
    let bridge =
        |name: &str, more: &str| format!("[bridges.{name}]\ntype = \"sri\"\nurl = \"http://127.0.0.1:{more}\"\n");
    check(&format!("{GOOD}{}{}", bridge("a", "9090"), bridge("b", "9091")), &[]);
    check(&format!("{GOOD}{}{}", bridge("a", "9090"), bridge("b", "9090/")), &[&["13:7 ", "two bridges read"]]);
    let twin = format!("{}publisher = \"a\"\n", bridge("b", "9091"));
    check(&format!("{GOOD}{}{twin}", bridge("a", "9090")), &[&["14:13 [\"a\"]", "two bridges publish as `a`"]]);
}

#[test]
fn a_file_without_sinks_is_warned_about() {
    check("[journal]\npath = \"j.db\"\n", &[&["1:1 ", "no sink is configured"]]);
}

#[test]
fn no_text_makes_the_reader_panic() {
    use proptest::prelude::*;
    let pieces = prop::sample::select(vec![
        "[server]",
        "[[server.tokens]]",
        "[sinks.a]",
        "[sinks]",
        "sinks = 1",
        "listen",
        "=",
        "\"127.0.0.1:1\"",
        "{",
        "}",
        "[",
        "]",
        "type",
        "\"sqlite\"",
        "path",
        "\n",
        "\n",
        "\n",
        ".",
        ",",
        "\"${STATE}\"",
        "\"${\"",
        "é",
        "1",
        "retry",
        "tcp_port",
        "db_path",
        "tokens",
        "#",
        "events",
        "[\"*\"]",
        "limits",
    ]);
    proptest!(|(text in prop::collection::vec(pieces, 0..40))| {
        let text = text.join(" ");
        if let Err(ConfigError::Invalid { findings }) = parse(&text) {
            prop_assert!(!findings.render(false).is_empty());
            prop_assert!(!findings.to_json().is_empty());
        }
    });
}
