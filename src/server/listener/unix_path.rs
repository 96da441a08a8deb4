//! The path of a Unix listener: how it is taken, and how it is removed.
//!
//! A path that a socket was bound to stays when its server ends without removing it, for example after SIGKILL.
//! [`listen`] removes such a stale socket. Before that, it makes sure that no server uses the socket, and it
//! removes nothing that is not a socket.
//!
//! A server is told from a stale socket by a connect, which fails with ECONNREFUSED if no server listens. A
//! server that is bound and does not listen yet looks the same. Therefore the whole start runs under a lock, a
//! file beside the path, so that two servers of this crate that start at the same time do not remove each
//! other's socket. The lock exists only during a start. On systems other than Linux, a connect also fails with
//! ECONNREFUSED if the queue of the server is full, so there a server with a full queue looks stale.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{self, Path, PathBuf};
use std::sync::Once;

use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::with_context;
use crate::logging::{debug, info, warn, Escaped};

/// The size of a path in an address, with the NUL byte at its end: 108 on Linux, and 104 on most other systems.
const ADDRESS_SIZE: usize =
    size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// A path that this process has bound a socket to. It is removed when this value drops, unless another file has
/// replaced it.
///
/// It must be removed before the socket closes. While the socket is open, no other file gets its inode number.
pub(super) struct BoundPath {
    /// Absolute, because the process may change its working directory.
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Done by the thread that removes the path. Other threads that want to remove it wait for that thread.
    removed: Once,
}

/// Binds a socket to `path` and listens. No peer can connect before the file has `mode`.
pub(super) fn listen(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<(Socket, BoundPath)> {
    try_listen(path, mode, backlog)
        .map_err(|error| with_context(format_args!("cannot listen on {}", Escaped(path.display())), &error))
}

fn try_listen(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<(Socket, BoundPath)> {
    let address = address(path)?;
    let absolute = path::absolute(path)?;
    let _lock = StartLock::take(&absolute)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    let found = fs::symlink_metadata(path)?;
    let bound = BoundPath { path: absolute, device: found.dev(), inode: found.ino(), removed: Once::new() };
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|error| with_context(format_args!("cannot set the mode {mode:03o}"), &error))?;
    }
    // Before this call, the kernel refuses connections. For this reason the mode is set first.
    socket.listen(backlog)?;
    Ok((socket, bound))
}

/// Makes the address of a path.
///
/// # Errors
/// Returns `InvalidInput` if the path does not fit into an address, or if it would mean something else there.
fn address(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_bytes();
    let message = match bytes.len() {
        0 => "the path is empty".to_owned(),
        length if length >= ADDRESS_SIZE => format!(
            "the path has {length} bytes, and the limit of the system is {}; use a shorter path, for example a \
             relative one",
            ADDRESS_SIZE - 1
        ),
        _ if bytes.contains(&0) => "the path contains a NUL byte".to_owned(),
        _ => return SockAddr::unix(path),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Removes a socket that no server uses.
///
/// # Errors
/// Returns `AddrInUse` if a server uses the socket, or if this process cannot find out. Returns `AlreadyExists`
/// if there is something that is not a socket.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let Some(found) = look(path)? else { return Ok(()) };
    // A connect to a regular file fails with ECONNREFUSED, too.
    if !found.file_type().is_socket() {
        let kind = match found.file_type() {
            kind if kind.is_dir() => "a directory",
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_file() => "a regular file",
            _ => "something",
        };
        let message = format!("there is {kind}, which is not a socket; remove it or choose another path");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A connect to a full queue would block.
    probe.set_nonblocking(true)?;
    let in_use = match probe.connect(address) {
        Ok(()) => "a server already listens there",
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => {
                let now = look(path)?;
                if now.is_some_and(|now| is_same(&now, &found)) {
                    fs::remove_file(path)
                        .map_err(|error| with_context("cannot remove the stale socket", &error))?;
                    info!("removed the stale socket {}", Escaped(path.display()));
                }
                return Ok(());
            }
            // It was removed in the meantime.
            Some(libc::ENOENT) => return Ok(()),
            // connect(2): the queue of the server is full.
            Some(libc::EAGAIN | libc::EINPROGRESS) => "a server already listens there, and its queue is full",
            Some(libc::EPROTOTYPE) => "there is a socket of another type, which another program may use",
            Some(libc::EACCES | libc::EPERM) => {
                "there is a socket that this process may not connect to, so another program may use it"
            }
            _ => return Err(with_context("cannot find out if another server listens there", &error)),
        },
    };
    Err(io::Error::new(io::ErrorKind::AddrInUse, in_use))
}

fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl BoundPath {
    /// Removes the path, unless another file has replaced it. When this returns, the path is removed, also if
    /// another thread has called this first. A second call does nothing.
    pub(super) fn remove(&self) {
        self.removed.call_once(|| {
            if let Err(error) = self.try_remove() {
                warn!("cannot remove the socket {}: {error}", Escaped(self.path.display()));
            }
        });
    }

    fn try_remove(&self) -> io::Result<()> {
        match look(&self.path)? {
            Some(found) if (found.dev(), found.ino()) == (self.device, self.inode) => {
                fs::remove_file(&self.path)
            }
            Some(_) => {
                debug!("{} was replaced and is not removed", Escaped(self.path.display()));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Prevents other servers of this crate from starting at the same path. It is a locked file beside the path,
/// which is removed when this value drops.
///
/// Another process may have opened the file just before it was removed. A lock on a removed file excludes
/// nobody, so whoever gets a lock checks that the file still has its name.
struct StartLock {
    file: OwnedFd,
    path: PathBuf,
}

impl StartLock {
    fn take(path: &Path) -> io::Result<StartLock> {
        /// The file is removed and made again only if other servers start at this moment.
        const TRIES: usize = 100;
        let mut path = path.to_owned().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..TRIES {
            // The flags prevent that a link is followed, and that the open of a FIFO blocks.
            let flags =
                OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => file,
                // The directory is missing, and the name of the lock would only confuse.
                Err(rustix::io::Errno::NOENT) => return Err(rustix::io::Errno::NOENT.into()),
                Err(error) => {
                    let context = format_args!("cannot create {}", Escaped(path.display())).to_string();
                    return Err(with_context(context, &error.into()));
                }
            };
            let regular = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file();
            if !regular || !try_lock(&file)? {
                let problem =
                    if regular { "another server starts there: this file is locked" } else { "no file" };
                let message = format!("{}: {problem}", Escaped(path.display()));
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
            let lock = StartLock { file, path: path.clone() };
            if lock.has_its_name()? {
                return Ok(lock);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "many other servers start there"))
    }

    fn has_its_name(&self) -> io::Result<bool> {
        let held = rustix::fs::fstat(&self.file)?;
        Ok(look(&self.path)?
            .is_some_and(|named| (named.dev(), named.ino()) == (held.st_dev as u64, held.st_ino as u64)))
    }
}

/// Returns `false` if another process has locked the file.
#[cfg(not(target_os = "solaris"))]
fn try_lock(file: &OwnedFd) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Solaris has no `flock`.
#[cfg(target_os = "solaris")]
fn try_lock(_: &OwnedFd) -> io::Result<bool> {
    Ok(true)
}

impl Drop for StartLock {
    fn drop(&mut self) {
        // A file with content is not ours. It must not be removed, although its name was used.
        let ours = rustix::fs::fstat(&self.file).is_ok_and(|held| held.st_size == 0);
        if ours && self.has_its_name().unwrap_or(false) {
            if let Err(error) = fs::remove_file(&self.path) {
                debug!("cannot remove {}: {error}", Escaped(self.path.display()));
            }
        }
        // A child process that is being started may have a copy of the descriptor for a moment.
        #[cfg(not(target_os = "solaris"))]
        if let Err(error) = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock) {
            debug!("cannot unlock {}: {error}", Escaped(self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_until_it_drops_and_a_lock_on_a_removed_file_is_none() {
        let path = std::env::temp_dir().join(format!("backport-lock-{}", std::process::id()));
        let named = path.with_extension("lock");
        let lock = StartLock::take(&path).unwrap();
        assert!(lock.has_its_name().unwrap());
        let refused = StartLock::take(&path).err().expect("it is locked");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert!(refused.to_string().contains(&*named.to_string_lossy()), "{refused}");
        drop(lock);
        assert!(!named.exists());

        let lost = StartLock::take(&path).unwrap();
        fs::remove_file(&named).unwrap();
        assert!(!lost.has_its_name().unwrap());
        let next = StartLock::take(&path).unwrap();
        assert!(!lost.has_its_name().unwrap(), "another file has the name");
        drop(lost);
        assert!(next.has_its_name().unwrap(), "the file of the other stays");
        drop(next);
        assert!(!named.exists());
    }
}
