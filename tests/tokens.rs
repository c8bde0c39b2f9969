//! Upload tokens: what goes on by one when the session has ended, and what does not.

#![cfg(feature = "tokens")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;
#[path = "support/tus.rs"]
#[expect(dead_code, reason = "each test uses some of it")]
mod tus;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower_chunked_upload::informational::{Informational, NotSent, SendInformational};
use tower_chunked_upload::policy::Verification;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{
    AppendMode, ByToken, Candidate, ChunkedUploadLayer, CompletedUpload, Context, Error, ErrorKind,
    Event, Filter, IdempotencyKey, LongCompletions, NewUpload, Observer, Owner, OwnerUploads,
    Policy, Refusal, Resumable, TokenKeys, Tus, UploadId, UploadToken, Uploads, UploadsBuilder,
};

use support::request_with as request;
use support::*;
use tus::{memory, on_all_stores};

const TOKEN: &str = "upload-token";
const HOUR: Duration = Duration::from_secs(3600);
const FIRST: &[u8] = b"abcd";
const REST: &[u8] = b"efgh";

fn keys(secret: u8) -> TokenKeys {
    TokenKeys::new([secret; 32]).unwrap()
}

/// Knows the users whose session goes on by a header, and notes what it is asked.
#[derive(Clone, Default)]
struct Users {
    asked: Arc<AtomicUsize>,
    /// For whom the requests act, as the hooks after the first are told.
    acting: Arc<Mutex<Vec<Option<ByToken>>>>,
}

impl Users {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn note(&self, context: &Context<'_>) {
        self.acting.lock().unwrap().push(context.by_token().cloned());
        // Nobody but the layer sees it.
        assert!(!context.request.headers.contains_key(TOKEN));
    }

    fn take_acting(&self) -> Vec<Option<ByToken>> {
        std::mem::take(&mut self.acting.lock().unwrap())
    }
}

impl Policy for Users {
    async fn authorize(&self, asked: &Context<'_>) -> Result<Option<Owner>, Refusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(asked.by_token().is_none());
        let user = asked.request.headers.get("x-user").and_then(|user| user.to_str().ok());
        user.map(Owner::from).map(Some).ok_or_else(Refusal::unauthenticated)
    }

    async fn validate(&self, chunk: &Candidate<'_>) -> Result<(), Refusal> {
        self.note(chunk);
        Ok(())
    }

    async fn verify(&self, finished: &Verification<'_>) -> Result<(), Refusal> {
        self.note(finished);
        Ok(())
    }
}

/// The ways in which a client continues an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Form,
    Raw,
    Tus,
    Draft,
}

impl Way {
    const ALL: [Self; 4] = [Self::Form, Self::Raw, Self::Tus, Self::Draft];

    /// Brings the first half.
    fn begin(self) -> Request<TestBody> {
        match self {
            Self::Form => chunk(None, 0, 8, FIRST),
            Self::Raw => raw(None, Some("bytes 0-3/8"), TestBody::of(FIRST)),
            Self::Tus => {
                let headers = [("upload-length", "8"), ("content-type", tus::BYTES)];
                tus::request("POST", "/files", &headers, TestBody::of(FIRST))
            }
            Self::Draft => {
                let headers = [("upload-complete", "?0"), ("upload-length", "8")];
                request("POST", "/inbox", &headers, TestBody::of(FIRST))
            }
        }
    }

    fn id(self, reply: &Reply) -> String {
        match self {
            Self::Form | Self::Raw => reply.id(),
            Self::Tus | Self::Draft => {
                let url = reply.header("location").unwrap_or_else(|| panic!("{reply:?}"));
                url.rsplit('/').next().unwrap().to_owned()
            }
        }
    }

    fn path(self, id: &str) -> String {
        match self {
            Self::Form | Self::Raw => format!("{CHUNK}?upload_id={id}"),
            Self::Tus => format!("/files/{id}"),
            Self::Draft => format!("/uploads/{id}"),
        }
    }

    /// Brings the second half, which in the last two finishes the upload.
    fn rest(self, id: &str) -> Request<TestBody> {
        match self {
            Self::Form => chunk(Some(id), 4, 8, REST),
            Self::Raw => raw(Some(id), Some("bytes 4-7/8"), TestBody::of(REST)),
            Self::Tus => tus::patch(&self.path(id), 4, &[], TestBody::of(REST)),
            Self::Draft => {
                let partial = ("content-type", "application/partial-upload");
                let headers = [partial, ("upload-offset", "4"), ("upload-complete", "?1")];
                request("PATCH", &self.path(id), &headers, TestBody::of(REST))
            }
        }
    }

    fn ask(self, id: &str) -> Request<TestBody> {
        match self {
            Self::Form | Self::Raw => on_id(Method::GET, id),
            Self::Tus => tus::request("HEAD", &self.path(id), &[], TestBody::empty()),
            Self::Draft => request("HEAD", &self.path(id), &[], TestBody::empty()),
        }
    }

    fn end(self, id: &str) -> Option<Request<TestBody>> {
        let chunked = matches!(self, Self::Form | Self::Raw);
        chunked.then(|| complete(id, &md5(&[FIRST, REST].concat())))
    }

    fn cancel(self, id: &str) -> Request<TestBody> {
        match self {
            Self::Form | Self::Raw => on_id(Method::DELETE, id),
            Self::Tus => tus::request("DELETE", &self.path(id), &[], TestBody::empty()),
            Self::Draft => request("DELETE", &self.path(id), &[], TestBody::empty()),
        }
    }

    /// Every request that continues an upload, the one that cancels it last.
    fn all(self, id: &str) -> Vec<Request<TestBody>> {
        let mut all = vec![self.ask(id), self.rest(id)];
        all.extend(self.end(id));
        all.push(self.cancel(id));
        all
    }
}

fn by(user: &str, request: Request<TestBody>) -> Request<TestBody> {
    with("x-user", user, request)
}

fn with(name: &'static str, value: &str, mut request: Request<TestBody>) -> Request<TestBody> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

fn bearing(token: &UploadToken, request: Request<TestBody>) -> Request<TestBody> {
    with(TOKEN, token.as_str(), request)
}

/// A service with its uploads and its policy.
struct Site {
    client: Client,
    uploads: Uploads,
    users: Users,
    /// Whether a token has brought the request, as the handler saw it.
    handed: Arc<Mutex<Vec<Option<ByToken>>>>,
}

impl Site {
    fn new(uploads: UploadsBuilder) -> Self {
        Self::with(uploads, |layer| layer.accept_tokens(&keys(7)))
    }

    fn with(
        uploads: UploadsBuilder,
        set: impl FnOnce(ChunkedUploadLayer) -> ChunkedUploadLayer,
    ) -> Self {
        Self::answering(uploads, set, StatusCode::OK)
    }

    fn answering(
        uploads: UploadsBuilder,
        set: impl FnOnce(ChunkedUploadLayer) -> ChunkedUploadLayer,
        status: StatusCode,
    ) -> Self {
        let uploads = uploads.build().unwrap();
        let (users, handed) = (Users::default(), Arc::new(Mutex::new(Vec::new())));
        let layer = ChunkedUploadLayer::new(uploads.clone())
            .policy(users.clone())
            .tus(Tus::new("/files"))
            .resumable(Resumable::new("/uploads").paths(["/inbox"]));
        let noted = Arc::clone(&handed);
        let client = Client::around(set(layer), move |request| {
            let noted = Arc::clone(&noted);
            async move {
                assert!(!request.headers().contains_key(TOKEN));
                let (parts, _) = request.into_parts();
                let upload = parts.extensions.get::<CompletedUpload>().expect("an upload");
                assert_eq!(content(upload).await, [FIRST, REST].concat());
                assert_eq!(upload.record().owner, Some(Owner::new("alice")));
                noted.lock().unwrap().push(parts.extensions.get::<ByToken>().cloned());
                let mut answer = Response::new(Full::from("saved"));
                *answer.status_mut() = status;
                answer
            }
        });
        Self { client, uploads, users, handed }
    }

    async fn send(&self, request: Request<TestBody>) -> Reply {
        self.client.send(request).await
    }

    async fn begin(&self, way: Way, user: &str) -> String {
        let reply = self.send(by(user, way.begin())).await;
        assert!(reply.status.is_success(), "{way:?} {reply:?}");
        way.id(&reply)
    }

    async fn token(&self, user: &str, name: &str) -> UploadToken {
        let uploads = self.uploads.for_owner(Owner::new(user));
        uploads.token(&keys(7), &id(name), HOUR).await.unwrap()
    }

    async fn offset(&self, name: &str) -> u64 {
        self.uploads.for_operator().status(&id(name)).await.unwrap().offset()
    }
}

#[track_caller]
fn refused(reply: &Reply, code: &str) {
    let expected = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
    assert!(expected.contains(&reply.status), "{reply:?}");
    assert_eq!(reply.header("upload-error-code"), Some(code), "{reply:?}");
}

#[test]
fn an_upload_goes_on_by_its_token_when_the_session_has_ended() {
    on_all_stores(async |uploads| {
        let site = Site::new(uploads);
        for way in Way::ALL {
            let id = site.begin(way, "alice").await;
            let token = site.token("alice", &id).await;
            refused(&site.send(way.rest(&id)).await, "unauthenticated");

            let (asked, alice) = (site.users.asked(), Owner::new("alice"));
            site.users.take_acting();
            let reply = site.send(bearing(&token, way.ask(&id))).await;
            assert!(reply.status.is_success(), "{way:?} {reply:?}");
            for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
                let reply = site.send(bearing(&token, request)).await;
                assert!(reply.status.is_success(), "{way:?} {reply:?}");
            }
            assert_eq!(site.users.asked(), asked, "{way:?}");
            let acting = site.users.take_acting();
            let is_hers = |by: &Option<ByToken>| by.as_ref().unwrap().owner() == Some(&alice);
            assert!(acting.len() >= 2 && acting.iter().all(is_hers), "{acting:?}");
            let handed = site.handed.lock().unwrap().pop().expect("handed over");
            assert_eq!(handed.expect("by token").owner(), Some(&Owner::new("alice")), "{way:?}");
        }
    });
}

#[tokio::test]
async fn the_kept_answer_of_a_completion_is_told_by_token() {
    let site = Site::with(memory(), |layer| {
        let long = LongCompletions::new("/done").after(HOUR);
        layer.accept_tokens(&keys(7)).long_completions(long)
    });
    let other = site.begin(Way::Raw, "bob").await;
    let other = site.token("bob", &other).await;
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let token = site.token("alice", &id).await;
        for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
            site.send(bearing(&token, request)).await;
        }
        let ask = || request("GET", &format!("/done/{id}"), &[], TestBody::empty());
        refused(&site.send(ask()).await, "unauthenticated");
        refused(&site.send(bearing(&other, ask())).await, "token-invalid");
        let told = site.send(bearing(&token, ask())).await;
        assert!(told.status.is_success(), "{way:?} {told:?}");
    }
}

#[tokio::test]
async fn a_session_is_told_from_a_token() {
    let site = Site::new(memory());
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        site.users.take_acting();
        for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
            let reply = site.send(by("alice", request)).await;
            assert!(reply.status.is_success(), "{way:?} {reply:?}");
        }
        assert!(site.users.take_acting().iter().all(Option::is_none), "{way:?}");
        assert_eq!(site.handed.lock().unwrap().pop(), Some(None), "{way:?}");
    }
}

#[tokio::test]
async fn an_upload_is_cancelled_by_its_token() {
    let site = Site::new(memory());
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let token = site.token("alice", &id).await;
        let reply = site.send(bearing(&token, way.cancel(&id))).await;
        assert_eq!(reply.status, 204, "{way:?}");
        // As it is for its owner, there is nothing to find any more.
        for request in way.all(&id) {
            let session = site.send(by("alice", request)).await;
            assert_eq!(session.status, 404, "{way:?}");
        }
        for request in way.all(&id) {
            let reply = site.send(bearing(&token, request)).await;
            assert_eq!(reply.status, 404, "{way:?} {reply:?}");
        }
    }
}

#[test]
fn a_token_that_is_not_good_changes_nothing() {
    on_all_stores(async |uploads| {
        let clock = Clock::new();
        let site = Site::new(uploads.clock(clock.read()));
        for way in Way::ALL {
            let id = site.begin(way, "alice").await;
            let other = site.begin(way, "bob").await;
            let operator = site.uploads.for_operator();
            let name = support::id(&id);
            let short = operator.token(&keys(7), &name, Duration::from_secs(60)).await.unwrap();
            clock.advance(Duration::from_secs(60));
            let forged = operator.token(&keys(8), &name, HOUR).await.unwrap();
            let bobs = site.token("bob", &other).await;
            let cut = bobs.as_str()[1..].to_owned();
            let bad = [
                (short.as_str(), "token-expired"),
                (forged.as_str(), "token-invalid"),
                (bobs.as_str(), "token-invalid"),
                (&cut, "token-invalid"),
                ("", "token-invalid"),
                ("?", "token-invalid"),
            ];
            for (token, code) in bad {
                for request in way.all(&id) {
                    refused(&site.send(with(TOKEN, token, request)).await, code);
                }
                assert_eq!(site.offset(&id).await, 4, "{way:?} {code}");
                // Nor for somebody else.
                for request in way.all(&id) {
                    let reply = site.send(by("bob", with(TOKEN, token, request))).await;
                    assert_eq!(reply.status, 404, "{way:?} {code}");
                }
                // A session that is good goes on.
                let reply = site.send(by("alice", with(TOKEN, token, way.ask(&id)))).await;
                assert!(reply.status.is_success(), "{way:?} {code} {reply:?}");
            }
            let twice = bearing(&bobs, bearing(&site.token("alice", &id).await, way.ask(&id)));
            refused(&site.send(twice).await, "token-invalid");
            for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
                let reply = site.send(by("alice", bearing(&bobs, request))).await;
                assert!(reply.status.is_success(), "{way:?} {reply:?}");
            }
            assert_eq!(site.handed.lock().unwrap().pop(), Some(None), "{way:?}");
            assert_eq!(site.offset(&other).await, 4);
        }
    });
}

/// Only a refusal that a session would mend says what is wrong with the token.
#[tokio::test]
async fn another_refusal_keeps_its_code() {
    struct Busy;

    impl Policy for Busy {
        async fn authorize(&self, _: &Context<'_>) -> Result<Option<Owner>, Refusal> {
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Wait"))
        }
    }

    let site = Site::with(memory(), |layer| layer.accept_tokens(&keys(7)).policy(Busy));
    for way in Way::ALL {
        let reply = site.send(with(TOKEN, "x", way.ask(NO_ID))).await;
        assert_eq!(reply.header("upload-error-code"), Some("too-many-requests"), "{way:?}");
    }
}

#[tokio::test]
async fn without_keys_the_header_means_nothing() {
    let site = Site::with(memory(), |layer| layer);
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let token = site.token("alice", &id).await;
        for request in way.all(&id) {
            refused(&site.send(bearing(&token, request)).await, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn a_secret_is_replaced_while_its_tokens_are_in_use() {
    let both = keys(8).also_verify([7; 32]).unwrap();
    let site = Site::with(memory(), |layer| layer.accept_tokens(&both));
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let new = site.uploads.for_operator().token(&both, &support::id(&id), HOUR).await.unwrap();
        for token in [site.token("alice", &id).await, new] {
            let reply = site.send(bearing(&token, way.ask(&id))).await;
            assert!(reply.status.is_success(), "{way:?} {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_token_begins_no_upload_and_needs_a_name_before_the_file() {
    let site = Site::new(memory());
    for way in Way::ALL {
        let name = site.begin(way, "alice").await;
        let token = site.token("alice", &name).await;
        let uploads = all_ids(&site.uploads).await.len();
        refused(&site.send(bearing(&token, way.begin())).await, "unauthenticated");
        assert_eq!(all_ids(&site.uploads).await.len(), uploads, "{way:?}");
        // With a session, it is the session's upload.
        let reply = site.send(by("bob", bearing(&token, way.begin()))).await;
        let begun = site.uploads.for_operator().status(&id(&way.id(&reply))).await.unwrap();
        assert_eq!(begun.owner, Some(Owner::new("bob")), "{way:?}");
    }
    // A final upload of tus is one, too.
    let part = [("upload-concat", "partial"), ("upload-length", "0")];
    let part = tus::request("POST", "/files", &part, TestBody::empty());
    let part = site.send(by("alice", part)).await;
    let url = part.header("location").unwrap();
    let token = site.token("alice", &Way::Tus.id(&part)).await;
    let list = format!("final;{url}");
    let join = || tus::request("POST", "/files", &[("upload-concat", &*list)], TestBody::empty());
    refused(&site.send(bearing(&token, join())).await, "unauthenticated");
}

#[tokio::test]
async fn the_name_of_a_form_may_follow_its_file() {
    let site = Site::new(memory());
    let after = |id: &str| {
        let form = Form::new().file("a.bin", REST).field("upload_id", id).end();
        ranged("bytes 4-7/8", TestBody::of(form))
    };
    let id = site.begin(Way::Form, "alice").await;
    let token = site.token("alice", &id).await;
    refused(&site.send(after(&id)).await, "unauthenticated");
    let asked = site.users.asked();
    assert_eq!(site.send(bearing(&token, after(&id))).await.status, 200);
    assert_eq!((site.users.asked(), site.offset(&id).await), (asked, 8));

    let bobs = site.begin(Way::Form, "bob").await;
    refused(&site.send(bearing(&token, after(&bobs))).await, "token-invalid");
    assert_eq!(site.offset(&bobs).await, 4);
    assert_eq!(site.send(by("alice", bearing(&token, after(&bobs)))).await.status, 404);
    assert_eq!(site.send(by("bob", bearing(&token, after(&bobs)))).await.status, 200);
    assert_eq!(site.offset(&bobs).await, 8);
}

/// The token of an upload that is gone does not stand in the way of a session.
#[tokio::test]
async fn the_token_of_a_cancelled_upload_hinders_nobody() {
    let site = Site::new(memory());
    for way in Way::ALL {
        let (gone, id) = (site.begin(way, "alice").await, site.begin(way, "alice").await);
        let token = site.token("alice", &gone).await;
        assert_eq!(site.send(by("alice", way.cancel(&gone))).await.status, 204);
        for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
            let reply = site.send(by("alice", bearing(&token, request))).await;
            assert!(reply.status.is_success(), "{way:?} {reply:?}");
        }
    }
}

/// What an upload that has ended answers its owner, it answers the token.
#[tokio::test]
async fn a_token_does_no_more_than_the_owner_could() {
    for expires in [false, true] {
        let clock = Clock::new();
        let site = Site::new(memory().clock(clock.read()).expires_after(HOUR / 2));
        for way in Way::ALL {
            let id = site.begin(way, "alice").await;
            let token = site.token("alice", &id).await;
            match expires {
                true => clock.advance(HOUR / 2),
                false => {
                    for request in [Some(way.rest(&id)), way.end(&id)].into_iter().flatten() {
                        assert!(site.send(by("alice", request)).await.status.is_success());
                    }
                }
            }
            let without_cancel = way.all(&id).len() - 1;
            for turn in 0..without_cancel {
                let session = site.send(by("alice", way.all(&id).swap_remove(turn))).await;
                let token = site.send(bearing(&token, way.all(&id).swap_remove(turn))).await;
                assert_eq!(token.status, session.status, "{way:?} {turn}");
                assert_eq!(token.body, session.body, "{way:?} {turn}");
            }
        }
    }
}

/// Nor does a token of one protocol open the paths of another.
#[tokio::test]
async fn a_token_is_good_for_the_protocol_of_its_upload() {
    let site = Site::new(memory());
    let id = site.begin(Way::Tus, "alice").await;
    let token = site.token("alice", &id).await;
    for way in [Way::Form, Way::Raw, Way::Draft] {
        for request in way.all(&id) {
            let reply = site.send(bearing(&token, request)).await;
            assert_eq!(reply.status, 404, "{way:?} {reply:?}");
        }
    }
    assert_eq!(site.offset(&id).await, 4);
}

#[tokio::test]
async fn the_quotas_are_those_of_the_owner() {
    let site = Site::new(memory().max_bytes_per_owner(12));
    for way in [Way::Form, Way::Raw] {
        // Of unknown length, so that only what has come counts.
        let new = NewUpload::new().filename("a.bin");
        let alices = site.uploads.for_owner(Owner::new("alice"));
        let mut append = alices.create(new).await.unwrap();
        append.write(FIRST).await.unwrap();
        let id = append.commit().await.unwrap().id;
        let token = site.token("alice", id.as_str()).await;
        // The rest of what alice may have is taken.
        let other = alices.create(NewUpload::new().total(8)).await.unwrap().commit().await.unwrap();
        let reply = site.send(bearing(&token, way.rest(id.as_str()))).await;
        assert_eq!(reply.header("upload-error-code"), Some("quota-exceeded"), "{reply:?}");
        alices.cancel(&other.id).await.unwrap();
        let reply = site.send(bearing(&token, way.rest(id.as_str()))).await;
        assert!(reply.status.is_success(), "{way:?} {reply:?}");
        alices.cancel(&id).await.unwrap();
    }
}

#[test]
fn answers_hand_out_tokens_to_a_session() {
    on_all_stores(async |uploads| {
        let clock = Clock::new();
        let site =
            Site::with(uploads.clock(clock.read()), |layer| layer.hand_out_tokens(&keys(7), HOUR));
        for way in Way::ALL {
            let begun = site.send(by("alice", way.begin())).await;
            let id = way.id(&begun);
            let first = begun.header(TOKEN).expect("a token").to_owned();
            clock.advance(HOUR / 2);
            let asked = site.send(by("alice", way.ask(&id))).await;
            let second = asked.header(TOKEN).expect("a fresh token").to_owned();
            assert_ne!(first, second);
            clock.advance(HOUR / 2);
            // The session has ended.
            refused(&site.send(with(TOKEN, &first, way.ask(&id))).await, "token-expired");
            let mut requests = vec![way.ask(&id), way.rest(&id)];
            requests.extend(way.end(&id));
            for request in requests {
                let reply = site.send(with(TOKEN, &second, request)).await;
                assert!(reply.status.is_success(), "{way:?} {reply:?}");
                // It does not renew itself.
                assert_eq!(reply.header(TOKEN), None, "{way:?}");
            }
            // There is nothing more to do with it.
            let done = site.send(by("alice", way.ask(&id))).await;
            assert!(done.status.is_success() && done.header(TOKEN).is_none(), "{way:?} {done:?}");
            let missing = site.send(by("alice", way.ask(NO_ID))).await;
            assert_eq!(missing.header(TOKEN), None, "{way:?}");
        }
    });
}

/// A client whose connection breaks after that goes on without the answer.
#[tokio::test]
async fn the_draft_tells_the_token_with_the_place_of_the_upload() {
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<Response<()>>>>);

    impl SendInformational for Told {
        fn send(&self, response: Response<()>) -> Result<(), NotSent> {
            self.0.lock().unwrap().push(response);
            Ok(())
        }
    }

    let site = Site::with(memory(), |layer| layer.hand_out_tokens(&keys(7), HOUR));
    let told = Told::default();
    let body = TestBody::new([Piece::Data(FIRST.into()), Piece::Fail]);
    let headers = [("upload-complete", "?1"), ("upload-draft-interop-version", "10")];
    let mut broken = request("POST", "/inbox", &headers, body);
    broken.extensions_mut().insert(Informational::new(told.clone()));
    let reply = site.send(by("alice", broken)).await;
    assert!(!reply.status.is_success(), "{reply:?}");

    let told = told.0.lock().unwrap()[0].headers().clone();
    let id = told["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let token = told[TOKEN].to_str().unwrap().to_owned();
    for request in [Way::Draft.ask(&id), Way::Draft.rest(&id)] {
        let reply = site.send(with(TOKEN, &token, request)).await;
        assert!(reply.status.is_success(), "{reply:?}");
    }
}

/// In tus and in the draft, the client goes on with the last byte.
#[tokio::test]
async fn an_answer_that_does_not_take_the_file_has_a_token() {
    let set = |layer: ChunkedUploadLayer| layer.hand_out_tokens(&keys(7), HOUR);
    let site = Site::answering(memory(), set, StatusCode::SERVICE_UNAVAILABLE);
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let mut last = site.send(by("alice", way.rest(&id))).await;
        if let Some(end) = way.end(&id) {
            last = site.send(by("alice", end)).await;
        }
        assert_eq!(last.status, 503, "{way:?}");
        let token = last.header(TOKEN).expect("a token").to_owned();
        assert!(site.send(with(TOKEN, &token, way.ask(&id))).await.status.is_success());
    }
}

#[tokio::test]
async fn no_token_is_kept_with_an_answer() {
    let set = |layer: ChunkedUploadLayer| {
        let named = [http::HeaderName::from_static(TOKEN)];
        let layer = layer.hand_out_tokens(&keys(7), HOUR).keep_answer_headers(named);
        layer.long_completions(LongCompletions::new("/done").after(HOUR))
    };
    let site = Site::answering(memory(), set, StatusCode::UNPROCESSABLE_ENTITY);
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let mut last = site.send(by("alice", way.rest(&id))).await;
        if let Some(end) = way.end(&id) {
            last = site.send(by("alice", end)).await;
        }
        assert_eq!(last.status, 422, "{way:?}");
        let token = last.header(TOKEN).expect("a token").to_owned();
        let ask = request("GET", &format!("/done/{id}"), &[], TestBody::empty());
        let told = site.send(by("alice", ask)).await;
        assert_eq!((told.status, &told.body), (last.status, &last.body), "{way:?}");
        assert_eq!(told.header(TOKEN), None, "{way:?}");
        let upload = site.uploads.for_operator().status(&self::id(&id)).await.unwrap();
        assert!(upload.answer.is_some());
        let printed = format!("{upload:?} {}", serde_json::to_string(&upload).unwrap());
        assert!(!printed.contains(&token), "{printed}");
    }
}

/// An upload with a key gives its id to the next one, which is another upload.
#[test]
fn a_token_is_good_for_no_upload_that_comes_later() {
    on_all_stores(async |uploads| {
        let clock = Clock::new();
        let site = Site::new(uploads.clock(clock.read()));
        for way in Way::ALL {
            let key = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");
            let begin = || by("alice", with(key.0, key.1, way.begin()));
            let before = way.id(&site.send(begin()).await);
            let token = site.token("alice", &before).await;
            assert_eq!(site.send(by("alice", way.cancel(&before))).await.status, 204);
            // With millisecond precision, an upload is told from the next.
            clock.advance(Duration::from_millis(1));
            let after = way.id(&site.send(begin()).await);
            for request in way.all(&after) {
                // In a bucket it has an id of its own, so the token's upload is just gone, and has expired
                // by the bucket's clock.
                let reply = site.send(bearing(&token, request)).await;
                let status = reply.status.as_u16();
                assert!(matches!(status, 401 | 403 | 404 | 410), "{way:?} {reply:?}");
            }
            assert_eq!(site.offset(&after).await, FIRST.len() as u64);
            // The session of its owner goes on.
            let reply = site.send(by("alice", bearing(&token, way.ask(&after)))).await;
            assert!(reply.status.is_success(), "{way:?} {reply:?}");
            assert_eq!(site.send(by("alice", way.cancel(&after))).await.status, 204);
        }
    });
}

fn keyed() -> NewUpload {
    let key = IdempotencyKey::new("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
    NewUpload::new().idempotency_key(key)
}

/// Ends an upload and creates the next one of its key, and gives its id.
async fn replace(alices: &OwnerUploads, clock: &Clock, before: &UploadId) -> UploadId {
    alices.cancel(before).await.unwrap();
    clock.advance(Duration::from_millis(1));
    alices.create(keyed()).await.unwrap().commit().await.unwrap().id
}

#[test]
fn a_handle_by_token_sees_no_upload_that_comes_later() {
    on_all_stores(async |uploads| {
        let clock = Clock::new();
        let uploads = uploads.clock(clock.read()).build().unwrap();
        let alices = uploads.for_owner(Owner::new("alice"));
        let before = alices.create(keyed()).await.unwrap().commit().await.unwrap().id;
        let token = alices.token(&keys(7), &before, HOUR).await.unwrap();
        let one = uploads.for_token(&keys(7), token.as_str()).await.unwrap();
        one.status(&before).await.unwrap();
        let after = replace(&alices, &clock, &before).await;
        let gone = |error: Error| {
            // Where the next one has an id of its own, the store may know that this one has ended.
            assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Expired), "{error:?}");
        };
        gone(one.status(&after).await.unwrap_err());
        gone(one.append(&after, 0, AppendMode::AllOrNothing).await.unwrap_err());
        gone(one.complete(&after, None).await.unwrap_err());
        gone(one.cancel(&after).await.unwrap_err());
        alices.status(&after).await.unwrap();
    });
}

/// While the application looks at a request, the next upload may get the id.
#[tokio::test]
async fn a_check_by_token_does_not_come_to_an_upload_that_comes_later() {
    let clock = Clock::new();
    let uploads = memory().clock(clock.read()).build().unwrap();
    let alices = uploads.for_owner(Owner::new("alice"));
    let before = alices.create(keyed()).await.unwrap().commit().await.unwrap().id;
    let token = alices.token(&keys(7), &before, HOUR).await.unwrap();
    let one = uploads.for_token(&keys(7), token.as_str()).await.unwrap();
    let check = async |_| {
        // The lease is given back.
        tokio::task::yield_now().await;
        assert_eq!(replace(&alices, &clock, &before).await, before);
        Ok::<_, Error>(())
    };
    let refused = one.acquire_if(&before, check).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::NotFound);
    alices.status(&before).await.unwrap();
}

#[tokio::test]
async fn a_completion_by_token_ends_no_upload_that_comes_later() {
    let clock = Clock::new();
    let site = Site::new(memory().clock(clock.read()));
    let whole = [FIRST, REST].concat();
    let key = ("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324");
    let begin = || by("alice", with(key.0, key.1, chunk(None, 0, 8, &whole)));
    let before = site.send(begin()).await.id();
    let token = site.token("alice", &before).await;
    // Its head is there, and the upload that it names comes later.
    let (parts, body) = complete(&before, &md5(&whole)).into_parts();
    let content = body.collect().await.unwrap().to_bytes();
    let (more, body) = TestBody::live();
    let mut probe = body.probe();
    let asking = site.client.spawn(bearing(&token, Request::from_parts(parts, body)));
    probe.waiting().await;

    assert_eq!(site.send(by("alice", on_id(Method::DELETE, &before))).await.status, 204);
    clock.advance(Duration::from_millis(1));
    assert_eq!(site.send(begin()).await.id(), before);
    more.send(Piece::Data(content)).unwrap();
    drop(more);
    let reply = asking.await.unwrap();
    assert_eq!(reply.status, 404, "{reply:?}");
    assert!(site.handed.lock().unwrap().is_empty());
    assert_eq!(site.offset(&before).await, 8);
}

#[test]
fn pages_of_other_origins_may_send_and_read_what_the_settings_need() {
    let layer = || ChunkedUploadLayer::new(in_memory());
    let lists = |layer: ChunkedUploadLayer| {
        let cors = layer.cors();
        let has = |names: &[http::HeaderName]| names.iter().any(|name| name == TOKEN);
        (has(&cors.request_headers), has(&cors.response_headers))
    };
    assert_eq!(lists(layer()), (false, false));
    assert_eq!(lists(layer().accept_tokens(&keys(7))), (true, false));
    assert_eq!(lists(layer().hand_out_tokens(&keys(7), HOUR)), (true, true));
}

#[tokio::test]
async fn nothing_that_is_printed_shows_a_token() {
    let site = Site::with(memory(), |layer| layer.hand_out_tokens(&keys(7), HOUR));
    for way in Way::ALL {
        let reply = site.send(by("alice", way.begin())).await;
        let token = reply.header(TOKEN).unwrap().to_owned();
        assert!(!format!("{:?}", reply.headers).contains(&token), "{way:?}");
    }
    let layer = ChunkedUploadLayer::new(in_memory()).hand_out_tokens(&keys(7), HOUR);
    let printed = format!("{layer:?} {:?}", keys(7));
    assert!(!printed.contains("7, 7") && !printed.contains("0707"), "{printed}");
}

#[tokio::test]
async fn a_token_is_minted_by_whoever_has_the_upload() {
    let site = Site::new(memory());
    let name = id(&site.begin(Way::Form, "alice").await);
    let alices = site.uploads.for_owner(Owner::new("alice"));
    let bobs = site.uploads.for_owner(Owner::new("bob"));
    let operator = site.uploads.for_operator();
    let refused = bobs.token(&keys(7), &name, HOUR).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::NotFound);
    let missing = operator.token(&keys(7), &id(NO_ID), HOUR).await.unwrap_err();
    assert_eq!(*missing.kind(), ErrorKind::NotFound);
    for token in [
        alices.token(&keys(7), &name, HOUR).await.unwrap(),
        operator.token(&keys(7), &name, HOUR).await.unwrap(),
    ] {
        let one = site.uploads.for_token(&keys(7), token.as_str()).await.unwrap();
        assert_eq!(one.owner(), Some(&Owner::new("alice")));
        assert_eq!(one.status(&name).await.unwrap().offset(), 4);
    }
    // One that has no time is no token.
    let none = operator.token(&keys(7), &name, Duration::ZERO).await.unwrap();
    let refused = site.uploads.for_token(&keys(7), none.as_str()).await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::ExpiredToken);
    let forever = operator.token(&keys(7), &name, Duration::MAX).await.unwrap();
    assert_eq!(site.uploads.verify_token(&keys(7), forever.as_str()).unwrap(), name);
}

#[test]
fn a_handle_to_one_upload_sees_no_other_one() {
    on_all_stores(async |uploads| {
        let uploads = uploads.build().unwrap();
        let alices = uploads.for_owner(Owner::new("alice"));
        let begin = async || alices.create(NewUpload::new()).await.unwrap().commit().await.unwrap();
        let (mine, other) = (begin().await, begin().await);
        let one = alices.clone().only(&mine.id);
        assert_eq!(one.status(&mine.id).await.unwrap().id, mine.id);
        let refused = one.status(&other.id).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::NotFound);
        assert_eq!(*one.cancel(&other.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        let Err(refused) = one.create(NewUpload::new()).await else { panic!("it began one") };
        assert_eq!(*refused.kind(), ErrorKind::NotFound);
        let mut seen = BTreeSet::new();
        let mut listing = one.list(Filter::all());
        while let Some(upload) = listing.next().await {
            seen.insert(upload.unwrap().id);
        }
        assert_eq!(seen, BTreeSet::from([mine.id]));
        one.cancel(&mine.id).await.unwrap();
        alices.status(&other.id).await.unwrap();

        // The parts of a joined one are seen, and no other ones.
        let part = async || {
            let new = NewUpload::new().part().total(1);
            let mut append = alices.create(new).await.unwrap();
            append.write(&b"a"[..]).await.unwrap();
            append.commit().await.unwrap().id
        };
        let (first, second) = (part().await, part().await);
        let joined = alices.join(NewUpload::new(), &[first]).await.unwrap().upload().id;
        let one = alices.clone().only(&joined);
        assert_eq!(one.status(&first).await.unwrap().id, first);
        assert_eq!(*one.status(&second).await.unwrap_err().kind(), ErrorKind::NotFound);
        let Err(refused) = one.join(NewUpload::new(), &[first]).await else { panic!("joined") };
        assert_eq!(*refused.kind(), ErrorKind::NotFound);
    });
}

/// A part's token brings its bytes, and ends the file that waits for them.
#[tokio::test]
async fn the_last_part_comes_by_token() {
    let site = Site::new(memory());
    let send = async |headers: &[(&str, &str)], bytes: &'static [u8]| {
        let request = tus::request("POST", "/files", headers, TestBody::of(bytes));
        let reply = site.send(by("alice", request)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").unwrap().to_owned()
    };
    let partial = ("upload-concat", "partial");
    let (length, bytes) = (("upload-length", "4"), ("content-type", tus::BYTES));
    let first = send(&[partial, length, bytes], FIRST).await;
    let second = send(&[partial, length], b"").await;
    let joined = send(&[("upload-concat", &format!("final;{first} {second}"))], b"").await;
    let id = |url: &str| url.rsplit('/').next().unwrap().to_owned();

    // How long it will be is known from its parts.
    let token = site.token("alice", &id(&joined)).await;
    let reply = site.send(bearing(&token, Way::Tus.ask(&id(&joined)))).await;
    assert_eq!(reply.header("upload-length"), Some("8"), "{reply:?}");
    let patch = || tus::patch(&second, 0, &[], TestBody::of(REST));
    refused(&site.send(bearing(&token, patch())).await, "token-invalid");

    let token = site.token("alice", &id(&second)).await;
    assert_eq!(site.send(bearing(&token, patch())).await.status, 204);
    assert!(site.handed.lock().unwrap().pop().expect("handed over").is_some());
}

#[tokio::test]
async fn a_store_that_fails_is_not_a_bad_token() {
    let store = Double::default();
    let site = Site::new(Uploads::builder(store.clone()));
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let token = site.token("alice", &id).await;
        store.fail(Call::Load, 5);
        let reply = site.send(bearing(&token, way.rest(&id))).await;
        assert_eq!(reply.header("upload-error-code"), Some("store-failed"), "{way:?} {reply:?}");
        store.mend();
        assert!(site.send(bearing(&token, way.rest(&id))).await.status.is_success());
    }
}

#[tokio::test]
async fn an_observer_is_told_what_came_by_token() {
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<bool>>>);

    impl Observer for Notes {
        async fn on_event(&self, _: &Event, request: Option<&Extensions>) {
            let by_token = request.is_some_and(|it| it.get::<ByToken>().is_some());
            self.0.lock().unwrap().push(by_token);
        }
    }

    let notes = Notes::default();
    let site = Site::new(Uploads::builder(MemoryStore::new()).observer(notes.clone()));
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        let token = site.token("alice", &id).await;
        assert_eq!(site.send(bearing(&token, way.cancel(&id))).await.status, 204);
        let told = std::mem::take(&mut *notes.0.lock().unwrap());
        assert_eq!((told.first(), told.last()), (Some(&false), Some(&true)), "{way:?} {told:?}");
    }
}

/// A value that is no text, or a long one, is no token.
#[tokio::test]
async fn any_bytes_of_a_header_are_refused() {
    let site = Site::new(memory());
    for way in Way::ALL {
        let id = site.begin(way, "alice").await;
        for value in [&b"\xff\xfe"[..], &[b'A'; 76], &[b'A'; 10_000], b"AQ==", b" "] {
            let mut request = way.ask(&id);
            let value = HeaderValue::from_bytes(value).unwrap();
            HeaderMap::insert(request.headers_mut(), TOKEN, value);
            refused(&site.send(request).await, "token-invalid");
        }
    }
}
