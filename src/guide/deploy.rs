//! Run the application in Docker or Kubernetes, and behind Caddy, HAProxy, Traefik or Cloudflare.
//!
//! [Proxies](super::proxy) has nginx, and what any proxy must do. The configurations of Caddy and
//! HAProxy are tested with these programs; those of Docker, Kubernetes and Traefik are not.
//!
//! # How do I run it in Docker?
//!
//! ```dockerfile
#![doc = include_str!("../../examples/deploy/Dockerfile")]
//! ```
//!
//! - **The volume** has the unfinished files as well as the finished ones. On one filesystem, a
//!   finished file is renamed; otherwise it is copied.
//! - **The address** in the application must be `0.0.0.0:3000`, since `127.0.0.1` is not reachable
//!   from outside the container.
//! - **The end**: Docker sends the `STOPSIGNAL` of the image, and kills the process 10 seconds
//!   later. Here it is SIGINT, since the quick start waits for Ctrl-C only. If your application
//!   [waits for SIGTERM](super::server#how-do-i-stop-a-server-without-losing-chunks), remove that
//!   line. Pass a shorter time than 10 seconds to `shutdown`, or run the container with
//!   `--stop-timeout 30`. A server that is killed loses nothing that was acknowledged; it only cuts
//!   chunks that are in flight.
//!
//! # How do I run it in Kubernetes?
//!
//! ```yaml
#![doc = include_str!("../../examples/deploy/kubernetes.yaml")]
//! ```
//!
//! Add [the route
//! `/health`](super::server#how-does-a-load-balancer-know-that-the-server-can-take-files) of the
//! readiness probe to the application first, with [`Uploads::check`](crate::Uploads::check) behind
//! it, and listen on `0.0.0.0:3000` as with Docker. Do not use it for a liveness probe: a full disk
//! does not become better by a restart. If there is only one replica, a readiness probe that fails
//! makes the whole application unreachable, also for completions, which make room. Let the route
//! answer 200 to [`ErrorKind::Full`](crate::ErrorKind::Full) then, and raise an alert. For several
//! replicas, keep the uploads [in a bucket](super::nodes); then there is no volume, and
//! `RollingUpdate` is fine. With a bucket, each replica buffers up to 256 MiB in memory, and as
//! much again while files are persisted: raise the memory limit, or lower
//! [`max_buffered_bytes`](crate::store::BucketStoreBuilder::max_buffered_bytes).
//!
//! With an ingress of nginx, set `nginx.ingress.kubernetes.io/proxy-body-size: "0"` and
//! `proxy-request-buffering: "off"`.
//!
//! # How do I configure Caddy?
//!
//! ```text
#![doc = include_str!("../../examples/deploy/Caddyfile")]
//! ```
//!
//! With a name instead of `:8080`, Caddy gets a certificate and serves HTTP/2 too. If the layer
//! refuses a request while the client is still sending, Caddy passes the refusal on only after it
//! has read up to 256 KiB more of the body.
//!
//! # How do I configure HAProxy?
//!
//! ```text
#![doc = include_str!("../../examples/deploy/haproxy.cfg")]
//! ```
//!
//! # How do I configure Traefik?
//!
//! ```yaml
#![doc = include_str!("../../examples/deploy/traefik.yml")]
//! ```
//!
//! ```yaml
#![doc = include_str!("../../examples/deploy/traefik-routes.yml")]
//! ```
//!
//! # How do I stay below Cloudflare's limit of 100 MB?
//!
//! Cloudflare answers a request with more than 100 MB by 413 (200 MB and 500 MB in the larger plans),
//! and a response that takes more than 100 seconds by 524. So:
//!
//! - let clients send chunks below that: `maxChunkSize` of jQuery-File-Upload, `chunkSize` of
//!   tus-js-client and Uppy, for example 50 MB. Chunks of any size make the same file;
//! - for the IETF draft, tell clients with
//!   [`max_append_bytes`](crate::Resumable::max_append_bytes), which those that know `Upload-Limit`
//!   obey;
//! - if your handler may take longer than 100 seconds, [answer 202](super::long_completions) and let
//!   the client ask for the result.
//!
//! The same holds for every other service with such limits, for example an API gateway with 10 MB.
