//! The cache in Redis: each user's newest state under `neuros:state:{user_id}`, sealed, with an expiry. It
//! may be flushed or away at any moment; nothing is read from it to decide anything.

use std::sync::Arc;
use std::time::Duration;

use actors::cache::{Cache, CacheAway, CachedState, NoCache};
use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, RedisError, Script};
use tokio::runtime::Handle;

use crate::settings::{Redis, SecretUrl};

/// Writes a state unless a newer one is there. A state is a hash: `version`, the record number that it
/// holds, and `body`, the sealed checkpoint.
const KEEP: &str = "
    local known = redis.call('HGET', KEYS[1], 'version')
    if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
    redis.call('HSET', KEYS[1], 'version', ARGV[1], 'body', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1";

/// The key of a user's state.
pub fn state_key(user_id: &str) -> String {
    format!("neuros:state:{user_id}")
}

/// The cache that is configured; none without a URL. Connects in the background, again and again.
///
/// # Errors
///
/// When the URL is none that can be used.
pub fn open(settings: &Redis, runtime: &Handle) -> Result<Arc<dyn Cache>, RedisError> {
    let Some(url) = &settings.url else { return Ok(Arc::new(NoCache)) };
    let server = url.expose().into_connection_info()?.set_tcp_settings(tcp());
    let client = redis::Client::open(server)?;
    let _on_its_runtime = runtime.enter();
    let connection = manager(client, settings.timeout)?;
    let (expire_after, runtime) = (settings.expire_after, runtime.clone());
    Ok(Arc::new(RedisCache { connection, expire_after, runtime, keep: Script::new(KEEP) }))
}

/// A connection that is made when it is needed, and made anew when it breaks; on the runtime of the caller.
///
/// # Errors
///
/// When the client cannot be used.
pub(crate) fn manager(
    client: redis::Client,
    timeout: Duration,
) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_number_of_retries(1);
    ConnectionManager::new_lazy_with_config(client, config)
}

/// A connection whose packets vanish is given up: without this the kernel tries on for a quarter of an
/// hour, and nothing is cached meanwhile.
fn tcp() -> TcpSettings {
    let keepalive =
        socket2::TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 5).with_retries(5);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(SILENCE)
}

/// How long packets may be without an answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Host and port of the server in `url`; none when it is a socket in a folder.
///
/// # Errors
///
/// When the URL is none that can be used.
pub fn place(url: &SecretUrl) -> Result<Option<(String, u16)>, RedisError> {
    let client = redis::Client::open(url.expose())?;
    Ok(match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    })
}

/// Asks for a sign of life once, and for its version, if it tells.
///
/// # Errors
///
/// Why there is none. Nothing is asked that could make a server quote a key.
pub async fn ping(url: &SecretUrl, timeout: Duration) -> Result<Option<String>, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let client = redis::Client::open(url.expose())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let _pong: String = redis::cmd("PING").query_async(&mut connection).await?;
    let told = redis::cmd("INFO").arg("server").query_async(&mut connection).await;
    // An account may be allowed to do all that we need and not this.
    let told: String = told.unwrap_or_default();
    let version = told.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.map(|version| version.trim().to_owned()))
}

struct RedisCache {
    connection: ConnectionManager,
    expire_after: Duration,
    runtime: Handle,
    keep: Script,
}

#[async_trait]
impl Cache for RedisCache {
    async fn keep(&self, states: Vec<CachedState>) -> Result<(), CacheAway> {
        let expire = u64::try_from(self.expire_after.as_millis()).unwrap_or(u64::MAX);
        let mut pipeline = redis::pipe();
        pipeline.load_script(&self.keep).ignore();
        for CachedState { user_id, version, body } in states {
            let mut invocation = self.keep.key(state_key(&user_id));
            invocation.arg(version).arg(body.0).arg(expire);
            pipeline.invoke_script(&invocation).ignore();
        }
        self.send(pipeline).await
    }

    async fn forget(&self, user_id: &str) -> Result<(), CacheAway> {
        let mut pipeline = redis::pipe();
        pipeline.del(state_key(user_id)).ignore();
        self.send(pipeline).await
    }
}

impl RedisCache {
    async fn send(&self, pipeline: redis::Pipeline) -> Result<(), CacheAway> {
        let mut connection = self.connection.clone();
        let sent = self.runtime.spawn(async move {
            let sent: Result<(), RedisError> = pipeline.query_async(&mut connection).await;
            sent
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            // The text of a server's error may quote a key.
            Ok(Err(error)) => Err(CacheAway(format!("{:?}", error.kind()))),
            Err(_) => Err(CacheAway("the process is going down".to_owned())),
        }
    }
}
