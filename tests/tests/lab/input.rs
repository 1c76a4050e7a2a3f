//! What the agent reads: bad input is reported and changes nothing.

use anyhow::{Result, ensure};
use limpet_lab::address::Family;
use limpet_lab::world::{Protocol, ServiceSpec};
use limpet_lab::{Lab, wait};

use crate::support::{CHANGE_LIMIT, Test, all_first_pods, frontend, serve, who_answers};

const BROKEN: &str = "broken.yaml";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("a_broken_file_changes_nothing_and_shows_in_status", broken_file),
        Test::new("a_removed_service_is_not_answered_any_more", removed_service),
    ]
}

fn broken_file(lab: &mut Lab) -> Result<()> {
    let pods = all_first_pods();
    serve(lab, ServiceSpec::new("steady", &pods))?;
    lab.manifests().write(BROKEN, "kind: Service\nmetadata: {name: [unclosed\n")?;
    let outcome = shows_in_status(lab, true).and_then(|()| {
        let to = frontend(lab, "steady", Family::V4, Protocol::Tcp)?;
        let reached = who_answers(lab, Protocol::Tcp, to, pods.len() * pods.len() + 30)?;
        ensure!(reached.iter().eq(&pods), "only {reached:?} answer");
        Ok(())
    });
    lab.manifests().remove(BROKEN)?;
    outcome?;
    shows_in_status(lab, false)
}

fn shows_in_status(lab: &Lab, expected: bool) -> Result<()> {
    let verb = if expected { "name" } else { "forget" };
    wait::until_true(&format!("the status to {verb} {BROKEN}"), CHANGE_LIMIT, || {
        let problems = lab.status(1)?.problems;
        let named = problems.iter().any(|problem| problem.to_string().contains(BROKEN));
        ensure!(named == expected, "the problems are {problems:?}");
        Ok(true)
    })
}

fn removed_service(lab: &mut Lab) -> Result<()> {
    serve(lab, ServiceSpec::new("passing", &all_first_pods()))?;
    let to = frontend(lab, "passing", Family::V4, Protocol::Tcp)?;
    lab.remove_service("passing")?;
    wait::until_true(&format!("{to} to be gone"), CHANGE_LIMIT, || Ok(lab.client(1).tcp_who(to, None).is_err()))
}
