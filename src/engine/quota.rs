//! Quotas on unfinished uploads.
//!
//! A ledger in memory keeps what each upload has reserved: its total, if that was announced, or
//! else the bytes received so far. Bytes are reserved under one lock before the first of them is
//! accepted, so concurrent uploads cannot exceed a quota. The ledger is initialised from the store,
//! and each full sweep corrects it for the changes of other processes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::OnceCell;

use super::error::{Error, ErrorKind};
use super::lock;
use crate::id::UploadId;
use crate::metric;
use crate::store::{Cursor, DynStore, Page, StoreError};
use crate::upload::{Owner, Status, Upload};

/// A limit on unfinished uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quota {
    /// The number of unfinished uploads of an owner.
    OwnerUploads,
    /// The total size of an owner's unfinished uploads, in bytes.
    OwnerBytes,
    /// The total size of all unfinished uploads, in bytes.
    AllBytes,
    /// The space that must stay free in the store, in bytes.
    FreeBytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quotas {
    pub(super) owner_uploads: Option<u64>,
    pub(super) owner_bytes: Option<u64>,
    pub(super) all_bytes: Option<u64>,
    pub(super) free_bytes: Option<u64>,
}

/// What each upload has reserved.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    quotas: Quotas,
    accounts: Mutex<Accounts>,
    initial_scan: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Accounts {
    uploads: HashMap<UploadId, Entry>,
    owners: HashMap<Payer, Usage>,
    uploaded: Usage,
    staged: Usage,
    /// How many bytes are reserved but not yet written.
    outstanding: u128,
    /// How many bytes were reserved since the start. It never decreases.
    cumulative: u128,
    /// The number of the last scan of the store.
    generation: u64,
    /// How many pages of the store are being read.
    pages_in_flight: usize,
    /// The uploads that have changed since the first of these pages, which may show them as they
    /// were before.
    changed: HashSet<UploadId>,
}

/// The account that an upload is charged to. Staged chunks are counted separately, since their
/// upload has already reserved the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Payer {
    owner: Option<Owner>,
    staged: bool,
}

#[derive(Debug)]
struct Entry {
    payer: Payer,
    reserved: u64,
    written: u64,
    /// Whether an append is in progress.
    appending: bool,
    generation: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    uploads: u64,
    bytes: u128,
}

/// What an append has reserved. If it is dropped without [`commit`](Self::commit), the reservation
/// is undone.
#[derive(Debug)]
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    id: UploadId,
    bytes: u64,
    /// What the upload had reserved and written before; `None` if it did not exist.
    before: Option<(u64, u64)>,
    /// The size up to which free space was checked.
    free_checked_until: u64,
}

impl Quotas {
    fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

impl Ledger {
    pub(super) fn new(quotas: Quotas) -> Arc<Self> {
        for (quota, limit) in [
            ("owner_uploads", quotas.owner_uploads),
            ("owner_bytes", quotas.owner_bytes),
            ("all_bytes", quotas.all_bytes),
            ("free_bytes", quotas.free_bytes),
        ] {
            if let Some(limit) = limit {
                metric::limited(quota, limit);
            }
        }
        Arc::new(Self { quotas, ..Self::default() })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        lock(&self.accounts)
    }

    /// Reserves the announced total of a new upload. Returns `None` without quotas.
    pub(super) async fn open(
        self: &Arc<Self>,
        store: &dyn DynStore,
        upload: &Upload,
        staged: bool,
    ) -> Result<Option<Reservation>, Error> {
        if !self.quotas.is_set() {
            return Ok(None);
        }
        self.initial_scan.get_or_try_init(|| self.scan(store)).await?;
        let payer = Payer { owner: upload.owner.clone(), staged };
        let total = upload.total().unwrap_or(0);
        let free = self.free_space(store, total).await?;
        let mut accounts = self.accounts();
        // Another process has removed the upload that had this id, which follows from a key.
        accounts.remove(&upload.id);
        let sum = accounts.owners.get(&payer).copied().unwrap_or_default();
        if let Some(limit) = self.quotas.owner_uploads
            && sum.uploads >= limit
        {
            return Err(exceeded(Quota::OwnerUploads, limit));
        }
        self.check(&accounts, &payer, total, free)?;
        accounts.insert(upload.id, payer).appending = true;
        accounts.reserve(&upload.id, total);
        drop(accounts);
        Ok(Some(self.reservation(upload.id, total, None)))
    }

    /// Returns the reservation of an existing upload. Returns `None` without quotas.
    pub(super) fn resume(self: &Arc<Self>, upload: &Upload) -> Option<Reservation> {
        if !self.quotas.is_set() || upload.is_joined() {
            return None;
        }
        let mut accounts = self.accounts();
        accounts.set(upload);
        let entry = accounts.uploads.get_mut(&upload.id)?;
        entry.appending = true;
        let (bytes, written) = (entry.reserved, entry.written);
        Some(self.reservation(upload.id, bytes, Some((bytes, written))))
    }

    fn reservation(
        self: &Arc<Self>,
        id: UploadId,
        bytes: u64,
        before: Option<(u64, u64)>,
    ) -> Reservation {
        let ledger = Arc::clone(self);
        Reservation { ledger, id, bytes, before, free_checked_until: bytes }
    }

    /// Removes an upload that is complete or was removed.
    pub(super) fn close(&self, id: &UploadId) {
        let mut accounts = self.accounts();
        accounts.remove(id);
        accounts.note_change(id);
    }

    /// Checks whether `more` bytes are within the quotas.
    fn check(
        &self,
        accounts: &Accounts,
        payer: &Payer,
        more: u64,
        free: Option<Space>,
    ) -> Result<(), Error> {
        let fits = |sum: Usage, limit: u64| sum.bytes + u128::from(more) <= u128::from(limit);
        let own = accounts.owners.get(payer).copied().unwrap_or_default();
        let all = if payer.staged { accounts.staged } else { accounts.uploaded };
        for (quota, limit, sum) in [
            (Quota::OwnerBytes, self.quotas.owner_bytes, own),
            (Quota::AllBytes, self.quotas.all_bytes, all),
        ] {
            if let Some(limit) = limit.filter(|limit| !fits(sum, *limit)) {
                return Err(exceeded(quota, limit));
            }
        }
        if let (Some(floor), Some(free)) = (self.quotas.free_bytes, free) {
            // Bytes reserved since then may or may not be part of the answer, so they are always
            // counted.
            let taken = free.outstanding.saturating_add(accounts.cumulative - free.cumulative);
            let left = u128::from(free.bytes).saturating_sub(taken).saturating_sub(more.into());
            if left < floor.into() {
                return Err(exceeded(Quota::FreeBytes, floor));
            }
        }
        Ok(())
    }

    /// Returns the free space, if there is a quota on it.
    async fn free_space(&self, store: &dyn DynStore, more: u64) -> Result<Option<Space>, Error> {
        let Some(floor) = self.quotas.free_bytes else { return Ok(None) };
        let (outstanding, cumulative) = {
            let accounts = self.accounts();
            (accounts.outstanding, accounts.cumulative)
        };
        match store.free_bytes().await? {
            Some(bytes) => Ok(Some(Space { bytes, outstanding, cumulative })),
            None if floor == 0 && more == 0 => Ok(None),
            None => {
                let problem = "the store cannot report its free space".to_owned();
                Err(StoreError::Config { problem }.into())
            }
        }
    }

    /// Reads all uploads of the store.
    async fn scan(self: &Arc<Self>, store: &dyn DynStore) -> Result<(), Error> {
        let Some(scan) = self.begin_scan() else { return Ok(()) };
        let mut cursor = None;
        loop {
            cursor = scan.page(store, cursor).await?.next;
            if cursor.is_none() {
                scan.finish();
                return Ok(());
            }
        }
    }

    /// Starts a scan of the whole store. Returns `None` without quotas.
    pub(super) fn begin_scan(self: &Arc<Self>) -> Option<Scan> {
        if !self.quotas.is_set() {
            return None;
        }
        let mut accounts = self.accounts();
        accounts.generation += 1;
        Some(Scan { ledger: Arc::clone(self), generation: accounts.generation })
    }
}

/// A scan of the whole store, which corrects the ledger when it is finished.
#[derive(Debug)]
pub(super) struct Scan {
    ledger: Arc<Ledger>,
    generation: u64,
}

impl Scan {
    /// Reads a page of uploads.
    pub(super) async fn page(
        &self,
        store: &dyn DynStore,
        cursor: Option<Cursor>,
    ) -> Result<Page, StoreError> {
        let _reading = self.read();
        let page = store.list(cursor).await?;
        page.uploads.iter().flatten().for_each(|upload| self.observe(upload));
        Ok(page)
    }

    fn read(&self) -> PageRead<'_> {
        self.ledger.accounts().pages_in_flight += 1;
        PageRead(&self.ledger)
    }

    /// Records an upload that was found in the store.
    fn observe(&self, upload: &Upload) {
        // The bytes of a joined upload are reserved by its parts.
        if upload.status() == Status::Complete || upload.is_joined() {
            return;
        }
        let mut accounts = self.ledger.accounts();
        if accounts.changed.contains(&upload.id) {
            return;
        }
        if let Some(entry) = accounts.uploads.get_mut(&upload.id) {
            entry.generation = entry.generation.max(self.generation);
            if entry.appending || entry.written > upload.offset() {
                return;
            }
        }
        accounts.set(upload);
    }

    /// Ends the scan and forgets the uploads that the store no longer has.
    pub(super) fn finish(self) {
        let mut accounts = self.ledger.accounts();
        let stale = |entry: &Entry| !entry.appending && entry.generation < self.generation;
        let stale = accounts.uploads.iter().filter(|(_, entry)| stale(entry)).map(|(id, _)| *id);
        stale.collect::<Vec<_>>().iter().for_each(|id| accounts.remove(id));
    }
}

/// Exists from before a page is read until its uploads are recorded. Uploads that are committed or
/// closed in between may be on the page as they were before.
struct PageRead<'a>(&'a Ledger);

impl Drop for PageRead<'_> {
    fn drop(&mut self) {
        let mut accounts = self.0.accounts();
        accounts.pages_in_flight -= 1;
        if accounts.pages_in_flight == 0 {
            accounts.changed.clear();
        }
    }
}

/// The free space that the system reported, and the ledger's numbers just before.
#[derive(Clone, Copy)]
struct Space {
    bytes: u64,
    outstanding: u128,
    cumulative: u128,
}

impl Accounts {
    /// Updates the ledger from an upload's record.
    fn set(&mut self, upload: &Upload) {
        if !self.uploads.contains_key(&upload.id) {
            self.insert(upload.id, Payer { owner: upload.owner.clone(), staged: false });
        }
        self.reserve(&upload.id, upload.total().unwrap_or(upload.offset()));
        self.write(&upload.id, upload.offset());
    }

    fn note_change(&mut self, id: &UploadId) {
        if self.pages_in_flight > 0 {
            self.changed.insert(*id);
        }
    }

    fn insert(&mut self, id: UploadId, payer: Payer) -> &mut Entry {
        self.owners.entry(payer.clone()).or_default().uploads += 1;
        let generation = self.generation;
        let entry = Entry { payer, reserved: 0, written: 0, appending: false, generation };
        self.uploads.entry(id).insert_entry(entry).into_mut()
    }

    fn reserve(&mut self, id: &UploadId, bytes: u64) {
        let Some(entry) = self.uploads.get_mut(id) else { return };
        self.outstanding -= entry.outstanding();
        let before = std::mem::replace(&mut entry.reserved, bytes);
        self.outstanding += entry.outstanding();
        self.cumulative += u128::from(bytes.saturating_sub(before));
        let all = if entry.payer.staged { &mut self.staged } else { &mut self.uploaded };
        for sum in [Some(all), self.owners.get_mut(&entry.payer)].into_iter().flatten() {
            sum.bytes = sum.bytes - u128::from(before) + u128::from(bytes);
        }
        self.report();
    }

    fn report(&self) {
        metric::reserved(self.uploads.len() as u64, self.uploaded.bytes);
    }

    fn write(&mut self, id: &UploadId, bytes: u64) {
        let Some(entry) = self.uploads.get_mut(id) else { return };
        self.outstanding -= entry.outstanding();
        entry.written = bytes;
        entry.generation = self.generation;
        self.outstanding += entry.outstanding();
    }

    fn remove(&mut self, id: &UploadId) {
        self.reserve(id, 0);
        let Some(entry) = self.uploads.remove(id) else { return };
        if let Some(sum) = self.owners.get_mut(&entry.payer) {
            sum.uploads -= 1;
            if sum.uploads == 0 {
                self.owners.remove(&entry.payer);
            }
        }
        self.report();
    }
}

impl Entry {
    fn outstanding(&self) -> u128 {
        self.reserved.saturating_sub(self.written).into()
    }
}

impl Reservation {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows the reservation to `bytes`.
    pub(super) async fn grow(&mut self, store: &dyn DynStore, bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        let mut free = None;
        if bytes > self.free_checked_until {
            self.free_checked_until = bytes.saturating_add(FREE_CHECK_BYTES);
            free = self.ledger.free_space(store, more).await?;
        }
        let mut accounts = self.ledger.accounts();
        let Some(entry) = accounts.uploads.get(&self.id) else { return Ok(()) };
        self.ledger.check(&accounts, &entry.payer, more, free)?;
        accounts.reserve(&self.id, bytes);
        drop(accounts);
        self.bytes = bytes;
        Ok(())
    }

    /// Records that the store was given `bytes` in total. If they are `committed`, they stay
    /// reserved whatever happens.
    pub(super) fn record_written(&mut self, bytes: u64, committed: bool) {
        self.ledger.accounts().write(&self.id, bytes);
        if committed {
            self.before = Some((self.bytes.max(bytes), bytes));
        }
    }

    /// Keeps the reservation of a committed append.
    pub(super) fn commit(mut self, upload: &Upload) {
        self.before = Some((upload.total().unwrap_or(upload.offset()), upload.offset()));
        let mut accounts = self.ledger.accounts();
        accounts.set(upload);
        accounts.note_change(&upload.id);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts();
        match self.before {
            None => accounts.remove(&self.id),
            Some((reserved, written)) => {
                accounts.reserve(&self.id, reserved);
                accounts.write(&self.id, written);
            }
        }
        if let Some(entry) = accounts.uploads.get_mut(&self.id) {
            entry.appending = false;
        }
    }
}

fn exceeded(quota: Quota, limit: u64) -> Error {
    ErrorKind::QuotaExceeded { quota, limit }.into()
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnerUploads => "unfinished uploads of one owner",
            Self::OwnerBytes => "bytes of one owner's unfinished uploads",
            Self::AllBytes => "bytes of all unfinished uploads",
            Self::FreeBytes => "bytes of disk space to keep free",
        })
    }
}

/// How far an upload of unknown size may grow before free space is checked again.
const FREE_CHECK_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};
    use std::time::SystemTime;

    use super::*;
    use crate::store::MemoryStore;
    use crate::{AppendMode, NewUpload, Uploads};

    fn upload(owner: &str, total: Option<u64>) -> Upload {
        let mut upload = Upload::new(UploadId::random(), SystemTime::now());
        upload.owner = Some(owner.into());
        upload.progress.total = total;
        upload
    }

    fn quota(error: &Error) -> (Quota, u64) {
        match error.kind() {
            ErrorKind::QuotaExceeded { quota, limit } => (*quota, *limit),
            kind => panic!("{kind:?}"),
        }
    }

    fn sums(ledger: &Ledger) -> (usize, usize, u128, u128) {
        let accounts = ledger.accounts();
        let bytes = accounts.uploaded.bytes + accounts.staged.bytes;
        (accounts.uploads.len(), accounts.owners.len(), bytes, accounts.outstanding)
    }

    #[tokio::test]
    async fn a_reservation_is_undone_unless_it_is_committed() {
        let store = MemoryStore::new();
        let quotas = Quotas { owner_bytes: Some(100), ..Quotas::default() };
        let ledger = Ledger::new(quotas);
        let mut first = upload("a", Some(60));
        let reservation = ledger.open(&store, &first, false).await.unwrap().unwrap();
        let refused = ledger.open(&store, &upload("a", Some(41)), false).await.unwrap_err();
        assert_eq!(quota(&refused), (Quota::OwnerBytes, 100));
        ledger.open(&store, &upload("b", Some(100)), false).await.unwrap();
        first.progress.offset = 10;
        reservation.commit(&first);
        assert_eq!(sums(&ledger), (1, 1, 60, 50));

        let mut second = ledger.open(&store, &upload("a", None), false).await.unwrap().unwrap();
        second.grow(&store, 40).await.unwrap();
        assert_eq!(quota(&second.grow(&store, 41).await.unwrap_err()), (Quota::OwnerBytes, 100));
        assert_eq!(sums(&ledger), (2, 1, 100, 90));
        drop(second);
        drop(ledger.resume(&first));
        assert_eq!(sums(&ledger), (1, 1, 60, 50));
        ledger.close(&first.id);
        assert_eq!(sums(&ledger), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn a_scan_finds_changes_of_others_and_keeps_appends_in_progress() {
        let store = MemoryStore::new();
        let ledger = Ledger::new(Quotas { all_bytes: Some(1000), ..Quotas::default() });
        let (closed, under_way) = (upload("a", Some(10)), upload("a", Some(20)));
        let reservation = ledger.open(&store, &closed, false).await.unwrap().unwrap();
        reservation.commit(&closed);
        let reservation = ledger.open(&store, &under_way, false).await.unwrap();
        let (new, just_closed) = (upload("b", Some(30)), upload("c", Some(40)));
        let (scan, other) = (ledger.begin_scan().unwrap(), ledger.begin_scan().unwrap());
        let reading = scan.read();
        ledger.close(&just_closed.id);
        scan.observe(&new);
        scan.observe(&just_closed);
        drop(reading);
        assert!(ledger.accounts().changed.is_empty());
        scan.finish();
        // The other scan has not seen it yet.
        assert_eq!(sums(&ledger), (2, 2, 50, 50));
        drop((reservation, other));
        ledger.begin_scan().unwrap().finish();
        assert_eq!(sums(&ledger), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn huge_totals_do_not_overflow() {
        let store = MemoryStore::new();
        let ledger = Ledger::new(Quotas { owner_uploads: Some(10), ..Quotas::default() });
        let mut held = Vec::new();
        for total in [u64::MAX, u64::MAX, 5] {
            held.push(ledger.open(&store, &upload("a", Some(total)), false).await.unwrap());
        }
        assert_eq!(sums(&ledger).2, 2 * u128::from(u64::MAX) + 5);
        drop(held);
        assert_eq!(sums(&ledger), (0, 0, 0, 0));
    }

    /// Notes whether an append is in progress when it is woken.
    struct Sees(Arc<Ledger>, UploadId, Mutex<Vec<bool>>);

    impl Wake for Sees {
        fn wake(self: Arc<Self>) {
            let appending = self.0.accounts().uploads.get(&self.1).map(|entry| entry.appending);
            lock(&self.2).push(appending.unwrap());
        }
    }

    /// Otherwise the end of the one append would undo what the next has reserved.
    #[tokio::test]
    async fn what_an_append_has_reserved_is_given_back_before_its_upload() {
        let uploads = Uploads::builder(MemoryStore::new()).max_bytes_in_all(1000).build().unwrap();
        let (owned, ledger) = (uploads.for_owner(None), &uploads.engine().ledger);
        let id = owned.create(NewUpload::new()).await.unwrap().commit().await.unwrap().id;
        for mode in [AppendMode::AllOrNothing, AppendMode::KeepWhatCame] {
            let mut append = owned.append(&id, 0, mode).await.unwrap();
            append.set_total(10).await.unwrap();
            let mut waits = pin!(owned.append(&id, 0, AppendMode::AllOrNothing));
            let sees = Arc::new(Sees(Arc::clone(ledger), id, Mutex::default()));
            let waker = Waker::from(Arc::clone(&sees));
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(append);
            assert_eq!(*lock(&sees.2), [false], "{mode:?}");
            waits.await.unwrap().set_total(20).await.unwrap();
        }
    }
}
