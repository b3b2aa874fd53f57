//! The command line: what can be asked, and the help that teaches it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sink_sqlite::query::QuoteKey;
use stats_sv2::Role;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; also after Ctrl-C or SIGTERM (what sinks had not taken yet waits in the journal)
  1    failed, or not everything stopped by itself
  2    the command line is wrong
  75   not now: a port or file is in use, nothing answers there; try again later
  78   the configuration is wrong
  130  stopped at once by a second Ctrl-C or SIGTERM";

const EXAMPLES: &str = "\
Examples:
  hashpool-sidecar demo                             see it work, with nothing to prepare
  hashpool-sidecar check -c configs/pool.toml       what is wrong with a configuration
  hashpool-sidecar run -c configs/pool.toml         beside a pool
  hashpool-sidecar stats --db state/pool/stats.db   what the history says
  hashpool-sidecar tap | jq .kind                   events as they arrive
";

/// Durable statistics beside a Stratum V2 pool or translator.
///
/// The sidecar receives events from the pool over one TCP connection, keeps them in a journal, and delivers them to
/// sinks: a history in SQLite, a dashboard, a log file, and more. The pool never waits for it.
#[derive(Debug, Parser)]
#[command(name = "hashpool-sidecar", version, max_term_width = 110, after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the sidecar until Ctrl-C or SIGTERM.
    #[command(
        after_help = "SIGHUP makes sinks open their files again, after log rotation by another program. A second \
        Ctrl-C or SIGTERM ends the process at once; what was acknowledged is safe in the journal either way. The \
        configuration is read at start only: a changed one takes a restart, which loses nothing.\n\n\
        Examples:\n  hashpool-sidecar run -c configs/pool.toml\n  RUST_LOG=debug hashpool-sidecar run -c pool.toml"
    )]
    Run(RunArgs),
    /// Say everything that is wrong with a configuration, without starting anything.
    #[command(after_help = "Exit code 78 on a bad configuration. Warnings alone do not fail.\n\nExamples:\n  \
        hashpool-sidecar check -c configs/pool.toml\n  hashpool-sidecar check -c pool.toml --online   can it start \
        here and now?\n  hashpool-sidecar check -c pool.toml --json | jq '.problems[].message'")]
    Check(CheckArgs),
    /// Publish what a pool of N miners would, through the real publisher.
    #[command(after_help = "Shares are a Poisson process, hashrates lognormal, targets follow vardiff; miners \
        disconnect and come back, shares are rejected, blocks found. With --quotes the pool asks a mint about shares: \
        most quotes are answered after some 80 ms and paid within a minute, one in a hundred fails. The same seed gives \
        the same miners and events (only the hashes differ from run to run), and the miners do the same with quotes and without. At --rate max events bear the \
        time at which they are published, so that latencies mean nothing there.\n\nExamples:\n  hashpool-sidecar \
        simulate --to 127.0.0.1:4000\n  hashpool-sidecar simulate --to 127.0.0.1:4000 --quotes --duration 10m\n  hashpool-sidecar simulate --to \
        127.0.0.1:4000 --miners 1000 --rate max --events 10000000 --json")]
    Simulate(SimulateArgs),
    /// A sidecar and a simulated pool with quotes in a temporary folder: a dashboard and a live table.
    #[command(
        after_help = "Examples:\n  hashpool-sidecar demo\n  hashpool-sidecar demo --seconds 30 --miners 20 --rate 100"
    )]
    Demo(DemoArgs),
    /// What a history database says: sources, miners, hashrates with their uncertainty, quotes and ehash.
    #[command(
        after_help = "The database may be in use by a running sidecar.\n\nHashrates, latencies and failures are \
        about the last --window; shares, quotes by state and ehash about everything since the history began. A quote is \
        created for a share, sent to the mint, answered or failed, and paid; it is abandoned if its session ends first. \
        Latency percentiles are known to an eighth, the maximum exactly.\n\n--quote follows one quote from the share to \
        the payment. It takes the hash of the share (64 hexadecimal digits, as explorers print it), or \
        DOWNSTREAM/CHANNEL/SEQUENCE, or else the mint's id of the quote; exit code 1 if none is found.\n\nExamples:\n  \
        hashpool-sidecar stats --db state/pool/stats.db\n  hashpool-sidecar stats --db state/pool/stats.db --window 1h \
        --json\n  hashpool-sidecar stats --db state/pool/stats.db --publisher pool-eu-1\n  hashpool-sidecar stats --db \
        state/pool/stats.db --quote 3f0c1a3e-7d4b-4c52-9a55-0f6f3c1d2b11\n  hashpool-sidecar stats --db \
        state/pool/stats.db --quote 7/1/4711 --json | jq '.quotes[0].quote.state'"
    )]
    Stats(StatsArgs),
    /// Live events of a running sidecar as JSON lines.
    #[command(after_help = "Events that come faster than they are read are left out, and counted on standard \
        error.\n\nExamples:\n  hashpool-sidecar tap --events 'block_found,quote_*'\n  hashpool-sidecar tap --admin \
        127.0.0.1:4011 --sources 'proxy-*' --count 10")]
    Tap(TapArgs),
    /// Look into a journal, also while a sidecar runs on it.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Make a token, or a key pair for the encrypted transport.
    #[command(subcommand)]
    Keygen(KeygenCommand),
    /// Completions for a shell, on standard output.
    #[command(
        after_help = "Example:\n  hashpool-sidecar completions bash > ~/.local/share/bash-completion/completions/hashpool-sidecar"
    )]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How long to hand over what is left when stopping.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) drain: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Also try whether it could start now: sinks, ports, journal, disk space, open files.
    #[arg(long)]
    pub(crate) online: bool,
    /// The findings as JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Where the sidecar listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000")]
    pub(crate) to: SocketAddr,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
    /// Stop after so many events.
    #[arg(long, value_name = "COUNT")]
    pub(crate) events: Option<u64>,
    /// Stop after so long.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Ask a mint for quotes: for shares of at least so many leading zero bits, or for about half of them.
    #[arg(long, value_name = "BITS", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) quotes: Option<Option<u32>>,
    /// The publisher's name.
    #[arg(long, value_name = "NAME", default_value = "simulated-pool")]
    pub(crate) publisher: String,
    /// What kind of program to be.
    #[arg(long, value_enum, default_value_t = SimulatedRole::Pool)]
    pub(crate) role: SimulatedRole,
    /// A file with the token, where the sidecar asks for one.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; other users of this machine can see it while the command runs.
    #[arg(long, env = "HASHPOOL_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Public authority key of the sidecar: encrypts the connection.
    #[arg(long, value_name = "KEY")]
    pub(crate) authority_key: Option<String>,
    /// How long to wait at the end for the last acknowledgement.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) drain: Duration,
    /// The report as JSON on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The simulated miners.
#[derive(Debug, Clone, Args)]
pub(crate) struct FleetArgs {
    /// How many miners.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) miners: u32,
    /// Shares a second of all miners together, or `max`: as fast as the sidecar takes them, losing none.
    #[arg(long, value_name = "SHARES_PER_S|max", default_value = "50", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Same seed, same miners and events.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How fast a simulation goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// So many shares a second on average.
    PerSecond(f64),
    /// As fast as they are taken.
    Max,
}

/// What a simulation can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimulatedRole {
    /// A pool with downstreams and channels.
    Pool,
    /// A translator with SV1 miners.
    Proxy,
}

impl From<SimulatedRole> for Role {
    fn from(role: SimulatedRole) -> Self {
        match role {
            SimulatedRole::Pool => Self::Pool,
            SimulatedRole::Proxy => Self::Proxy,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
    /// Leading zero bits that earn ehash; without it about half of the shares do.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) quotes: Option<u32>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Keep the files here instead of in a temporary folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The database of an SQLite sink.
    #[arg(long, value_name = "FILE")]
    pub(crate) db: PathBuf,
    /// Hashrates, latencies and failures over the last so long.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub(crate) window: Duration,
    /// Only this publisher.
    #[arg(long, value_name = "NAME")]
    pub(crate) publisher: Option<String>,
    /// Follow one quote, by its share or the mint's id of it.
    #[arg(long, value_name = "HASH|SHARE|ID", value_parser = quote_key)]
    pub(crate) quote: Option<QuoteKey>,
    /// As JSON, with everything that there is.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// The sidecar's admin address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
    pub(crate) admin: SocketAddr,
    /// Only these events: globs over their names, with commas between.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    pub(crate) events: Vec<String>,
    /// Only these publishers: globs over their names, with commas between.
    #[arg(long, value_name = "GLOBS", value_delimiter = ',')]
    pub(crate) sources: Vec<String>,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Sizes, sessions, cursors and dead letters.
    Stats {
        #[command(flatten)]
        journal: JournalPath,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read everything and compare checksums; exit code 1 if something is damaged.
    Check {
        #[command(flatten)]
        journal: JournalPath,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Every event as a JSON line on standard output, the oldest first.
    Export {
        #[command(flatten)]
        journal: JournalPath,
        /// Begin after this offset.
        #[arg(long, value_name = "OFFSET", default_value_t = 0)]
        from: u64,
    },
    /// Events that can never reach their sink, with the reason, the newest first.
    #[command(
        name = "dead-letters",
        after_help = "A sink refused them for good, or, under the name (ingest), they could not be read when they came. \
        Nothing sends them again by itself: once the cause is mended, a sink under a new name gets every event that the \
        journal still has.\n\nWith --json each line has the sink, the reason, the event in the form of `journal export`, \
        and the frame as it came, in hexadecimal.\n\nExamples:\n  hashpool-sidecar journal dead-letters --path \
        state/pool/journal.db\n  hashpool-sidecar journal dead-letters --path state/pool/journal.db --sink '(ingest)'\n  \
        hashpool-sidecar journal dead-letters --path state/pool/journal.db --json | jq .event"
    )]
    DeadLetters(DeadLettersArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(flatten)]
    pub(crate) journal: JournalPath,
    /// Only those of this sink.
    #[arg(long, value_name = "NAME")]
    pub(crate) sink: Option<String>,
    /// Only the newest so many; otherwise 50 in the table, and all with --json.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// As JSON lines, each with the full event.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JournalPath {
    /// The journal's file.
    #[arg(long, value_name = "FILE")]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeygenCommand {
    /// A random token for [[server.tokens]] and for the publisher.
    #[command(after_help = "Example:\n  hashpool-sidecar keygen token --out secrets/pool-token")]
    Token(KeyOut),
    /// A key pair for [server.noise]: the secret half for the sidecar, the public half for its publishers.
    #[command(after_help = "Example:\n  hashpool-sidecar keygen noise --out secrets/authority-key")]
    Noise(KeyOut),
}

#[derive(Debug, Args)]
pub(crate) struct KeyOut {
    /// Write the secret to this new file, readable by its owner only, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 500ms, 10s or 24h"))
}

fn quote_key(text: &str) -> Result<QuoteKey, String> {
    QuoteKey::parse(text)
        .ok_or_else(|| "write a share's hash, DOWNSTREAM/CHANNEL/SEQUENCE, or the mint's id of a quote".to_owned())
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("write a number above 0, or max".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
