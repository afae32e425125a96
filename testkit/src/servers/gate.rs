//! A proxy that can stop in the middle: what happens to a pull that takes long can be looked at
//! for as long as it takes.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::wait_until;

/// Passes bytes on to a port of this machine. Once it has sent so many back on one connection, it
/// holds that connection until it is opened.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    held: usize,
}

impl Gate {
    /// In front of a port; the first `after` bytes of each connection come through at once.
    pub fn new(to: u16, after: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                let (from, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                thread::spawn(move || copy(from, server, |_| {}));
                thread::spawn(move || copy(back, client, |sent| hold(&shared, sent > after)));
            }
        });
        Self { port, state }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether it holds a connection.
    pub fn holds(&self) -> bool {
        self.state.0.lock().unwrap().held > 0
    }

    /// Waits until it holds a connection.
    #[track_caller]
    pub fn wait_held(&self) {
        assert!(wait_until(|| self.holds()), "nothing came to the gate");
    }

    /// Lets everything through.
    pub fn open(&self) {
        self.state.0.lock().unwrap().open = true;
        self.state.1.notify_all();
    }
}

fn hold((state, opened): &(Mutex<State>, Condvar), over: bool) {
    let mut state = state.lock().unwrap();
    if over && !state.open {
        state.held += 1;
        drop(opened.wait_while(state, |state| !state.open).unwrap());
    }
}

/// Until one side has had enough; `before` hears how much there would be.
fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn(usize)) {
    let (mut buffer, mut sent) = ([0; 4096], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        sent += read;
        before(sent);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
