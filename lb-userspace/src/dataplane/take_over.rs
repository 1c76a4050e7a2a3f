//! Taking the running datapath over: from an agent before this one, of any layout and with any sizes.
//!
//! Nobody notices, because nothing is ever without a program, and no program without what it needs:
//!
//! 1. Maps whose records and sizes are the same are shared: pinned once more, in a directory of this build's own
//!    (`vN-making`). All others are made anew there, and what is in the old ones is carried over by the names of its fields
//!    ([`schema`](super::schema)); but for the notes that replies are rewritten by. The directory gets its schema last, and then
//!    its name.
//! 2. The links become our own (`links`), each in one step. Until the last one is, old and new programs run side by side;
//!    nobody writes a table, a frontend or a backend meanwhile, so that both choose the same Pod.
//! 3. What the old programs recorded since the maps were carried over is carried over as well, and now those notes.
//! 4. Only then the old pins go, links first.
//!
//! An agent that dies in between leaves directories that say by themselves how far it came (`decide`): each that has
//! links is complete, and all that may still be written to is looked at by the next agent, whichever its layout is.
//! So going on and going back are the same thing.

mod carry;
mod convert;
mod counts;
mod decide;
mod directories;
mod ghosts;
mod links;

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Instant,
};

use jiff::Timestamp;
use lb_common::layout::{VERSION, name_kind};
use tracing::{info, warn};

use self::{
    carry::{Carried, Carrier},
    decide::{Decision, decide},
    directories::{Directory, Kind, before, making, mark_as_copy, mark_as_in_use, survey},
};
use super::{
    Error, Loaded, Maps, Pins, Pod, Sizes, Switches, load, schema,
    schema::{MapSchema, Schema, TakenOver},
};
use crate::fail_point;

/// Loads the programs of this build with the maps that are pinned, whatever version made them; where programs of others run
/// or maps are of another size, ours are on all their links when this returns. To be called with the lock on the pins, and
/// before anything is written.
///
/// # Errors
/// When a running datapath cannot be read, or holds more than there is to be room for: it goes on then as it was. Or when the
/// kernel refuses something: what was done until then stays and works, and is gone on with at the next start.
pub fn take_over(pins: &Pins, sizes: &Sizes, switches: Switches) -> Result<Loaded, Error> {
    let begun = Instant::now();
    let wanted = schema::ours(sizes);
    let directories = survey(pins.root())?;
    let decision = decide(VERSION, &wanted, &directories)
        .map_err(|place| Error::UnknownVersion { path: pins.root().join(&directories[place].name) })?;
    tidy(pins.root(), &decision, &directories)?;
    let mut carrier = Carrier::default();
    let mut loaded = if decision.makes {
        let made = make(pins, sizes, switches, &decision, &directories, &wanted, &mut carrier);
        if made.is_err() {
            remove_unfinished(pins.root());
        }
        made?
    } else {
        load(sizes, Some(pins), switches)?
    };
    let Some(source) = decision.source.map(|place| &directories[place]) else {
        return Ok(loaded);
    };
    // Again: what was in our directory may have changed places with what was made.
    let others = running_beside(pins)?;
    let own = pins.maps();
    if others.is_empty() && !decision.makes {
        mark_as_in_use(&own)?;
        return Ok(loaded);
    }
    if !decision.makes {
        for other in others.iter().filter(|other| !other.is_copy) {
            carrier.add_recorded(pins.root(), other, &wanted, &own)?;
        }
    }
    fail_point::pass("take-over");
    carrier.catch_up()?;
    let paths: Vec<PathBuf> = others.iter().map(|directory| pins.root().join(&directory.name)).collect();
    links::take(&mut loaded, pins, &paths)?;
    // An old program may still be at a packet while its link is updated.
    wait_for_running_programs();
    carrier.catch_up()?;
    fail_point::pass("take-over");
    carrier.carry_notes()?;
    fail_point::pass("take-over");
    for other in &others {
        remove(pins.root(), other)?;
        fail_point::pass("take-over");
    }
    tell(source, carry::count(&own)?, begun);
    Ok(loaded)
}

/// Waits until every program that runs now has ended: this barrier is an RCU grace period, and programs run in RCU read-side
/// sections (kernel/sched/membarrier.c). A kernel that does not offer it (`nohz_full`) makes nobody wait.
fn wait_for_running_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: takes numbers alone.
    let _offered = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

/// Removes what agents left that died, and tells of what is not known.
fn tidy(root: &Path, decision: &Decision, directories: &[Directory]) -> Result<(), Error> {
    let names =
        |places: &[usize]| places.iter().map(|place| directories[*place].name.as_str()).collect::<Vec<_>>().join(", ");
    if !decision.leftovers.is_empty() {
        for place in &decision.leftovers {
            remove(root, &directories[*place])?;
        }
        let (directories, root) = (names(&decision.leftovers), root.display());
        info!(directories, "removed pins in {root} that nobody uses, which an earlier agent left");
    }
    if !decision.unknown.is_empty() {
        let (directories, root) = (names(&decision.unknown), root.display());
        warn!(
            directories,
            "{root} holds what this version does not know, and leaves alone; `limpet detach` removes it"
        );
    }
    Ok(())
}

fn remove(root: &Path, directory: &Directory) -> Result<(), Error> {
    if !directories::remove(root, directory)? {
        warn!(directory = directory.name, "{} is not removed: somebody else keeps something in it", root.display());
    }
    Ok(())
}

/// Makes what is wanted, with what is in the source and in all others, and gives it the name of our directory.
fn make(
    pins: &Pins,
    sizes: &Sizes,
    switches: Switches,
    decision: &Decision,
    directories: &[Directory],
    wanted: &[MapSchema],
    carrier: &mut Carrier,
) -> Result<Loaded, Error> {
    let root = pins.root();
    let unfinished = pins.beside(&making(VERSION));
    unfinished.create()?;
    let maps = unfinished.maps();
    let source = decision.source.map(|place| &directories[place]);
    if let Some(source) = source {
        carry::share(root, source, wanted, &maps)?;
        fail_point::pass("take-over");
    }
    let mut loaded = load(sizes, Some(&unfinished), switches)?;
    if let Some(source) = source {
        // Before anything else changes, so that a kernel that refuses leaves all as it was.
        loaded.egress()?;
        loaded.ingress()?;
        carrier.carry_all(root, source, wanted, &maps)?;
        for other in &decision.others {
            carrier.add_recorded(root, &directories[*other], wanted, &maps)?;
        }
        finish(&mut loaded.maps, source, wanted)?;
        fits(&loaded.maps, sizes)?;
        fail_point::pass("take-over");
    }
    let taken_over = source
        .and_then(Directory::schema)
        .map(|schema| TakenOver { from_layout: schema.layout, at: Timestamp::now().to_string() });
    if source.is_some() {
        mark_as_copy(&maps)?;
    }
    Schema::of_ours(wanted.to_vec(), decision.turn, taken_over).pin(&maps)?;
    fail_point::pass("take-over");
    put_in_place(pins, &unfinished, directories)?;
    Ok(loaded)
}

/// What follows from other maps.
fn finish(maps: &mut Maps, source: &Directory, wanted: &[MapSchema]) -> Result<(), Error> {
    let sets = |maps: &[MapSchema]| maps.iter().find(|map| map.name == "GHOSTS").map(|map| map.entries);
    if source.schema().and_then(|schema| sets(&schema.maps)) != sets(wanted) {
        ghosts::make(maps)?;
    }
    let mut config = maps.config.get(&0, 0).map_err(|source| Error::map("CONFIG", source))?.0;
    config.ghost_sets = maps.ghosts.len();
    maps.config.set(0, Pod(config), 0).map_err(|source| Error::map("CONFIG", source))
}

/// That what is used has its place: tables among the slots, Service ports among the counters.
fn fits(maps: &Maps, sizes: &Sizes) -> Result<(), Error> {
    let too_small = |name: &str| Error::DoesNotFit { name: name.to_owned() };
    let slots = u32::try_from(maps.slots.len()).unwrap_or(u32::MAX);
    let v4 = maps.v4.frontends.iter().map(|entry| entry.map(|(_, frontend)| frontend.0));
    let v6 = maps.v6.frontends.iter().map(|entry| entry.map(|(_, frontend)| frontend.0));
    for frontend in v4.chain(v6) {
        let frontend = frontend.map_err(|source| Error::map("FRONTENDS", source))?;
        if frontend.table_offset.saturating_add(frontend.table_length) > slots {
            return Err(too_small("SLOTS"));
        }
    }
    for key in maps.names.keys() {
        let key = key.map_err(|source| Error::map("NAMES", source))?.0;
        if key.kind == name_kind::SERVICE && key.id >= sizes.services {
            return Err(too_small("SERVICE_COUNTS"));
        }
    }
    Ok(())
}

/// Gives what was made the name of our directory. Where that is there already, the maps change places in one step, and the
/// old ones are kept beside.
fn put_in_place(pins: &Pins, made: &Pins, directories: &[Directory]) -> Result<(), Error> {
    let (from, to) = (made.version_directory(), pins.version_directory());
    let failed = |path: &Path, source| Error::Pins { path: path.to_owned(), source };
    if !to.exists() {
        fs::rename(&from, &to).map_err(|source| failed(&from, source))?;
        fail_point::pass("take-over");
        return Ok(());
    }
    let beside = pins.beside(&before(VERSION, directories));
    fs::rename(&from, beside.version_directory()).map_err(|source| failed(&from, source))?;
    fail_point::pass("take-over");
    links::set_tcx_aside(&pins.links(), &beside.links())?;
    fail_point::pass("take-over");
    exchange(&beside.maps(), &pins.maps()).map_err(|source| failed(&pins.maps(), source))?;
    fail_point::pass("take-over");
    Ok(())
}

/// Lets two directories change places, in one step.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // By its number: not every C library has a function for it.
    // SAFETY: two paths that end with a zero, and numbers.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The directories, ours not among them, whose programs may still run or whose maps may hold what ours do not.
fn running_beside(pins: &Pins) -> Result<Vec<Directory>, Error> {
    let mut directories = survey(pins.root())?;
    directories.retain(|directory| match directory.kind {
        Kind::Layout(layout) => layout != VERSION && !directory.links.is_empty(),
        Kind::Before(_) => true,
        Kind::Making | Kind::Other => false,
    });
    Ok(directories)
}

/// What cannot be finished is of no use. Whoever cannot remove it leaves it to the next agent.
fn remove_unfinished(root: &Path) {
    let unfinished = survey(root).unwrap_or_default().into_iter().filter(|it| it.kind == Kind::Making);
    for directory in unfinished {
        if let Err(error) = directories::remove(root, &directory) {
            warn!(directory = directory.name, "cannot be removed: {error}");
        }
    }
}

fn tell(source: &Directory, carried: Carried, begun: Instant) {
    let Carried { flows, clients } = carried;
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let layout = source.schema().map_or(0, |schema| schema.layout);
    info!(
        flows,
        clients,
        milliseconds,
        from_layout = layout,
        layout = VERSION,
        "took over the running datapath of another version or with other limits, without a gap"
    );
}
