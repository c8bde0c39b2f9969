//! A table for people and, a row a line, JSON for comparisons.

use serde_json::{Value, json};

use crate::row::{Row, Shape};
use crate::run::{Sample, Times};
use crate::scenario::Scenario;
use crate::setup::{Http, Kind};

/// `samples` are those of each row, one a round.
pub(crate) fn print(scenario: &Scenario, samples: &[Vec<Sample>]) {
    let summaries: Vec<_> =
        scenario.rows.iter().map(|row| Summary::new(scenario, samples, row)).collect();
    println!("\n({}) {}", scenario.name, scenario.title);
    let lines = summaries.iter().map(Summary::cells);
    table(&std::iter::once(head(scenario)).chain(lines).collect::<Vec<_>>());
    for summary in &summaries {
        println!("{}", summary.json(scenario));
    }
}

/// Medians of a row.
struct Summary<'a> {
    row: &'a Row,
    rounds: usize,
    rate: Option<f64>,
    cost: Option<f64>,
    /// To the row of each of `OTHERS`.
    to: [Option<Ratio>; OTHERS.len()],
    to_raw: Option<Ratio>,
    chunk: Option<Times>,
    completion: Option<Times>,
    peak: Option<f64>,
    switches: Option<f64>,
    held: Option<f64>,
}

/// A row by another: medians of the ratios of each round.
#[derive(Clone, Copy)]
struct Ratio {
    rate: f64,
    cost: f64,
}

impl<'a> Summary<'a> {
    fn new(scenario: &Scenario, samples: &[Vec<Sample>], row: &'a Row) -> Self {
        let of = |is_it: &dyn Fn(&Row) -> bool| {
            scenario.rows.iter().position(is_it).map(|at| &*samples[at])
        };
        let own = of(&|other| other == row).unwrap_or_default();
        let to = |is_it: &dyn Fn(&Row) -> bool| {
            Ratio::new(own, of(&|other| other != row && is_it(other))?)
        };
        let to_server = |(_, server): (_, Kind)| {
            let other = row.against(server);
            let is_comparable = row.shape == Shape::Tus || !server.is_tus_peer();
            if is_comparable { to(&|row| *row == other) } else { None }
        };
        Self {
            row,
            rounds: own.len(),
            rate: median(own.iter().map(|sample| sample.rate)),
            cost: median(own.iter().map(|sample| sample.cost)),
            to: OTHERS.map(to_server),
            to_raw: to(&|other| other.is_raw_of(row)),
            chunk: times(own.iter().map(|sample| sample.chunk)),
            completion: times(own.iter().map(|sample| sample.completion)),
            peak: median(own.iter().map(|sample| Some(sample.peak as f64))),
            switches: median(own.iter().map(|sample| sample.switches)),
            held: median(own.iter().map(|sample| sample.held)),
        }
    }

    fn cells(&self) -> Vec<String> {
        let digits = |value: f64| if value < 10.0 { 2 } else { 0 };
        let number = |value: Option<f64>| {
            value.map(|value| format!("{value:.*}", digits(value))).unwrap_or_default()
        };
        let ratio = |ratio: Option<Ratio>| {
            ratio.map(|ratio| format!("{:.2} ({:.2})", ratio.rate, ratio.cost)).unwrap_or_default()
        };
        let time = |time: Option<f64>| time.map(|time| format!("{time:.3}")).unwrap_or_default();
        let first = [self.row.label(), number(self.rate), number(self.cost)];
        let last = [
            ratio(self.to_raw),
            time(self.chunk.map(|times| times.p50)),
            time(self.chunk.map(|times| times.p99)),
            time(self.completion.map(|times| times.p50)),
            time(self.completion.map(|times| times.p99)),
            number(self.held.map(|bytes| bytes / KIB)),
            number(self.peak.map(|bytes| bytes / MIB)),
            number(self.switches),
        ];
        first.into_iter().chain(self.to.map(ratio)).chain(last).collect()
    }

    fn json(&self, scenario: &Scenario) -> Value {
        let Row { setup, shape, work, .. } = self.row;
        let ratio = |ratio: Option<Ratio>| ratio.map(|ratio| json!([ratio.rate, ratio.cost]));
        let times = |times: Option<Times>| times.map(|times| json!([times.p50, times.p99]));
        let mut line = json!({
            "scenario": scenario.name,
            "row": self.row.label(),
            "server": setup.server,
            "shape": shape.name(),
            "md5": setup.md5,
            "sync": setup.sync,
            "http": if setup.http == Http::One { 1 } else { 2 },
            "files": work.files,
            "size": work.size,
            "chunk": work.chunk,
            "rounds": self.rounds,
            "rate": self.rate,
            "rate_unit": scenario.unit.rate(),
            "cost": self.cost,
            "cost_unit": scenario.unit.cost(),
            "to_raw": ratio(self.to_raw),
            "chunk_ms": times(self.chunk),
            "completion_ms": times(self.completion),
            "held_bytes": self.held,
            "peak_bytes": self.peak,
            "switches": self.switches,
        });
        for ((name, _), to) in OTHERS.iter().zip(self.to) {
            line[name.replace([' ', '-'], "_")] = json!(ratio(to));
        }
        line
    }
}

impl Ratio {
    fn new(own: &[Sample], others: &[Sample]) -> Option<Self> {
        let ratio = |of: fn(&Sample) -> Option<f64>| {
            median(own.iter().zip(others).map(|(own, other)| Some(of(own)? / of(other)?)))
        };
        Some(Self { rate: ratio(|sample| sample.rate)?, cost: ratio(|sample| sample.cost)? })
    }
}

/// Medians of each percentile.
fn times(samples: impl Iterator<Item = Option<Times>> + Clone) -> Option<Times> {
    let of = |percentile: fn(Times) -> f64| median(samples.clone().map(|s| s.map(percentile)));
    Some(Times { p50: of(|times| times.p50)?, p99: of(|times| times.p99)? })
}

/// The columns of ratios to other servers.
const OTHERS: [(&str, Kind); 6] = [
    ("to std", Kind::Std),
    ("to hyper", Kind::Hyper),
    ("to pool", Kind::HyperPool),
    ("to nginx", Kind::Nginx),
    ("to rustus", Kind::Rustus),
    ("to salvo-tus", Kind::SalvoTus),
];

fn head(scenario: &Scenario) -> Vec<String> {
    let unit = scenario.unit;
    let first = ["", unit.rate(), unit.cost()];
    let last = [
        "to raw",
        "chunk ms",
        "p99",
        "completion ms",
        "p99",
        "KiB held",
        "peak MiB",
        unit.switches(),
    ];
    let others = OTHERS.map(|(name, _)| name);
    first.into_iter().chain(others).chain(last).map(str::to_owned).collect()
}

/// The first column to the left, the others to the right, without those that are empty.
pub(crate) fn table(lines: &[Vec<String>]) {
    let width = |column: usize| {
        let filled = lines[1..].iter().any(|line| !line[column].is_empty());
        let longest = lines.iter().map(|line| line[column].chars().count()).max();
        longest.filter(|_| filled)
    };
    let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
    for line in lines {
        let mut text = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            match width {
                Some(width) if column == 0 => text += &format!("{cell:<width$}"),
                Some(width) => text += &format!("  {cell:>width$}"),
                None => {}
            }
        }
        println!("{text}");
    }
}

/// None if a value is missing.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<_> = values.collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
