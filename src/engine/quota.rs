//! What unfinished uploads may take up.
//!
//! A ledger in memory has what each of them has reserved: its total, if that was announced, or
//! else what has come of it. It is reserved before the first byte is taken, under one lock, so that
//! uploads side by side cannot have more than one after the other. The ledger begins with what the
//! store has, and each sweep of all uploads puts right what other processes have changed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::error::{Error, ErrorKind};
use crate::id::UploadId;
use crate::store::{Cursor, DynStore, Page, StoreError};
use crate::upload::{Owner, Status, Upload};

/// A limit on what unfinished uploads take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quota {
    /// How many unfinished uploads an owner has.
    OwnerUploads,
    /// How many bytes an owner's unfinished uploads have, or will have.
    OwnerBytes,
    /// How many bytes all unfinished uploads have, or will have.
    AllBytes,
    /// How many bytes stay free in the store.
    FreeBytes,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quotas {
    pub(super) owner_uploads: Option<u64>,
    pub(super) owner_bytes: Option<u64>,
    pub(super) all_bytes: Option<u64>,
    pub(super) free_bytes: Option<u64>,
}

/// Who has reserved how much.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    quotas: Quotas,
    accounts: Mutex<Accounts>,
    counted: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Accounts {
    uploads: HashMap<UploadId, Entry>,
    owners: HashMap<Payer, Sum>,
    uploaded: Sum,
    staged: Sum,
    /// How many bytes are reserved and not written yet.
    outstanding: u128,
    /// How many bytes were ever reserved.
    ever: u128,
    /// The number of the last count of the store.
    count: u64,
    /// How many pages of the store are being read, and what went away meanwhile.
    reading: usize,
    gone: HashSet<UploadId>,
}

/// Chunks that wait for the name of their upload are counted apart: their upload has reserved the
/// same bytes already.
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
    /// Whether an append is under way.
    busy: bool,
    count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    uploads: u64,
    bytes: u128,
}

/// What an append has reserved. Dropped without [`keep`](Self::keep), it is as if it had not.
#[derive(Debug)]
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    id: UploadId,
    bytes: u64,
    /// What the upload had reserved and written before; `None` if it did not exist.
    before: Option<(u64, u64)>,
    /// How far there was free room when that was last asked.
    room_until: u64,
}

impl Quotas {
    fn is_set(&self) -> bool {
        self.owner_uploads.is_some()
            || self.owner_bytes.is_some()
            || self.all_bytes.is_some()
            || self.free_bytes.is_some()
    }
}

impl Ledger {
    pub(super) fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, ..Self::default() })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves what a new upload will have, as far as that is known. `None` without quotas.
    pub(super) async fn open(
        self: &Arc<Self>,
        store: &dyn DynStore,
        upload: &Upload,
        staged: bool,
    ) -> Result<Option<Reservation>, Error> {
        if !self.quotas.is_set() {
            return Ok(None);
        }
        self.counted.get_or_try_init(|| self.count(store)).await?;
        let payer = Payer { owner: upload.owner.clone(), staged };
        let total = upload.total().unwrap_or(0);
        let free = self.free(store, total).await?;
        let mut accounts = self.accounts();
        let sum = accounts.owners.get(&payer).copied().unwrap_or_default();
        if let Some(limit) = self.quotas.owner_uploads
            && sum.uploads >= limit
        {
            return Err(exceeded(Quota::OwnerUploads, limit));
        }
        self.check(&accounts, &payer, total, free)?;
        let count = accounts.count;
        let entry = Entry { payer, reserved: 0, written: 0, busy: true, count };
        accounts.insert(upload.id, entry);
        accounts.reserve(&upload.id, total);
        drop(accounts);
        Ok(Some(Reservation {
            ledger: Arc::clone(self),
            id: upload.id,
            bytes: total,
            before: None,
            room_until: total,
        }))
    }

    /// What an upload that goes on has reserved already.
    pub(super) fn resume(self: &Arc<Self>, upload: &Upload) -> Option<Reservation> {
        if !self.quotas.is_set() {
            return None;
        }
        let mut accounts = self.accounts();
        accounts.set(upload);
        let entry = accounts.uploads.get_mut(&upload.id)?;
        entry.busy = true;
        let (bytes, written) = (entry.reserved, entry.written);
        Some(Reservation {
            ledger: Arc::clone(self),
            id: upload.id,
            bytes,
            before: Some((bytes, written)),
            room_until: bytes,
        })
    }

    /// An upload is complete or gone.
    pub(super) fn close(&self, id: &UploadId) {
        let mut accounts = self.accounts();
        accounts.remove(id);
        if accounts.reading > 0 {
            accounts.gone.insert(*id);
        }
    }

    /// Whether so many bytes more are within the quotas.
    fn check(
        &self,
        accounts: &Accounts,
        payer: &Payer,
        more: u64,
        free: Option<Free>,
    ) -> Result<(), Error> {
        let fits = |sum: Sum, limit: u64| sum.bytes + u128::from(more) <= u128::from(limit);
        let own = accounts.owners.get(payer).copied().unwrap_or_default();
        let all = if payer.staged { accounts.staged } else { accounts.uploaded };
        let exceeded_by = [
            (Quota::OwnerBytes, self.quotas.owner_bytes.filter(|limit| !fits(own, *limit))),
            (Quota::AllBytes, self.quotas.all_bytes.filter(|limit| !fits(all, *limit))),
        ];
        for (quota, limit) in exceeded_by {
            if let Some(limit) = limit {
                return Err(exceeded(quota, limit));
            }
        }
        if let (Some(floor), Some(free)) = (self.quotas.free_bytes, free) {
            // What was reserved since the system was asked may be in its answer or not.
            let taken = free.outstanding.saturating_add(accounts.ever - free.ever);
            let left = u128::from(free.bytes).saturating_sub(taken).saturating_sub(more.into());
            if left < floor.into() {
                return Err(exceeded(Quota::FreeBytes, floor));
            }
        }
        Ok(())
    }

    /// How much room there is, if anybody wants to know.
    async fn free(&self, store: &dyn DynStore, more: u64) -> Result<Option<Free>, Error> {
        let Some(floor) = self.quotas.free_bytes else { return Ok(None) };
        let (outstanding, ever) = {
            let accounts = self.accounts();
            (accounts.outstanding, accounts.ever)
        };
        match store.free_bytes().await? {
            Some(bytes) => Ok(Some(Free { bytes, outstanding, ever })),
            None if floor == 0 && more == 0 => Ok(None),
            None => Err(StoreError::Config {
                problem: "the store cannot tell how much room is free".to_owned(),
            }
            .into()),
        }
    }

    /// Reads what the store has.
    async fn count(self: &Arc<Self>, store: &dyn DynStore) -> Result<(), Error> {
        let Some(count) = self.begin_count() else { return Ok(()) };
        let mut cursor = None;
        loop {
            cursor = count.page(store, cursor).await?.next;
            if cursor.is_none() {
                count.finish();
                return Ok(());
            }
        }
    }

    /// Somebody is going to read the whole store. `None` without quotas.
    pub(super) fn begin_count(self: &Arc<Self>) -> Option<Count> {
        if !self.quotas.is_set() {
            return None;
        }
        let mut accounts = self.accounts();
        accounts.count += 1;
        Some(Count { ledger: Arc::clone(self), number: accounts.count })
    }
}

/// A reading of the whole store, which puts the ledger right when it is finished.
#[derive(Debug)]
pub(super) struct Count {
    ledger: Arc<Ledger>,
    number: u64,
}

impl Count {
    /// Reads some of the uploads.
    pub(super) async fn page(
        &self,
        store: &dyn DynStore,
        cursor: Option<Cursor>,
    ) -> Result<Page, StoreError> {
        let _reading = self.read();
        let page = store.list(cursor).await?;
        page.uploads.iter().flatten().for_each(|upload| self.see(upload));
        Ok(page)
    }

    fn read(&self) -> Reading<'_> {
        self.ledger.accounts().reading += 1;
        Reading(&self.ledger)
    }

    /// The store has this upload, or had it when it was read.
    fn see(&self, upload: &Upload) {
        if upload.status() == Status::Complete {
            return;
        }
        let mut accounts = self.ledger.accounts();
        if accounts.gone.contains(&upload.id) {
            return;
        }
        if let Some(entry) = accounts.uploads.get_mut(&upload.id) {
            entry.count = entry.count.max(self.number);
            if entry.busy || entry.written > upload.offset() {
                return;
            }
        }
        accounts.set(upload);
    }

    /// Forgets what the store has no more.
    pub(super) fn finish(self) {
        let mut accounts = self.ledger.accounts();
        let stale = |entry: &Entry| !entry.busy && entry.count < self.number;
        let stale: Vec<UploadId> =
            accounts.uploads.iter().filter(|(_, entry)| stale(entry)).map(|(id, _)| *id).collect();
        for id in stale {
            accounts.remove(&id);
        }
    }
}

/// From before a page is read until what it has was seen. What goes away then may be in it.
struct Reading<'a>(&'a Ledger);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut accounts = self.0.accounts();
        accounts.reading -= 1;
        if accounts.reading == 0 {
            accounts.gone.clear();
        }
    }
}

/// What the system said of the free room, and what stood in the ledger before.
#[derive(Clone, Copy)]
struct Free {
    bytes: u64,
    outstanding: u128,
    ever: u128,
}

impl Accounts {
    /// An upload is as its record says.
    fn set(&mut self, upload: &Upload) {
        let count = self.count;
        if !self.uploads.contains_key(&upload.id) {
            let payer = Payer { owner: upload.owner.clone(), staged: false };
            let entry = Entry { payer, reserved: 0, written: 0, busy: false, count };
            self.insert(upload.id, entry);
        }
        self.reserve(&upload.id, upload.total().unwrap_or(upload.offset()));
        self.write(&upload.id, upload.offset());
    }

    fn insert(&mut self, id: UploadId, entry: Entry) {
        self.owners.entry(entry.payer.clone()).or_default().uploads += 1;
        self.uploads.insert(id, entry);
    }

    fn reserve(&mut self, id: &UploadId, bytes: u64) {
        let Some(entry) = self.uploads.get_mut(id) else { return };
        self.outstanding -= entry.outstanding();
        let before = std::mem::replace(&mut entry.reserved, bytes);
        self.outstanding += entry.outstanding();
        self.ever += u128::from(bytes.saturating_sub(before));
        let all = if entry.payer.staged { &mut self.staged } else { &mut self.uploaded };
        for sum in [Some(all), self.owners.get_mut(&entry.payer)].into_iter().flatten() {
            sum.bytes = sum.bytes - u128::from(before) + u128::from(bytes);
        }
    }

    fn write(&mut self, id: &UploadId, bytes: u64) {
        let count = self.count;
        let Some(entry) = self.uploads.get_mut(id) else { return };
        self.outstanding -= entry.outstanding();
        entry.written = bytes;
        entry.count = count;
        self.outstanding += entry.outstanding();
    }

    fn remove(&mut self, id: &UploadId) {
        self.reserve(id, 0);
        let Some(entry) = self.uploads.remove(id) else { return };
        self.outstanding -= entry.outstanding();
        if let Some(sum) = self.owners.get_mut(&entry.payer) {
            sum.uploads -= 1;
            if sum.uploads == 0 {
                self.owners.remove(&entry.payer);
            }
        }
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

    /// Reserves as much as the file turns out to have.
    pub(super) async fn grow(&mut self, store: &dyn DynStore, bytes: u64) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        let free = if bytes > self.room_until {
            self.room_until = bytes.saturating_add(ROOM);
            self.ledger.free(store, more).await?
        } else {
            None
        };
        let mut accounts = self.ledger.accounts();
        let Some(payer) = accounts.uploads.get(&self.id).map(|entry| entry.payer.clone()) else {
            return Ok(());
        };
        self.ledger.check(&accounts, &payer, more, free)?;
        accounts.reserve(&self.id, bytes);
        drop(accounts);
        self.bytes = bytes;
        Ok(())
    }

    /// The store has got so many bytes, and keeps them whatever comes, or not.
    pub(super) fn wrote(&mut self, bytes: u64, kept: bool) {
        self.ledger.accounts().write(&self.id, bytes);
        if kept {
            self.before = Some((self.bytes.max(bytes), bytes));
        }
    }

    /// It was committed.
    pub(super) fn keep(mut self, upload: &Upload) {
        self.before = Some((upload.total().unwrap_or(upload.offset()), upload.offset()));
        self.ledger.accounts().set(upload);
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
            entry.busy = false;
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
            Self::FreeBytes => "bytes that stay free",
        })
    }
}

/// How far an upload of unknown size may grow before it is asked again whether there is room.
const ROOM: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::store::MemoryStore;

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
    async fn what_is_reserved_is_given_back_unless_it_is_kept() {
        let store = MemoryStore::new();
        let quotas = Quotas { owner_bytes: Some(100), ..Quotas::default() };
        let ledger = Ledger::new(quotas);
        let mut first = upload("a", Some(60));
        let reservation = ledger.open(&store, &first, false).await.unwrap().unwrap();
        let refused = ledger.open(&store, &upload("a", Some(41)), false).await.unwrap_err();
        assert_eq!(quota(&refused), (Quota::OwnerBytes, 100));
        ledger.open(&store, &upload("b", Some(100)), false).await.unwrap();
        first.progress.offset = 10;
        reservation.keep(&first);
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
    async fn a_count_learns_and_forgets_what_others_did_and_spares_what_is_under_way() {
        let store = MemoryStore::new();
        let ledger = Ledger::new(Quotas { all_bytes: Some(1000), ..Quotas::default() });
        let (gone, under_way) = (upload("a", Some(10)), upload("a", Some(20)));
        let reservation = ledger.open(&store, &gone, false).await.unwrap().unwrap();
        reservation.keep(&gone);
        let reservation = ledger.open(&store, &under_way, false).await.unwrap();
        let (new, just_closed) = (upload("b", Some(30)), upload("c", Some(40)));
        let (count, other) = (ledger.begin_count().unwrap(), ledger.begin_count().unwrap());
        let reading = count.read();
        ledger.close(&just_closed.id);
        count.see(&new);
        count.see(&just_closed);
        drop(reading);
        assert!(ledger.accounts().gone.is_empty());
        count.finish();
        // It was not seen by the other one yet.
        assert_eq!(sums(&ledger), (2, 2, 50, 50));
        drop((reservation, other));
        ledger.begin_count().unwrap().finish();
        assert_eq!(sums(&ledger), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn totals_beyond_all_reason_upset_no_sum() {
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
}
