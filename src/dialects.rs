//! The list of dialects. No other module names them.

use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};

use crate::cors::Cors;
use crate::layer::ChunkedUploadLayer;
use crate::log;
use crate::protocol::chunked::{self, Chunked};
use crate::protocol::completions::{self, LongCompletions};
use crate::protocol::resumable::{self, Resumable};
use crate::protocol::tus::{self, Tus};
use crate::protocol::{self, Caller, Dialect, Outcome, Payload, Problem, Settings};
use crate::upload;

macro_rules! dialects {
    ($($variant:ident: $field:ident, $dialect:ty, $action:ty;)+) => {
        /// The dialects that a layer speaks.
        #[derive(Clone, Debug)]
        pub(crate) struct Dialects {
            $($field: $dialect,)+
        }

        /// The dialect and action of a request.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Route {
            $($variant($action),)+
        }

        impl Dialects {
            /// Returns the dialect and action of a request, if it belongs to a dialect. This runs
            /// for every request.
            pub(crate) fn route(&self, request: &Parts) -> Option<Route> {
                $(if let Some(action) = self.$field.route(request) {
                    return Some(Route::$variant(action));
                })+
                None
            }

            /// Begins what is logged of a request.
            pub(crate) fn log(route: Route, request: &Parts) -> log::Request {
                match route {
                    $(Route::$variant(action) => {
                        let action = <$dialect>::name(action, &request.method);
                        log::Request::new(<$dialect>::NAME, action)
                    })+
                }
            }

            /// Returns the name of a request's dialect.
            pub(crate) fn name(route: Route) -> upload::Dialect {
                match route {
                    $(Route::$variant(_) => <$dialect>::NAME,)+
                }
            }

            /// Whether a request is there to call the inner service.
            pub(crate) fn reserves_inner(route: Route) -> bool {
                match route {
                    $(Route::$variant(action) => <$dialect>::reserves_inner(action),)+
                }
            }

            pub(crate) async fn serve<B: Payload>(
                &self,
                settings: &Settings,
                route: Route,
                request: Request<B>,
                caller: Caller,
                seen: &log::Request,
            ) -> Outcome {
                match route {
                    $(Route::$variant(action) => {
                        protocol::serve(&self.$field, settings, action, request, caller, seen).await
                    })+
                }
            }

            pub(crate) fn refuse(
                &self,
                route: Route,
                problem: Problem,
                seen: &log::Request,
            ) -> Response<bytes::Bytes> {
                match route {
                    $(Route::$variant(_) => protocol::refuse(&self.$field, problem, seen),)+
                }
            }

            /// Returns what pages of other origins need for all dialects.
            pub(crate) fn cors(&self, settings: &Settings) -> Cors {
                let mut all = settings.tokens.cors();
                all.response_headers.push(protocol::ERROR_CODE);
                $(all.add(self.$field.cors());)+
                all
            }
        }
    };
}

dialects! {
    Chunked: chunked, Chunked, chunked::Action;
    Tus: tus, Tus, tus::Action;
    Resumable: resumable, Resumable, resumable::Action;
    LongCompletions: long_completions, LongCompletions, completions::Action;
}

impl Default for Dialects {
    fn default() -> Self {
        Self {
            chunked: Chunked::default(),
            tus: Tus::off(),
            resumable: Resumable::off(),
            long_completions: LongCompletions::off(),
        }
    }
}

impl ChunkedUploadLayer {
    /// Sets the paths and rules of the django-chunked-upload protocol.
    ///
    /// This protocol is always on. To offer only the others, let
    /// [`Policy::authorize`](crate::Policy::authorize) refuse the requests whose
    /// [`dialect`](crate::policy::Context::dialect) it is, for example with 404. The paths still
    /// belong to the layer, which answers `OPTIONS` and other methods there by itself.
    ///
    /// ```
    /// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
    /// use tower_chunked_upload::store::FsStore;
    /// use tower_chunked_upload::{Chunked, ChunkedUploadLayer, Uploads};
    ///
    /// let uploads = Uploads::builder(FsStore::default()).build()?;
    /// let chunked = Chunked::new().chunk_path("/files/chunk").complete_path("/files/done");
    /// let layer = ChunkedUploadLayer::new(uploads).chunked(chunked);
    /// # Ok(())
    /// # }
    /// ```
    pub fn chunked(self, dialect: Chunked) -> Self {
        self.set(|config| config.dialects.chunked = dialect)
    }

    /// Switches on [tus 1.0](https://tus.io/protocols/resumable-upload), with these paths and
    /// rules. Default: off.
    ///
    /// ```
    /// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
    /// use tower_chunked_upload::store::FsStore;
    /// use tower_chunked_upload::{ChunkedUploadLayer, Tus, Uploads};
    ///
    /// let uploads = Uploads::builder(FsStore::default()).build()?;
    /// let layer = ChunkedUploadLayer::new(uploads).tus(Tus::new("/files").handler_path("/done"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tus(self, dialect: Tus) -> Self {
        self.set(|config| config.dialects.tus = dialect)
    }

    /// Responds with 202 to a completion whose handler takes longer than
    /// [`after`](LongCompletions::after). `Location` has an address at which the client asks for
    /// the handler's response; the handler continues to run. In tus and in the draft, a response
    /// that creates an upload has the address in `Content-Location`. Default: off, so that the client
    /// waits.
    ///
    /// The response is kept as long as [`keep_answers`](Self::keep_answers) says, or for one hour.
    /// See [the chapter](crate::guide::long_completions).
    ///
    /// ```
    /// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
    /// use std::time::Duration;
    /// use tower_chunked_upload::store::FsStore;
    /// use tower_chunked_upload::{ChunkedUploadLayer, LongCompletions, Uploads};
    ///
    /// let uploads = Uploads::builder(FsStore::default()).build()?;
    /// let long = LongCompletions::new("/api/completions").after(Duration::from_secs(10));
    /// let layer = ChunkedUploadLayer::new(uploads).long_completions(long);
    /// # Ok(())
    /// # }
    /// ```
    pub fn long_completions(self, settings: LongCompletions) -> Self {
        self.set(|config| {
            let answers = &mut config.settings.answers;
            answers.time.get_or_insert(HOUR);
            answers.long = Some(settings.clone());
            config.dialects.long_completions = settings;
        })
    }

    /// Makes requests to the application resumable, by ["Resumable Uploads for
    /// HTTP"](https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/), an IETF
    /// draft. Default: off.
    ///
    /// The handler needs no change: it gets one ordinary request when all bytes have arrived.
    ///
    /// ```
    /// # fn main() -> Result<(), tower_chunked_upload::ConfigError> {
    /// use tower_chunked_upload::store::FsStore;
    /// use tower_chunked_upload::{ChunkedUploadLayer, Resumable, Uploads};
    ///
    /// let uploads = Uploads::builder(FsStore::default()).build()?;
    /// let layer = ChunkedUploadLayer::new(uploads)
    ///     .resumable(Resumable::new("/uploads").paths(["/inbox"]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn resumable(self, dialect: Resumable) -> Self {
        self.set(|config| config.dialects.resumable = dialect)
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);
