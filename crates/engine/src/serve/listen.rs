//! Connections: where they come in, how long they may take, and how they end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A pause where the system has no connection to give.
const PAUSE: Duration = Duration::from_millis(50);

/// Where connections come in.
#[derive(Clone, Debug)]
pub enum Address {
    /// A name or a number, and a port; 0 takes a free one.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A place where connections come in.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    #[cfg(unix)]
    /// A socket in the file system.
    Unix(UnixListener),
}

impl Listener {
    /// Opens the place. A socket that nobody listens on any more is replaced.
    pub async fn bind(address: &Address) -> io::Result<Listener> {
        match address {
            Address::Tcp(host, port) => Ok(Listener::Tcp(TcpListener::bind((host.as_str(), *port)).await?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                use std::os::unix::fs::FileTypeExt;
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
                if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
                    std::fs::remove_file(path)?;
                }
                Ok(Listener::Unix(UnixListener::bind(path)?))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The address, where it is one of TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Listener::Unix(_) => None,
        }
    }
}

/// Answers connections, at most `most` at once, until `end` is; then what is under way has `drain` to end, and who comes is refused, so that
/// a balancer asks elsewhere.
pub async fn serve(
    listener: Listener,
    router: Router,
    most: usize,
    end: impl Future<Output = ()>,
    drain: Duration,
) {
    let (places, graceful) = (Arc::new(Semaphore::new(most)), GracefulShutdown::new());
    tokio::pin!(end);
    loop {
        let place = tokio::select! {
            () = &mut end => break,
            place = places.clone().acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { break };
        match &listener {
            Listener::Tcp(listener) => {
                let accepted =
                    tokio::select! { () = &mut end => break, accepted = listener.accept() => accepted };
                match accepted {
                    Ok((stream, _)) => {
                        // Tokens go out one by one.
                        let _ = stream.set_nodelay(true);
                        connection(stream, router.clone(), &graceful, place);
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let accepted =
                    tokio::select! { () = &mut end => break, accepted = listener.accept() => accepted };
                match accepted {
                    Ok((stream, _)) => connection(stream, router.clone(), &graceful, place),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(drain, graceful.shutdown()).await;
}

fn connection<S>(stream: S, router: Router, graceful: &GracefulShutdown, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // A client that leaves is no error of ours.
        let _ = connection.await;
        drop(place);
    });
}
