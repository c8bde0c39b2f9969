//! Runs what is asked for, round by round.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::args::Args;
use crate::client::Client;
use crate::content::Content;
use crate::drive::{Latencies, Plan};
use crate::process::Server;
use crate::report;
use crate::row::{Row, Work};
use crate::scenario::{self, Scenario, Unit};
use crate::setup::Kind;
use crate::slow;

/// What one run of a row gave; units are those of the scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) rate: Option<f64>,
    pub(crate) cost: Option<f64>,
    pub(crate) chunk: Option<Times>,
    pub(crate) completion: Option<Times>,
    /// Bytes of memory at the most.
    pub(crate) peak: u64,
    /// Context switches.
    pub(crate) switches: Option<f64>,
    /// Bytes of memory that each slow upload holds.
    pub(crate) held: Option<f64>,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

pub(crate) fn all(args: &Args) -> Result<(), String> {
    let scenarios = scenario::chosen(args);
    if scenarios.is_empty() {
        return Err("nothing is left of what is asked for".to_owned());
    }
    let mut content = Content::new();
    // ext4 searches for inodes that were not freed in the last minutes, so whoever creates many files
    // pays for those of the row before it, once they are removed.
    let mut kept = Vec::new();
    for scenario in scenarios {
        let samples = rounds(args, &scenario, &mut content, &mut kept);
        if args.smoke {
            println!("({}) {}: ok", scenario.name, scenario.title);
        } else {
            report::print(&scenario, &samples);
        }
    }
    Ok(())
}

/// For each row, its samples. Rows that are alike take turns at being the first.
fn rounds(
    args: &Args,
    scenario: &Scenario,
    content: &mut Content,
    kept: &mut Vec<Arc<TempDir>>,
) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::new(); scenario.rows.len()];
    for round in 0..args.rounds {
        let mut start = 0;
        for group in scenario.rows.chunk_by(Row::is_like) {
            for turn in 0..group.len() {
                let at = (turn + round) % group.len();
                let row = if args.smoke { smoke(group[at], scenario.unit) } else { group[at] };
                let sample = match scenario.unit {
                    Unit::Memory => slow::measure(&row, content),
                    unit => measure(&row, unit, content, args.smoke, kept),
                };
                samples[start + at].push(sample);
            }
            start += group.len();
        }
    }
    samples
}

fn measure(
    row: &Row,
    unit: Unit,
    content: &mut Content,
    check: bool,
    kept: &mut Vec<Arc<TempDir>>,
) -> Sample {
    let Row { setup, work, .. } = *row;
    let first = Work { files: work.connections as u64, size: work.chunk.min(work.size), ..work };
    let [first_md5, md5] = [first, work].map(|work| setup.md5.then(|| content.md5(work.size)));
    let content = &*content;
    let server = Server::start(&setup);
    warm_memory(server.folder(), work.files * work.size);
    let check = (check && setup.server.stores_whole_files()).then(|| server.folder());
    let mut clients: Vec<_> =
        (0..work.connections).map(|_| Client::connect(server.addr, setup.http)).collect();
    let row = Row { work: first, ..*row };
    let warm_up = Plan { prefix: "w", row, content, md5: first_md5, check };
    warm_up.drive(&mut clients);

    server.forget_peak();
    let before = server.usage();
    let start = Instant::now();
    let plan = Plan { prefix: "f", row: Row { work, ..row }, md5, ..warm_up };
    let Latencies { chunks, completions } = plan.drive(&mut clients);
    let elapsed = start.elapsed();
    let after = server.usage();
    if unit == Unit::Uploads || setup.server == Kind::Nginx {
        kept.push(server.keep());
    }

    let cpu = (after.cpu - before.cpu).as_secs_f64();
    let switches = after.switches.saturating_sub(before.switches) as f64;
    let amount = unit.amount(&work);
    // Bytes are counted in MiB, but what they cost in GiB.
    let (each, scale) = if unit == Unit::Bytes { (amount / 1024.0, 1.0) } else { (amount, 1e6) };
    Sample {
        rate: Some(amount / elapsed.as_secs_f64()),
        cost: Some(cpu * scale / each),
        chunk: times(chunks),
        completion: times(completions),
        peak: server.peak(),
        switches: Some(switches / each),
        held: None,
    }
}

/// A virtual machine may have to ask its host for memory that it has not used for a while, which makes
/// whoever happens to get it several times as slow. So all the page cache that the files will take is
/// touched before, for everybody.
fn warm_memory(folder: &Path, bytes: u64) {
    let path = folder.join("warm");
    let file = File::create(&path).unwrap();
    let block = vec![0; 1 << 20];
    for place in (0..bytes).step_by(block.len()) {
        file.write_all_at(&block, place).unwrap();
    }
    fs::remove_file(path).unwrap();
}

/// Of each percentile, the smallest time that so many are not above.
fn times(mut all: Vec<Duration>) -> Option<Times> {
    all.sort_unstable();
    let at = |percent: usize| {
        let rank = (all.len() * percent).div_ceil(100);
        Some(all.get(rank.checked_sub(1)?)?.as_secs_f64() * 1e3)
    };
    Some(Times { p50: at(50)?, p99: at(99)? })
}

/// A little of the same, with an odd end.
fn smoke(row: Row, unit: Unit) -> Row {
    if unit == Unit::Memory {
        return Row { work: Work { files: 6, ..row.work }, ..row };
    }
    let Work { files, size, chunk, connections } = row.work;
    let chunk = chunk.min(64 << 10);
    let connections = connections.min(4);
    let size = size.min(3 * chunk + 999);
    Row { work: Work { files: files.min(6), size, chunk, connections }, ..row }
}
