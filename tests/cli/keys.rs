//! `keygen` and `completions`.

use std::os::unix::fs::PermissionsExt;

use super::process::{code, output, text};

#[test]
fn a_token_is_random_and_printed_alone() {
    let (first, second) = (output(&["keygen", "token"]), output(&["keygen", "token"]));
    let token = text(&first.stdout);
    assert_eq!(token.trim().len(), 64);
    assert!(token.trim().chars().all(|c| c.is_ascii_hexdigit()));
    assert_ne!(first.stdout, second.stdout);
}

#[test]
fn a_noise_pair_goes_where_it_belongs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority-key");
    let made = output(&["keygen", "noise", "--out", path.to_str().unwrap()]);
    assert_eq!(code(made.status), 0);
    let secret: stats_sv2::noise::AuthoritySecretKey = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    assert_eq!(text(&made.stdout).trim(), secret.public_key().to_string());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let again = output(&["keygen", "noise", "--out", path.to_str().unwrap()]);
    assert_eq!(code(again.status), 1, "a key is never overwritten");
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), secret.expose_text());
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let made = output(&["completions", shell]);
        assert_eq!(code(made.status), 0);
        assert!(text(&made.stdout).contains("simulate"));
    }
}
