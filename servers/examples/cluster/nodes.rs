//! Server processes of this same executable, which are started again when they die.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Which node this process is, counted from 1; `None` in the one that starts them.
pub(crate) fn own_number() -> Option<usize> {
    env::var(NUMBER).ok()?.parse().ok()
}

/// Tells the process that has started this one where it listens.
pub(crate) fn listens_at(address: SocketAddr) {
    println!("{address}");
}

/// Waits until this process should end: when it is told to, or, in a node, when the one that started
/// it has let go of it or is dead.
pub(crate) async fn told_to_end() {
    tokio::select! {
        () = terminated() => {}
        () = let_go(), if own_number().is_some() => {}
    }
}

async fn let_go() {
    let (ended, held) = oneshot::channel::<()>();
    // A thread of its own, since the runtime would wait for one of its threads.
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        drop(ended);
    });
    drop(held.await);
}

/// Ctrl-C, or what a service manager sends.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    drop(tokio::signal::ctrl_c().await);
}

/// Where the nodes listen that are there.
pub(crate) struct Addresses {
    turn: AtomicUsize,
    nodes: Vec<Mutex<Option<SocketAddr>>>,
}

impl Addresses {
    /// Each node and its number, beginning with the one whose turn it is.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (usize, SocketAddr)> + Send + '_ {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..self.nodes.len()).filter_map(move |next| {
            let number = first.wrapping_add(next) % self.nodes.len() + 1;
            Some((number, (*self.of(number))?))
        })
    }

    fn of(&self, number: usize) -> MutexGuard<'_, Option<SocketAddr>> {
        self.nodes[number - 1].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nodes, as long as this value is there.
pub(crate) struct Nodes {
    addresses: Arc<Addresses>,
    keepers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Nodes {
    /// Waits until all of them listen.
    pub(crate) async fn start(count: usize) -> io::Result<Self> {
        let nodes = (0..count).map(|_| Mutex::default()).collect();
        let addresses = Arc::new(Addresses { turn: AtomicUsize::new(0), nodes });
        let (stop, _) = watch::channel(false);
        let mut nodes = Self { addresses, keepers: JoinSet::new(), stop };
        // What is wrong with the settings, the first one says for all.
        nodes.keep(1, Node::start(1).await?);
        let mut others: JoinSet<_> =
            (2..=count).map(|number| async move { (number, Node::start(number).await) }).collect();
        while let Some(Ok((number, node))) = others.join_next().await {
            nodes.keep(number, node?);
        }
        Ok(nodes)
    }

    pub(crate) fn addresses(&self) -> Arc<Addresses> {
        Arc::clone(&self.addresses)
    }

    /// Lets all of them end in order.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.keepers.join_next().await.is_some() {}
    }

    fn keep(&mut self, number: usize, node: Node) {
        let addresses = Arc::clone(&self.addresses);
        let mut stop = self.stop.subscribe();
        self.keepers.spawn(async move {
            let mut node = Some(node);
            loop {
                if let Some(mut node) = node.take() {
                    *addresses.of(number) = Some(node.address);
                    let ended = tokio::select! {
                        ended = node.child.wait() => ended,
                        () = told(&mut stop) => return node.end(number).await,
                    };
                    *addresses.of(number) = None;
                    let ended = ended.map_or_else(|error| error.to_string(), |how| how.to_string());
                    eprintln!("node {number} has ended: {ended}");
                }
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = told(&mut stop) => return,
                }
                node = Node::start(number).await.map_err(|error| eprintln!("{error}")).ok();
            }
        });
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// A process, killed if this value goes.
struct Node {
    child: Child,
    address: SocketAddr,
    /// It says nothing; the node ends when it is closed.
    held: Option<ChildStdin>,
    /// It must have somewhere to print to.
    _printed: BufReader<ChildStdout>,
}

impl Node {
    async fn start(number: usize) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(env::args_os().skip(1)).env(NUMBER, number.to_string()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let held = child.stdin.take();
        let printed = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (mut printed, mut line) = (BufReader::new(printed), String::new());
        printed.read_line(&mut line).await?;
        let Ok(address) = line.trim_end().parse() else {
            let status = child.wait().await?;
            return Err(io::Error::other(format!("node {number} does not start: {status}")));
        };
        let id = child.id().unwrap_or_default();
        eprintln!("node {number} is process {id} at http://{address}");
        Ok(Self { child, address, held, _printed: printed })
    }

    async fn end(&mut self, number: usize) {
        drop(self.held.take());
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            eprintln!("node {number} does not end");
            drop(self.child.kill().await);
        }
    }
}

/// In the environment of a node: which one it is.
const NUMBER: &str = "CLUSTER_NODE";
/// How long a node that has died stays away.
const REST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
