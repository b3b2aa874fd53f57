use super::*;

struct NoCallbacks;

impl QuoteCallbacks for NoCallbacks {
    fn on_quote_created(&self, _: ehash::ShareHash, _: &ehash::QuoteContext) {}
    fn on_quote_send(&self, _: &ehash::ParsedMintQuoteRequest, _: &ehash::QuoteContext) {}
    fn on_quote_response(&self, _: &ehash::MintQuoteResponseEvent) {}
    fn on_quote_error(&self, _: &ehash::QuoteError, _: Option<ehash::ShareHash>) {}
}

const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

fn read(text: &str) -> Result<QuotesConfig, ConfigError> {
    QuotesConfig::from_toml_str(text).map(|table| table.config().cloned().expect("a table"))
}

#[test]
fn a_whole_table_is_read_from_a_hosts_file() {
    let config = read(&format!(
        "listen = 'x'\n[quotes]\nmint_address = 'mint:3334'\nminimum_difficulty = 20\nlocking_key = '{KEY}'\n\
         timeout = '90s'\nmax_pending = 10\nqueue_slots = 11\n[other]\nx = 1\n"
    ))
    .unwrap();
    assert!(config.enabled);
    let builder = config.builder().unwrap();
    assert_eq!((builder.minimum_difficulty, builder.locking_key), (20, KEY.parse().ok()));
    assert!(builder.dispatch);
    assert_eq!(config.timeout().unwrap(), Duration::from_secs(90));
}

#[test]
fn a_file_without_the_table_has_no_quotes() {
    let quotes = QuotesConfig::from_toml_str("x = 1").unwrap().start(Arc::new(NoCallbacks), "test").unwrap();
    assert!(!quotes.is_on());
}

#[test]
fn switched_off_needs_no_mint() {
    let quotes = QuotesConfig::from_toml_str("[quotes]\nenabled = false").unwrap();
    let quotes = quotes.start(Arc::new(NoCallbacks), "test").unwrap();
    assert!(quotes.is_on());
    let builder = read("[quotes]\nenabled = false\nmint_address = 'mint:1'").unwrap().builder().unwrap();
    assert!(!builder.dispatch);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let Err(ConfigError::Toml { line, column, message }) = read("[quotes]\nmint_adress = 'mint:1'\n") else {
        panic!("an unknown key")
    };
    assert_eq!((line, column), (2, 1));
    assert!(message.contains("mint_adress"), "{message}");
    assert!(matches!(read("[quotes]\nminimum_difficulty = -1"), Err(ConfigError::Toml { line: 2, .. })));
    // The message comes without the line itself, which may be another table's secret.
    let Err(ConfigError::Toml { message, .. }) = read("[other]\nsecret = 'hunter2' x\n[quotes]") else { panic!() };
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn values_that_make_no_dispatcher_are_refused() {
    let start = |keys: &str| {
        let table = QuotesConfig::from_toml_str(&format!("[quotes]\n{keys}")).unwrap();
        table.start(Arc::new(NoCallbacks), "test").map(drop).unwrap_err()
    };
    assert!(matches!(start(""), ConfigError::NoMint));
    assert!(matches!(start("mint_address = 'mint'"), ConfigError::Start(StartError::Address { .. })));
    assert!(matches!(start("mint_address = ':1'"), ConfigError::Start(StartError::Address { .. })));
    assert!(matches!(start("mint_address = 'mint:99999'"), ConfigError::Start(StartError::Address { .. })));
    let start = |keys: &str| start(&format!("mint_address = 'mint:1'\n{keys}"));
    assert!(matches!(start("locking_key = '02'"), ConfigError::LockingKey(_)));
    assert!(matches!(start("timeout = '60'"), ConfigError::Timeout { .. }));
    for (key, value) in [("max_pending", "0"), ("queue_slots", "0"), ("minimum_difficulty", "257"), ("timeout", "'0s'")]
    {
        let error = start(&format!("{key} = {value}"));
        let ConfigError::Start(StartError::OutOfRange { what, .. }) = error else { panic!("{key}: {error}") };
        assert!(what.starts_with(key));
    }
    #[cfg(feature = "noise")]
    assert!(matches!(start("authority_public_key = 'x'"), ConfigError::AuthorityKey(_)));
}
