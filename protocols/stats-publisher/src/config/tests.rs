use super::*;

fn fails(text: &str) -> String {
    let error = match StatsConfig::from_toml_str(text) {
        Err(error) => error,
        Ok(config) => config.builder(Role::Pool).expect_err("the table is wrong"),
    };
    format!("{error} {error:?}")
}

#[test]
fn the_original_design_s_table_is_enough() {
    let config = StatsConfig::from_toml_str(
        "listen_address = \"0.0.0.0:34254\"\n[stats]\nstats_server_address = \"127.0.0.1:4001\"\n[other]\nkey = 1\n",
    )
    .unwrap();
    assert!(config.enabled);
    let builder = config.builder(Role::Proxy).unwrap();
    assert_eq!(
        (builder.address.as_str(), builder.publisher.as_str(), builder.role),
        ("127.0.0.1:4001", "proxy", Role::Proxy)
    );
    assert_eq!(StatsConfig::from_toml_str("[stats]").unwrap().builder(Role::Pool).unwrap().address, DEFAULT_ADDRESS);
}

#[test]
fn no_table_means_no_publisher() {
    for text in ["", "[pool]\nkey = 1\n", "[stats]\nenabled = false\nstats_server_address = \"nonsense\"\n"] {
        let publisher = StatsConfig::from_toml_str(text).unwrap().start(Role::Pool, "test").unwrap();
        assert!(!publisher.is_enabled());
    }
}

#[test]
fn every_key_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let text = format!(
        "[stats]\nenabled = true\nstats_server_address = \"sidecar.example:4000\"\npublisher = \"pool-eu-1\"\n\
         role = \"jd-server\"\ntoken_file = {token:?}\nspool = \"/var/lib/pool/stats.spool\"\nspool_max_bytes = \"2 GiB\"\n\
         queue_slots = 1024\nboxed_event_bytes = 100000\n"
    );
    let builder = StatsConfig::from_toml_str(&text).unwrap().builder(Role::Pool).unwrap();
    assert_eq!((builder.publisher.as_str(), builder.role, builder.queue_slots), ("pool-eu-1", Role::JdServer, 1024));
    assert_eq!((builder.boxed_event_bytes, builder.token.expose()), (100_000, "s3cret"));
    assert_eq!(builder.spool.unwrap().max_bytes, 2 << 30);
}

#[cfg(feature = "noise")]
#[test]
fn the_authority_key_is_checked() {
    let key = "9auqWEzQDVyd2oe1JVGFLMLHZtCo2FFqZwtKA5gd9xbuEu7PH72";
    let table = |key: &str| format!("[stats]\nauthority_public_key = \"{key}\"\n");
    let builder = StatsConfig::from_toml_str(&table(key)).unwrap().builder(Role::Pool).unwrap();
    assert_eq!(builder.authority, Some(key.parse().unwrap()));
    assert!(fails(&table("9auq")).contains("authority_public_key"));
}

#[test]
fn each_fault_is_told_with_its_place() {
    let unknown = fails("key = 1\n[stats]\n  spol = \"x\"\n");
    assert!(
        unknown.contains("line 3, column 3") && unknown.contains("`spol`") && unknown.contains("`spool`"),
        "{unknown}"
    );
    assert!(fails("[stats]\nenabled = 1\n").contains("line 2"));
    assert!(fails("[stats\n").contains("line 1"));
    let role = fails("[stats]\nrole = \"miner\"\n");
    assert!(role.contains("miner") && role.contains("pool, proxy, jd-client"), "{role}");
    let both = fails("[stats]\ntoken = \"a\"\ntoken_env = \"B\"\n");
    assert!(both.contains("`token`") && both.contains("`token_env`"), "{both}");
    assert!(fails("[stats]\nspool_max_bytes = \"1 GiB\"\n").contains("no `spool`"));
    assert!(fails("[stats]\ntoken_file = \"/nowhere/token\"\n").contains("/nowhere/token"));
    assert!(fails("[stats]\ntoken_env = \"STATS_TOKEN_THAT_NOBODY_SETS\"\n").contains("STATS_TOKEN_THAT_NOBODY_SETS"));
    let limits = StatsConfig::from_toml_str("[stats]\nqueue_slots = 0\n").unwrap().start(Role::Pool, "test");
    assert!(matches!(limits, Err(ConfigError::Start(StartError::OutOfRange { what: "queue_slots", .. }))));
    let address = StatsConfig::from_toml_str("[stats]\nstats_server_address = \"4000\"\n").unwrap();
    assert!(matches!(address.start(Role::Pool, "test"), Err(ConfigError::Start(StartError::Address { .. }))));
}

#[test]
fn the_token_is_never_shown() {
    let config = StatsConfig::from_toml_str("[stats]\ntoken = \"hunter2\"\n").unwrap();
    assert!(!format!("{config:?} {:?}", config.builder(Role::Pool).unwrap()).contains("hunter2"));
    for wrong in ["token = 4711", "token = \"4711", "token = [4711]", "token = 4711.5", "tokn = \"4711\""] {
        let error = fails(&format!("[stats]\n{wrong}\n"));
        assert!(!error.contains("4711"), "{error}");
    }
}
