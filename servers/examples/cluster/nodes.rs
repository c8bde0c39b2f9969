//! Server processes of this same executable, which are restarted when they die.

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

/// Which node this process is, counted from 1; `None` in the process that starts them.
pub(crate) fn own_number() -> Option<usize> {
    env::var(NUMBER).ok()?.parse().ok()
}

/// Tells the parent process where this one listens.
pub(crate) fn listens_at(address: SocketAddr) {
    println!("{address}");
}

/// Waits until this process should end: when it is told to, or, in a node, when the parent process
/// has closed its standard input or is dead.
pub(crate) async fn told_to_end() {
    tokio::select! {
        () = serve::terminated() => {}
        () = let_go(), if own_number().is_some() => {}
    }
}

async fn let_go() {
    let (ended, held) = oneshot::channel::<()>();
    // This has its own thread, because the runtime would wait for one of its threads.
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        drop(ended);
    });
    drop(held.await);
}

/// The addresses of the nodes that are running.
pub(crate) struct Addresses {
    turn: AtomicUsize,
    nodes: Vec<Mutex<Option<SocketAddr>>>,
}

impl Addresses {
    /// Each node with its number, starting with the one whose turn it is.
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

/// The nodes, as long as this value lives.
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
        // If the settings are wrong, the first one says so for all.
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

    /// Shuts all of them down gracefully.
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

/// A process, killed when this value is dropped.
struct Node {
    child: Child,
    address: SocketAddr,
    /// Nothing is written to it; the node ends when it is closed.
    held: Option<ChildStdin>,
    /// The node must have somewhere to print to.
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

/// The variable in a node's environment that says which one it is.
const NUMBER: &str = "CLUSTER_NODE";
/// How long to wait before a dead node is restarted.
const REST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
