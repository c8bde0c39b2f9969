//! Lists the uploads in a folder that have expired or are damaged, and asks before it deletes each
//! one.
//!
//!     cargo run --example expired -- chunked_uploads/%Y/%m/%d [--yes]

use std::env;
use std::io::{self, BufRead, Write};

use tower_chunked_upload::store::FsStore;
use tower_chunked_upload::{Expired, Filter, Status, Uploads};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut arguments: Vec<_> = env::args().skip(1).collect();
    let yes = arguments.iter().any(|argument| argument == "--yes");
    arguments.retain(|argument| argument != "--yes");
    let [pattern] = &arguments[..] else {
        return Err("usage: expired PATTERN [--yes]".into());
    };
    let uploads = Uploads::builder(FsStore::new(pattern)).build()?;
    let deleted = if yes { uploads.delete_expired().await? } else { ask(&uploads).await? };
    println!("{} complete uploads were deleted", deleted.complete);
    println!("{} incomplete uploads were deleted", deleted.incomplete);
    Ok(())
}

#[expect(clippy::future_not_send, reason = "it reads the terminal, on the only thread")]
async fn ask(uploads: &Uploads) -> Result<Expired, Box<dyn std::error::Error + Send + Sync>> {
    let mut deleted = Expired::default();
    let mut answers = io::stdin().lock().lines();
    let mut expired = uploads.for_operator().list(Filter::all().expired(true));
    while let Some(upload) = expired.next().await {
        let upload = match upload {
            Ok(upload) => upload,
            Err(error) => {
                match error.damaged_upload() {
                    Some(id) if confirmed(&mut answers, &format!("the damaged upload {id}"))? => {
                        uploads.for_operator().remove_damaged(&id).await?;
                    }
                    _ => eprintln!("skipped: {error}"),
                }
                continue;
            }
        };
        let name = upload.filename().unwrap_or_default();
        let (id, status, offset) = (upload.id, upload.status(), upload.offset());
        let what = format!("{name:?} ({id}, {status:?}, {offset} bytes)");
        if !confirmed(&mut answers, &what)?
            || !uploads.for_operator().delete_if_expired(&id).await?
        {
            continue;
        }
        match status {
            Status::Complete => deleted.complete += 1,
            _ => deleted.incomplete += 1,
        }
    }
    Ok(deleted)
}

fn confirmed(
    answers: &mut impl Iterator<Item = io::Result<String>>,
    what: &str,
) -> io::Result<bool> {
    print!("Delete {what}? [y/N] ");
    io::stdout().flush()?;
    let answer = answers.next().transpose()?.unwrap_or_default();
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
