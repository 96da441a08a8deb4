//! Two network namespaces, with a link between them that delays each packet by 50 ms in each direction.
//!
//! There may be no traffic control in the kernel. Therefore a small program moves the packets between two TUN
//! devices and keeps each packet for its time. It reports if it is late, because then the link is not steady.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sched::{setns, CloneFlags};

use crate::lateness::{Lateness, TOLERATED};
use crate::support::child::skip;
use crate::support::in_time;

/// Moves packets between two TUN devices, each after a delay. It writes a line whenever it is late.
/// It ends when its standard input ends.
const FORWARD: &str = r#"
import collections, fcntl, os, select, struct, subprocess, sys, time
names, spaces, delay, tolerated = sys.argv[1:3], sys.argv[3:5], float(sys.argv[5]), float(sys.argv[6])
tuns = []
for i, (name, space) in enumerate(zip(names, spaces)):
    tun = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', name.encode(), 0x1001))
    tuns.append(tun)
    for words in (f'link set {name} netns {space}', f'-n {space} link set lo up',
                  f'-n {space} link set {name} mtu 4000 txqueuelen 20000 up',
                  f'-n {space} address add 10.78.0.{i + 1} peer 10.78.0.{2 - i} dev {name}'):
        subprocess.run(['ip'] + words.split(), check=True)
print('ready', flush=True)
waiting = [collections.deque(), collections.deque()]
now = time.monotonic()
while True:
    soonest = min((queue[0][0] for queue in waiting if queue), default=now + 1)
    limit = min(max(0, soonest - now), 0.05)
    ready = select.select(tuns + [0], [], [], limit)[0]
    if 0 in ready:
        sys.exit()
    before, now = now, time.monotonic()
    if now - before > tolerated:
        print('late', flush=True)
    for i in (0, 1):
        for _ in range(200 if tuns[i] in ready else 0):
            try:
                waiting[i].append((now + delay, os.read(tuns[i], 65536)))
            except BlockingIOError:
                break
        while waiting[i] and waiting[i][0][0] <= now:
            os.write(tuns[1 - i], waiting[i].popleft()[1])
"#;

/// The network. Dropping it removes it.
pub(crate) struct Network {
    spaces: [String; 2],
    forwarder: Option<Child>,
    /// When the link was late.
    pub(crate) lateness: Arc<Lateness>,
}

/// The address in the first namespace.
pub(crate) const SERVER: &str = "10.78.0.1:0";

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Network {
    /// Returns `None` if this computer does not allow it.
    pub(crate) fn new() -> Option<Network> {
        let id = std::process::id();
        let spaces = ["server", "peer"].map(|end| format!("backport-delay-{id}-{end}"));
        let lateness = Arc::new(Lateness::default());
        let mut network = Network { spaces, forwarder: None, lateness };
        let [server, peer] = &network.spaces;
        if !ip(&["netns", "add", server]) || !ip(&["netns", "add", peer]) {
            skip("since this machine lets us make no network namespaces");
            return None;
        }
        let devices = [format!("bpa{id}"), format!("bpb{id}")];
        let mut command = Command::new("python3");
        command.args(["-c", FORWARD]).args(&devices).args(&network.spaces).arg("0.05");
        command.arg(TOLERATED.as_secs_f64().to_string());
        let forwarder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut forwarder) = forwarder else {
            skip("for want of python3");
            return None;
        };
        let mut said = String::new();
        let stdout = forwarder.stdout.take().expect("it is piped");
        let mut stdout = BufReader::new(stdout);
        let ready = stdout.read_line(&mut said);
        network.forwarder = Some(forwarder);
        if ready.is_err() || said != "ready\n" {
            skip("since this machine lets us make no TUN devices");
            return None;
        }
        let lateness = Arc::clone(&network.lateness);
        thread::spawn(move || stdout.lines().for_each(|_| lateness.note()));
        Some(network)
    }

    /// Runs `f` on a thread in the server's namespace (0) or in the peer's (1). A socket stays in the namespace
    /// that it was made in.
    pub(crate) fn within<T: Send + 'static>(&self, end: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
        let space = File::open(format!("/run/netns/{}", self.spaces[end])).unwrap();
        in_time("a socket is made", move || {
            setns(space, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut forwarder) = self.forwarder.take() {
            drop(forwarder.stdin.take());
            drop(forwarder.wait());
        }
        for space in &self.spaces {
            ip(&["netns", "delete", space]);
        }
    }
}
