//! The demo: Limpet at work in a lab, told as a story with counts.

mod clients;
mod print;
mod story;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::{Lab, Options, tear_down_abandoned};
use print::Printer;
use tally::Tally;

/// Runs the demo; with `keep` the lab stays and its use is explained.
///
/// Ends with the line `demo: N requests, N answered, N Pods, N connections held`. The exit code is
/// 1 when a request was not answered, a connection broke, or something could not be done at all.
pub fn run(keep: bool) -> Result<ExitCode> {
    let out = Printer::for_stdout();
    let start = Instant::now();
    out.title("Limpet in a network of its own (nothing leaves this machine)");
    let mut lab = Lab::start(Options { progress: |part| println!("  making {part}"), ..Options::default() })?;
    out.note(&format!("all of it is up after {:.1} s", start.elapsed().as_secs_f64()));

    let mut tally = Tally::default();
    let told = story::tell(&mut lab, &out, &mut tally);
    if let Err(error) = &told {
        out.bad(&format!("the demo stops here: {error:#}"));
        println!("{}", lab.agent_logs());
    }
    let services = lab.limpet(1, &["get", "services", "-A"])?;
    println!("\n$ limpet get services -A");
    print!("{}{}", services.stdout, services.stderr);
    if keep {
        explain(&lab, &out)?;
        lab.keep()?;
    } else {
        lab.end()?;
    }
    println!("\n{}", tally.closing_line());
    let fine = told.is_ok() && services.success && tally.is_clean();
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends all labs whose owner is gone: kept ones, and what a crash may have left.
pub fn down() -> Result<()> {
    let ended = tear_down_abandoned(None)?;
    if ended.is_empty() {
        println!("no lab was left up");
    }
    for id in ended {
        println!("lab {id} is gone");
    }
    Ok(())
}

fn explain(lab: &Lab, out: &Printer) -> Result<()> {
    let enter = |namespace: crate::Namespace| format!("nsenter --net={}", namespace.path().display());
    let client = enter(lab.client_namespace(1));
    let node = enter(lab.node(1));
    let ask = "bash -c 'exec 3<>/dev/tcp/203.0.113.1/80; echo who >&3; head -n 1 <&3'";
    out.title("The lab stays up. Look around in it, or end it with `cargo xtask demo --down`");
    for (what, line) in [
        ("ask from a client", format!("{client} {ask}")),
        ("be on a client", client),
        ("be on a node", node.clone()),
        ("what the node says", format!("{node} {}", lab.limpet_line(1, "status")?)),
        ("its Services", format!("{node} {}", lab.limpet_line(1, "get services -A")?)),
        ("its flows", format!("{node} {}", lab.limpet_line(1, "get flows -A")?)),
        ("logs, manifests", format!("ls {}", lab.directory().display())),
    ] {
        println!("  {what:<19} {line}");
    }
    Ok(())
}
