//! To the peer: name, connection, TLS, WebSocket. Follows no redirection, and neither the token nor a parameter of the
//! address is in an error.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::http::client::authorities;
use crate::settings::{Push, SecretUrl};
use crate::telemetry::escaped;

/// What is spoken.
const PROTOCOL: &str = "neuros.v1";
/// Bytes of a message of the peer, at most: it has nothing to say but acknowledgements.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a token, at most.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open socket.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// The peer, and how it is reached.
pub struct Target {
    url: SecretUrl,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unconnected {
    /// Nobody takes us there.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It does not show that it is who it is asked for as, or does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// It takes too long.
    #[error("nothing within {0:?}")]
    Late(Duration),
    /// It does not know us.
    #[error("it answers {0}: it does not take our token; look at `push.token_file`")]
    Unauthorized(u16),
    /// It is elsewhere.
    #[error(
        "it answers {0}, a redirection, which is not followed; write where it leads into `push.websocket_url`"
    )]
    Redirected(u16),
    /// It opens no socket.
    #[error("it answers {0} and opens no WebSocket")]
    Refused(u16),
    /// It speaks something else.
    #[error("it does not speak `neuros.v1`")]
    Subprotocol,
    /// It does not keep to the protocol.
    #[error("it opens no WebSocket: {0}")]
    Broken(String),
    /// There is no token to be shown.
    #[error("{0}")]
    Token(String),
    /// It cannot be written down that messages go there.
    #[error("the log of accesses takes no row: {0}")]
    Unwritten(String),
}

impl Unconnected {
    /// Every name that [`Unconnected::as_str`] gives.
    pub(super) const NAMES: [&'static str; 9] = [
        "unreachable",
        "tls",
        "late",
        "unauthorized",
        "redirected",
        "refused",
        "protocol",
        "token",
        "unwritten",
    ];

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Late(_) => "late",
            Self::Unauthorized(_) => "unauthorized",
            Self::Redirected(_) => "redirected",
            Self::Refused(_) => "refused",
            Self::Subprotocol | Self::Broken(_) => "protocol",
            Self::Token(_) => "token",
            Self::Unwritten(_) => "unwritten",
        }
    }
}

impl Target {
    /// The peer that the settings name, if they name one; nobody is asked yet.
    ///
    /// # Errors
    ///
    /// One sentence that says which setting names what cannot be read.
    pub fn of(settings: &Push) -> Result<Option<Self>, String> {
        let Some(url) = settings.websocket_url.clone() else { return Ok(None) };
        let strange = || "`push.websocket_url` cannot be read".to_owned();
        let parsed = Url::parse(url.expose()).map_err(|_| strange())?;
        let host = match parsed.host().ok_or_else(strange)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let is_secure = url.scheme() == "wss";
        let tls = is_secure.then(|| {
            let name = ServerName::try_from(host.clone()).map_err(|_| strange())?;
            Ok::<_, String>((connector(settings)?, name))
        });
        Ok(Some(Self {
            port: parsed.port().unwrap_or(if is_secure { 443 } else { 80 }),
            tls: tls.transpose()?,
            token_file: settings.token_file.clone(),
            timeout: settings.timeout,
            host,
            url,
        }))
    }

    /// Host and port.
    pub fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Opens a socket and takes leave again: whether it can be opened.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn try_out(&self) -> Result<(), Unconnected> {
        let mut socket = self.connect().await?;
        // It may have gone by itself.
        let _gone = timeout(self.timeout, socket.close(None)).await;
        Ok(())
    }

    /// Opens a socket.
    pub(super) async fn connect(&self) -> Result<Socket, Unconnected> {
        let request = self.request().await?;
        let connecting = async {
            let stream = self.stream().await?;
            let config = WebSocketConfig::default()
                .read_buffer_size(MESSAGE_BYTES_MAX)
                .max_message_size(Some(MESSAGE_BYTES_MAX))
                .max_frame_size(Some(MESSAGE_BYTES_MAX));
            let opened = client_async_with_config(request, stream, Some(config)).await;
            opened.map(|(socket, _)| socket).map_err(unopened)
        };
        let connected = timeout(self.timeout, connecting).await;
        connected.unwrap_or(Err(Unconnected::Late(self.timeout)))
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, Unconnected> {
        let unreachable = |error: io::Error| Unconnected::Unreachable(escaped(&error.to_string()));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| Unconnected::Tls(escaped(&error.to_string())))?;
        Ok(Box::new(stream))
    }

    async fn request(&self) -> Result<Request, Unconnected> {
        // An error would quote the address.
        let unfit = |_| Unconnected::Broken("`push.websocket_url` is no address".to_owned());
        let mut request = self.url.expose().into_client_request().map_err(unfit)?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        if let Some(authorization) = self.authorization().await? {
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// What shows who we are: from the file as it is now.
    async fn authorization(&self) -> Result<Option<HeaderValue>, Unconnected> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let told = |problem: &str| {
            let path = escaped(&path.to_string_lossy());
            Unconnected::Token(format!("`push.token_file` names {path}, {problem}"))
        };
        let unreadable = |error: io::Error| told(&format!("which cannot be read: {error}"));
        let length = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
        if length > TOKEN_BYTES_MAX {
            return Err(told("which is too large for a token"));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
        let text = Zeroizing::new(text);
        let text = Zeroizing::new(format!("Bearer {}", text.trim()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| told("which has no token"))?;
        if text.as_str() == "Bearer " {
            return Err(told("which is empty"));
        }
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// TLS as the settings want it: the peer's certificate is from one of these authorities, for its name, in its time.
fn connector(settings: &Push) -> Result<TlsConnector, String> {
    let trusted = match &settings.ca_file {
        Some(path) => authorities("push.ca_file", path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why a peer opens no socket. What it sends beside its status is shown to nobody.
fn unopened(error: Error) -> Unconnected {
    match error {
        Error::Http(response) => match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Unconnected::Unauthorized(response.status().as_u16())
            }
            status if status.is_redirection() => Unconnected::Redirected(status.as_u16()),
            status => Unconnected::Refused(status.as_u16()),
        },
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => Unconnected::Subprotocol,
        Error::Protocol(error) => Unconnected::Broken(escaped(&error.to_string())),
        Error::Io(error) => Unconnected::Unreachable(escaped(&error.to_string())),
        _ => Unconnected::Broken("its answer is none".to_owned()),
    }
}
