//! What to do about the directories that are there when an agent starts. Pure.

use super::directories::{Directory, Kind};
use crate::dataplane::schema::{MapSchema, State};

/// What is to be done. Directories by their places in the list that was looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Decision {
    /// The datapath to go on with; none where there is none.
    pub(super) source: Option<usize>,
    /// Whether other maps than those of the source are needed in this build's directory.
    pub(super) makes: bool,
    /// Others whose programs may still run, the newest first: what they recorded is carried over, then they go. (So do copies that
    /// have links, of which nothing is carried over.)
    pub(super) others: Vec<usize>,
    /// What nobody uses.
    pub(super) leftovers: Vec<usize>,
    /// What is nobody's that is known: it stays.
    pub(super) unknown: Vec<usize>,
    /// For the next directory that is made.
    pub(super) turn: u64,
}

/// Decides for a build whose layout is `own`, and that wants these maps. The place of a directory that runs and cannot be read
/// is the error.
///
/// The source is the newest directory that has links and whose maps are no copy: programs have taken packets in with them, and
/// the maps that only an agent writes are right there, since every agent makes its links its own before it writes anything.
pub(super) fn decide(own: u32, wanted: &[MapSchema], directories: &[Directory]) -> Result<Decision, usize> {
    let mut decision = Decision::default();
    let mut readable = Vec::new();
    for (place, directory) in directories.iter().enumerate() {
        let runs = !directory.links.is_empty();
        match (directory.kind, &directory.state) {
            (Kind::Making, _) => decision.leftovers.push(place),
            (Kind::Layout(_) | Kind::Before(_), State::Whole(schema)) => {
                decision.turn = decision.turn.max(schema.turn);
                readable.push((schema.turn, place));
            }
            (Kind::Layout(_) | Kind::Before(_) | Kind::Other, _) if runs => return Err(place),
            (Kind::Layout(_) | Kind::Before(_), State::Broken | State::Empty) => decision.leftovers.push(place),
            // It stands where ours must be, or is by its name what an agent left.
            (Kind::Layout(layout), State::Unknown) if layout == own => decision.leftovers.push(place),
            (Kind::Before(_), State::Unknown) => decision.leftovers.push(place),
            (Kind::Layout(_), State::Unknown) | (Kind::Other, _) => decision.unknown.push(place),
        }
    }
    decision.turn += 1;
    readable.sort_unstable();
    let is_own = |place: usize| directories[place].kind == Kind::Layout(own);
    let runs = |place: usize| !directories[place].links.is_empty();
    let is_copy = |place: usize| directories[place].is_copy;
    let newest_running = readable.iter().rev().find(|(_, place)| runs(*place) && !is_copy(*place));
    // A copy whose origin is gone is all there is.
    let newest_running = newest_running.or_else(|| readable.iter().rev().find(|(_, place)| runs(*place)));
    decision.source = newest_running.or_else(|| readable.iter().find(|(_, place)| is_own(*place))).map(|it| it.1);
    decision.makes = decision.source.is_none_or(|source| {
        let has = directories[source].schema().is_some_and(|schema| are_the_same(&schema.maps, wanted));
        !has || !is_own(source)
    });
    for (_, place) in readable.into_iter().rev().filter(|(_, place)| Some(*place) != decision.source) {
        // Maps that were replaced may still be those of programs whose links are with the new ones.
        let may_run = runs(place) || (matches!(directories[place].kind, Kind::Before(_)) && !is_copy(place));
        // Without a source there is nobody whose maps they could have been.
        if !may_run || decision.source.is_none() {
            decision.leftovers.push(place);
        } else if !is_copy(place) {
            decision.others.push(place);
        }
    }
    Ok(decision)
}

fn are_the_same(maps: &[MapSchema], wanted: &[MapSchema]) -> bool {
    maps.len() == wanted.len() && wanted.iter().all(|map| maps.contains(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{
        Sizes,
        schema::{Schema, ours},
    };

    const OWN: u32 = 4;
    const SIZES: Sizes = Sizes {
        flows: 64,
        clients: 64,
        slots: 1024,
        backends: 16,
        services: 8,
        frontends: 8,
        source_ranges: 8,
        nodes: 8,
    };

    /// A directory whose maps have the sizes that are wanted, unless it is said that they have others.
    fn whole(name: &str, turn: u64, has_links: bool, is_of_other_size: bool) -> Directory {
        let flows = if is_of_other_size { 128 } else { 64 };
        let maps = ours(&Sizes { flows, ..SIZES });
        let schema = Schema { turn, ..Schema::of_ours(maps, turn, None) };
        directory(name, State::Whole(schema), has_links)
    }

    fn directory(name: &str, state: State, has_links: bool) -> Directory {
        let links = if has_links { vec!["xdp-native-3-eth0".to_owned()] } else { Vec::new() };
        Directory { name: name.to_owned(), kind: Kind::of(name), state, links, is_copy: false }
    }

    fn copy(name: &str, turn: u64, has_links: bool, is_of_other_size: bool) -> Directory {
        Directory { is_copy: true, ..whole(name, turn, has_links, is_of_other_size) }
    }

    /// What is expected: source, whether maps are made, others, leftovers, unknown; by names.
    type Expected = (&'static str, bool, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

    #[test]
    fn whatever_a_crash_left_has_one_way_on() {
        let cases: Vec<(&str, Vec<Directory>, Expected)> = vec![
            ("nothing", vec![], ("", true, &[], &[], &[])),
            ("its own, as it is wanted", vec![whole("v4", 1, true, false)], ("v4", false, &[], &[], &[])),
            ("its own, of other sizes", vec![whole("v4", 1, true, true)], ("v4", true, &[], &[], &[])),
            ("its own that never ran", vec![whole("v4", 1, false, false)], ("v4", false, &[], &[], &[])),
            ("another layout's", vec![whole("v3", 0, true, false)], ("v3", true, &[], &[], &[])),
            ("another layout's that never ran", vec![whole("v3", 0, false, false)], ("", true, &[], &["v3"], &[])),
            (
                "died while it made maps",
                vec![whole("v3", 0, true, false), directory("v4-making", State::Unknown, false)],
                ("v3", true, &[], &["v4-making"], &[]),
            ),
            (
                "died before the first link was its own",
                vec![whole("v3", 0, true, false), whole("v4", 1, false, false)],
                ("v3", true, &[], &["v4"], &[]),
            ),
            (
                "died between two links",
                vec![whole("v3", 0, true, false), whole("v4", 1, true, false)],
                ("v4", false, &["v3"], &[], &[]),
            ),
            (
                "the other one died between two links",
                vec![whole("v4", 1, true, false), whole("v5", 2, true, false)],
                ("v5", true, &["v4"], &[], &[]),
            ),
            (
                "died before its maps changed places",
                vec![whole("v4", 1, true, true), copy("v4-before-1", 2, false, false)],
                ("v4", true, &[], &["v4-before-1"], &[]),
            ),
            (
                "died then, and the one before it goes on",
                vec![whole("v4", 1, true, false), copy("v4-before-1", 2, false, true)],
                ("v4", false, &[], &["v4-before-1"], &[]),
            ),
            (
                "died when the links on the way out were set aside",
                vec![whole("v4", 1, true, true), copy("v4-before-1", 2, true, false)],
                ("v4", true, &[], &[], &[]),
            ),
            (
                "died after its maps changed places, before packets came to its programs",
                vec![copy("v4", 2, true, false), whole("v4-before-1", 1, true, true)],
                ("v4-before-1", true, &[], &[], &[]),
            ),
            (
                "another layout's died before packets came to its programs",
                vec![whole("v4", 1, true, false), copy("v5", 2, true, false)],
                ("v4", false, &[], &[], &[]),
            ),
            ("a copy is all there is", vec![copy("v4", 2, true, false)], ("v4", false, &[], &[], &[])),
            (
                "died after its maps changed places",
                vec![whole("v4", 2, true, false), whole("v4-before-1", 1, true, true)],
                ("v4", false, &["v4-before-1"], &[], &[]),
            ),
            (
                "died while it removed what it had taken over",
                vec![whole("v4", 2, true, false), directory("v3", State::Broken, false)],
                ("v4", false, &[], &["v3"], &[]),
            ),
            (
                "what nobody knows stays",
                vec![directory("v9", State::Unknown, false), directory("lost", State::Unknown, false)],
                ("", true, &[], &[], &["v9", "lost"]),
            ),
        ];
        for (description, directories, expected) in cases {
            let decision = decide(OWN, &ours(&SIZES), &directories).unwrap();
            let names = |places: &[usize]| places.iter().map(|at| directories[*at].name.clone()).collect::<Vec<_>>();
            let source = decision.source.map(|at| directories[at].name.clone()).unwrap_or_default();
            let found =
                (source, decision.makes, names(&decision.others), names(&decision.leftovers), names(&decision.unknown));
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let (source, makes, others, leftovers, unknown) = expected;
            let expected = (source.to_owned(), makes, owned(others), owned(leftovers), owned(unknown));
            assert_eq!(found, expected, "{description}");
            let newest = directories.iter().filter_map(Directory::schema).map(|schema| schema.turn).max();
            assert_eq!(decision.turn, newest.unwrap_or(0) + 1, "{description}");
        }
    }

    #[test]
    fn what_runs_and_cannot_be_read_is_refused() {
        for state in [State::Unknown, State::Broken, State::Empty] {
            let directories = [whole("v4", 1, true, false), directory("v9", state, true)];
            assert_eq!(decide(OWN, &ours(&SIZES), &directories), Err(1));
        }
        assert_eq!(decide(OWN, &ours(&SIZES), &[directory("elses", State::Unknown, true)]), Err(0));
    }
}
