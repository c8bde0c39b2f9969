//! What the user sees while files are being sent.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bars on a terminal, plain lines elsewhere; all on standard error.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
    overall: ProgressBar,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(bytes: u64, quiet: bool) -> Self {
        // Nothing is drawn if this is not a terminal.
        let stderr = ProgressDrawTarget::stderr();
        let target = if quiet { ProgressDrawTarget::hidden() } else { stderr };
        let bars = MultiProgress::with_draw_target(target);
        let overall = bars.add(ProgressBar::new(bytes).with_prefix("all").with_style(style()));
        // The remaining time is updated even if there is no progress.
        overall.enable_steady_tick(Duration::from_secs(1));
        Self { bars, overall, quiet }
    }

    /// Reports progress.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            self.complain(line);
        }
    }

    /// Reports what the user should know even without progress.
    pub(crate) fn complain(&self, line: &str) {
        self.bars.suspend(|| eprintln!("{}", printable(line)));
    }

    pub(crate) fn begin(&self, label: &str, size: u64) -> Meter {
        let bar = ProgressBar::new(size).with_prefix(printable(label).into_owned());
        let bar = self.bars.insert_before(&self.overall, bar.with_style(style()));
        Meter { bar, overall: self.overall.clone(), bars: self.bars.clone() }
    }

    pub(crate) fn end(&self) {
        self.overall.finish_and_clear();
        drop(self.bars.clear());
    }
}

/// The progress of a file.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
    overall: ProgressBar,
    bars: MultiProgress,
}

impl Meter {
    pub(crate) fn position(&self) -> u64 {
        self.bar.position()
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.overall.inc(bytes);
    }

    /// Moves it to the server's offset.
    pub(crate) fn set(&self, position: u64) {
        let before = self.bar.position();
        self.bar.set_position(position);
        self.overall.inc(position.saturating_sub(before));
        self.overall.dec(before.saturating_sub(position));
    }

    /// The same for bytes that were not sent now, and so do not count for the rate.
    pub(crate) fn skip_to(&self, position: u64) {
        self.set(position);
        self.bar.reset_eta();
        self.overall.reset_eta();
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

fn style() -> ProgressStyle {
    let bar = "{prefix:28!} {wide_bar} {binary_bytes}/{binary_total_bytes} \
               {binary_bytes_per_sec} {eta} left";
    ProgressStyle::with_template(bar).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Neither a file's name nor a server's response may control the terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}
