//! Move from django-chunked-upload: keep your clients, and find your settings.
//!
//! Settings become calls of the builder:
//!
//! ```
//! use std::time::Duration;
//! use tower_chunked_upload::Uploads;
//! use tower_chunked_upload::store::FsStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let media = folder.path();
//! // CHUNKED_UPLOAD_PATH, CHUNKED_UPLOAD_EXPIRATION_DELTA and CHUNKED_UPLOAD_MAX_BYTES.
//! let store = FsStore::new(media.join("chunked_uploads/%Y/%m/%d"));
//! let day = Duration::from_secs(24 * 60 * 60);
//! let uploads = Uploads::builder(store).expires_after(day).max_bytes(500 << 20).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Do clients have to change?
//!
//! No: the [chunked protocol](super::protocol) is the same. Clients often send a slash at the end
//! of the path, so put the layer [around the router](super::layers#around-a-router).
//!
//! # Where are my settings?
//!
//! | django-chunked-upload | this crate |
//! |---|---|
//! | `CHUNKED_UPLOAD_EXPIRATION_DELTA` | [`UploadsBuilder::expires_after`](crate::UploadsBuilder::expires_after), [`expiry`](crate::UploadsBuilder::expiry) |
//! | `CHUNKED_UPLOAD_PATH`, `CHUNKED_UPLOAD_TO` | [`FsStore::new`](crate::store::FsStore::new) |
//! | `CHUNKED_UPLOAD_STORAGE_CLASS` | the trait [`Store`](crate::store::Store) |
//! | `CHUNKED_UPLOAD_ENCODER`, `CHUNKED_UPLOAD_CONTENT_TYPE`, `CHUNKED_UPLOAD_MIMETYPE` | [`Chunked::encoder`](crate::Chunked::encoder), [`content_type`](crate::Chunked::content_type) |
//! | `CHUNKED_UPLOAD_MAX_BYTES`, `get_max_bytes` | [`UploadsBuilder::max_bytes`](crate::UploadsBuilder::max_bytes), [`Policy::max_bytes`](crate::Policy::max_bytes) |
//! | `CHUNKED_UPLOAD_ABSTRACT_MODEL`, `get_extra_attrs` | [`Policy::attributes`](crate::Policy::attributes) |
//! | `field_name`, `content_range_header` | [`Chunked::field_name`](crate::Chunked::field_name), [`content_range_header`](crate::Chunked::content_range_header) |
//! | `fail_if_no_header`, `do_md5_check` | [`Chunked::require_content_range`](crate::Chunked::require_content_range), [`md5_check`](crate::Chunked::md5_check) |
//! | `check_permissions`, the user field, `get_queryset` | [`Policy::authorize`](crate::Policy::authorize) and its [`Owner`](crate::Owner) |
//! | `validate` | [`Policy::validate`](crate::Policy::validate), [`Policy::verify`](crate::Policy::verify) |
//! | `get_response_data` | [`Policy::respond`](crate::Policy::respond); for a completion, your handler |
//! | `pre_save`, `save`, `post_save`, `create_chunked_upload` | [`Policy::validate`](crate::Policy::validate), [`Observer`](crate::Observer) |
//! | `on_completion` | your handler, with a [`CompletedUpload`](crate::CompletedUpload) |
//! | `delete_expired_uploads` | [`Uploads::delete_expired`](crate::Uploads::delete_expired), [`sweep_every`](crate::Uploads::sweep_every), the example `expired` |
//! | the admin page | [`OperatorUploads::list`](crate::OperatorUploads::list) |
//!
//! # What is different?
//!
//! The layer fixes what the original gets wrong:
//!
//! - It refuses a `Content-Range` that cannot be parsed, instead of ignoring it.
//! - It counts the bytes themselves, not only the announced total, and the total cannot change.
//! - It does not complete an upload if bytes are missing, if it has expired, or a second time.
//! - It answers an unknown id with JSON.
//! - A sweep never deletes a file that your handler has [persisted](super::files); one that it left
//!   in the store goes with the record. If your handler has not taken the file (a response of 4xx or
//!   5xx), the upload can be completed again.
//!
//! # What about uploads in progress?
//!
//! The layer does not read their files and records. Clients that continue such an upload get a 404,
//! and [begin a new one](super::error_handling).
