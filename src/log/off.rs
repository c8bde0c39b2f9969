#![expect(clippy::unused_self, reason = "with the feature, it depends on the request")]

use std::error::Error;

use crate::id::UploadId;
use crate::upload::{Dialect, Owner, Upload};

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {}

#[derive(Clone, Debug)]
pub(crate) struct Request {}

impl Request {
    pub(crate) fn new(_: Dialect, _: &'static str) -> Self {
        Self {}
    }

    pub(crate) fn in_span<F: Future>(&self, work: F) -> F {
        work
    }

    pub(crate) fn names(&self, _: &UploadId) {}

    pub(crate) fn stands(&self, _: &Upload) {}

    pub(crate) fn is_by(&self, _: &Settings, _: Option<&Owner>) {}

    pub(crate) fn has_received(&self, _: u64) {}

    pub(crate) fn is_refused(&self, _: u16, _: &str, _: Option<&(dyn Error + 'static)>) {}

    pub(crate) fn has_failed(&self, _: u16, _: &str, _: Option<&(dyn Error + 'static)>) {}

    pub(crate) fn is_answered(&self, _: u16, _: Option<&'static str>, _: Option<&'static str>) {}
}

pub(crate) fn in_span<F: Future>(work: F) -> F {
    work
}

pub(crate) fn failed(_: &str, _: Option<&UploadId>, _: &(dyn Error + 'static)) {}

pub(crate) fn changed(_: &str, _: &Upload) {}

pub(crate) fn not_taken(_: &UploadId, _: Option<u16>) {}
