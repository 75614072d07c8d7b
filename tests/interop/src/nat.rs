//! Networks with NATs on one machine: network namespaces, joined by virtual cables. They need root and `nft`, and are gone
//! when they are dropped.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The public network's hosts are 203.0.113.N.
const PUBLIC: [u8; 3] = [203, 0, 113];

/// How a NAT chooses ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The same port towards everyone: nftables' `masquerade`.
    Consistent,
    /// Another one towards everyone: `masquerade random`.
    Random,
}

/// A public network and homes behind NATs.
#[derive(Debug)]
pub struct Internet {
    name: String,
    spaces: Vec<String>,
}

impl Internet {
    /// A public network with one host.
    ///
    /// # Errors
    /// Without root or `nft`: a test that did not run must not look green.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "NATs are tried in network namespaces: run this test as root"
        );
        run("nft", "--version")
            .context("NATs are made by `nft`: install nftables (`cargo xtask doctor` does)")?;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut internet = Self {
            name: format!("hn{}-{count}", std::process::id()),
            spaces: Vec::new(),
        };
        let public = internet.space("public")?;
        ip(&public, "link add bridge type bridge")?;
        ip(&public, "link set bridge up")?;
        for host in 1..=4 {
            ip(&public, &format!("addr add {}/24 dev bridge", public_host(host)))?;
        }
        Ok(internet)
    }

    /// The namespace of the public hosts 203.0.113.1 to .4.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.spaces[0]
    }

    /// A home behind a NAT; the namespace of its one host. `number` is 1 to 9, another for each.
    ///
    /// # Errors
    /// When a command fails.
    pub fn home(&mut self, number: u8, nat: Nat) -> Result<String> {
        let router = self.space(&format!("router{number}"))?;
        let public = self.public().to_owned();
        let host = public_host(10 + number);
        ip(
            &public,
            &format!("link add to{number} type veth peer name wan netns {router}"),
        )?;
        ip(&public, &format!("link set to{number} master bridge up"))?;
        ip(&router, &format!("addr add {host}/24 dev wan"))?;
        ip(&router, "link set wan up")?;
        ip(&router, "link add lan type bridge")?;
        ip(&router, &format!("addr add 10.0.{number}.1/24 dev lan"))?;
        ip(&router, "link set lan up")?;
        self.masquerade(&router, nat)?;
        self.another(number, 2)
    }

    /// Another host in a home, with the address 10.0.`number`.`host`; its namespace.
    ///
    /// # Errors
    /// When a command fails.
    pub fn another(&mut self, number: u8, host: u8) -> Result<String> {
        let router = format!("{}-router{number}", self.name);
        let space = self.space(&format!("home{number}-{host}"))?;
        ip(
            &router,
            &format!("link add to{host} type veth peer name eth0 netns {space}"),
        )?;
        ip(&router, &format!("link set to{host} master lan up"))?;
        ip(&space, &format!("addr add 10.0.{number}.{host}/24 dev eth0"))?;
        ip(&space, "link set eth0 up")?;
        ip(&space, &format!("route add default via 10.0.{number}.1"))?;
        Ok(space)
    }

    fn masquerade(&self, router: &str, nat: Nat) -> Result<()> {
        inside(router, "sysctl -qw net.ipv4.ip_forward=1")?;
        let random = match nat {
            Nat::Consistent => "",
            Nat::Random => "random",
        };
        // What nobody at home has asked for is dropped, as routers do; else it would take the port that is asked for next.
        let rules = format!(
            "table ip home {{\n\
             chain source {{ type nat hook postrouting priority srcnat; oifname \"wan\" masquerade {random}; }}\n\
             chain incoming {{ type filter hook input priority filter; iifname \"wan\" ct state new drop; }}\n\
             }}"
        );
        let path = std::env::temp_dir().join(format!("{router}.nft"));
        std::fs::write(&path, rules)?;
        let applied = inside(router, &format!("nft -f {}", path.display()));
        std::fs::remove_file(&path)?;
        applied
    }

    fn space(&mut self, part: &str) -> Result<String> {
        let name = format!("{}-{part}", self.name);
        run("ip", &format!("netns add {name}"))?;
        self.spaces.push(name.clone());
        ip(&name, "link set lo up")?;
        Ok(name)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for space in &self.spaces {
            if let Err(error) = run("ip", &format!("netns del {space}")) {
                eprintln!("{space} stays: {error:#}");
            }
        }
    }
}

/// The public host of a number.
#[must_use]
pub fn public_host(number: u8) -> Ipv4Addr {
    let [a, b, c] = PUBLIC;
    Ipv4Addr::new(a, b, c, number)
}

fn ip(space: &str, what: &str) -> Result<()> {
    run("ip", &format!("-n {space} {what}"))
}

fn inside(space: &str, what: &str) -> Result<()> {
    run("ip", &format!("netns exec {space} {what}"))
}

fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .with_context(|| format!("{program} {arguments}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments}: {said}");
    Ok(())
}

/// A thread with a tokio runtime in a namespace: what it does goes by that namespace's network.
#[derive(Debug)]
pub struct Resident {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Resident {
    /// Moves in. The thread ends when this is dropped.
    ///
    /// # Errors
    /// When the namespace is not there.
    pub fn new(space: &str) -> Result<Self> {
        let path = format!("/run/netns/{space}");
        let file = std::fs::File::open(&path).context(path)?;
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::channel();
        thread::spawn(move || {
            use std::os::fd::AsFd;
            let runtime = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(anyhow::Error::from)
                .and_then(|()| {
                    let mut builder = tokio::runtime::Builder::new_current_thread();
                    Ok(builder.enable_all().build()?)
                });
            match runtime {
                Ok(runtime) => {
                    let _ = started.send(Ok(runtime.handle().clone()));
                    // Stopped, or dropped.
                    let _ = runtime.block_on(stopped);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
        let handle = start.recv().context("the thread has ended")??;
        Ok(Self { handle, _stop: stop })
    }

    /// Does something there.
    ///
    /// # Errors
    /// What `task` says, or that it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.handle.spawn(task).await?
    }
}
