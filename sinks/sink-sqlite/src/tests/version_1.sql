-- A history of schema version 1, as its program wrote it.
PRAGMA application_id = 1213223747;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, block_hash BLOB NOT NULL,
    height INTEGER NOT NULL, found_at INTEGER NOT NULL, downstream_id INTEGER NOT NULL, channel_id INTEGER NOT NULL,
    identity INTEGER NOT NULL
) STRICT;
CREATE TABLE chain_tips (
    source INTEGER NOT NULL, at INTEGER NOT NULL, height INTEGER NOT NULL, target INTEGER NOT NULL,
    PRIMARY KEY (source, at)
) STRICT, WITHOUT ROWID;
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
INSERT INTO "channels" VALUES(1,1,1,1,1,1,2,1,1000000,486604799,1800000000000,1800000120000,'session-ended',0,0,1800000000000,1,0,0,4.2950328330000152586e+09,1.09952840524800390628e+12,0,4,X'00000000000000010000000000000014');
INSERT INTO "channels" VALUES(2,1,1,2,1,4,5,1,1000000,486604799,1800000000010,1800000120000,'session-ended',0,0,NULL,0,0,0,0.0,0.0,0,0,NULL);
INSERT INTO "channels" VALUES(3,1,2,1,1,1,2,1,1000000,486604799,1800000180000,NULL,NULL,0,0,1800000180000,1,0,0,4.2950328330000152586e+09,1.09952840524800390628e+12,0,2,X'0000000000000000000000000000000A');
CREATE TABLE downstreams (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, downstream_id INTEGER NOT NULL,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT,
    flags INTEGER NOT NULL DEFAULT 0, address TEXT NOT NULL DEFAULT '', vendor TEXT NOT NULL DEFAULT '',
    hardware_version TEXT NOT NULL DEFAULT '', firmware TEXT NOT NULL DEFAULT '', device_id TEXT NOT NULL DEFAULT '',
    implied INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "downstreams" VALUES(1,1,1,1,1800000000000,1800000120000,'session-ended',0,'','','','','',1,0);
INSERT INTO "downstreams" VALUES(2,1,1,2,1800000000010,1800000120000,'session-ended',0,'','','','','',1,0);
INSERT INTO "downstreams" VALUES(3,1,2,1,1800000180000,NULL,NULL,0,'','','','','',1,0);
CREATE TABLE kept_since (tier TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT;
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, kind TEXT NOT NULL,
    start_at INTEGER NOT NULL, end_at INTEGER NOT NULL, events INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '',
    -- Whether its slots leave the rates.
    strikes INTEGER NOT NULL
) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT;
INSERT INTO "meta" VALUES('journal_id','feed000000000001');
INSERT INTO "meta" VALUES('offset',6);
CREATE TABLE miners (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, miner_id INTEGER NOT NULL,
    identity INTEGER NOT NULL, connection INTEGER NOT NULL,
    address TEXT NOT NULL DEFAULT '', user_agent TEXT NOT NULL DEFAULT '', declared_hashrate INTEGER, target INTEGER,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT,
    implied INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0,
    last_share_at INTEGER, accepted INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
    invalid_target INTEGER NOT NULL DEFAULT 0, work REAL NOT NULL DEFAULT 0, best_share_work REAL NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE observed (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL,
    start_at INTEGER NOT NULL, end_at INTEGER NOT NULL
) STRICT;
INSERT INTO "observed" VALUES(1,1,1,1800000000000,1800000060000);
INSERT INTO "observed" VALUES(2,1,2,1800000180000,1800000180007);
CREATE TABLE quote_counts (
    source INTEGER NOT NULL, state TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (source, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "quote_counts" VALUES(1,'abandoned',2);
INSERT INTO "quote_counts" VALUES(1,'answered',0);
INSERT INTO "quote_counts" VALUES(1,'created',1);
INSERT INTO "quote_counts" VALUES(1,'failed',1);
INSERT INTO "quote_counts" VALUES(1,'paid',1);
INSERT INTO "quote_counts" VALUES(1,'sent',1);
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
INSERT INTO "quotes" VALUES(1,1,X'0101010101010101010101010101010101010101010101010101010101010101',1,1,1,1,1,X'00000000000000000000000000000010',16.0,'paid',1800000000001,1800000000005,1800000000250,NULL,1800000060000,'q-1',NULL,NULL,X'00000000000000000000000000000010',1800000060000);
INSERT INTO "quotes" VALUES(2,1,X'0202020202020202020202020202020202020202020202020202020202020202',1,1,1,2,1,X'00000000000000000000000000000004',4.0,'failed',1800000000003,1800000000004,NULL,1800000030000,NULL,NULL,'timeout','no answer in 30 s',NULL,1800000030000);
INSERT INTO "quotes" VALUES(3,1,X'0303030303030303030303030303030303030303030303030303030303030303',1,1,1,3,1,X'00000000000000008000000000000000',9.2233720368547758078e+18,'abandoned',1800000000005,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1800000120000);
INSERT INTO "quotes" VALUES(4,1,X'0404040404040404040404040404040404040404040404040404040404040404',1,1,1,4,1,X'00000000000000008000000000000000',9.2233720368547758078e+18,'abandoned',1800000000006,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1800000120000);
INSERT INTO "quotes" VALUES(5,1,X'0505050505050505050505050505050505050505050505050505050505050505',2,1,1,5,1,X'00000000000000000000000000000002',2.0,'sent',1800000180000,1800000180002,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1800000180002);
INSERT INTO "quotes" VALUES(6,1,X'0606060606060606060606060606060606060606060606060606060606060606',2,1,1,6,1,X'00000000000000000000000000000008',8.0,'created',1800000180007,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1800000180007);
CREATE TABLE rejects_10s (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE rejects_1h (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE rejects_1m (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE rejects_5m (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE rejects_total (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
                PRIMARY KEY (bucket, series, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE rollup_10s (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB,
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
INSERT INTO "rollup_10s" VALUES(1800000000000,1,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,4,X'00000000000000010000000000000014');
INSERT INTO "rollup_10s" VALUES(1800000000000,3,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,4,X'00000000000000010000000000000014');
INSERT INTO "rollup_10s" VALUES(1800000180000,1,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,2,X'0000000000000000000000000000000A');
INSERT INTO "rollup_10s" VALUES(1800000180000,3,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,2,X'0000000000000000000000000000000A');
CREATE TABLE rollup_1h (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB,
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
INSERT INTO "rollup_1h" VALUES(1800000000000,1,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
INSERT INTO "rollup_1h" VALUES(1800000000000,3,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
CREATE TABLE rollup_1m (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB,
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
INSERT INTO "rollup_1m" VALUES(1800000000000,1,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,4,X'00000000000000010000000000000014');
INSERT INTO "rollup_1m" VALUES(1800000000000,3,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,4,X'00000000000000010000000000000014');
INSERT INTO "rollup_1m" VALUES(1800000180000,1,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,2,X'0000000000000000000000000000000A');
INSERT INTO "rollup_1m" VALUES(1800000180000,3,1,4.2950328330000152586e+09,1.84473070365481369593e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,2,X'0000000000000000000000000000000A');
CREATE TABLE rollup_5m (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB,
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
INSERT INTO "rollup_5m" VALUES(1800000000000,1,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
INSERT INTO "rollup_5m" VALUES(1800000000000,2,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
INSERT INTO "rollup_5m" VALUES(1800000000000,3,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
CREATE TABLE rollup_total (
                bucket INTEGER NOT NULL, series INTEGER NOT NULL,
                accepted INTEGER NOT NULL, work REAL NOT NULL, work_squared REAL NOT NULL, best_share_work REAL NOT NULL,
                invalid_target INTEGER NOT NULL DEFAULT 0, rejected INTEGER NOT NULL DEFAULT 0,
                squares_are_lower_bound INTEGER NOT NULL DEFAULT 0, unrated_shares INTEGER NOT NULL DEFAULT 0,
                unrated_work REAL NOT NULL DEFAULT 0, unrated_work_squared REAL NOT NULL DEFAULT 0,
                blocks INTEGER NOT NULL DEFAULT 0, quotes INTEGER NOT NULL DEFAULT 0, ehash BLOB,
                PRIMARY KEY (bucket, series)) STRICT, WITHOUT ROWID;
INSERT INTO "rollup_total" VALUES(0,1,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
INSERT INTO "rollup_total" VALUES(0,3,2,8590065666.00003,3.68946140730962739194e+19,1.09952840524800390628e+12,0,0,0,0,0.0,0.0,0,6,X'0000000000000001000000000000001E');
CREATE TABLE series (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
    levels INTEGER NOT NULL, first_seen_at INTEGER NOT NULL, last_hour INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, kind, name)
) STRICT;
INSERT INTO "series" VALUES(1,1,1,'alice',31,1800000000000,1800000000000);
INSERT INTO "series" VALUES(2,1,2,'1',4,1800000000000,1800000000000);
INSERT INTO "series" VALUES(3,1,0,'',31,1800000000000,1800000000000);
INSERT INTO "series" VALUES(4,1,1,'bob',31,1800000000010,0);
INSERT INTO "series" VALUES(5,1,2,'2',4,1800000000010,0);
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
INSERT INTO "sessions" VALUES(1,1,1,'',1800086400000,1800000060000,0,1800000000000,1800000120000,0,'shutdown',14,1,0,0,1,NULL);
INSERT INTO "sessions" VALUES(2,1,2,'',1800086400000,1800000180007,0,1800000180000,NULL,NULL,NULL,5,0,0,0,2,NULL);
CREATE TABLE source_info (
    source INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;
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
INSERT INTO "sources" VALUES(1,'pool-a',0,'',1800086400000,1800000180007,1800086400000,0,0,0,0);
CREATE TABLE unattributed_quotes (
    source INTEGER NOT NULL, at INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL
) STRICT;
INSERT INTO "unattributed_quotes" VALUES(1,1800000060000,'paid-unknown-quote','q-unknown');
INSERT INTO "unattributed_quotes" VALUES(1,1800000030001,'timeout','no answer in 30 s');
CREATE TABLE upstreams (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, session INTEGER NOT NULL, address TEXT NOT NULL,
    connected_at INTEGER NOT NULL, disconnected_at INTEGER, reason TEXT, named INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX observed_by_end ON observed (source, end_at);
CREATE INDEX losses_by_end ON losses (source, end_at);
CREATE INDEX series_by_last_hour ON series (kind, last_hour);
CREATE INDEX downstreams_by_id ON downstreams (session, downstream_id);
CREATE INDEX downstreams_open ON downstreams (source) WHERE disconnected_at IS NULL;
CREATE INDEX downstreams_closed ON downstreams (disconnected_at) WHERE disconnected_at IS NOT NULL;
CREATE INDEX channels_by_id ON channels (session, downstream_id, channel_id);
CREATE INDEX channels_by_identity ON channels (identity, opened_at);
CREATE INDEX channels_by_connection ON channels (connection) WHERE closed_at IS NULL;
CREATE INDEX channels_open ON channels (source) WHERE closed_at IS NULL;
CREATE INDEX channels_open_by_identity ON channels (identity) WHERE closed_at IS NULL;
CREATE INDEX channels_closed ON channels (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX miners_by_id ON miners (session, miner_id);
CREATE INDEX miners_by_identity ON miners (identity, connected_at);
CREATE INDEX miners_by_connection ON miners (connection) WHERE disconnected_at IS NULL;
CREATE INDEX miners_open ON miners (source) WHERE disconnected_at IS NULL;
CREATE INDEX miners_open_by_identity ON miners (identity) WHERE disconnected_at IS NULL;
CREATE INDEX miners_closed ON miners (disconnected_at) WHERE disconnected_at IS NOT NULL;
CREATE INDEX upstreams_by_address ON upstreams (session, address);
CREATE INDEX quotes_by_time ON quotes (noted_at);
CREATE INDEX quotes_by_quote_id ON quotes (source, quote_id) WHERE quote_id IS NOT NULL;
CREATE INDEX quotes_pending ON quotes (session) WHERE state IN ('created', 'sent');
CREATE TRIGGER quote_inserted AFTER INSERT ON quotes BEGIN
    INSERT INTO quote_counts (source, state, count) VALUES (new.source, new.state, 1)
    ON CONFLICT (source, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER quote_changed AFTER UPDATE OF state ON quotes WHEN new.state <> old.state BEGIN
    UPDATE quote_counts SET count = count - 1 WHERE source = old.source AND state = old.state;
    INSERT INTO quote_counts (source, state, count) VALUES (new.source, new.state, 1)
    ON CONFLICT (source, state) DO UPDATE SET count = count + 1;
END;
CREATE INDEX blocks_by_time ON blocks (source, found_at);
CREATE UNIQUE INDEX blocks_by_hash ON blocks (source, block_hash) WHERE block_hash <> zeroblob(32);
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
COMMIT;
