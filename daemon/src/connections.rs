//! Connections, not more at a time than there are descriptors for.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::unfold;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::Connected;

/// Connections at the same time, of one listener. Others wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// A connection, counted until it is closed.
#[derive(Debug)]
pub(crate) struct Counted<IO> {
    io: IO,
    _place: OwnedSemaphorePermit,
}

/// The connections of a listener, as many as there are places.
pub(crate) fn counted<IO>(
    incoming: impl Stream<Item = io::Result<IO>> + Unpin,
) -> impl Stream<Item = io::Result<Counted<IO>>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    unfold((incoming, places), |(mut incoming, places)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        loop {
            match incoming.next().await? {
                Ok(io) => {
                    let connection = Counted { io, _place: place };
                    return Some((Ok(connection), (incoming, places)));
                }
                // Mostly for want of descriptors, which takes a while to mend.
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

impl<IO: Connected> Connected for Counted<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
