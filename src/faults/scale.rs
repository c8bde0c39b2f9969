//! What an upload and a listing ask of the system in a store with few uploads and in one with many.

use super::{WAYS, World, run};
use crate::store::fs::disk::plan::Change;
use crate::store::{Durability, FileCalls};
use crate::{AppendMode, Filter, NewUpload};

impl World {
    /// With all folders that uploads share, and so many uploads in them.
    async fn filled(calls: FileCalls, uploads: usize) -> Self {
        let world = Self::new(Durability::Process, calls);
        for shard in 0..=255 {
            let folder = world.root().join(format!(".records/{shard:02x}"));
            std::fs::create_dir_all(folder).unwrap();
        }
        for _ in 0..uploads {
            let new = NewUpload::new().total(10);
            world.uploads.for_owner(None).create(new).await.unwrap().commit().await.unwrap();
        }
        world
    }

    /// The calls that change something, and how many there are of any kind, in the life of an upload
    /// that is completed and of one that is cancelled.
    async fn calls_of_two_lives(&self) -> (Vec<String>, usize) {
        let (moment, calls) = (self.plan.moment(), self.plan.calls());
        let mut upload = None;
        for end in super::ENDS {
            upload = Some(self.push(upload, end, AppendMode::AllOrNothing).await.unwrap());
            self.uploads.for_operator().status(&upload.unwrap().0).await.unwrap();
        }
        self.finish(&upload.unwrap().0).await.unwrap();
        let (other, _) = self.push(None, super::ENDS[0], AppendMode::AllOrNothing).await.unwrap();
        self.uploads.for_operator().cancel(&other).await.unwrap();
        self.store_settles().await;
        let changes = self.plan.trace().split_off(moment);
        (changes.iter().map(kind).collect(), self.plan.calls() - calls)
    }

    async fn store_settles(&self) {
        crate::store::Store::settle(&self.store).await;
    }
}

fn kind(change: &Change) -> String {
    let text = format!("{change:?}");
    text.split('(').next().unwrap_or(&text).to_owned()
}

#[test]
fn an_upload_makes_the_same_calls_whatever_lies_in_the_store() {
    for way in WAYS {
        let few = run(way, calls_beside(way, 1));
        let many = run(way, calls_beside(way, MANY));
        println!("{way:?}: {} calls beside one upload, {} beside {MANY}", few.1, many.1);
        assert_eq!(few, many);
    }
}

/// The calls of two lives beside so many uploads.
async fn calls_beside(way: FileCalls, uploads: usize) -> (Vec<String>, usize) {
    let world = World::filled(way, uploads).await;
    if way == FileCalls::Pool {
        // Nobody looks in between for what other processes ask for.
        tokio::time::pause();
        return world.calls_of_two_lives().await;
    }
    // On several threads the clock cannot be paused, and such a look adds calls.
    let mut lives = [world.calls_of_two_lives().await, world.calls_of_two_lives().await];
    lives.sort_by_key(|(_, calls)| *calls);
    let [fewest, _] = lives;
    fewest
}

#[test]
fn the_first_upload_of_a_listing_comes_when_one_page_was_read() {
    for way in WAYS {
        let (first, all, listed) = run(way, calls_of_a_listing(way));
        println!("{way:?}: {first} calls before the first upload, {all} for {MANY}");
        assert_eq!(listed, MANY);
        // The folder of the records and those in it; then each record is opened and read.
        assert!(first <= 257 + 2 * PAGE, "{first} calls");
        assert!(all > 2 * first, "{all} calls for several pages");
    }
}

/// Those before the first upload, all of them, and how many uploads there were.
async fn calls_of_a_listing(way: FileCalls) -> (usize, usize, usize) {
    let world = World::filled(way, MANY).await;
    let before = world.plan.calls();
    let mut listing = world.uploads.for_operator().list(Filter::all());
    let (mut first, mut listed) = (0, 0);
    while let Some(upload) = listing.next().await {
        upload.unwrap();
        listed += 1;
        if listed == 1 {
            first = world.plan.calls() - before;
        }
    }
    (first, world.plan.calls() - before, listed)
}

const MANY: usize = 1500;
const PAGE: usize = 256;
