//! A container as the manifests ask for one: first process of its own process namespace, root with these capabilities
//! alone, and a file system that cannot be written to but for the volumes.
//!
//! What makes a container out of a process are properties of a thread, which the processes inherit that it starts. So
//! there is a thread for each, which stays until its process has ended: the kernel kills the process with it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use caps::{CapSet, Capability};
use limpet_lab::wait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chdir, chroot};

/// Where the program is in the image.
const PROGRAM: &str = "/usr/local/bin/limpet";
/// What the program that tests use is linked to; the image has a static one.
const LIBRARIES: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libexec", "/nix/store"];
/// A container's root is made on this mount, of which every thread can have a view of its own; the root of a machine may be
/// none that can be made private, as in a chroot.
const ROOT: &str = "/proc";
const NONE: Option<&str> = None;

/// What a container is started with.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The program.
    pub(crate) program: PathBuf,
    /// Directories of the machine, and where they are in the container.
    pub(crate) volumes: Vec<Volume>,
}

/// A directory of the machine in a container.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) is_writable: bool,
}

/// What a container may do.
#[derive(Clone, Debug)]
pub(crate) enum Rights {
    /// `capabilities: {drop: [ALL], add: …}` and `allowPrivilegeEscalation: false`.
    These(Vec<String>),
    /// What whoever starts it may do.
    All,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output and standard error together.
    pub(crate) said: String,
}

/// A running container.
pub(crate) struct Container {
    process: Child,
    log: PathBuf,
    /// Dropped to let the thread end that it was started by.
    _owner: Sender<()>,
}

impl Container {
    /// Starts `limpet` in one, in the network that the calling thread is in.
    pub(crate) fn start(image: &Image, rights: &Rights, arguments: &[&str], log: PathBuf) -> Self {
        let (owner, ended) = mpsc::channel();
        let (tell, started) = mpsc::channel();
        let (image, rights) = (image.clone(), rights.clone());
        let output = File::create(&log).unwrap();
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(arguments);
        thread::spawn(move || {
            tell.send(contained(&image, &rights, &mut command, &output)).unwrap();
            // Nothing is sent: the other end goes.
            let _gone = ended.recv();
        });
        let process = started.recv().unwrap().unwrap();
        Self { process, log, _owner: owner }
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// What these lines of the kernel's status say, for each thread.
    pub(crate) fn threads<const N: usize>(&self, keys: [&str; N]) -> Vec<[String; N]> {
        let tasks = fs::read_dir(self.about("task")).unwrap_or_else(|error| panic!("{error}: {}", self.said()));
        let read = |task: io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            keys.map(|key| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
                line.unwrap_or_else(|| panic!("no {key}: {text}")).to_owned()
            })
        };
        tasks.map(read).collect()
    }

    /// The places in its file system that can be written to, in their order.
    pub(crate) fn writable(&self) -> Vec<String> {
        let mounts = fs::read_to_string(self.about("mountinfo")).unwrap();
        let writable = |line: &str| {
            let mut words = line.split(' ').skip(4);
            let (place, options) = (words.next()?, words.next()?);
            options.split(',').any(|option| option == "rw").then(|| place.to_owned())
        };
        let mut places: Vec<String> = mounts.lines().filter_map(writable).collect();
        places.sort();
        places
    }

    /// Sends it a signal, and waits for its end.
    pub(crate) fn stop(self, signal: Signal, limit: Duration) -> Ended {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
        self.wait(limit)
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let ended = wait::until("the container to end", limit, || Ok(self.process.try_wait()?));
        let said = self.said();
        match ended {
            Ok(status) => Ended { code: status.code(), said },
            Err(error) => panic!("{error}: {said}"),
        }
    }

    fn about(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.process.id())).join(file)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _told = self.process.wait();
    }
}

/// Makes the calling thread a container, and starts the command in it.
fn contained(image: &Image, rights: &Rights, command: &mut Command, output: &File) -> io::Result<Child> {
    // In the container there is no such file.
    let nothing = File::open("/dev/null")?;
    command.stdin(nothing).stdout(output.try_clone()?).stderr(Stdio::from(output.try_clone()?));
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)?;
    make_root(image)?;
    chroot(ROOT)?;
    chdir("/")?;
    if let Rights::These(names) = rights {
        for capability in caps::all() {
            let is_kept = names.iter().any(|name| capability.to_string() == format!("CAP_{name}"));
            if !is_kept {
                caps::drop(None, CapSet::Bounding, capability).map_err(io::Error::other)?;
            }
        }
        set_no_new_privs()?;
    }
    // SAFETY: between fork and exec the closure makes one system call; it allocates nothing.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
    command.spawn()
}

/// Makes the container's root in the thread's own view of the file system.
fn make_root(image: &Image) -> io::Result<()> {
    mount(NONE, ROOT, NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)?;
    mount(Some("root"), ROOT, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    for library in LIBRARIES.map(Path::new) {
        match fs::read_link(library) {
            Ok(link) => symlink(link, inside(library))?,
            Err(_) if library.is_dir() => bind(library, library, false)?,
            Err(_) => {}
        }
    }
    bind(&image.program, Path::new(PROGRAM), false)?;
    bind(Path::new("/sys"), Path::new("/sys"), false)?;
    for Volume { from, to, is_writable } in &image.volumes {
        bind(from, to, *is_writable)?;
    }
    fs::create_dir(inside(Path::new("/proc")))?;
    mount(Some("proc"), &inside(Path::new("/proc")), Some("proc"), MsFlags::MS_RDONLY, NONE)?;
    read_only(Path::new(ROOT))
}

/// Shows a file or directory of the machine at this place.
fn bind(from: &Path, to: &Path, is_writable: bool) -> io::Result<()> {
    let to = inside(to);
    // What is mounted in a directory that cannot be written to, such as /sys/fs/bpf, is there already.
    if !to.exists() {
        if from.is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            File::create(&to)?;
        }
    }
    mount(Some(from), &to, NONE, MsFlags::MS_BIND, NONE)?;
    if is_writable { Ok(()) } else { read_only(&to) }
}

fn read_only(place: &Path) -> io::Result<()> {
    Ok(mount(NONE, place, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NONE)?)
}

/// A place in the container before that is the thread's root.
fn inside(place: &Path) -> PathBuf {
    Path::new(ROOT).join(place.strip_prefix("/").unwrap_or(place))
}

/// The three capabilities as the kernel writes a set of them.
pub(crate) fn mask(names: &[String]) -> String {
    let bits =
        caps::all().into_iter().filter(|known| names.iter().any(|name| known.to_string() == format!("CAP_{name}")));
    format!("{:016x}", bits.map(|capability: Capability| capability.bitmask()).sum::<u64>())
}
