//! Offsets that clients were told, whatever became of the hand-over.

use super::*;

fn offset(reply: &Reply) -> Option<u64> {
    reply.header("upload-offset").map(|offset| offset.parse().unwrap())
}

#[test]
fn an_answer_that_is_an_error_tells_no_more_than_what_counts() {
    on_all_stores(|uploads| async move {
        let app = App::new(layer(uploads));
        for status in [500, 422] {
            app.says.store(status, Ordering::Relaxed);
            let path = app.begin(&[], "sand").await;
            let reply = app.send(patch(&path, 4, LAST, TestBody::of(" and foam"))).await;
            assert_eq!((reply.status.as_u16(), offset(&reply)), (status, Some(12)));
            assert_eq!(app.stands_at(&path).await, ("12".into(), "?0".into()));
        }
    });
}
