#![doc = include_str!("protocol.md")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::LONGEST_CREATION;
use super::faults::{Cloud, FaultStore, kind_of};
use super::world::GRACE;
use crate::store::bucket::BucketWriter;
use crate::store::{Batch, BucketStore, Commit, Handover, Store, Writer};
use crate::{Upload, UploadId};

const TABLES: &str = include_str!("protocol.md");
const SEGMENT: usize = 10;

/// The steps of an upload, each of which is a row of a table.
struct Walk {
    cloud: Arc<Cloud>,
    store: BucketStore,
    rows: std::vec::IntoIter<[String; 3]>,
}

impl Walk {
    fn new(heading: &str) -> Self {
        let cloud = Cloud::new(1, false);
        let clock = {
            let cloud = Arc::clone(&cloud);
            move || cloud.now()
        };
        let store = BucketStore::builder(Arc::new(FaultStore::new(&cloud, 1)))
            .segment_bytes(SEGMENT)
            .grace(GRACE)
            .clock(clock)
            .unchecked()
            .unwrap();
        Self { cloud, store, rows: rows(heading).into_iter() }
    }

    fn upload(&self) -> Upload {
        let mut upload = Upload::new(UploadId::random(), self.cloud.now());
        upload.progress.expires = Some(self.cloud.now() + Duration::from_secs(24 * 60 * 60));
        upload
    }

    /// The next row says what has come of the step.
    async fn is(&mut self, state: &str) {
        self.store.settle().await;
        let changes = self.cloud.changes().into_iter().collect::<Vec<_>>().join(", ");
        let mut counts = BTreeMap::<_, usize>::new();
        for key in self.cloud.keys() {
            *counts.entry(kind_of(&key)).or_default() += 1;
        }
        let objects: Vec<_> =
            counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let objects = if objects.is_empty() { "nothing".to_owned() } else { objects.join(", ") };
        assert_eq!(self.rows.next(), Some([state.to_owned(), changes, objects]));
    }

    async fn sweep_after(&self, time: Duration) {
        sleep(time + Duration::from_secs(1)).await;
        self.store.list_expiring(None).await.unwrap();
    }
}

/// The table below a heading.
fn rows(heading: &str) -> Vec<[String; 3]> {
    let (_, text) = TABLES.split_once(&format!("# {heading}\n")).unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| cells(row)[1..4].to_vec().try_into().unwrap()).collect()
}

async fn commit(writer: &mut BucketWriter, bytes: u64, handover: Handover) {
    let mut upload = writer.upload().clone();
    upload.progress.offset += bytes;
    let commit = Commit::new("", upload).with_handover(handover);
    writer.commit(commit).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_through_the_states_of_the_table() {
    let mut walk = Walk::new("An upload that is taken and removed");
    let upload = walk.upload();
    let mut writer = walk.store.create(upload.clone()).await.unwrap();
    walk.is("begun").await;
    writer.write(Batch::new("first")).await.unwrap();
    commit(&mut writer, 5, Handover::None).await;
    walk.is("committed 1").await;
    writer.write(Batch::new(vec![7; 2 * SEGMENT + 5])).await.unwrap();
    walk.is("gathering").await;
    commit(&mut writer, 2 * SEGMENT as u64 + 5, Handover::None).await;
    walk.is("committed 2").await;
    commit(&mut writer, 0, Handover::Given).await;
    sleep(Duration::from_secs(5)).await;
    walk.is("handed over").await;
    writer.persist(Path::new("media/file"), false).await.unwrap();
    walk.is("moved").await;
    commit(&mut writer, 0, Handover::Taken).await;
    drop(writer);
    walk.is("taken").await;
    walk.sweep_after(GRACE).await;
    walk.is("trimmed").await;
    walk.store.writer(&upload.id).await.unwrap().remove().await.unwrap();
    walk.is("tombstone").await;
    walk.sweep_after(GRACE).await;
    walk.is("collected").await;
    assert_eq!(walk.rows.next(), None);
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_a_commit_goes_through_the_states_of_the_table() {
    let mut walk = Walk::new("An upload that never comes to a first commit");
    let mut upload = walk.upload();
    upload.progress.expires = None;
    let mut dead = walk.store.create(upload).await.unwrap();
    walk.is("begun").await;
    dead.write(Batch::new(vec![7; 2 * SEGMENT + 5])).await.unwrap();
    walk.is("gathering").await;
    walk.sweep_after(LONGEST_CREATION + GRACE).await;
    walk.is("tombstone").await;
    walk.sweep_after(GRACE).await;
    walk.is("collected").await;
    assert_eq!(walk.rows.next(), None);
}
