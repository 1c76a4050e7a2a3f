//! The figures, as a table while they come in and as JSON in the end.

use serde_json::{Value, json};

use crate::rows::{Path, Row};

/// What programs around nothing cost, in nanoseconds per packet.
pub(crate) struct Floors {
    /// A program that only returns.
    pub(crate) floor: f64,
    /// The frame's first bytes put back.
    pub(crate) restored: f64,
    /// The same, and the head grown and moved back.
    pub(crate) grown: f64,
    /// The same, and the head shrunk and moved back.
    pub(crate) shrunk: f64,
    /// The first bytes put back by a tc program.
    pub(crate) egress: f64,
}

/// One row with its figure.
pub(crate) struct Measured {
    pub(crate) row: Row,
    /// Nanoseconds per packet, everything included.
    pub(crate) ns: f64,
}

/// All of it.
pub(crate) struct Report {
    floors: Floors,
    rows: Vec<Measured>,
}

impl Floors {
    /// The floor of a row's kind.
    fn of(&self, path: Path) -> f64 {
        match path {
            Path::NotOurs => self.floor,
            Path::FlowLocal | Path::SourceRange => self.restored,
            Path::FlowRemote | Path::NewFlow | Path::HeldClient | Path::SynFlood => self.grown,
            Path::Decapsulate => self.shrunk,
            Path::Reply => self.egress,
        }
    }
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn new(floors: Floors) -> Self {
        println!(
            "floors, ns: return only {:.1}, frame put back {:.1}, grown {:.1}, shrunk {:.1}, tc {:.1}",
            floors.floor, floors.restored, floors.grown, floors.shrunk, floors.egress
        );
        println!("net: less the floor of its kind; multiple: net / return only\n");
        println!("name               family  affinity    flows  frontends  backends       ns      net  multiple");
        Self { floors, rows: Vec::new() }
    }

    /// Prints and keeps a row.
    pub(crate) fn add(&mut self, measured: Measured) {
        let Row { flows, frontends, backends, .. } = measured.row;
        let (net, multiple) = self.net(&measured);
        println!(
            "{:<18} {:<6}  {:<8} {flows:>8} {frontends:>10} {backends:>9} {:>8.1} {net:>8.1} {multiple:>9.2}",
            measured.row.name(),
            measured.row.family(),
            measured.row.affinity(),
            measured.ns,
        );
        self.rows.push(measured);
    }

    /// All figures.
    pub(crate) fn json(&self) -> String {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|measured| {
                let (net, multiple) = self.net(measured);
                json!({
                    "name": measured.row.name(),
                    "family": measured.row.family(),
                    "affinity": measured.row.has_affinity,
                    "flows": measured.row.flows,
                    "frontends": measured.row.frontends,
                    "backends": measured.row.backends,
                    "ns": round(measured.ns),
                    "net_ns": round(net),
                    "multiple": round(multiple),
                })
            })
            .collect();
        let floors = &self.floors;
        let report = json!({
            "floor_ns": round(floors.floor),
            "restore_ns": round(floors.grown),
            "restore_in_place_ns": round(floors.restored),
            "restore_shrunk_ns": round(floors.shrunk),
            "restore_egress_ns": round(floors.egress),
            "rows": rows,
        });
        format!("{report:#}\n")
    }

    fn net(&self, measured: &Measured) -> (f64, f64) {
        let net = measured.ns - self.floors.of(measured.row.path);
        (net, net / self.floors.floor)
    }
}
