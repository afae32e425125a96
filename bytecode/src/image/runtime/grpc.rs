//! The few calls of containerd's gRPC API that are needed, on HTTP/2: requests of one message,
//! answers of many. (tonic and containerd-client bring hyper, tower and, at build time, protoc for
//! what these lines do.)

use std::{
    future::Future,
    io,
    path::Path,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use prost::Message;
use tokio::{net::UnixStream, runtime::Runtime, time};
use ureq::http::{HeaderMap, Request};

use super::{ANSWER, CONNECT, EXPORT, Export, MAX_ANSWER, RuntimeError, SILENCE};

/// The flow control window, in bytes: what is on its way at once.
const WINDOW: u32 = 1 << 20;

/// A connection. The runtime beneath it exists as long as it does, and has no thread of its own.
pub(super) struct Connection {
    runtime: Runtime,
    client: SendRequest<Bytes>,
}

/// Takes one message of an answer.
type Take<'t> = &'t mut dyn FnMut(Bytes) -> Result<(), Export>;

impl Connection {
    /// Connects to a socket.
    pub(super) fn open(socket: &Path) -> Result<Self, RuntimeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| RuntimeError::Unreachable { source })?;
        let client = runtime.block_on(async {
            let stream = within(CONNECT, "connect", UnixStream::connect(socket)).await?;
            let stream = stream.map_err(|error| RuntimeError::of_io(error, "connect", CONNECT))?;
            let shake = h2::client::Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .handshake(stream);
            let (client, connection) = within(CONNECT, "connect", shake).await?.map_err(broken)?;
            tokio::spawn(async {
                // What it has to say, the calls on it say as well.
                let _ = connection.await;
            });
            Ok::<_, RuntimeError>(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// One call. `take` gets each message of the answer.
    pub(super) fn call(
        &self,
        namespace: &str,
        method: &str,
        message: &impl Message,
        take: Take<'_>,
    ) -> Result<(), Export> {
        let request = Request::post(format!("http://localhost/containerd.services.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", namespace)
            .body(())
            .map_err(|_| RuntimeError::protocol("no such namespace"))?;
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
        message
            .encode(&mut frame)
            .map_err(|_| RuntimeError::protocol("too large a request"))?;
        let client = self.client.clone();
        self.runtime.block_on(async {
            let mut client = within(ANSWER, "answer", client.ready())
                .await?
                .map_err(broken)?;
            let (answer, mut body) = client.send_request(request, false).map_err(broken)?;
            body.send_data(frame.freeze(), true).map_err(broken)?;
            let answer = within(ANSWER, "answer", answer).await?.map_err(broken)?;
            if !answer.status().is_success() {
                let status = answer.status().as_u16();
                let message = String::new();
                return Err(RuntimeError::Status { status, message }.into());
            }
            // Where there is no body, the headers say how it went.
            if answer.headers().contains_key("grpc-status") {
                return Ok(check(answer.headers())?);
            }
            messages(answer.into_body(), take).await
        })
    }
}

/// Reads an answer to its end.
async fn messages(mut body: RecvStream, take: Take<'_>) -> Result<(), Export> {
    let end = Instant::now() + EXPORT;
    let mut buffer = BytesMut::new();
    while let Some(data) = within(SILENCE, "send", body.data()).await? {
        let data = data.map_err(broken)?;
        buffer.extend_from_slice(&data);
        body.flow_control()
            .release_capacity(data.len())
            .map_err(broken)?;
        while let Some(message) = message(&mut buffer)? {
            take(message)?;
        }
        if Instant::now() > end {
            let (doing, limit) = ("send", EXPORT);
            return Err(RuntimeError::Timeout { doing, limit }.into());
        }
    }
    let trailers = within(SILENCE, "end", body.trailers()).await?;
    let trailers = trailers.map_err(broken)?.unwrap_or_default();
    check(&trailers)?;
    if buffer.is_empty() {
        Ok(())
    } else {
        Err(RuntimeError::protocol("an answer that is cut short").into())
    }
}

/// The first message of a stream, where all of it is there.
fn message(buffer: &mut BytesMut) -> Result<Option<Bytes>, RuntimeError> {
    let Some(length) = buffer.get(1..5) else {
        return Ok(None);
    };
    let length = u64::from((&mut &*length).get_u32());
    if buffer.first() != Some(&0) || length > MAX_ANSWER {
        return Err(RuntimeError::protocol("a message that is too large"));
    }
    let whole = 5 + usize::try_from(length).unwrap_or(usize::MAX - 5);
    if buffer.len() < whole {
        return Ok(None);
    }
    let mut message = buffer.split_to(whole);
    message.advance(5);
    Ok(Some(message.freeze()))
}

/// What the end of an answer says of it.
fn check(trailers: &HeaderMap) -> Result<(), RuntimeError> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|status| status.parse().ok()) {
        Some(0) => Ok(()),
        Some(status) => Err(RuntimeError::Status {
            status,
            message: text("grpc-message").unwrap_or_default().to_owned(),
        }),
        None => Err(RuntimeError::protocol("an answer without a status")),
    }
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, RuntimeError> {
    let ended = time::timeout(limit, work).await;
    ended.map_err(|_| RuntimeError::Timeout { doing, limit })
}

fn broken(error: h2::Error) -> RuntimeError {
    if !error.is_io() {
        return RuntimeError::protocol(error.to_string());
    }
    let source = error
        .into_io()
        .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    RuntimeError::Unreachable { source }
}
