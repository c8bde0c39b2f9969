//! Runs what is asked for, round by round.

use std::time::{Duration, Instant};

use crate::args::Args;
use crate::client::Client;
use crate::content::Content;
use crate::drive::{Latencies, Plan, Work};
use crate::process::Server;
use crate::report;
use crate::scenario::{self, Row, Scenario, Unit};
use crate::slow;

/// What one run of a row gave; units are those of the scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) rate: Option<f64>,
    pub(crate) cost: Option<f64>,
    pub(crate) chunk: Option<Percentiles>,
    pub(crate) completion: Option<Percentiles>,
    /// Bytes of memory at the most.
    pub(crate) peak: u64,
    /// Context switches.
    pub(crate) switches: Option<f64>,
    /// Bytes of memory that each slow upload holds.
    pub(crate) held: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Percentiles {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

pub(crate) fn all(args: &Args) {
    let mut content = Content::new();
    for scenario in scenario::chosen(args) {
        let samples = rounds(args, &scenario, &mut content);
        if args.smoke {
            println!("({}) {}: all bytes are as they were sent", scenario.name, scenario.title);
        } else {
            report::print(&scenario, &samples);
        }
    }
}

/// For each row, its samples. Rows that are alike take turns at being the first.
fn rounds(args: &Args, scenario: &Scenario, content: &mut Content) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::new(); scenario.rows.len()];
    for round in 0..args.rounds {
        let mut start = 0;
        for group in scenario.rows.chunk_by(Row::is_like) {
            for turn in 0..group.len() {
                let at = (turn + round) % group.len();
                let row = if args.smoke { smoke(group[at], scenario.unit) } else { group[at] };
                let sample = match scenario.unit {
                    Unit::Memory => slow::measure(&row, content),
                    unit => measure(&row, unit, content, args.smoke),
                };
                samples[start + at].push(sample);
            }
            start += group.len();
        }
    }
    samples
}

fn measure(row: &Row, unit: Unit, content: &mut Content, check: bool) -> Sample {
    let Row { setup, shape, finish, work, .. } = *row;
    let first = Work { files: work.connections as u64, size: work.chunk.min(work.size), ..work };
    let [first_md5, md5] = [first, work].map(|work| setup.md5.then(|| content.md5(work.size)));
    let content = &*content;
    let server = Server::start(&setup);
    let check = check.then(|| server.folder());
    let mut clients: Vec<_> =
        (0..work.connections).map(|_| Client::connect(server.addr, setup.http)).collect();
    let warm_up = Plan { prefix: "w", work: first, shape, finish, content, md5: first_md5, check };
    warm_up.drive(&mut clients);

    server.forget_peak();
    let before = server.usage();
    let start = Instant::now();
    let plan = Plan { prefix: "f", work, md5, ..warm_up };
    let Latencies { chunks, completions } = plan.drive(&mut clients);
    let elapsed = start.elapsed();
    let after = server.usage();

    let cpu = (after.cpu - before.cpu).as_secs_f64();
    let switches = after.switches.saturating_sub(before.switches) as f64;
    let amount = unit.amount(&work);
    // Bytes are counted in MiB, but what they cost in GiB.
    let (each, scale) = if unit == Unit::Bytes { (amount / 1024.0, 1.0) } else { (amount, 1e6) };
    Sample {
        rate: Some(amount / elapsed.as_secs_f64()),
        cost: Some(cpu * scale / each),
        chunk: percentiles(chunks),
        completion: percentiles(completions),
        peak: server.peak(),
        switches: Some(switches / each),
        held: None,
    }
}

fn percentiles(mut times: Vec<Duration>) -> Option<Percentiles> {
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1));
    Some(Percentiles { p50: *at(50)?, p99: *at(99)? })
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
