//! Metrics of the facade `metrics`, which cost nothing without that feature.
//!
//! All names are here, and in the table of the guide (`guide/observe.rs`).

#[cfg(feature = "metrics")]
use self::names::*;
use crate::engine::Event;
use crate::upload::Dialect;

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    #[cfg(feature = "metrics")]
    began: std::time::Instant,
}

impl Timer {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            began: std::time::Instant::now(),
        }
    }

    /// Bytes that were appended are acknowledged.
    pub(crate) fn appended(self) {
        self.record(
            #[cfg(feature = "metrics")]
            APPEND_SECONDS,
        );
    }

    /// A record is committed.
    pub(crate) fn committed(self) {
        self.record(
            #[cfg(feature = "metrics")]
            COMMIT_SECONDS,
        );
    }

    /// The application has taken a file.
    pub(crate) fn completed(self) {
        self.record(
            #[cfg(feature = "metrics")]
            COMPLETION_SECONDS,
        );
    }

    /// A sweep has ended, which has left so many uploads that it should have removed.
    pub(crate) fn swept(self, skipped: u64) {
        self.record(
            #[cfg(feature = "metrics")]
            SWEEP_SECONDS,
        );
        #[cfg(feature = "metrics")]
        metrics::counter!(SWEEP_SKIPPED).increment(skipped);
        #[cfg(not(feature = "metrics"))]
        let _ = skipped;
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "with the feature, it knows when it began")
    )]
    fn record(self, #[cfg(feature = "metrics")] name: &'static str) {
        #[cfg(feature = "metrics")]
        metrics::histogram!(name).record(self.began.elapsed());
    }
}

/// Something has happened to an upload.
pub(crate) fn happened(event: &Event) {
    #[cfg(feature = "metrics")]
    {
        let ended = match event {
            Event::Created(_) => return metrics::counter!(BEGUN).increment(1),
            Event::Grew(_) => return,
            Event::Completed(_) => "completed",
            Event::Cancelled(_) => "cancelled",
            Event::Discarded(_) => "discarded",
            Event::Expired(_) => "expired",
        };
        metrics::counter!(ENDED, "as" => ended).increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = event;
}

/// Bytes have arrived, and are going to be written.
pub(crate) fn received(bytes: usize) {
    #[cfg(feature = "metrics")]
    metrics::counter!(RECEIVED_BYTES).increment(bytes as u64);
    #[cfg(not(feature = "metrics"))]
    let _ = bytes;
}

/// Bytes are acknowledged.
pub(crate) fn acknowledged(bytes: u64) {
    #[cfg(feature = "metrics")]
    metrics::counter!(COMMITTED_BYTES).increment(bytes);
    #[cfg(not(feature = "metrics"))]
    let _ = bytes;
}

/// A request was refused.
pub(crate) fn refused(dialect: Dialect, code: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(REFUSALS, "dialect" => label(dialect), "code" => code).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = (dialect, code);
}

/// A completion was answered with what was kept, or before the application has answered.
pub(crate) fn answered(dialect: Dialect, how: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(ANSWERS, "dialect" => label(dialect), "as" => how).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = (dialect, how);
}

#[cfg(feature = "metrics")]
fn label(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chunked => "chunked",
        Dialect::Tus => "tus",
        Dialect::Resumable => "resumable",
        Dialect::Other => "other",
    }
}

/// A request was asked to stop, because a newer one of this process (or of another one) wants its
/// upload.
pub(crate) fn taken_over(here: bool) {
    #[cfg(feature = "metrics")]
    {
        let by = if here { "request" } else { "process" };
        metrics::counter!(TAKEOVERS, "by" => by).increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = here;
}

/// Work was given to a thread for work that blocks.
pub(crate) fn hopped() {
    #[cfg(feature = "metrics")]
    metrics::counter!(HOPS).increment(1);
}

/// A sweep that reads all uploads has found so many that are not complete.
pub(crate) fn unfinished(uploads: u64) {
    #[cfg(feature = "metrics")]
    metrics::gauge!(UNFINISHED).set(uploads as f64);
    #[cfg(not(feature = "metrics"))]
    let _ = uploads;
}

/// Unfinished uploads count towards the quotas with these numbers.
pub(crate) fn reserved(uploads: u64, bytes: u128) {
    #[cfg(feature = "metrics")]
    {
        metrics::gauge!(RESERVED_UPLOADS).set(uploads as f64);
        metrics::gauge!(RESERVED_BYTES).set(bytes as f64);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (uploads, bytes);
}

/// A quota is set.
pub(crate) fn limited(quota: &'static str, limit: u64) {
    #[cfg(feature = "metrics")]
    metrics::gauge!(QUOTA_LIMIT, "quota" => quota).set(limit as f64);
    #[cfg(not(feature = "metrics"))]
    let _ = (quota, limit);
}

/// Tells a recorder what each metric is, once it is there.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    {
        use metrics::Unit;

        for (name, unit, text) in COUNTERS {
            metrics::describe_counter!(*name, *unit, *text);
        }
        for (name, unit, text) in GAUGES {
            metrics::describe_gauge!(*name, *unit, *text);
        }
        for (name, text) in HISTOGRAMS {
            metrics::describe_histogram!(*name, Unit::Seconds, *text);
        }
    }
}

#[cfg(feature = "metrics")]
mod names {
    use metrics::Unit;

    pub(super) const BEGUN: &str = "chunked_upload_begun_total";
    pub(super) const ENDED: &str = "chunked_upload_ended_total";
    pub(super) const RECEIVED_BYTES: &str = "chunked_upload_received_bytes_total";
    pub(super) const COMMITTED_BYTES: &str = "chunked_upload_committed_bytes_total";
    pub(super) const REFUSALS: &str = "chunked_upload_refusals_total";
    pub(super) const ANSWERS: &str = "chunked_upload_answers_total";
    pub(super) const TAKEOVERS: &str = "chunked_upload_takeovers_total";
    pub(super) const HOPS: &str = "chunked_upload_hops_total";
    pub(super) const SWEEP_SKIPPED: &str = "chunked_upload_sweep_skipped_total";
    pub(super) const UNFINISHED: &str = "chunked_upload_unfinished";
    pub(super) const RESERVED_UPLOADS: &str = "chunked_upload_quota_uploads";
    pub(super) const RESERVED_BYTES: &str = "chunked_upload_quota_bytes";
    pub(super) const QUOTA_LIMIT: &str = "chunked_upload_quota_limit";
    pub(super) const APPEND_SECONDS: &str = "chunked_upload_append_duration_seconds";
    pub(super) const COMMIT_SECONDS: &str = "chunked_upload_commit_duration_seconds";
    pub(super) const COMPLETION_SECONDS: &str = "chunked_upload_completion_duration_seconds";
    pub(super) const SWEEP_SECONDS: &str = "chunked_upload_sweep_duration_seconds";

    type Described = &'static [(&'static str, Unit, &'static str)];

    pub(super) const COUNTERS: Described = &[
        (BEGUN, Unit::Count, "Uploads that were created."),
        (ENDED, Unit::Count, "Uploads that have ended."),
        (RECEIVED_BYTES, Unit::Bytes, "Bytes of files that arrived."),
        (COMMITTED_BYTES, Unit::Bytes, "Bytes of files that were acknowledged."),
        (REFUSALS, Unit::Count, "Requests that were refused or failed."),
        (ANSWERS, Unit::Count, "Completions answered with what was kept, or before the handler."),
        (TAKEOVERS, Unit::Count, "Requests that were stopped for a newer one."),
        (HOPS, Unit::Count, "Calls that were made on a thread for work that blocks."),
        (SWEEP_SKIPPED, Unit::Count, "Expired or damaged uploads that a sweep did not remove."),
    ];
    pub(super) const GAUGES: Described = &[
        (UNFINISHED, Unit::Count, "Unfinished uploads that the last sweep has found."),
        (RESERVED_UPLOADS, Unit::Count, "Unfinished uploads that count towards the quotas."),
        (RESERVED_BYTES, Unit::Bytes, "Bytes that count towards the quotas."),
        (QUOTA_LIMIT, Unit::Count, "The limit of a quota."),
    ];
    pub(super) const HISTOGRAMS: &[(&str, &str)] = &[
        (APPEND_SECONDS, "The time from the first byte of a chunk to its acknowledgement."),
        (COMMIT_SECONDS, "The time to write the last bytes of a chunk and its record."),
        (COMPLETION_SECONDS, "The time to verify a file and to have the application take it."),
        (SWEEP_SECONDS, "The time of a sweep."),
    ];
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_each_metric_once() {
        let rows = include_str!("guide/observe.rs").lines();
        let named = rows.filter_map(|row| row.strip_prefix("//! | `")?.split_once('`'));
        let mut named: Vec<_> = named.map(|(name, _)| name).collect();
        named.retain(|name| name.starts_with("chunked_upload_"));
        let counted = COUNTERS.iter().chain(GAUGES).map(|(name, ..)| *name);
        let mut all: Vec<_> = counted.chain(HISTOGRAMS.iter().map(|(name, _)| *name)).collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn names_follow_the_habits_of_prometheus() {
        for (name, ..) in COUNTERS {
            assert!(name.ends_with("_total"), "{name}");
        }
        for (name, ..) in GAUGES {
            assert!(!name.ends_with("_total"), "{name}");
        }
        for (name, _) in HISTOGRAMS {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
}
