//! A registry that answers what the test wants, however wrong that is.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::Linger};

/// How often a waiting connection looks whether its client or the test is gone.
const LOOK: Duration = Duration::from_millis(20);

/// Stands for a path where what comes is no HTTP, but TLS.
pub const NO_HTTP: &str = "TLS";

/// One thing that a server does with a connection.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again, with a pause in between, until the client goes.
    Endless(Vec<u8>, Duration),
    /// Sends nothing more and keeps the connection, until the client goes.
    Hang,
    /// Resets the connection.
    Reset,
}

/// What a server does with one request; in the end it closes the connection.
#[derive(Debug, Clone)]
pub struct Reply(Vec<Step>);

impl Reply {
    /// A status with header lines, each ended by CRLF, and a body of the right length.
    pub fn new(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        Self::start(status, &headers).then(Step::Send(body.to_vec()))
    }

    /// The beginning only: a status and header lines.
    pub fn start(status: u16, headers: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n{headers}\r\n");
        Self(vec![Step::Send(head.into_bytes())])
    }

    /// No HTTP but these steps.
    pub fn raw(steps: impl Into<Vec<Step>>) -> Self {
        Self(steps.into())
    }

    /// Another step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// What follows the question mark, or nothing.
    pub query: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Content.
    pub body: String,
}

#[derive(Debug, Default)]
struct Script {
    replies: HashMap<String, Vec<Reply>>,
    guard: Option<(String, String)>,
    seen: Vec<Seen>,
}

/// A server in a thread of the test. It ends when it goes out of scope.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hostile {
    /// On a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// On a free port of an address of the sandbox.
    pub fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let (known, over) = (Arc::clone(&script), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (script, ended) = (Arc::clone(&known), Arc::clone(&over));
                // A client that goes is no surprise here.
                thread::spawn(move || stream.and_then(|stream| serve(&stream, &script, &ended)));
            }
        });
        let this = Self {
            address,
            script,
            ended,
            thread: Some(thread),
        };
        this.on("/v2/", [Reply::new(200, "", "{}")]);
        this
    }

    /// `ADDRESS:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What is answered below a path, one after the other; the last one stays. Everything else is
    /// 404.
    pub fn on(&self, path: &str, replies: impl Into<Vec<Reply>>) {
        let mut replies: Vec<Reply> = replies.into();
        replies.reverse();
        let mut script = self.script.lock().unwrap();
        script.replies.insert(path.to_owned(), replies);
    }

    /// Answers 401 with a challenge to whatever comes without this `Authorization`.
    pub fn guard(&self, authorization: &str, challenge: &str) {
        let guard = (authorization.to_owned(), challenge.to_owned());
        self.script.lock().unwrap().guard = Some(guard);
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).count()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.script.lock().unwrap().seen.clear();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread; where that fails, it ends with the process of the test.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, script: &Mutex<Script>, ended: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Reply(steps) = match read(stream)? {
        Some(seen) => answer(&seen, &mut script.lock().unwrap()),
        None => match script.lock().unwrap().replies.get(NO_HTTP) {
            Some(replies) => replies[0].clone(),
            None => Reply::new(400, "", ""),
        },
    };
    for step in steps {
        match step {
            Step::Send(bytes) => (&mut &*stream).write_all(&bytes)?,
            Step::Endless(bytes, pause) => {
                while !ended.load(Ordering::Relaxed) {
                    (&mut &*stream).write_all(&bytes)?;
                    thread::sleep(pause);
                }
            }
            Step::Hang => hang(stream, ended)?,
            Step::Reset => {
                let at_once = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                return Ok(setsockopt(stream, Linger, &at_once)?);
            }
        }
    }
    Ok(())
}

fn answer(seen: &Seen, script: &mut Script) -> Reply {
    script.seen.push(seen.clone());
    if let Some((wanted, challenge)) = &script.guard
        && seen.path.starts_with("/v2/")
        && seen.authorization.as_ref() != Some(wanted)
    {
        let headers = format!("WWW-Authenticate: {challenge}\r\n");
        return Reply::new(401, &headers, "{}");
    }
    match script.replies.get_mut(&seen.path).map(|r| (r.len(), r)) {
        Some((2.., replies)) => replies.pop().unwrap(),
        Some((1, replies)) => replies[0].clone(),
        _ => Reply::new(404, "", r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    }
}

/// None where the client sends no request.
fn read(stream: &TcpStream) -> io::Result<Option<Seen>> {
    let mut reader = BufReader::new(stream);
    if !reader
        .fill_buf()?
        .first()
        .is_some_and(u8::is_ascii_uppercase)
    {
        return Ok(None);
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [method, target, _] = words[..] else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        let Some((name, value)) = field.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    Ok(Some(Seen {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        authorization,
        body,
    }))
}

fn hang(stream: &TcpStream, ended: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    while !ended.load(Ordering::Relaxed) {
        match (&mut &*stream).read(&mut [0; 64]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One chunk of a body that comes in chunks.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut head = String::new();
    write!(head, "{:x}\r\n", bytes.len()).unwrap();
    [head.as_bytes(), bytes, b"\r\n"].concat()
}
