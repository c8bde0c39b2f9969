//! The outcome for each file.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::BinaryBytes;

/// How a file ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Bytes that the server has acknowledged, and bytes that it had from an earlier run.
    pub(crate) sent: u64,
    pub(crate) already_there: u64,
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// Retrying would not help.
    Refused(String),
    /// It may work later.
    GaveUp(String),
}

/// All files together.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    arrived: u64,
    refused: u64,
    given_up: u64,
    sent: u64,
    already_there: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.sent += outcome.sent;
        self.already_there += outcome.already_there;
        match outcome.failure {
            None => self.arrived += 1,
            Some(Failure::Refused(_)) => self.refused += 1,
            Some(Failure::GaveUp(_)) => self.given_up += 1,
        }
    }

    pub(crate) fn summary(&self, files: u64, time: Duration) -> String {
        let Self { arrived, sent, already_there, .. } = self;
        let seconds = time.as_secs_f64();
        let rate = BinaryBytes((*sent as f64 / seconds) as u64);
        format!(
            "{arrived} of {files} files arrived, {sent} bytes sent, {already_there} there before, \
             {seconds:.3} s, {rate}/s"
        )
    }

    pub(crate) fn exit_code(&self, some_unreadable: bool) -> ExitCode {
        if self.refused > 0 || some_unreadable {
            ExitCode::from(REFUSED)
        } else if self.given_up > 0 {
            ExitCode::from(GAVE_UP)
        } else {
            ExitCode::SUCCESS
        }
    }
}

const REFUSED: u8 = 1;
const GAVE_UP: u8 = 3;
