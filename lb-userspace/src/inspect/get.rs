//! `limpet get`: reads the maps, picks the rows, prints them; and says when nobody keeps the maps in step.

use anyhow::{Context, Result};

use super::{
    Said, backends, client, clients, counters, flows, nodes, output,
    output::Row,
    read::{self, Opened},
    services, suggest,
};
use crate::{
    api::AgentStatus,
    cli::{ClientOptions, FlowOptions, Format, GetOptions, Places, Resource, Scope},
    clock,
    dataplane::Pins,
};

/// Carries the command out.
///
/// # Errors
/// When the maps cannot be read, or a Service that is asked for is not there.
pub fn run(options: &GetOptions, places: &Places) -> Result<Said> {
    let opened = read::open(&Pins::new(&places.pin_dir))?;
    let mut said = match &options.resource {
        Resource::Services => {
            let rows = services::rows(&opened.state()?, &options.scope);
            print(&rows, "Services", options)?
        }
        Resource::Backends => {
            let rows = backends::rows(&opened.state()?, &options.scope);
            print(&rows, "backends", options)?
        }
        Resource::Clients(wanted) => get_clients(&opened, wanted, options)?,
        Resource::Flows(wanted) => get_flows(&opened, wanted, options)?,
        Resource::Nodes => listed(&nodes::rows(&opened.state()?), options, "no nodes are programmed")?,
        Resource::Counters => {
            let rows = counters::rows(&opened.counters()?, options.output.format);
            listed(&rows, options, "nothing is counted")?
        }
    };
    said.notes.extend(note_on_agent(&client::status(&places.socket)));
    Ok(said)
}

fn get_flows(opened: &Opened, options: &FlowOptions, get: &GetOptions) -> Result<Said> {
    let state = opened.state()?;
    let scope = match &options.service {
        Some(service) => get.scope.narrowed_to(service)?,
        None => get.scope.clone(),
    };
    if let Some(service) = &options.service {
        suggest::require(&state, service, &scope)?;
    }
    let wanted = flows::Wanted { scope, service: options.service.clone(), client: options.client };
    let limit = options.limit as usize;
    let (found, cut) = opened.flows(limit, |flow| wanted.covers(&state, flow))?;
    let mut said = print(&flows::rows(&state, found, now_seconds()?), "flows", get)?;
    if cut {
        said.notes.push(format!("these are {limit} of more flows; --limit shows more, a SERVICE or --client fewer"));
    }
    Ok(said)
}

fn get_clients(opened: &Opened, options: &ClientOptions, get: &GetOptions) -> Result<Said> {
    let state = opened.state()?;
    let scope = match &options.service {
        Some(service) => get.scope.narrowed_to(service)?,
        None => get.scope.clone(),
    };
    if let Some(service) = &options.service {
        suggest::require(&state, service, &scope)?;
    }
    let rules = opened.rules(&state)?;
    let client = options.client.map(|client| client.to_canonical());
    let wanted = clients::Wanted { scope, service: options.service.clone(), client };
    let limit = options.limit as usize;
    let (found, cut) = opened.clients(limit, |client| wanted.covers(&state, &rules, client))?;
    let mut said = print(&clients::rows(&state, &rules, &found, now_seconds()?), "clients", get)?;
    if cut {
        said.notes.push(format!("these are {limit} of more clients; --limit shows more, a SERVICE or --client fewer"));
    }
    Ok(said)
}

fn print<R: Row>(rows: &[R], what: &str, options: &GetOptions) -> Result<Said> {
    listed(rows, options, &nothing_found(what, &options.scope))
}

fn listed<R: Row>(rows: &[R], options: &GetOptions, nothing: &str) -> Result<Said> {
    let mut said = Said::text(output::rows(rows, &options.output)?);
    if rows.is_empty() && options.output.format != Format::Json {
        said.notes.push(nothing.to_owned());
    }
    Ok(said)
}

fn nothing_found(what: &str, scope: &Scope) -> String {
    match scope.namespace() {
        Some(namespace) => format!("no {what} in namespace {namespace}; -A shows all namespaces"),
        None => format!("no {what}"),
    }
}

/// What a reader of the maps should know about who keeps them: nothing, when an agent does.
pub(super) fn note_on_agent(agent: &Result<AgentStatus, client::Error>) -> Option<String> {
    match agent {
        Ok(agent) if agent.in_step => None,
        Ok(_) => Some("agent: not in step; this is what is programmed so far (`limpet status` says more)".to_owned()),
        Err(error) => Some(format!("{}; this is what was last programmed", error.sentence())),
    }
}

/// Now, in seconds of the clock that flows and clients are dated by: monotonic, without suspend.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn now_seconds() -> Result<u32> {
    let now = clock::monotonic().context("cannot read the monotonic clock")?;
    u32::try_from(now.as_secs()).context("the monotonic clock is past what flows are dated by")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::OutputOptions;

    #[test]
    fn nothing_is_said_to_people_and_an_empty_array_to_programs() {
        let none: [nodes::NodeRow; 0] = [];
        let options = |format| GetOptions {
            resource: Resource::Nodes,
            scope: Scope::default(),
            output: OutputOptions { format, no_headers: false, cells: false },
        };
        let people = print(&none, "flows", &options(Format::Table)).unwrap();
        assert_eq!(people.notes, ["no flows in namespace default; -A shows all namespaces"]);
        assert_eq!(people.text, "");
        assert_eq!(print(&none, "flows", &options(Format::Json)).unwrap(), Said::text("[]\n".to_owned()));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now_seconds().unwrap();
        assert!(now_seconds().unwrap() >= before);
    }
}
