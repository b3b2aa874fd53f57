//! The tables of the history, their versions, and how a file is brought to the version of this program.
//!
//! Times are Unix milliseconds. Work is REAL in hashes (delivery rule 30). Ehash is a 16-byte BLOB, an unsigned number with
//! the most significant byte first, so that blobs compare as the numbers do.

use mining_stats::Tier;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::HistoryError;
use crate::kept::DAY_MS;
use crate::settling::start_of_day;

/// `PRAGMA application_id` of a history file ("HPSC"): tells it from other SQLite files.
pub const APPLICATION_ID: i32 = 0x4850_5343;

/// The migrations, oldest first. The version of a file is how many of them it has seen. Never change one that was
/// released; add another.
pub(crate) const MIGRATIONS: &[fn() -> String] =
    &[first_version, quotes_with_their_life, settled_hours, efforts_of_blocks];

/// A table of sums: one of the tiers, or the totals that are kept for ever in bucket 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Buckets of a tier.
    Tier(Tier),
    /// Everything since the history began.
    Total,
}

impl Level {
    pub(crate) const ALL: [Self; 5] = [
        Self::Tier(Tier::TenSeconds),
        Self::Tier(Tier::OneMinute),
        Self::Tier(Tier::FiveMinutes),
        Self::Tier(Tier::OneHour),
        Self::Total,
    ];

    /// What the names of its tables end in.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Tier(tier) => tier.name(),
            Self::Total => "total",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Tier(Tier::TenSeconds) => 0,
            Self::Tier(Tier::OneMinute) => 1,
            Self::Tier(Tier::FiveMinutes) => 2,
            Self::Tier(Tier::OneHour) => 3,
            Self::Total => 4,
        }
    }

    /// Start of the bucket that holds this time.
    pub(crate) const fn bucket_of(self, time_ms: u64) -> u64 {
        match self {
            Self::Tier(tier) => tier.bucket_of(time_ms),
            Self::Total => 0,
        }
    }
}

/// The columns of a table of sums that add up, each with how; beside them there is `ehash`.
pub(crate) const COUNTED: [(&str, &str); 12] = [
    ("accepted", "sum"),
    ("work", "sum"),
    ("work_squared", "sum"),
    ("best_share_work", "max"),
    ("invalid_target", "sum"),
    ("rejected", "sum"),
    ("squares_are_lower_bound", "max"),
    ("unrated_shares", "sum"),
    ("unrated_work", "sum"),
    ("unrated_work_squared", "sum"),
    ("blocks", "sum"),
    ("quotes", "sum"),
];

/// Where sums go: a table of them, with one of rejected shares by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Those of a level, in the order of time.
    Level(Level),
    /// Hours that are settled, in the order of series; see [`crate::settling`].
    SettledHours,
    /// Whole days of settled hours.
    SettledDays,
}

impl Table {
    /// The hours that are not settled.
    pub(crate) const HOURS: Self = Self::Level(Level::Tier(Tier::OneHour));

    pub(crate) const ALL: [Self; 7] = [
        Self::Level(Level::ALL[0]),
        Self::Level(Level::ALL[1]),
        Self::Level(Level::ALL[2]),
        Self::Level(Level::ALL[3]),
        Self::Level(Level::ALL[4]),
        Self::SettledHours,
        Self::SettledDays,
    ];

    /// Series of this level have rows in it.
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Level(level) => level,
            Self::SettledHours | Self::SettledDays => Level::Tier(Tier::OneHour),
        }
    }

    /// The name of the sums.
    pub(crate) fn rollup(self) -> String {
        match self {
            Self::Level(level) => format!("rollup_{}", level.suffix()),
            Self::SettledHours => "settled_1h".to_owned(),
            Self::SettledDays => "settled_1d".to_owned(),
        }
    }

    /// The name of the reasons.
    pub(crate) fn rejects(self) -> String {
        match self {
            Self::Level(level) => format!("rejects_{}", level.suffix()),
            Self::SettledHours => "settled_rejects_1h".to_owned(),
            Self::SettledDays => "settled_rejects_1d".to_owned(),
        }
    }

    /// Start of the bucket that holds this time.
    pub(crate) const fn bucket_of(self, time_ms: u64) -> u64 {
        match self {
            Self::Level(level) => level.bucket_of(time_ms),
            Self::SettledHours => Tier::OneHour.bucket_of(time_ms),
            Self::SettledDays => start_of_day(time_ms),
        }
    }

    /// [`Self::bucket_of`] in SQL.
    pub(crate) fn bucket_sql(self, time: &str) -> String {
        match self {
            Self::Level(Level::Total) => "0".to_owned(),
            Self::Level(Level::Tier(tier)) => format!("{time} - {time} % {}", tier.width_ms()),
            Self::SettledHours => format!("{time} - {time} % {}", Tier::OneHour.width_ms()),
            Self::SettledDays => format!("{time} - {time} % {DAY_MS}"),
        }
    }

    /// The columns of its sums besides the key.
    pub(crate) fn columns() -> String {
        COUNTED.map(|(column, _)| column).join(", ") + ", ehash"
    }

    /// What an insertion does where the bucket has sums already.
    pub(crate) fn add() -> String {
        let columns = COUNTED.map(|(column, how)| match how {
            "max" => format!("{column} = max({column}, excluded.{column})"),
            _ => format!("{column} = {column} + excluded.{column}"),
        });
        format!(
            "ON CONFLICT (bucket, series) DO UPDATE SET {},
               ehash = iif(excluded.ehash IS NULL, ehash, ehash_add(ehash, excluded.ehash))",
            columns.join(", ")
        )
    }

    /// The same for reasons.
    pub(crate) const ADD_REASONS: &str =
        "ON CONFLICT (bucket, series, reason) DO UPDATE SET count = count + excluded.count";
}

/// The levels at which latencies and failures of quotes are kept, the finest first.
pub(crate) const QUOTE_LEVELS: [Level; 3] = [Level::Tier(Tier::OneMinute), Level::Tier(Tier::OneHour), Level::Total];

/// Refuses files of a newer version and files that are no history, before anything is written to them.
pub(crate) fn check(conn: &Connection, known: usize) -> Result<(), HistoryError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || tables > 0) {
        return Err(HistoryError::NotAHistory);
    }
    let found = version(conn)?;
    if found > known {
        return Err(HistoryError::NewerSchema { found, known });
    }
    Ok(())
}

/// How many migrations the file has seen.
pub(crate) fn version(conn: &Connection) -> Result<usize, HistoryError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings a file that passed [`check`] to the newest version; a new file gets everything.
pub(crate) fn migrate(conn: &mut Connection, migrations: &[fn() -> String]) -> Result<(), HistoryError> {
    for (index, migration) in migrations.iter().enumerate().skip(version(conn)?) {
        // Version and tables change together or not at all.
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(&migration())?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", index + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// The columns of every table of sums besides its key.
const SUM_COLUMNS: &str = "accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, \
best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB";

fn first_version() -> String {
    let mut sql = String::from(TABLES);
    for level in Level::ALL {
        let suffix = level.suffix();
        // The bucket comes first: all series of the current bucket lie side by side, so a transaction over a thousand
        // series writes a few dozen pages instead of a thousand. A series over a range is read by one look-up per bucket.
        sql.push_str(&format!(
            "CREATE TABLE rollup_{suffix} (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                {SUM_COLUMNS},
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
             CREATE TABLE rejects_{suffix} (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;\n"
        ));
    }
    sql.push_str(VIEWS);
    sql
}

/// Version 2: latencies, failures and ehash of quotes, counted where they are applied, so that they outlive the quotes. The
/// sums of an older file are made from the quotes that it still has.
fn quotes_with_their_life() -> String {
    let mut sql = String::from(QUOTE_TABLES);
    for level in QUOTE_LEVELS {
        let index = level.index();
        let bucket = |column: &str| match level {
            Level::Tier(tier) => format!("{column} - {column} % {}", tier.width_ms()),
            Level::Total => "0".to_owned(),
        };
        for (stage, start, end) in
            [(0, "created_at", "sent_at"), (1, "sent_at", "answered_at"), (2, "answered_at", "paid_at")]
        {
            sql.push_str(&format!(
                "INSERT INTO quote_times (level, bucket, source, stage, slot, count, max_ms)
                 SELECT {index}, {bucket}, source, {stage}, latency_slot(max(0, {end} - {start})), count(*),
                   max(max(0, {end} - {start}))
                 FROM quotes WHERE {start} IS NOT NULL AND {end} IS NOT NULL GROUP BY 2, 3, 5;\n",
                bucket = bucket(end)
            ));
        }
        sql.push_str(&format!(
            "INSERT INTO quote_notes (level, bucket, source, kind, code, count)
             SELECT {index}, {failed}, source, 0, error_code, count(*) FROM quotes WHERE failed_at IS NOT NULL GROUP BY 2, 3, 5;
             INSERT INTO quote_notes (level, bucket, source, kind, code, count)
             SELECT {index}, {at}, source, 1, code, count(*) FROM unattributed_quotes GROUP BY 2, 3, 5;
             INSERT INTO quote_notes (level, bucket, source, kind, code, count)
             SELECT {index}, {paid}, source, 2, '', count(*) FROM early_payments GROUP BY 2, 3;\n",
            failed = bucket("failed_at"),
            at = bucket("at"),
            paid = bucket("paid_at")
        ));
    }
    let digits: Vec<String> = (0..32).map(|place| format!("({}, {:e})", place + 1, 16_f64.powi(31 - place))).collect();
    sql.push_str(&format!("INSERT INTO ehash_digits (place, weight) VALUES {};\n", digits.join(", ")));
    sql
}

/// Version 3: hours that are settled, in the order of series, and their days. They move there little by little.
fn settled_hours() -> String {
    let mut sql = String::from(
        "-- The oldest day of which something is settled.
         ALTER TABLE series ADD COLUMN settled_from INTEGER;
         CREATE INDEX series_by_settled_from ON series (settled_from) WHERE settled_from IS NOT NULL;
         -- When a worker or a connection existed is read from the index alone, and its latest row found by it.
         DROP INDEX channels_by_identity;
         CREATE INDEX channels_by_identity ON channels (identity, opened_at, closed_at);
         DROP INDEX channels_by_connection;
         CREATE INDEX channels_by_connection ON channels (connection, opened_at);
         DROP INDEX miners_by_identity;
         CREATE INDEX miners_by_identity ON miners (identity, connected_at, disconnected_at);
         DROP INDEX miners_by_connection;
         CREATE INDEX miners_by_connection ON miners (connection, connected_at);
         -- The source second: a covering index that begins with it is taken for the small ones of all that is open.
         CREATE INDEX miners_by_number ON miners (miner_id, source, connected_at, disconnected_at);
         CREATE INDEX downstreams_by_number ON downstreams (downstream_id, source, connected_at, disconnected_at);\n",
    );
    for table in [Table::SettledHours, Table::SettledDays] {
        sql.push_str(&format!(
            "CREATE TABLE {rollup} (
                series INTEGER NOT NULL, bucket INTEGER NOT NULL,
                {SUM_COLUMNS},
                PRIMARY KEY (series, bucket)) STRICT, WITHOUT ROWID;
             CREATE TABLE {rejects} (
                series INTEGER NOT NULL, bucket INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (series, bucket, reason)) STRICT, WITHOUT ROWID;\n",
            rollup = table.rollup(),
            rejects = table.rejects()
        ));
    }
    let columns = Table::columns();
    sql.push_str(&format!(
        "-- Every hour, settled or not; while one moves it may have two rows, which add up.
         CREATE VIEW hours (bucket, series, {columns}) AS
         SELECT bucket, series, {columns} FROM settled_1h UNION ALL SELECT bucket, series, {columns} FROM rollup_1h;\n"
    ));
    sql
}

/// Version 4: what a block took. Blocks of older files do not say.
fn efforts_of_blocks() -> String {
    "-- Work of all channels of the source since the history began, and the network's target, when the block was found.
     ALTER TABLE blocks ADD COLUMN source_work REAL;
     ALTER TABLE blocks ADD COLUMN network_target INTEGER;
     -- When a downstream had a channel is read from the index alone.
     DROP INDEX channels_by_connection;
     CREATE INDEX channels_by_connection ON channels (connection, opened_at, closed_at);
     DROP INDEX downstreams_by_number;
     -- When a session was first observed is asked for each loss that it tells.
     CREATE INDEX observed_by_session ON observed (session, start_at);"
        .to_owned()
}

const QUOTE_TABLES: &str = "
-- Counted by the program, since each quote changes its state several times.
DROP TRIGGER quote_inserted;
DROP TRIGGER quote_changed;
ALTER TABLE quote_counts ADD COLUMN ehash BLOB;
UPDATE quote_counts AS c SET ehash = (SELECT ehash_sum(amount) FROM quotes q WHERE q.source = c.source AND q.state = c.state);

-- A quote by its share (delivery rule 34).
CREATE INDEX quotes_by_share ON quotes (session, downstream_id, channel_id, sequence_number) WHERE sequence_number IS NOT NULL;

-- How long quotes took. level: 1 a minute, 3 an hour, 4 everything in bucket 0. bucket: of the end of the stage.
-- stage: 0 created to sent, 1 sent to answered, 2 answered to paid. slot: eight to each doubling of the milliseconds.
CREATE TABLE quote_times (
    level INTEGER NOT NULL, bucket INTEGER NOT NULL, source INTEGER NOT NULL, stage INTEGER NOT NULL, slot INTEGER NOT NULL,
    count INTEGER NOT NULL, max_ms INTEGER NOT NULL,
    PRIMARY KEY (level, bucket, source, stage, slot)
) STRICT, WITHOUT ROWID;

-- kind: 0 a quote failed, 1 a failure that names no share, 2 a payment of an unknown quote, 3 a contradiction.
CREATE TABLE quote_notes (
    level INTEGER NOT NULL, bucket INTEGER NOT NULL, source INTEGER NOT NULL, kind INTEGER NOT NULL, code TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (level, bucket, source, kind, code)
) STRICT, WITHOUT ROWID;

-- Payments whose answer has not come: its session may still deliver its rest.
CREATE TABLE early_payments (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, quote_id TEXT NOT NULL, paid_at INTEGER NOT NULL, amount BLOB,
    UNIQUE (source, quote_id)
) STRICT;
INSERT OR IGNORE INTO early_payments (source, quote_id, paid_at)
SELECT source, message, at FROM unattributed_quotes WHERE code = 'paid-unknown-quote';
DELETE FROM unattributed_quotes WHERE code = 'paid-unknown-quote';

-- Weights of the 32 hexadecimal digits of an ehash, for views that give it as REAL.
CREATE TABLE ehash_digits (place INTEGER PRIMARY KEY, weight REAL NOT NULL) STRICT;

CREATE VIEW ehash_by_identity (publisher, user_identity, quotes, ehash) AS
SELECT o.publisher, s.name, t.quotes,
       (SELECT total((instr('0123456789ABCDEF', substr(hex(t.ehash), place, 1)) - 1) * weight) FROM ehash_digits
        WHERE t.ehash IS NOT NULL)
FROM rollup_total t JOIN series s ON s.id = t.series JOIN sources o ON o.id = s.source WHERE t.bucket = 0 AND s.kind = 1;

CREATE VIEW ehash_by_channel (publisher, session_id, downstream_id, channel_id, user_identity, opened_at, quotes, ehash) AS
SELECT o.publisher, n.session_id, c.downstream_id, c.channel_id, s.name, c.opened_at, c.quotes,
       (SELECT total((instr('0123456789ABCDEF', substr(hex(c.ehash), place, 1)) - 1) * weight) FROM ehash_digits
        WHERE c.ehash IS NOT NULL)
FROM channels c JOIN sources o ON o.id = c.source JOIN sessions n ON n.id = c.session JOIN series s ON s.id = c.identity;

CREATE VIEW ehash_by_downstream (publisher, session_id, downstream_id, quotes, ehash) AS
SELECT publisher, session_id, downstream_id, sum(quotes), total(ehash) FROM ehash_by_channel
GROUP BY publisher, session_id, downstream_id;
";

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT;

-- From when on the buckets of a tier are complete; events of earlier buckets no longer reach it.
CREATE TABLE kept_since (tier TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT;

CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    publisher TEXT NOT NULL UNIQUE,
    role INTEGER NOT NULL,
    vendor TEXT NOT NULL DEFAULT '',
    first_seen_at INTEGER NOT NULL,
    last_event_at INTEGER NOT NULL DEFAULT 0,
    last_received_at INTEGER NOT NULL,
    events_dropped INTEGER NOT NULL DEFAULT 0,
    events_missing INTEGER NOT NULL DEFAULT 0,
    unknown_events INTEGER NOT NULL DEFAULT 0,
    undecodable_events INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE source_info (
    source INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    vendor TEXT NOT NULL DEFAULT '',
    started_at INTEGER NOT NULL,
    last_event_at INTEGER NOT NULL DEFAULT 0,
    -- For clock steps: the last heartbeat, and the earliest event since.
    last_heartbeat_at INTEGER NOT NULL DEFAULT 0,
    earliest_since_heartbeat INTEGER NOT NULL DEFAULT 9223372036854775807,
    ended_at INTEGER, outcome INTEGER, reason TEXT,
    -- Last applied numbers: the publisher's, and those of events that the sidecar made about the session.
    applied INTEGER NOT NULL DEFAULT 0,
    applied_derived INTEGER NOT NULL DEFAULT 0,
    -- Number of the latest announcement, and whether it is still under way.
    announcement INTEGER NOT NULL DEFAULT 0,
    announcing INTEGER NOT NULL DEFAULT 0,
    -- The observed span that is growing, and the loss whose end is not known yet.
    observed INTEGER, open_loss INTEGER,
    UNIQUE (source, session_id)
) STRICT;

-- Spans over which consecutive numbers arrived (delivery rule 14).
CREATE TABLE observed (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL,
    start_at INTEGER NOT NULL, end_at INTEGER NOT NULL
) STRICT;
CREATE INDEX observed_by_end ON observed (source, end_at);

-- Times in which events are missing or clocks were wrong. kind: missing, unseen, events-dropped, clock-stepped, not-read,
-- coarse-counter.
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, kind TEXT NOT NULL,
    start_at INTEGER NOT NULL, end_at INTEGER NOT NULL, events INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '',
    -- Whether its slots leave the rates.
    strikes INTEGER NOT NULL
) STRICT;
CREATE INDEX losses_by_end ON losses (source, end_at);

-- What has a history: kind 0 all channels, 1 user_identity, 2 downstream, 3 all miners, 4 miner name, 5 miner id.
-- levels: bit 0 ten seconds, 1 a minute, 2 five minutes, 3 an hour, 4 total.
CREATE TABLE series (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
    levels INTEGER NOT NULL, first_seen_at INTEGER NOT NULL, last_hour INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, kind, name)
) STRICT;
CREATE INDEX series_by_last_hour ON series (kind, last_hour);

CREATE TABLE downstreams (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, downstream_id INTEGER NOT NULL,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT,
    flags INTEGER NOT NULL DEFAULT 0, address TEXT NOT NULL DEFAULT '', vendor TEXT NOT NULL DEFAULT '',
    hardware_version TEXT NOT NULL DEFAULT '', firmware TEXT NOT NULL DEFAULT '', device_id TEXT NOT NULL DEFAULT '',
    implied INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX downstreams_by_id ON downstreams (session, downstream_id);
CREATE INDEX downstreams_open ON downstreams (source) WHERE disconnected_at IS NULL;
CREATE INDEX downstreams_closed ON downstreams (disconnected_at) WHERE disconnected_at IS NOT NULL;

CREATE TABLE channels (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL,
    downstream_id INTEGER NOT NULL, channel_id INTEGER NOT NULL,
    identity INTEGER NOT NULL, connection INTEGER NOT NULL,
    kind INTEGER, nominal_hashrate INTEGER, target INTEGER,
    opened_at INTEGER NOT NULL, closed_at INTEGER, reason TEXT,
    implied INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0,
    last_share_at INTEGER, accepted INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
    invalid_target INTEGER NOT NULL DEFAULT 0, work REAL NOT NULL DEFAULT 0, best_share_work REAL NOT NULL DEFAULT 0,
    blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB
) STRICT;
CREATE INDEX channels_by_id ON channels (session, downstream_id, channel_id);
CREATE INDEX channels_by_identity ON channels (identity, opened_at);
CREATE INDEX channels_by_connection ON channels (connection) WHERE closed_at IS NULL;
CREATE INDEX channels_open ON channels (source) WHERE closed_at IS NULL;
CREATE INDEX channels_open_by_identity ON channels (identity) WHERE closed_at IS NULL;
CREATE INDEX channels_closed ON channels (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE miners (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, miner_id INTEGER NOT NULL,
    identity INTEGER NOT NULL, connection INTEGER NOT NULL,
    address TEXT NOT NULL DEFAULT '', user_agent TEXT NOT NULL DEFAULT '', declared_hashrate INTEGER, target INTEGER,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT,
    implied INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0,
    last_share_at INTEGER, accepted INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
    invalid_target INTEGER NOT NULL DEFAULT 0, work REAL NOT NULL DEFAULT 0, best_share_work REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX miners_by_id ON miners (session, miner_id);
CREATE INDEX miners_by_identity ON miners (identity, connected_at);
CREATE INDEX miners_by_connection ON miners (connection) WHERE disconnected_at IS NULL;
CREATE INDEX miners_open ON miners (source) WHERE disconnected_at IS NULL;
CREATE INDEX miners_open_by_identity ON miners (identity) WHERE disconnected_at IS NULL;
CREATE INDEX miners_closed ON miners (disconnected_at) WHERE disconnected_at IS NOT NULL;

CREATE TABLE upstreams (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, address TEXT NOT NULL,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT, named INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX upstreams_by_address ON upstreams (session, address);

CREATE TABLE quotes (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, share_hash BLOB NOT NULL, session INTEGER NOT NULL,
    downstream_id INTEGER, channel_id INTEGER, sequence_number INTEGER, identity INTEGER,
    amount BLOB, amount_real REAL,
    -- created, sent, answered, failed, paid, abandoned
    state TEXT NOT NULL,
    created_at INTEGER, sent_at INTEGER, answered_at INTEGER, failed_at INTEGER, paid_at INTEGER,
    quote_id TEXT, error_code TEXT, error_message TEXT, paid_amount BLOB, noted_at INTEGER NOT NULL,
    UNIQUE (source, share_hash)
) STRICT;
CREATE INDEX quotes_by_time ON quotes (noted_at);
CREATE INDEX quotes_by_quote_id ON quotes (source, quote_id) WHERE quote_id IS NOT NULL;
CREATE INDEX quotes_pending ON quotes (session) WHERE state IN ('created', 'sent');

-- Quotes by state since the history began: kept by triggers, since there may be millions to count.
CREATE TABLE quote_counts (
    source INTEGER NOT NULL, state TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (source, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER quote_inserted AFTER INSERT ON quotes BEGIN
    INSERT INTO quote_counts (source, state, count) VALUES (new.source, new.state, 1)
    ON CONFLICT (source, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER quote_changed AFTER UPDATE OF state ON quotes WHEN new.state <> old.state BEGIN
    UPDATE quote_counts SET count = count - 1 WHERE source = old.source AND state = old.state;
    INSERT INTO quote_counts (source, state, count) VALUES (new.source, new.state, 1)
    ON CONFLICT (source, state) DO UPDATE SET count = count + 1;
END;

-- Failures that no pending quote owns (delivery rule 33), and payments of unknown quotes.
CREATE TABLE unattributed_quotes (
    source INTEGER NOT NULL, at INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL
) STRICT;

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, block_hash BLOB NOT NULL,
    height INTEGER NOT NULL, found_at INTEGER NOT NULL, downstream_id INTEGER NOT NULL, channel_id INTEGER NOT NULL,
    identity INTEGER NOT NULL
) STRICT;
CREATE INDEX blocks_by_time ON blocks (source, found_at);
-- A hash of zeros says that the publisher knows none; such blocks are different ones.
CREATE UNIQUE INDEX blocks_by_hash ON blocks (source, block_hash) WHERE block_hash <> zeroblob(32);

CREATE TABLE chain_tips (
    source INTEGER NOT NULL, at INTEGER NOT NULL, height INTEGER NOT NULL, target INTEGER NOT NULL,
    PRIMARY KEY (source, at)
) STRICT, WITHOUT ROWID;
";

/// The original design's tables as views: Unix seconds, five-minute samples. The time that a rate is divided by is the
/// part of the sample in which the connection existed and its session was observed; a sample touched by a loss has none.
const VIEWS: &str = "
CREATE VIEW hashrate_samples (timestamp, downstream_id, shares_5min, estimated_hashrate, publisher) AS
SELECT bucket / 1000, downstream_id, accepted,
       CASE WHEN unrated_shares = 0 AND observed_ms > 0 THEN work * 1000.0 / min(observed_ms, 300000) END, publisher
FROM (SELECT r.bucket, CAST(s.name AS INTEGER) AS downstream_id, r.accepted, r.unrated_shares, r.work, o.publisher,
        (SELECT sum(max(0, min(span.end_at, r.bucket + 300000, coalesce(d.disconnected_at, span.end_at))
                          - max(span.start_at, r.bucket, d.connected_at)))
         FROM downstreams d JOIN observed span ON span.session = d.session
         WHERE d.source = s.source AND d.downstream_id = CAST(s.name AS INTEGER)
           AND span.source = s.source AND span.end_at > r.bucket AND span.start_at < r.bucket + 300000) AS observed_ms
      FROM rollup_5m r JOIN series s ON s.id = r.series JOIN sources o ON o.id = s.source WHERE s.kind = 2);

CREATE VIEW miner_hashrate (timestamp, miner_id, shares_5min, estimated_hashrate, publisher) AS
SELECT bucket / 1000, miner_id, accepted,
       CASE WHEN unrated_shares = 0 AND observed_ms > 0 THEN work * 1000.0 / min(observed_ms, 300000) END, publisher
FROM (SELECT r.bucket, CAST(s.name AS INTEGER) AS miner_id, r.accepted, r.unrated_shares, r.work, o.publisher,
        (SELECT sum(max(0, min(span.end_at, r.bucket + 300000, coalesce(m.disconnected_at, span.end_at))
                          - max(span.start_at, r.bucket, m.connected_at)))
         FROM miners m JOIN observed span ON span.session = m.session
         WHERE m.source = s.source AND m.miner_id = CAST(s.name AS INTEGER)
           AND span.source = s.source AND span.end_at > r.bucket AND span.start_at < r.bucket + 300000) AS observed_ms
      FROM rollup_5m r JOIN series s ON s.id = r.series JOIN sources o ON o.id = s.source WHERE s.kind = 5);

CREATE VIEW quote_history (timestamp, downstream_id, amount, publisher) AS
SELECT q.created_at / 1000, q.downstream_id, q.amount_real, o.publisher
FROM quotes q JOIN sources o ON o.id = q.source WHERE q.created_at IS NOT NULL;

CREATE VIEW identities (publisher, kind, name, first_seen_at, accepted, rejected, work) AS
SELECT o.publisher, CASE s.kind WHEN 1 THEN 'user_identity' ELSE 'miner' END, s.name, s.first_seen_at,
       coalesce(t.accepted, 0), coalesce(t.rejected, 0), coalesce(t.work, 0.0)
FROM series s JOIN sources o ON o.id = s.source LEFT JOIN rollup_total t ON t.bucket = 0 AND t.series = s.id
WHERE s.kind IN (1, 4);
";

/// The widest slot that a loss can take out of the rates of a series.
pub(crate) const MAX_SLOT_MS: u64 = Tier::FiveMinutes.width_ms();
