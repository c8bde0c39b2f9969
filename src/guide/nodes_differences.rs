//! Know what works differently in a bucket than in a folder, before you move uploads there.
//!
//! # How do I sweep, list and count?
//!
//! - **Sweeping** reads the expiry index and not all uploads. It costs one or two `LIST`s as long
//!   as fewer than a thousand uploads are waiting, and 513 with a million. Run
//!   [`sweep_every`](crate::Uploads::sweep_every) on one node (with quotas, on each), every ten
//!   minutes or less often. Two sweepers at the same time are harmless, and cost twice the
//!   requests.
//! - **Tombstones.** An upload that was cancelled, discarded or swept leaves a tombstone. The first
//!   sweep after [an hour of grace](crate::store::BucketStoreBuilder::grace) deletes it.
//! - **[Quotas](super::limits)** are counted by each node, which learns of the other nodes' uploads
//!   when it sweeps. With quotas, sweeps read all uploads: four requests for each.
//! - **A listing** reads every record: four requests for each upload, 16 at a time.
//! - **Free space** is unknown: [`min_free_bytes`](crate::UploadsBuilder::min_free_bytes) refuses
//!   everything.
//!
//! # To which key may I persist a file?
//!
//! - **One key for one upload.** Put the id into its name. Deletions have no condition, and neither
//!   have writes, except for `persist_new` of a small file. A request may arrive late, from a node
//!   that was stalled. It then writes the same bytes again, over what you changed there, and even
//!   if you have deleted the file. So write a changed file under another name.
//! - **One upload to one key.** A file never returns to a key that it was moved away from. A
//!   handler that persists to a first key and then to a second is refused for good when it runs
//!   again after both. If the deletion at the first key fails, that file stays there.
//! - **`persist_new`** of a file above 8 MiB (or a segment) takes the name with an empty object
//!   before it writes the parts. If it fails, the empty object stays until the next try, or until
//!   the file is persisted elsewhere.
//! - **Length.** A key may have about 500 characters; characters other than ASCII letters and
//!   digits count three times or more.
//! - **Metadata.** The object has no content type, and `upload` in its metadata is a random mark, by
//!   which the store knows the object again.
//!
//! # Do the clocks of the nodes matter?
//!
//! They may differ by minutes. They decide when an upload expires and when a tombstone is deleted,
//! but never who may write. If a machine was suspended for longer than half the grace, its clock
//! must be right again before it continues, because that is how it knows that its cache is stale.
