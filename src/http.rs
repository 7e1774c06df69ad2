//! The HTTP server: TLS 1.3, probes for everybody, and what is stored of a person for who may see it. No
//! handler reaches health data but through a reader.

mod about;
mod alerts;
mod authentication;
mod certificate;
pub(crate) mod client;
mod cross_origin;
mod debug;
mod document;
mod limits;
mod people;
mod probes;
mod problem;
mod query;
mod reader;
mod refusals;
mod routes;
mod series;
mod socket;
mod watched;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::h1::{ExpectHandler, UpgradeHandler};
use actix_http::{HttpServiceBuilder, KeepAlive, Request, TlsAcceptorConfig};
use actix_service::boxed::factory;
use actix_service::{
    IntoServiceFactory as _, ServiceFactoryExt as _, apply_fn_factory, map_config,
};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{
    AppConfig, Response, Server, Service as _, ServiceFactory, ServiceRequest, ServiceResponse,
};
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, PayloadConfig};
use actix_web::{App, Error, ResponseError as _};
use actors::trace::TRACEPARENT;
use neuros::Policy;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use self::about::PolicyInForce;
use self::authentication::{Authentication, Refused};
use self::certificate::Certificate;
use self::limits::{Limits, Network};
use self::problem::Problem;
use self::refusals::Refusals;
use crate::kafka::TopicNames;
use crate::settings::{Http, Origins, Settings};
use crate::telemetry;
use crate::watch::Watch;

pub use authentication::operators::{NewToken, NoToken};
pub use reader::{Archive, Ending, Opening};
pub use routes::{Audience, ROUTES, Route};

/// Every reason why somebody is not known, in one word.
pub const REFUSALS: [&str; Refused::ALL.len()] = {
    let mut words = [""; Refused::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Refused::ALL[at].as_str();
        at += 1;
    }
    words
};

/// Bytes of the head of a request, at most: a token has some hundreds.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a body, at most.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long what was sent may wait at a client that takes nothing.
const UNREAD_MILLIS_MAX: u32 = 60_000;
/// How often files are looked at that may have changed, and whoever has not asked is forgotten.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// A bound socket, and by what whoever connects is met.
pub struct Listener {
    socket: TcpListener,
    certificate: Option<Arc<Certificate>>,
    authentication: Authentication,
    settings: Http,
}

impl Listener {
    /// Binds the server's socket, and reads the files that the settings name.
    ///
    /// # Errors
    ///
    /// One sentence that names what is wrong, and the cure.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let bind = settings.http.bind;
        if settings.development && !bind.ip().is_loopback() {
            return Err(format!(
                "{bind} is no address of this machine alone, and --development serves nobody else; take \
                 127.0.0.1:{}",
                bind.port()
            ));
        }
        let certificate = Certificate::of(&settings.http.tls)?.map(Arc::new);
        let authentication = Authentication::of(settings)?;
        if authentication.is_open() {
            tracing::warn!(
                "development: whoever is on this machine may see everybody's health data, for nothing \
                 says who may"
            );
        }
        let settings = settings.http.clone();
        Ok(Self { socket: bind_to(bind)?, certificate, authentication, settings })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Reads the files by which whoever connects would be met, and keeps nothing of them.
///
/// # Errors
///
/// One sentence that names what is wrong, and the cure.
pub fn examine(settings: &Settings) -> Result<(), String> {
    Certificate::of(&settings.http.tls)?;
    Authentication::of(settings)?;
    Ok(())
}

/// Binds the server's socket.
///
/// # Errors
///
/// One sentence that names the address and the cure.
pub fn bind_to(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| {
        let cure = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; end it, or choose another address with HTTP_BIND"
            }
            std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with HTTP_BIND",
            _ => "choose an address of this machine with HTTP_BIND, such as 0.0.0.0:8002",
        };
        format!("cannot listen on {address}: {error}; {cure}")
    })
}

/// What is needed to answer.
struct Desk {
    watch: Arc<Watch>,
    topics: TopicNames,
    archive: Arc<Archive>,
    policy: PolicyInForce,
    /// Operators may look into single users.
    debug: bool,
    authentication: Authentication,
    limits: Limits,
    refusals: Arc<Refusals>,
    sockets: Sockets,
}

/// What holds for every socket.
struct Sockets {
    origins: Origins,
    queue_bytes: usize,
    users: usize,
    ping_every: Duration,
    silence_max: Duration,
}

impl Sockets {
    fn of(settings: &Http) -> Self {
        Self {
            origins: settings.origins.clone(),
            queue_bytes: settings.socket_queue_bytes_max.0,
            users: settings.socket_users_max,
            ping_every: settings.socket_ping_every,
            silence_max: settings.socket_silence_max,
        }
    }
}

/// The server on a bound socket; it runs when it is awaited or spawned, and looks after its files until `stop`.
/// Must be called within an actix system.
///
/// # Errors
///
/// What keeps it from running.
pub fn server(
    listener: Listener,
    watch: Arc<Watch>,
    topics: TopicNames,
    archive: Arc<Archive>,
    policy: &Policy,
    stop: CancellationToken,
) -> Result<Server, String> {
    let Listener { socket, certificate, authentication, settings } = listener;
    let tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
    let limits = Limits::new(&settings);
    let seats = Arc::clone(limits.seats());
    let refusals = Refusals::new();
    let policy = PolicyInForce::of(policy)?;
    let sockets = Sockets::of(&settings);
    let desk = Data::new(Desk {
        watch,
        topics,
        archive,
        policy,
        debug: settings.debug,
        authentication,
        limits,
        refusals,
        sockets,
    });
    actix_web::rt::spawn(look_after(certificate, desk.clone(), stop.clone()));
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    // What is served is small and quickly made.
    let server = Server::build().workers(1).max_concurrent_connections(settings.connections_max);
    let server = server.shutdown_timeout(2).disable_signals();
    let server = server.listen("http", socket, move || {
        let app = app(desk.clone()).into_factory().map_err(|error: Error| error.error_response());
        let app = map_config(app, |_| AppConfig::default());
        let http = match tls.clone() {
            Some(tls) => {
                let patience =
                    TlsAcceptorConfig::default().handshake_timeout(settings.head_timeout);
                let http = connection(&settings, address, &stop).finish(app);
                factory(http.rustls_0_23_with_config(tls, patience).map_err(drop))
            }
            None => factory(connection(&settings, address, &stop).finish(app).tcp().map_err(drop)),
        };
        let seats = Arc::clone(&seats);
        apply_fn_factory(http, move |stream: TcpStream, http: &_| {
            let network = Network::of(stream.peer_addr().ok().map(|address| address.ip()));
            // Whoever takes nothing for so long has gone, or does not read: the kernel keeps what waits for them no
            // longer. A system without this gives up later.
            let _later = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MILLIS_MAX);
            // One address never has all connections.
            let served = seats.take(network).map(|seat| (seat, http.call(stream)));
            async move {
                match served {
                    Some((_seat, served)) => served.await,
                    None => Ok(()),
                }
            }
        })
    });
    Ok(server.map_err(|error| error.to_string())?.run())
}

/// How a connection is dealt with.
fn connection<T, S>(
    settings: &Http,
    address: SocketAddr,
    stop: &CancellationToken,
) -> HttpServiceBuilder<T, S, ExpectHandler, UpgradeHandler>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as actix_web::dev::Service<Request>>::Future: 'static,
{
    let stop = stop.clone();
    HttpServiceBuilder::default()
        .keep_alive(KeepAlive::Timeout(settings.keep_alive))
        .client_request_timeout(settings.head_timeout)
        .client_disconnect_timeout(settings.head_timeout)
        // What is said on a socket is not held back until the client has acknowledged what was before.
        .tcp_nodelay(true)
        .local_addr(address)
        .graceful_shutdown_signal(move || {
            let stop = stop.clone();
            async move { stop.cancelled().await }
        })
}

fn app(
    desk: Data<Desk>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let always = DefaultHeaders::new()
        .add((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .add((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    App::new()
        .app_data(desk)
        .app_data(PayloadConfig::new(BODY_BYTES_MAX))
        .wrap(from_fn(guard))
        .wrap(always)
        .configure(routes::configure)
}

/// Lets through what is within its limits, and counts what became of each request.
async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let desk = request.app_data::<Data<Desk>>().cloned();
    let span = follow(&request);
    let mut response = match check(&request, desk.as_ref()) {
        Ok(()) => next.call(request).instrument(span.clone()).await?.map_into_boxed_body(),
        Err(problem) => request.into_response(problem.error_response()),
    };
    telemetry::answered(&span, response.status().as_u16());
    if let Some(desk) = desk {
        // By the pattern: a path says whose data was asked for.
        let route = response.request().match_pattern();
        desk.watch.answered(route.as_deref().unwrap_or("none"), response.status().as_u16());
        if route.as_deref() == Some(cross_origin::SHARED) {
            let asked = response.request().clone();
            let origins = &desk.sockets.origins;
            cross_origin::share(origins, asked.headers(), response.headers_mut());
        }
    }
    Ok(response)
}

/// The span of a request that is followed. Probes are not: they come every few seconds, and nobody waits for them.
fn follow(request: &ServiceRequest) -> Span {
    let traces = telemetry::traces();
    if !traces.is_on() || routes::is_probe(request.path()) {
        return Span::none();
    }
    let known =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];
    let known = known.iter().chain([&Method::OPTIONS]).find(|known| *known == request.method());
    let trace = request.headers().get(TRACEPARENT).map(HeaderValue::as_bytes);
    // Whatever else somebody may call a method.
    let method = known.map_or("_OTHER", Method::as_str);
    traces.request(method, request.match_pattern().as_deref(), trace)
}

fn check(request: &ServiceRequest, desk: Option<&Data<Desk>>) -> Result<(), Problem> {
    let limits = &desk.ok_or_else(Problem::broken)?.limits;
    let network = Network::of(request.peer_addr().map(|address| address.ip()));
    let admitted = match routes::is_probe(request.path()) {
        true => limits.probe(network),
        false => limits.request(network),
    };
    admitted.map_err(Problem::too_many)?;
    let headers = request.headers();
    let head: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.as_bytes().len()).sum();
    if head + request.uri().to_string().len() > HEAD_BYTES_MAX {
        return Err(Problem::head_too_long());
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > BODY_BYTES_MAX) {
        return Err(Problem::body_too_long());
    }
    Ok(())
}

/// Looks from time to time for what may have changed, and for what is left to be written down, until `stop`.
async fn look_after(
    certificate: Option<Arc<Certificate>>,
    desk: Data<Desk>,
    stop: CancellationToken,
) {
    loop {
        let is_written = async |change| reader::log_change(&desk, change).await;
        desk.authentication.refresh(is_written).await;
        tokio::select! {
            () = tokio::time::sleep(REFRESH_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if let Some(certificate) = &certificate {
            certificate.refresh();
        }
        desk.limits.sweep();
        desk.refusals.sweep();
        reader::log_more_refusals(&desk).await;
        desk.archive.log_ends().await;
    }
}
