//! A store in which somebody or something has been at the files.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use http::Method;
use support::*;
use tempfile::TempDir;
use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{
    AppendMode, ChunkedUploadLayer, Error, ErrorKind, Filter, NewUpload, UploadId, Uploads,
    UploadsBuilder,
};

/// What was done to an upload's files.
type Damage = fn(&Victim);

/// An upload of 2,000 bytes in two chunks whose files a test damages, beside one that it does not.
struct Victim {
    home: TempDir,
    id: UploadId,
    record: PathBuf,
    data: PathBuf,
}

/// Whatever follows a link finds these here.
const CANARY: &[u8] = b"canary";

fn content() -> Vec<u8> {
    noise(3000)
}

impl Victim {
    async fn new() -> (Self, UploadId) {
        let home = TempDir::new().unwrap();
        let client = Client::new(layer(&home));
        let mut ids = Vec::new();
        for _ in 0..2 {
            let id = client.begin(3000, &content()[..1000]).await;
            let reply = client.chunk(Some(&id), 1000, 3000, &content()[1000..2000]).await;
            assert_eq!(reply.status, 200);
            ids.push(self::id(&id));
        }
        let (sound, id) = (ids[0], ids[1]);
        let files = files_below(home.path());
        let file = |extension: &str| {
            let name = format!("{id}.{extension}");
            files.iter().find(|path| path.ends_with(&name)).unwrap().clone()
        };
        let (record, data) = (file("log"), file("part"));
        fs::create_dir(home.path().join("outside")).unwrap();
        for name in ["canary".to_owned(), format!("{id}.log"), format!("{id}.part")] {
            fs::write(home.path().join("outside").join(name), CANARY).unwrap();
        }
        (Self { home, id, record, data }, sound)
    }

    fn outside(&self) -> PathBuf {
        self.home.path().join("outside")
    }

    fn canaries(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = files_below(&self.outside());
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

/// Puts a link in the place of a file or folder.
fn link(place: &Path, target: &Path) {
    if place.is_dir() {
        fs::remove_dir_all(place).unwrap();
    } else {
        fs::remove_file(place).unwrap();
    }
    symlink(target, place).unwrap();
}

fn layer(home: &TempDir) -> ChunkedUploadLayer {
    ChunkedUploadLayer::new(uploads(home))
}

fn uploads(home: &TempDir) -> Uploads {
    builder(home).build().unwrap()
}

fn builder(home: &TempDir) -> UploadsBuilder {
    Uploads::builder(FsStore::new(home.path().join("store/%Y/%m/%d")))
}

fn pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn folder_at(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

const DAMAGES: &[(&str, Damage)] = &[
    ("record empty", |it| fs::write(&it.record, b"").unwrap()),
    ("record of zeros", |it| fs::write(&it.record, [0; 5000]).unwrap()),
    ("record of one newline", |it| fs::write(&it.record, b"\n").unwrap()),
    ("record of rubbish", |it| fs::write(&it.record, noise(5000)).unwrap()),
    ("record of another format", |it| fs::write(&it.record, b"{\"id\":1}\n").unwrap()),
    ("record twice", |it| {
        let once = fs::read(&it.record).unwrap();
        fs::write(&it.record, [&once[..], &once[..]].concat()).unwrap();
    }),
    ("record of another upload", |it| {
        let records = files_below(&it.home.path().join("store/.records"));
        let other = records.iter().find(|path| **path != it.record).unwrap();
        fs::copy(other, &it.record).unwrap();
    }),
    ("record a link to itself, outside", |it| {
        let outside = it.outside().join("real.log");
        fs::rename(&it.record, &outside).unwrap();
        symlink(outside, &it.record).unwrap();
    }),
    ("record a link to nothing", |it| link(&it.record, Path::new("/nonexistent"))),
    ("record a link in a circle", |it| link(&it.record, &it.record)),
    ("record a folder", |it| folder_at(&it.record)),
    ("record a pipe", |it| pipe(&it.record)),
    ("record gone", |it| fs::remove_file(&it.record).unwrap()),
    ("data gone", |it| fs::remove_file(&it.data).unwrap()),
    ("data empty", |it| fs::write(&it.data, b"").unwrap()),
    ("data one byte short", |it| {
        fs::File::options().write(true).open(&it.data).unwrap().set_len(1999).unwrap();
    }),
    ("data a link", |it| link(&it.data, &it.outside().join("canary"))),
    ("data a folder", |it| folder_at(&it.data)),
    ("data a pipe", |it| pipe(&it.data)),
    ("shard a link", |it| link(it.record.parent().unwrap(), &it.outside())),
    ("day a link", |it| {
        // Only the victim is in it then.
        let day = it.data.parent().unwrap();
        let other = it.home.path().join("outside/day");
        fs::create_dir(&other).unwrap();
        for file in files_below(day) {
            fs::copy(&file, other.join(file.file_name().unwrap())).unwrap();
        }
        link(day, &other);
    }),
];

/// Everything that a client can do with an upload: refused clearly, or it is an older state that is
/// whole.
async fn try_everything(name: &str, client: &Client, victim: &Victim) {
    let id = victim.id.to_string();
    let mut offset = 2000;
    let reply = client.status(&id).await;
    if reply.status == 200 {
        offset = usize::try_from(reply.json()["offset"].as_u64().unwrap()).unwrap();
    } else {
        refused(name, &reply);
    }
    let reply = client.chunk(Some(&id), offset as u64, 3000, &content()[offset..]).await;
    if reply.status != 200 {
        refused(name, &reply);
    }
    let reply = client.complete(&id, &md5(&content())).await;
    if reply.status == 200 {
        let delivery = client.deliveries().pop().unwrap();
        assert_eq!(delivery.content, content(), "{name}");
    } else {
        refused(name, &reply);
    }
}

fn refused(name: &str, reply: &Reply) {
    match reply.status.as_u16() {
        410 => {
            let detail = "The stored upload is damaged; begin a new one";
            assert_eq!(reply.refused(410), detail, "{name}");
        }
        // It has lost what made it an upload; or, of one that was, bytes.
        404 => assert_eq!(reply.refused(404), "Upload not found", "{name}"),
        400 => drop(reply.refused(400)),
        status => panic!("{name}: {status} {reply:?}"),
    }
}

/// A program that another test starts has all files of this process open before it runs, locks included.
async fn remove_damaged(uploads: &Uploads, id: &UploadId) -> Result<bool, Error> {
    let mut removed = uploads.for_operator().remove_damaged(id).await;
    until("nobody holds it", async || {
        let busy = removed.as_ref().is_err_and(|error| *error.kind() == ErrorKind::Busy);
        if busy {
            removed = uploads.for_operator().remove_damaged(id).await;
        }
        !busy
    })
    .await;
    removed
}

async fn errors(uploads: &Uploads) -> Vec<Error> {
    let mut listing = uploads.for_operator().list(Filter::all());
    let mut errors = Vec::new();
    while let Some(upload) = listing.next().await {
        errors.extend(upload.err());
    }
    errors
}

#[test]
fn a_damaged_upload_is_refused_and_can_be_removed_and_the_others_are_whole() {
    let mut listed = 0;
    for (name, damage) in DAMAGES {
        run(async {
            let (victim, sound) = Victim::new().await;
            damage(&victim);
            let canaries = victim.canaries();
            let client = Client::new(layer(&victim.home));
            try_everything(name, &client, &victim).await;

            // The operator is told which one it is, and only of that one.
            let uploads = uploads(&victim.home);
            for error in errors(&uploads).await {
                assert_eq!(*error.kind(), ErrorKind::Damaged, "{name}: {error:?}");
                assert!(error.damaged_upload().is_some(), "{name}");
                listed += 1;
            }
            uploads.delete_expired().await.unwrap();

            if *name != "day a link" {
                let sound = sound.to_string();
                assert_eq!(client.offset(&sound).await, 2000, "{name}");
                let rest = client.chunk(Some(&sound), 2000, 3000, &content()[2000..]).await;
                assert_eq!(rest.status, 200, "{name}");
                let reply = client.complete(&sound, &md5(&content())).await;
                assert_eq!(reply.status, 200, "{name}");
                assert_eq!(client.deliveries().pop().unwrap().content, content(), "{name}");
            }
            assert_eq!(victim.canaries(), canaries, "{name}");

            let link_on_the_way = name.contains("shard") || name.contains("day");
            if !link_on_the_way {
                let reply = client.send(on_id(Method::DELETE, &victim.id.to_string())).await;
                if reply.status != 204 && reply.status != 404 && reply.status != 400 {
                    refused(name, &reply);
                    assert!(remove_damaged(&uploads, &victim.id).await.unwrap(), "{name}");
                    let left: Vec<_> = files_below(&victim.home.path().join("store"))
                        .into_iter()
                        .filter(|path| path.to_string_lossy().contains(victim.id.as_str()))
                        .collect();
                    assert_eq!(left, <[PathBuf; 0]>::default(), "{name}");
                    let gone = uploads.for_operator().status(&victim.id).await.unwrap_err();
                    assert_eq!(*gone.kind(), ErrorKind::NotFound, "{name}");
                }
            }
            assert_eq!(victim.canaries(), canaries, "{name}");
        });
    }
    println!("{} kinds of damage, {listed} listed, others whole", DAMAGES.len());
    assert!(listed >= 8, "{listed}");
}

/// By its record as it was before the damage, or else by when that was written last.
#[test]
fn a_damaged_upload_is_swept_when_its_time_has_come() {
    let mut swept = 0;
    for (name, damage) in DAMAGES {
        // Without a record nothing is an upload, and behind a link it is out of reach.
        if ["record gone", "shard a link"].contains(name) {
            continue;
        }
        run(async {
            let (victim, sound) = Victim::new().await;
            damage(&victim);
            let canaries = victim.canaries();
            let after = |hours: u64| {
                let now = SystemTime::now() + Duration::from_secs(hours * 60 * 60);
                builder(&victim.home).clock(move || now)
            };
            let early = after(23).build().unwrap();
            assert_eq!(early.delete_expired().await.unwrap().damaged, 0, "{name}");
            let late = after(25).build().unwrap();
            let of_nobody = late.for_owner(tower_chunked_upload::Owner::new("nobody"));
            assert_eq!(of_nobody.delete_expired().await.unwrap().damaged, 0, "{name}");
            // As in `remove_damaged`, a program of another test may hold it for a moment.
            until("nobody holds it", async || {
                let sweep = late.delete_expired().await.unwrap();
                swept += sweep.damaged;
                sweep.skipped == 0
            })
            .await;
            let mut left = files_below(&victim.home.path().join("store"));
            // The link is nobody's.
            left.retain(|path| !path.is_symlink() || path.extension().is_some());
            assert_eq!(left, <[PathBuf; 0]>::default(), "{name}");
            let gone = late.for_operator().status(&sound).await.unwrap_err();
            assert_eq!(*gone.kind(), ErrorKind::Expired, "{name}");
            let again = late.delete_expired().await.unwrap();
            assert_eq!((again.damaged, again.skipped), (0, 0), "{name}");
            assert_eq!(victim.canaries(), canaries, "{name}");
        });
    }
    assert!(swept >= 8, "{swept}");
}

/// To everybody but its owner a damaged upload is none, as a whole one is.
#[tokio::test]
async fn a_damaged_upload_is_told_to_its_owner_only() {
    let home = TempDir::new().unwrap();
    let uploads = uploads(&home);
    let of = |name: &str| uploads.for_owner(tower_chunked_upload::Owner::new(name));
    let mut append = of("ann").create(NewUpload::new()).await.unwrap();
    append.write(&b"abc"[..]).await.unwrap();
    let id = append.commit().await.unwrap().id;
    let files = files_below(home.path());
    let record = files.iter().find(|path| path.extension().is_some_and(|ext| ext == "log"));
    let record = record.unwrap();
    let whole = fs::read(record).unwrap();
    for (damaged, anns) in [
        ([&whole[..], b"rubbish\n"].concat(), ErrorKind::Damaged),
        // Nobody knows whose it was.
        (b"rubbish\n".to_vec(), ErrorKind::NotFound),
    ] {
        fs::write(record, damaged).unwrap();
        macro_rules! refuses {
            ($handle:expr, $kind:expr) => {
                let (handle, kind) = ($handle, $kind);
                assert_eq!(*handle.status(&id).await.unwrap_err().kind(), kind);
                let append = async {
                    // What was committed last may be remembered until the first write.
                    let append = handle.append(&id, 3, AppendMode::AllOrNothing).await?;
                    append.commit().await
                };
                assert_eq!(*append.await.unwrap_err().kind(), kind);
                let completion = handle.complete(&id, None).await;
                assert_eq!(*completion.map(drop).unwrap_err().kind(), kind);
                assert_eq!(*handle.cancel(&id).await.unwrap_err().kind(), kind);
            };
        }
        refuses!(of("ann"), anns);
        refuses!(of("bob"), ErrorKind::NotFound);
        refuses!(uploads.for_operator(), ErrorKind::Damaged);
    }
}

#[tokio::test]
async fn a_sound_upload_is_not_removed_as_a_damaged_one() {
    let (victim, sound) = Victim::new().await;
    let uploads = uploads(&victim.home);
    assert!(!remove_damaged(&uploads, &sound).await.unwrap());
    assert_eq!(uploads.for_operator().status(&sound).await.unwrap().offset(), 2000);
    fs::write(&victim.record, noise(5000)).unwrap();
    assert!(remove_damaged(&uploads, &victim.id).await.unwrap());
}

/// Cut or flipped anywhere: refused, or an older state from which the upload goes on and ends whole.
#[test]
fn a_record_that_is_cut_or_flipped_anywhere_never_gives_a_wrong_file() {
    let step = if std::env::var_os("LONG").is_some() { 1 } else { 23 };
    let (mut cut, mut flipped) = (0, 0);
    run(async {
        let (victim, _) = Victim::new().await;
        let record = fs::read(&victim.record).unwrap();
        let data = fs::read(&victim.data).unwrap();
        let restore = |bytes: &[u8]| {
            fs::create_dir_all(victim.data.parent().unwrap()).unwrap();
            fs::write(&victim.data, &data).unwrap();
            fs::create_dir_all(victim.record.parent().unwrap()).unwrap();
            fs::write(&victim.record, bytes).unwrap();
        };
        for place in (0..record.len()).step_by(step) {
            restore(&record[..place]);
            try_everything("cut", &Client::new(layer(&victim.home)), &victim).await;
            cut += 1;
            let mut bytes = record.clone();
            bytes[place] ^= 1 << (place % 8);
            restore(&bytes);
            try_everything("flipped", &Client::new(layer(&victim.home)), &victim).await;
            flipped += 1;
        }
    });
    println!("records cut {cut} times, flipped {flipped} times, wrong 0");
}

/// The folder in which processes ask each other for uploads is none that leads outside either.
#[tokio::test]
async fn nobody_asks_outside_of_the_store() {
    use tower_chunked_upload::store::Store;

    let (victim, _) = Victim::new().await;
    let store = FsStore::new(victim.home.path().join("store/%Y/%m/%d"));
    let other = store.clone();
    let name = format!("{}.{}", victim.id, UploadId::random());
    let canary = victim.outside().join(&name);
    fs::write(&canary, CANARY).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    fs::File::options().write(true).open(&canary).unwrap().set_modified(old).unwrap();
    symlink(victim.outside(), victim.home.path().join("store/.records/asked")).unwrap();
    let canaries = victim.canaries();
    assert!(store.request_handoff(&victim.id, true).await.is_err());
    assert_eq!(other.handoff_requests().await.unwrap(), []);
    assert_eq!(victim.canaries(), canaries);
}

/// Files that are none of the store's are neither read nor removed, and nobody is the worse for them.
#[tokio::test]
async fn rubbish_in_the_store_is_left_alone() {
    let (victim, sound) = Victim::new().await;
    let store = victim.home.path().join("store");
    let rubbish = [
        "README",
        "x.part",
        "x.log",
        ".records/x",
        ".records/zz/x.log",
        ".records/00/.log",
        ".records/00/00000000000040008000000000000000.LOG",
        ".records/11/00000000000040008000000000000000.log",
        ".records/00/00000000-0000-4000-8000-000000000000.log",
        ".records/00/x/y/z",
        "1999/01/01/old",
        "\u{202e}gol",
        "1999/01/01/00000000000040008000000000000000.part",
    ];
    for name in rubbish {
        let path = store.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, CANARY).unwrap();
    }
    let uploads = uploads(&victim.home);
    assert_eq!(errors(&uploads).await.len(), 0);
    let ids = all_ids(&uploads).await;
    assert!(ids.len() == 2 && ids.contains(&sound) && ids.contains(&victim.id));
    uploads.delete_expired().await.unwrap();
    for name in rubbish {
        assert_eq!(fs::read(store.join(name)).unwrap(), CANARY, "{name}");
    }
    let client = Client::new(layer(&victim.home));
    try_everything("rubbish", &client, &victim).await;
    assert_eq!(client.deliveries().len(), 1);
}
