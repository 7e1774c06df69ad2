//! A network between the servers and instances of the service on which packets can vanish: each instance in a
//! namespace of its own, at the other end of a pair of virtual interfaces, where that is permitted.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use uuid::Uuid;

use super::process::{spawn, tied_to_us};

/// How long a namespace may take to be there.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 250;

/// The network. All links end at the servers' address, which is ours.
pub(crate) struct Network {
    servers: Ipv4Addr,
    links: Vec<Link>,
}

impl Network {
    /// Makes one for so many instances; `None`, said aloud, where that is not permitted.
    pub(crate) fn make(instances: u8) -> Option<Self> {
        // Of the range for tests of networks (RFC 2544), which nobody else is reached by.
        let net = Uuid::new_v4().as_bytes()[0];
        let servers = Ipv4Addr::new(198, 18, net, 1);
        let links = (0..instances).map(|number| Link::make(net, number));
        match links.collect() {
            Ok(links) => Some(Self { servers, links }),
            Err(why) => {
                let said =
                    format!("network namespaces are not to be had: no packets vanish ({why})");
                writeln!(std::io::stderr(), "{said}").expect("there is a standard error");
                None
            }
        }
    }

    /// Where instances find servers.
    pub(crate) fn servers(&self) -> Ipv4Addr {
        self.servers
    }

    /// The link of an instance.
    pub(crate) fn link(&self, instance: usize) -> &Link {
        &self.links[instance]
    }
}

/// What an instance is reached by, and reaches everything by. Ends with its network, or with the test
/// process: a namespace is gone with the last process in it, and its interfaces go with it.
pub(crate) struct Link {
    /// Keeps the namespace while no instance runs in it.
    holder: Child,
    /// The end on our side.
    interface: String,
    address: Ipv4Addr,
}

impl Link {
    fn make(net: u8, number: u8) -> Result<Self, String> {
        let servers = Ipv4Addr::new(198, 18, net, 1);
        let address = Ipv4Addr::new(198, 18, net, 10 + number);
        let mut command = tied_to_us(Path::new("unshare"), "KILL", &[]);
        command.args(["--net", "sleep", "infinity"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let holder = spawn(command).map_err(|error| format!("unshare: {error}"))?;
        let mut link = Self { holder, interface: format!("bridge{net}-{number}"), address };
        link.wait_for_namespace()?;
        let (ours, theirs) = (mac(1, net, number), mac(2, net, number));
        let (process, interface) = (link.holder.id().to_string(), link.interface.as_str());
        let made = format!(
            "ip link add {interface} address {ours} type veth peer name eth0 address {theirs} netns {process}
             ip addr add {servers} peer {address}/32 dev {interface}
             ip link set {interface} up
             ip neigh replace {address} lladdr {theirs} dev {interface} nud permanent"
        );
        sh(&mut Command::new("sh"), &made)?;
        let inside = format!(
            "ip link set lo up
             ip addr add {address} peer {servers}/32 dev eth0
             ip link set eth0 up
             ip neigh replace {servers} lladdr {ours} dev eth0 nud permanent"
        );
        sh(link.inside().arg("sh"), &inside)?;
        // What is to be done in mid-test must be possible.
        link.try_cut()?;
        link.try_mend()?;
        Ok(link)
    }

    /// Waits until the holder is in a namespace of its own.
    fn wait_for_namespace(&mut self) -> Result<(), String> {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        for _ in 0..LOOKS_MAX {
            if self.holder.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Err("unshare --net fails".to_owned());
            }
            if of(&self.holder.id().to_string()).is_some_and(|its| Some(its) != of("self")) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err("there is no namespace in time".to_owned())
    }

    /// The address of what runs there.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The file that stands for the namespace.
    pub(super) fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// From now on every packet vanishes, in both directions, and nobody is told.
    pub(crate) fn cut(&self) {
        self.try_cut().expect("the link can be cut");
    }

    /// Packets pass again.
    pub(crate) fn mend(&self) {
        self.try_mend().expect("the link can be mended");
    }

    fn try_cut(&self) -> Result<(), String> {
        let cut = |interface: &str| format!("tc qdisc replace dev {interface} root blackhole");
        sh(&mut Command::new("sh"), &cut(&self.interface))?;
        sh(self.inside().arg("sh"), &cut("eth0"))
    }

    fn try_mend(&self) -> Result<(), String> {
        let mend = |interface: &str| format!("tc qdisc replace dev {interface} root pfifo");
        sh(self.inside().arg("sh"), &mend("eth0"))?;
        sh(&mut Command::new("sh"), &mend(&self.interface))
    }

    /// What runs a command in the namespace.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).arg("--");
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It may have ended already.
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// An address of a link's end, so that nobody has to be asked for it while packets vanish.
fn mac(end: u8, net: u8, number: u8) -> String {
    format!("02:18:{end:02x}:{net:02x}:{number:02x}:01")
}

/// Runs lines of a shell, all of which must succeed.
fn sh(shell: &mut Command, lines: &str) -> Result<(), String> {
    let output = shell.args(["-e", "-c", lines]).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
