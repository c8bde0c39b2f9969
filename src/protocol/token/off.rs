#![expect(clippy::unused_self, reason = "with the feature, it depends on what was set")]

use http::request::Parts;
use http::{Extensions, HeaderMap};

use crate::cors::Cors;
use crate::engine::{Error, OwnerUploads};
use crate::id::UploadId;
use crate::policy::{Context, Refusal};
use crate::protocol::Settings;
use crate::upload::Identity;

#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {}

impl Tokens {
    pub(crate) fn cors(&self) -> Cors {
        Cors::default()
    }
}

pub(crate) struct Presented;

impl Presented {
    pub(crate) async fn read(_: &Settings, _: &mut Parts) -> Self {
        Self
    }

    pub(crate) fn upload(&self) -> Option<&UploadId> {
        None
    }

    pub(crate) fn redeem(&self, _: Option<&UploadId>) -> Option<Result<OwnerUploads, Error>> {
        None
    }

    pub(crate) fn is_for_another(&self, _: Option<&UploadId>) -> bool {
        false
    }

    pub(crate) fn admits(&self) -> bool {
        false
    }

    pub(crate) fn put_by(&self) {}

    pub(crate) fn mark(&self, _: &mut Context<'_>) {}

    pub(crate) fn mark_extensions(&self, _: &mut Extensions) {}

    pub(crate) fn explain(&self, refusal: Refusal) -> Refusal {
        refusal
    }

    pub(crate) fn hand_out(&self, _: &Settings, _: Identity, _: &mut HeaderMap) {}
}
