//! One case being played, step by step.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::case::{BOUNDARY, Case, Chunk, Request, Send, Step, Upload, plain};
use super::conn::{Conn, TIMEOUT};
use super::data::{Data, Names, Number, fill};
use super::expect::{Reply, Status, judge};
use super::form::{CHUNK_PATH, COMPLETE_PATH, Prepared, prepare};
use super::server::Server;

/// Why a case goes no further.
#[derive(Debug)]
enum Stop {
    /// It is passed: what follows would not apply.
    Enough,
    /// It cannot be played here.
    Skip(String),
    Fail(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Fail(why)
    }
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Ok,
    Skip(String),
    Fail(String),
}

type Conns = HashMap<String, Conn>;

struct Play<'a> {
    server: &'a Server,
    field: String,
    names: Names,
    conns: Conns,
    marked: (i64, i64),
    seen: Vec<String>,
}

/// Plays a case; also returns the answers that were seen.
pub(crate) fn play(server: &Server, case: &Case) -> (Outcome, Vec<String>) {
    let field = case.config.split('+').find_map(|word| word.strip_prefix("field="));
    let field = field.unwrap_or("file").to_owned();
    let names = [
        ("boundary", BOUNDARY.to_owned()),
        ("field", field.clone()),
        ("chunk_path", CHUNK_PATH.to_owned()),
        ("complete_path", COMPLETE_PATH.to_owned()),
        ("host", server.addr.to_string()),
    ];
    let mut play = Play {
        server,
        field,
        names: names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        conns: Conns::new(),
        marked: (0, 0),
        seen: Vec::new(),
    };
    let end = server.start().map_err(Stop::Fail).and_then(|()| play.steps(&case.steps, ""));
    let outcome = match end {
        Ok(()) | Err(Stop::Enough) if server.alive() => Outcome::Ok,
        Ok(()) | Err(Stop::Enough) => {
            Outcome::Fail(format!("the server has ended:\n{}", server.tail()))
        }
        Err(Stop::Skip(why)) => Outcome::Skip(why),
        Err(Stop::Fail(why)) => Outcome::Fail(why),
    };
    (outcome, play.seen)
}

impl Play<'_> {
    fn steps(&mut self, steps: &[Value], trail: &str) -> Result<(), Stop> {
        for (index, step) in steps.iter().enumerate() {
            let place = format!("{trail}{}", index + 1);
            self.step(step, &place).map_err(|stop| match stop {
                Stop::Fail(why) if !why.starts_with("step ") => {
                    Stop::Fail(format!("step {place}: {why}"))
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// A step with its names filled in, but for the steps inside of it.
    fn read(&self, raw: &Value) -> Result<Step, String> {
        let mut outer = raw.clone();
        let fields = outer.as_object_mut().ok_or_else(|| broken("a step that is no object"))?;
        let inner: Vec<_> =
            ["steps", "together"].iter().filter_map(|key| fields.remove_entry(*key)).collect();
        let mut filled = fill(&outer, &self.names).map_err(broken)?;
        filled.as_object_mut().into_iter().for_each(|fields| fields.extend(inner.clone()));
        serde_json::from_value(filled).map_err(broken)
    }

    fn step(&mut self, raw: &Value, place: &str) -> Result<(), Stop> {
        let step = self.read(raw)?;
        if let Some(values) = step.set {
            self.learn(values);
        } else if let Some(time) = step.sleep {
            sleep(seconds(time));
        } else if let Some(what) = step.server {
            match &*what {
                "start" => self.server.start()?,
                "stop" => self.server.stop(),
                "kill9" => self.server.kill9(),
                _ => return Err(broken(format!("no such thing for a server: {what:?}")).into()),
            }
        } else if let Some(spec) = step.peak {
            self.peak(spec)?;
        } else if let Some(spec) = step.disk {
            self.disk(spec)?;
        } else if let Some(each) = step.each {
            for (index, values) in each.into_iter().enumerate() {
                self.learn(values);
                self.steps(&step.steps, &format!("{place}.{}.", index + 1))?;
            }
        } else if let Some(together) = &step.together {
            self.together(together, &step, place)?;
        } else if let Some(upload) = step.upload {
            self.upload(upload, place)?;
        } else if let Some(name) = step.drop {
            let conn = self.conns.remove(&name).ok_or_else(|| no_conn(&name))?;
            if step.how.as_deref() == Some("rst") {
                conn.reset();
            }
        } else {
            self.request(step, place)?;
        }
        Ok(())
    }

    fn learn(&mut self, values: Map<String, Value>) {
        self.names.extend(values.into_iter().map(|(name, value)| (name, plain(&value))));
    }

    fn request(&mut self, mut step: Step, place: &str) -> Result<(), Stop> {
        let reply = if let Some(name) = &step.resume {
            let mut conn = self.conns.remove(name).ok_or_else(|| no_conn(name))?;
            let began = Instant::now();
            let rest = std::mem::take(&mut conn.rest);
            conn.push(&rest);
            let mut reply = conn.answer(step.timeout.map(seconds))?;
            reply.seconds = began.elapsed().as_secs_f64();
            Some(reply)
        } else {
            let request = self.prepare(&mut step)?;
            exchange(self.server, &request, &mut self.conns, None)?
        };
        let Some(reply) = reply else {
            self.seen.push(format!("{place}: (no answer awaited)"));
            return Ok(());
        };
        self.seen.push(format!("{place}: {reply}"));
        let wanted = step
            .expect
            .unwrap_or_else(|| Map::from_iter([("status".to_owned(), Value::from(200))]));
        if let Some(why) = judge(&wanted, &reply) {
            return Err(Stop::Fail(why));
        }
        if step.enough.iter().any(|status| reply.status.is(status)) {
            return Err(Stop::Enough);
        }
        for (name, key) in step.save {
            self.names.insert(name, plain(&reply.value(&key)?));
        }
        Ok(())
    }

    fn prepare(&self, step: &mut Step) -> Result<Prepared, String> {
        let request = if let Some(chunk) = step.chunk.take() {
            Request::try_from(chunk).map_err(broken)?
        } else if let Some(complete) = step.complete.take() {
            Request::try_from(complete).map_err(broken)?
        } else if let Some(request) = step.request.take() {
            request
        } else if let Some(Data(head)) = step.raw.take() {
            let (method, send) = ("POST".to_owned(), step.send.clone());
            return Ok(Prepared { head, body: Vec::new(), method, send, conn: None });
        } else {
            return Err(broken("a step without a verb"));
        };
        Ok(prepare(request, &self.server.addr.to_string(), &self.field))
    }

    /// Requests at the same moment; counts how they were answered.
    fn together(&mut self, raws: &[Value], step: &Step, place: &str) -> Result<(), Stop> {
        let mut requests = Vec::new();
        for raw in raws {
            let mut one = self.read(raw)?;
            let times = one.times.unwrap_or(1);
            requests.push((self.prepare(&mut one)?, times));
        }
        let all = requests.iter().flat_map(|(one, times)| std::iter::repeat_n(one, *times));
        let gate = Barrier::new(all.clone().count());
        let (server, gate) = (self.server, &gate);
        let replies: Vec<Option<Reply>> = scope(|scope| {
            let go = |request| {
                scope.spawn(move || exchange(server, request, &mut Conns::new(), Some(gate)))
            };
            let threads: Vec<_> = all.map(go).collect();
            let ends = threads.into_iter().map(|thread| thread.join());
            ends.map(|end| end.unwrap_or_else(|_| Err("a thread panicked".to_owned())))
                .collect::<Result<_, _>>()
        })?;
        let shown = replies.iter().map(|reply| match reply {
            Some(reply) => reply.to_string(),
            None => "no answer".to_owned(),
        });
        self.seen.push(format!("{place}: {}", shown.collect::<Vec<_>>().join(" | ")));
        let text = |reply: &Option<Reply>| match reply {
            Some(reply) => reply.status.text(),
            None => "none".to_owned(),
        };
        let mut got: Vec<_> = replies.iter().map(text).collect();
        got.sort();
        for (pattern, wanted) in &step.tally {
            let count = got.iter().filter(|s| pattern.split('|').any(|p| p == *s)).count();
            if count != *wanted {
                let why = format!("answers were {got:?}, wanted {wanted} of {pattern}");
                return Err(Stop::Fail(why));
            }
        }
        for (name, key) in &step.save {
            let mut good = replies.iter().flatten().filter(|r| r.status == Status::Code(200));
            let reply = good.next().ok_or_else(|| "no answer to save from".to_owned())?;
            self.names.insert(name.clone(), plain(&reply.value(key)?));
        }
        Ok(())
    }

    /// Sends a whole file in chunks; each must be accepted.
    fn upload(&mut self, spec: Upload, place: &str) -> Result<(), Stop> {
        let Data(body) = spec.data;
        let (mut at, mut id) = (spec.from.map_or(0, Number::size), spec.id);
        let mut sizes = spec.sizes.into_iter();
        while at < body.len() {
            let size = sizes.next().or(spec.size).map_or(body.len(), Number::size).max(1);
            let to = body.len().min(at + size);
            let chunk = Chunk {
                data: Data(body[at..to].to_vec()),
                at: Some(Number::Whole(at as i64)),
                total: Some(Number::Whole(body.len() as i64)),
                id: id.clone(),
                id_last: spec.id_last,
                filename: spec.filename.clone(),
                user: spec.user.clone(),
                send: spec.send.clone(),
                ..Chunk::default()
            };
            let request = self.prepare(&mut Step { chunk: Some(chunk), ..Step::default() })?;
            let reply = exchange(self.server, &request, &mut self.conns, None)?;
            let reply = reply.ok_or_else(|| broken("an upload that awaits no answer"))?;
            at = to;
            let wanted = id.as_deref().unwrap_or("re:[0-9a-f]{32}");
            let wanted = json!({"status": 200, "json": {
                "upload_id": wanted, "offset": at, "expires": "expires:*",
            }});
            self.seen.push(format!("{place}: {reply}"));
            if let Some(why) = wanted.as_object().and_then(|wanted| judge(wanted, &reply)) {
                return Err(Stop::Fail(format!("chunk that ends at {at}: {why}")));
            }
            id = Some(plain(&reply.value("upload_id")?));
        }
        let name = spec.save.unwrap_or_else(|| "id".to_owned());
        self.names.insert(name, id.unwrap_or_default());
        Ok(())
    }

    fn peak(&mut self, spec: Value) -> Result<(), Stop> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Limit {
            max_mib: Number,
        }
        let lack = || Stop::Skip("needs /proc".to_owned());
        if spec == "forget" {
            return self.server.forget_peak().ok_or_else(lack);
        }
        let limit = typed::<Limit>(spec)?.max_mib.real();
        let peak = self.server.peak().ok_or_else(lack)? as f64 / 1024.0;
        self.seen.push(format!("peak: {peak:.0} MiB"));
        if peak > limit {
            let why = format!("peak resident set is {peak:.0} MiB, wanted at most {limit}");
            return Err(Stop::Fail(why));
        }
        Ok(())
    }

    /// What the data folder has gained since `mark`. What a request has left may go behind its answer.
    fn disk(&mut self, spec: Value) -> Result<(), Stop> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Limit {
            files: Option<Number>,
            bytes: Option<Number>,
        }
        if spec == "mark" {
            self.marked = self.server.disk();
            return Ok(());
        }
        let limit = typed::<Limit>(spec)?;
        let over = |got: i64, limit: Option<Number>| limit.is_some_and(|n| got as f64 > n.real());
        let end = Instant::now() + CLEARED;
        loop {
            let now = self.server.disk();
            let (files, bytes) = (now.0 - self.marked.0, now.1 - self.marked.1);
            let gained = format!("the data folder has {files} files and {bytes} bytes more");
            let over = over(files, limit.files) || over(bytes, limit.bytes);
            if over && Instant::now() < end {
                sleep(Duration::from_millis(5));
                continue;
            }
            self.seen.push(gained.clone());
            return if over { Err(Stop::Fail(format!("{gained} than wanted"))) } else { Ok(()) };
        }
    }
}

/// What is still there by then stays.
const CLEARED: Duration = Duration::from_secs(30);

/// Sends a request; no reply when none is waited for.
fn exchange(
    server: &Server,
    request: &Prepared,
    conns: &mut Conns,
    gate: Option<&Barrier>,
) -> Result<Option<Reply>, String> {
    let Prepared { head, body, method, send, conn: name } = request;
    let timeout = send.timeout.map(seconds);
    let kept = name.as_ref().and_then(|name| conns.remove(name));
    let opened = kept.map_or_else(|| Conn::open(server.addr, timeout.unwrap_or(TIMEOUT)), Ok);
    if let Some(gate) = gate {
        gate.wait();
    }
    let mut conn = match opened {
        Ok(conn) => conn,
        Err(_) if gate.is_some() => return Ok(Some(Reply::without(Status::Refused))),
        Err(error) => return Err(error.to_string()),
    };
    conn.to_head = method == "HEAD";
    conn.continued = false;
    let began = Instant::now();
    conn.push(head);
    if send.expect_100 {
        conn.await_continue(send.wait_100.map_or(Duration::from_secs(3), seconds));
    }
    let cut = match send.stop_after {
        None => body.len(),
        Some(Number::Real(part)) => (body.len() as f64 * part) as usize,
        Some(Number::Whole(n)) if n < 0 => body.len().saturating_sub(n.unsigned_abs() as usize),
        Some(Number::Whole(n)) => body.len().min(n as usize),
    };
    let sent = if send.endless.is_some() {
        let sent = push_endless(&mut conn, body, send);
        if !conn.over() {
            conn.reset();
            let mut silent = Reply::without(Status::Silent);
            silent.sent = sent;
            return Ok(Some(silent));
        }
        sent
    } else {
        push_split(&mut conn, &body[..cut], send)
    };
    if send.stop_after.is_some() {
        sleep(send.wait_ms.map_or(Duration::ZERO, seconds) / 1000);
        match send.then.as_deref().unwrap_or("close") {
            "read" => {}
            "half" => conn.half_close(),
            "close" => return Ok(None),
            "rst" => {
                conn.reset();
                return Ok(None);
            }
            "kill9" => {
                server.kill9();
                return Ok(None);
            }
            then => {
                let name = then.strip_prefix("hold:");
                let name = name.ok_or_else(|| broken(format!("then what? {then:?}")))?;
                conn.rest = body[cut..].to_vec();
                conns.insert(name.to_owned(), conn);
                return Ok(None);
            }
        }
    }
    let mut reply = conn.answer(timeout)?;
    reply.sent = sent;
    reply.seconds = began.elapsed().as_secs_f64();
    if let Some(name) = name {
        conns.insert(name.clone(), conn);
    }
    Ok(Some(reply))
}

fn push_split(conn: &mut Conn, body: &[u8], send: &Send) -> usize {
    let pause = send.delay_ms.map_or(Duration::ZERO, seconds) / 1000;
    let step = send.split.map_or(body.len(), Number::size).max(1);
    let mut sent = 0;
    for block in body.chunks(step) {
        let n = conn.push(block);
        sent += n;
        if n < block.len() {
            break;
        }
        if send.split.is_some() && !pause.is_zero() {
            sleep(pause);
        }
    }
    sent
}

/// The body, and then the same block over and over up to the cap.
fn push_endless(conn: &mut Conn, body: &[u8], send: &Send) -> usize {
    let block = send.endless.as_ref().map(|data| &data.0[..]).filter(|block| !block.is_empty());
    let block = block.unwrap_or(&[0; 65536]);
    let cap = send.cap.map_or(256 << 20, Number::size);
    let mut sent = conn.push(body);
    while sent < cap && !conn.over() {
        let n = conn.push(block);
        sent += n;
        if n < block.len() {
            break;
        }
    }
    conn.drain();
    sent
}

fn seconds(number: Number) -> Duration {
    Duration::try_from_secs_f64(number.real()).unwrap_or_default()
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(broken)
}

fn broken(why: impl std::fmt::Display) -> String {
    format!("the case is broken: {why}")
}

fn no_conn(name: &str) -> String {
    broken(format!("no connection {name:?}"))
}
